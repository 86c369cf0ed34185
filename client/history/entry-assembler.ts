import { ENTRY_HEADER_BYTES, entryBytes, entryHeaderFault, readEntryHeader } from '../../protocol/entry.js'
import { entryBodyFault } from '../../protocol/entry-check.js'
import type { TopicId } from '../../protocol/ids.js'
import { damaged } from './history-error.js'

/** What a chunk must hold. */
export interface ChunkContent {
  readonly topicId: TopicId
  readonly partition: number
  readonly baseOffset: number
  /** One past the last. */
  readonly nextOffset: number
}

/** Whole entries, checked. */
export interface AssembledEntries {
  readonly bytes: Uint8Array
  /** One past the last offset in them. */
  readonly nextOffset: number
}

/**
 * Puts stored entries together from the parts in which a chunk comes. Nothing leaves it unchecked: headers, sections and payloads by
 * their CRCs, the owner and the order of the offsets. What ends at or below `from` is left out.
 */
export class EntryAssembler {
  readonly #content: ChunkContent
  readonly #from: number
  /** Parts that make no whole entry yet, and how many bytes the next one needs. */
  #parts: Uint8Array[] = []
  #bytes = 0
  #needed = ENTRY_HEADER_BYTES
  #nextOffset: number
  #wholeBytes = 0

  constructor(content: ChunkContent, { from }: { from: number }) {
    this.#content = content
    this.#from = from
    this.#nextOffset = content.baseOffset
  }

  /** Bytes of the chunk that came as whole entries: another answer goes on behind them. */
  get wholeBytes(): number {
    return this.#wholeBytes
  }

  /** Whether the last entry came. */
  get isWhole(): boolean {
    return this.#nextOffset === this.#content.nextOffset
  }

  /** What was begun is dropped: the next part follows the last whole entry. */
  restart(): void {
    this.#parts = []
    this.#bytes = 0
    this.#needed = ENTRY_HEADER_BYTES
  }

  /** The entries that this part completes, of those that are wanted; undefined when there is none. Throws CORRUPT_DATA. */
  add(part: Uint8Array): AssembledEntries | undefined {
    if (part.length === 0) return undefined
    this.#parts.push(part)
    this.#bytes += part.length
    if (this.#bytes < this.#needed) return undefined
    const bytes = this.#joined()
    let wanted: number | undefined
    let at = 0
    let nextOffset = this.#nextOffset
    let needed = ENTRY_HEADER_BYTES
    while (bytes.length - at >= ENTRY_HEADER_BYTES) {
      const entry = this.#entryAt(bytes, at, nextOffset)
      if (entry.end > bytes.length) {
        needed = entry.end - at
        break
      }
      nextOffset = entry.nextOffset
      if (nextOffset > this.#from) wanted ??= at
      at = entry.end
    }
    this.#nextOffset = nextOffset
    this.#needed = needed
    this.#wholeBytes += at
    this.#parts = at === bytes.length ? [] : [bytes.subarray(at)]
    this.#bytes = bytes.length - at
    return wanted === undefined || wanted === at
      ? undefined
      : { bytes: bytes.subarray(wanted, at), nextOffset: this.#nextOffset }
  }

  #joined(): Uint8Array {
    const [only] = this.#parts
    if (this.#parts.length === 1 && only !== undefined) return only
    const bytes = new Uint8Array(this.#bytes)
    let at = 0
    for (const part of this.#parts) {
      bytes.set(part, at)
      at += part.length
    }
    return bytes
  }

  /** Where the entry ends; it is checked if it is there to its end. */
  #entryAt(bytes: Uint8Array, at: number, expected: number): { end: number; nextOffset: number } {
    const fault = entryHeaderFault(bytes, at)
    if (fault !== undefined) throw damaged(fault)
    const header = readEntryHeader(bytes, at)
    const { topicId, partition, nextOffset: chunkEnd } = this.#content
    if (header.topicId !== topicId || header.partition !== partition)
      throw damaged(`an entry of partition ${header.partition} of topic ${header.topicId} came instead`)
    const nextOffset = header.baseOffset + header.lastOffsetDelta + 1
    if (header.baseOffset < expected || nextOffset > chunkEnd)
      throw damaged(`offsets ${header.baseOffset} to ${nextOffset - 1} came out of their place`)
    const end = at + entryBytes(header)
    if (end > bytes.length) return { end, nextOffset }
    const bodyFault = entryBodyFault(bytes, header, at)
    if (bodyFault !== undefined) throw damaged(bodyFault)
    return { end, nextOffset }
  }
}
