import {
  ENTRY_HEADER_BYTES,
  type EntryHeader,
  entryBytes,
  entryHeaderFault,
  readEntryHeader,
} from '../../protocol/entry.js'
import { entryBodyFault } from '../../protocol/entry-check.js'
import type { TopicId } from '../../protocol/ids.js'
import type { DiskFile } from '../platform/disk.js'
import { ChunkCorruption } from './corruption.js'
import type { ChunkSection } from './section.js'

/** What reading needs of an open file. */
export type ReadableFile = Pick<DiskFile, 'path' | 'read'>

/** A section of one partition in one chunk file. */
export interface SectionAddress {
  readonly chunkId: number
  readonly topicId: TopicId
  readonly partition: number
  readonly section: ChunkSection
}

/** Memory for a read. */
export interface ReadMemory {
  readonly bytes: Uint8Array
  release(): void
}

/** Memory that is used again when it was released; undefined for a size that has to be fresh. */
export type TakeMemory = (bytes: number) => ReadMemory | undefined

/** Whole stored entries, end to end. */
export interface ChunkRead {
  readonly buffers: Uint8Array[]
  readonly bytes: number
  /** Where the next read goes on. */
  readonly nextOffset: number
  /** Call once the buffers have been used. Where no memory was provided, they are the caller's to keep. */
  release(): void
}

/** Where an entry begins. Its first offset is `offset` or, after a gap, above it: else it is not what belongs there. */
export interface SectionPlace {
  readonly offset: number
  readonly position: number
}

/** One read: at least this much, so that small entries do not come one by one. */
const readBytesMin = 16 * 1024
/** And at most this much, unless one entry is larger: a reader with a large credit comes again. */
const readBytesMax = 4 * 1024 * 1024
/** Step of a walk over headers. */
const scanBytes = 64 * 1024

const NOTHING = new Uint8Array()
const nothing = (): void => {}
const freshMemory = (bytes: number): ReadMemory => ({
  bytes: Buffer.allocUnsafeSlow(bytes),
  release: nothing,
})

/** Reads entries of one section from an open file. Nothing leaves it unchecked. */
export class SectionReader {
  readonly #file: ReadableFile
  readonly #address: SectionAddress
  readonly #takeMemory: TakeMemory | undefined
  readonly #isTrusting: boolean

  /** `isTrusting`: the planted fault `chunkCrcUnchecked`. */
  constructor(file: ReadableFile, address: SectionAddress, takeMemory?: TakeMemory, isTrusting = false) {
    this.#file = file
    this.#address = address
    this.#takeMemory = takeMemory
    this.#isTrusting = isTrusting
  }

  /**
   * Whole entries, the first of which holds `offset` or is the next after a gap, up to `maxBytes` but at least one.
   * `start` is a place where an entry begins, at or before that one; the distance costs up to `slackBytes` of reading.
   * `readEnd` is where the index says that reading best ends. `nextPosition` is where the entry of `nextOffset` begins.
   */
  async read(args: {
    offset: number
    maxBytes: number
    start: SectionPlace
    slackBytes: number
    readEnd?: number | undefined
  }): Promise<ChunkRead & { nextPosition: number }> {
    const { section } = this.#address
    const { position } = args.start
    this.#checkStart(position)
    const useful = args.readEnd === undefined ? args.maxBytes : args.readEnd - position
    const wanted = Math.min(Math.max(useful, readBytesMin), readBytesMax) + args.slackBytes
    let memory = await this.#memory(position, Math.min(wanted, section.byteEnd - position))
    try {
      let window = memory.bytes
      let windowStart = position
      const moveTo = async (place: number, next: Promise<ReadMemory>): Promise<void> => {
        const before = memory
        memory = await next
        before.release()
        window = memory.bytes
        windowStart = place
      }
      let at = position
      let first: number | undefined
      let nextOffset = args.offset
      let expected = args.start.offset
      while (at < section.byteEnd) {
        if (at + ENTRY_HEADER_BYTES > windowStart + window.length) {
          if (first !== undefined) break
          await moveTo(at, this.#memory(at, Math.min(wanted, section.byteEnd - at)))
        }
        const header = this.#header(window, at - windowStart, at, expected)
        const end = at + entryBytes(header)
        expected = header.baseOffset + header.lastOffsetDelta + 1
        if (expected <= args.offset) {
          at = end
          continue
        }
        if (first !== undefined && end - first > args.maxBytes) break
        if (end > windowStart + window.length) {
          if (first !== undefined) break
          await moveTo(at, this.#completed(window.subarray(at - windowStart), at, end))
        }
        const fault = this.#isTrusting ? undefined : entryBodyFault(window, header, at - windowStart)
        if (fault) throw this.#corruption(at, fault)
        first ??= at
        nextOffset = expected
        at = end
      }
      if (at === section.byteEnd) nextOffset = section.endOffset
      if (first === undefined) {
        memory.release()
        return { buffers: [], bytes: 0, nextOffset, nextPosition: at, release: nothing }
      }
      const bytes = window.subarray(first - windowStart, at - windowStart)
      const { release } = memory
      return { buffers: [bytes], bytes: bytes.length, nextOffset, nextPosition: at, release }
    } catch (error) {
      memory.release()
      throw error
    }
  }

  /** The first offset of the first batch appended at or after `time`, walking headers from `start` on. */
  async offsetAtTime({ time, start }: { time: number; start: SectionPlace }): Promise<number> {
    const { section } = this.#address
    let window: Uint8Array = new Uint8Array()
    let windowStart = start.position
    let expected = start.offset
    this.#checkStart(start.position)
    for (let at = start.position; at < section.byteEnd; ) {
      if (at + ENTRY_HEADER_BYTES > windowStart + window.length) {
        window = await this.#bytes(at, Math.min(scanBytes, section.byteEnd - at))
        windowStart = at
      }
      const header = this.#header(window, at - windowStart, at, expected)
      if (header.appendTime >= time) return header.baseOffset
      expected = header.baseOffset + header.lastOffsetDelta + 1
      at += entryBytes(header)
    }
    return section.endOffset
  }

  /** An index has a checksum of its own, and yet may not be the one of these bytes. */
  #checkStart(position: number): void {
    const { byteStart, byteEnd, indexStart } = this.#address.section
    if (position >= byteStart && position < byteEnd) return
    throw this.#corruption(indexStart, `a sparse index points to byte ${position}, outside of its section`)
  }

  #header(window: Uint8Array, index: number, at: number, expected: number): EntryHeader {
    const fault = this.#isTrusting ? undefined : entryHeaderFault(window, index)
    if (fault) throw this.#corruption(at, fault)
    const header = readEntryHeader(window, index)
    const { topicId, partition, section } = this.#address
    const end = header.baseOffset + header.lastOffsetDelta + 1
    if (header.topicId !== topicId || header.partition !== partition) {
      throw this.#corruption(
        at,
        `an entry of ${header.topicId}/${header.partition} stands in ${topicId}/${partition}`,
      )
    }
    if (header.baseOffset < Math.max(expected, section.baseOffset) || end > section.endOffset) {
      throw this.#corruption(
        at,
        `an entry holds the offsets ${header.baseOffset} to ${end - 1}, out of their place`,
      )
    }
    if (at + entryBytes(header) > section.byteEnd)
      throw this.#corruption(at, 'an entry goes past its section')
    return header
  }

  /** The entry from `at` to `end`, of which the window held `part`. */
  async #completed(part: Uint8Array, at: number, end: number): Promise<ReadMemory> {
    const memory = this.#takeMemory?.(end - at) ?? freshMemory(end - at)
    try {
      memory.bytes.set(part)
      await this.#fill(memory.bytes.subarray(part.length), at + part.length)
      return memory
    } catch (error) {
      memory.release()
      throw error
    }
  }

  async #memory(position: number, length: number): Promise<ReadMemory> {
    return this.#completed(NOTHING, position, position + length)
  }

  async #bytes(position: number, length: number): Promise<Uint8Array> {
    const bytes = Buffer.allocUnsafeSlow(length)
    await this.#fill(bytes, position)
    return bytes
  }

  async #fill(bytes: Uint8Array, position: number): Promise<void> {
    const filled = await this.#file.read(bytes, position)
    if (filled < bytes.length) throw this.#corruption(position + filled, 'the file ends inside a section')
  }

  #corruption(byteOffset: number, reason: string): ChunkCorruption {
    return new ChunkCorruption({ file: this.#file.path, byteOffset, reason })
  }
}
