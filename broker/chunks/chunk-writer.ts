import { join } from 'node:path'
import { type EntryHeader, entryBytes } from '../../protocol/entry.js'
import { entryFault } from '../../protocol/entry-check.js'
import type { ClusterId, TopicId } from '../../protocol/ids.js'
import { alignedMemory } from '../platform/aligned-memory.js'
import { DIRECT_ALIGN_BYTES, type Disk, type DiskFile } from '../platform/disk.js'
import { type Failpoints, noFailpoints } from '../platform/failpoints.js'
import { chunkFileName, encodeHeader, encodeTail, type OwnedSection } from './format.js'
import { type ChunkSection, SectionBuilder } from './section.js'
import { defaultIndexIntervalBytes } from './sparse-index.js'

export interface ChunkWriterOptions {
  readonly disk: Disk
  readonly directory: string
  /** Never used before: the file must not exist. */
  readonly chunkId: number
  readonly clusterId: ClusterId
  readonly failpoints?: Failpoints
  /** Where the file is put together; all that the writer holds. From `chunkPieces`, for one writer at a time. */
  readonly pieces?: ChunkPieces
  /** A sync each time that so much was written, so that no single sync keeps the disk from the WAL for long. */
  readonly syncEveryBytes?: number
  readonly indexIntervalBytes?: number
}

const pieceBytes = 1024 * 1024
const defaultSyncEveryBytes = 8 * 1024 * 1024

/** Two pieces of a file: one is filled while the other is written. */
export type ChunkPieces = readonly [Uint8Array, Uint8Array]

/** Memory for a writer, and the next one after it. */
export const chunkPieces = (bytes = pieceBytes): ChunkPieces => [alignedMemory(bytes), alignedMemory(bytes)]

/**
 * Writes one chunk file from start to end. Not re-entrant: await each call before the next. Until `finish` resolved
 * and a command in the WAL names the chunk, the file means nothing and is swept at start.
 */
export class ChunkWriter {
  readonly #options: ChunkWriterOptions
  readonly #file: DiskFile
  /** The piece that is filled. */
  #piece: Uint8Array
  /** The piece that was filled before. */
  #otherPiece: Uint8Array
  /** The write of the other piece. */
  #writing: Promise<void> | undefined
  readonly #syncEveryBytes: number
  readonly #indexIntervalBytes: number
  readonly #sections: OwnedSection[] = []
  #section: SectionBuilder | undefined
  /** Bytes in the file. */
  #written = 0
  #synced = 0
  /** Bytes in the piece. */
  #filled = 0
  #isEnded = false

  private constructor(options: ChunkWriterOptions, file: DiskFile) {
    this.#options = options
    this.#file = file
    const [piece, otherPiece] = options.pieces ?? chunkPieces()
    this.#piece = piece
    this.#otherPiece = otherPiece
    this.#syncEveryBytes = options.syncEveryBytes ?? defaultSyncEveryBytes
    this.#indexIntervalBytes = options.indexIntervalBytes ?? defaultIndexIntervalBytes
    if (this.#piece.length === 0 || this.#piece.length % DIRECT_ALIGN_BYTES !== 0)
      throw new RangeError(`a piece is a multiple of ${DIRECT_ALIGN_BYTES} bytes`)
    this.#put(encodeHeader({ ...options, indexIntervalBytes: this.#indexIntervalBytes }))
  }

  /** Rejects with a DiskError, EEXIST when the chunk id was used before. */
  static async create(options: ChunkWriterOptions): Promise<ChunkWriter> {
    const file = await options.disk.open(pathOf(options), 'createDirect')
    return new ChunkWriter(options, file)
  }

  /** Bytes so far, those in memory included. */
  get bytes(): number {
    return this.#written + this.#filled
  }

  beginSection(owner: { topicId: TopicId; partition: number }): void {
    if (this.#section) throw new Error('the section before was not ended')
    this.#section = new SectionBuilder({
      ...owner,
      byteStart: this.bytes,
      indexIntervalBytes: this.#indexIntervalBytes,
    })
  }

  /**
   * Adds one whole stored entry, whose bytes may change once the promise resolves; undefined when it was taken at
   * once. Throws when the entry is damaged or cannot follow the one before: nothing bad is ever sealed.
   */
  append(entry: Uint8Array, header: EntryHeader): Promise<void> | undefined {
    const section = this.#section
    if (!section) throw new Error('an entry is appended to a section')
    const fault =
      entry.length === entryBytes(header)
        ? (entryFault(entry, header) ?? section.fault(header))
        : 'it has the wrong length'
    if (fault) throw new Error(`an entry cannot be sealed in ${this.#file.path}: ${fault}`)
    section.add(entry, header, entry.length)
    return this.#put(entry)
  }

  /** Ends the section, which must hold an entry. */
  async endSection(): Promise<ChunkSection> {
    if (!this.#section) throw new Error('no section was begun')
    const { topicId, partition } = this.#section
    const { section, index } = this.#section.finish()
    this.#section = undefined
    this.#sections.push({ topicId, partition, section })
    await this.#put(index)
    return section
  }

  /** Writes the end of the file and makes it durable, its name included. */
  async finish(): Promise<{ bytes: number }> {
    if (this.#section) throw new Error('the last section was not ended')
    const failpoints = this.#options.failpoints ?? noFailpoints
    await this.#put(encodeTail(this.#options.chunkId, this.#sections, this.bytes))
    await this.#flushLast()
    await failpoints.hit('chunkAfterWrite')
    await this.#file.sync()
    this.#isEnded = true
    await this.#file.close()
    await failpoints.hit('chunkBeforeDirectorySync')
    await this.#options.disk.syncDirectory(this.#options.directory)
    return { bytes: this.#written }
  }

  /** Gives up: closes and removes the file. After `finish` it does nothing. */
  async abort(): Promise<void> {
    if (this.#isEnded) return
    this.#isEnded = true
    await this.#writing?.catch(() => {})
    await this.#file.close()
    await this.#options.disk.remove(pathOf(this.#options))
  }

  /** Copies at once what fits; the rest goes to disk piece by piece. */
  #put(bytes: Uint8Array): Promise<void> | undefined {
    if (bytes.length >= this.#piece.length - this.#filled) return this.#putLarge(bytes)
    this.#piece.set(bytes, this.#filled)
    this.#filled += bytes.length
    return undefined
  }

  async #putLarge(bytes: Uint8Array): Promise<void> {
    let at = 0
    while (at < bytes.length) {
      const part = bytes.subarray(at, at + this.#piece.length - this.#filled)
      this.#piece.set(part, this.#filled)
      this.#filled += part.length
      at += part.length
      if (this.#filled === this.#piece.length) await this.#flush()
    }
  }

  /** What is left fills no block: the rest of the last one is written and cut off again. */
  async #flushLast(): Promise<void> {
    const bytes = this.bytes
    const blocks = Math.ceil(this.#filled / DIRECT_ALIGN_BYTES)
    this.#piece.fill(0, this.#filled, blocks * DIRECT_ALIGN_BYTES)
    this.#filled = blocks * DIRECT_ALIGN_BYTES
    if (blocks > 0) await this.#flush()
    await this.#writing
    if (this.#written === bytes) return
    await this.#file.truncate(bytes)
    this.#written = bytes
  }

  /** Begins to write the piece, once the one before is written. */
  async #flush(): Promise<void> {
    await this.#writing
    const piece = this.#piece
    this.#piece = this.#otherPiece
    this.#otherPiece = piece
    this.#writing = this.#write(piece.subarray(0, this.#filled), this.#written)
    // Awaited with the next piece or at the end.
    this.#writing.catch(() => {})
    this.#written += this.#filled
    this.#filled = 0
  }

  async #write(piece: Uint8Array, position: number): Promise<void> {
    await this.#file.write([piece], position)
    if (position + piece.length - this.#synced < this.#syncEveryBytes) return
    await this.#file.sync()
    this.#synced = position + piece.length
  }
}

const pathOf = ({ directory, chunkId }: { directory: string; chunkId: number }): string =>
  join(directory, chunkFileName(chunkId))
