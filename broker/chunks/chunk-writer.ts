import { join } from 'node:path'
import { type EntryHeader, entryBytes } from '../../protocol/entry.js'
import { entryFault } from '../../protocol/entry-check.js'
import type { ClusterId, TopicId } from '../../protocol/ids.js'
import { type DirectPieces, DirectWriter } from '../platform/direct-writer.js'
import type { Disk, DiskFile } from '../platform/disk.js'
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
  /** Where the file is put together; all that the writer holds. */
  readonly pieces?: DirectPieces
  readonly syncEveryBytes?: number
  readonly indexIntervalBytes?: number
}

/**
 * Writes one chunk file from start to end. Not re-entrant: await each call before the next. Until `finish` resolved
 * and a command in the WAL names the chunk, the file means nothing and is swept at start.
 */
export class ChunkWriter {
  readonly #options: ChunkWriterOptions
  readonly #file: DiskFile
  readonly #writer: DirectWriter
  readonly #indexIntervalBytes: number
  readonly #sections: OwnedSection[] = []
  #section: SectionBuilder | undefined
  #isEnded = false

  private constructor(options: ChunkWriterOptions, file: DiskFile) {
    this.#options = options
    this.#file = file
    this.#writer = new DirectWriter(file, options)
    this.#indexIntervalBytes = options.indexIntervalBytes ?? defaultIndexIntervalBytes
    this.#writer.put(encodeHeader({ ...options, indexIntervalBytes: this.#indexIntervalBytes }))
  }

  /** Rejects with a DiskError, EEXIST when the chunk id was used before. */
  static async create(options: ChunkWriterOptions): Promise<ChunkWriter> {
    const file = await options.disk.open(pathOf(options), 'createDirect')
    return new ChunkWriter(options, file)
  }

  /** Bytes so far, those in memory included. */
  get bytes(): number {
    return this.#writer.bytes
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
    return this.#writer.put(entry)
  }

  /** Ends the section, which must hold an entry. */
  async endSection(): Promise<ChunkSection> {
    if (!this.#section) throw new Error('no section was begun')
    const { topicId, partition } = this.#section
    const { section, index } = this.#section.finish()
    this.#section = undefined
    this.#sections.push({ topicId, partition, section })
    await this.#writer.put(index)
    return section
  }

  /** Writes the end of the file and makes it durable, its name included. */
  async finish(): Promise<{ bytes: number }> {
    if (this.#section) throw new Error('the last section was not ended')
    const failpoints = this.#options.failpoints ?? noFailpoints
    await this.#writer.put(encodeTail(this.#options.chunkId, this.#sections, this.bytes))
    await this.#writer.end()
    await failpoints.hit('chunkAfterWrite')
    if (failpoints.planted !== 'chunkNotSynced') await this.#file.sync()
    this.#isEnded = true
    await this.#file.close()
    await failpoints.hit('chunkBeforeDirectorySync')
    if (failpoints.planted !== 'sealWithoutDirectorySync')
      await this.#options.disk.syncDirectory(this.#options.directory)
    return { bytes: this.bytes }
  }

  /** Gives up: closes and removes the file. After `finish` it does nothing. */
  async abort(): Promise<void> {
    if (this.#isEnded) return
    this.#isEnded = true
    await this.#writer.settle()
    await this.#file.close()
    await this.#options.disk.remove(pathOf(this.#options))
  }
}

const pathOf = ({ directory, chunkId }: { directory: string; chunkId: number }): string =>
  join(directory, chunkFileName(chunkId))
