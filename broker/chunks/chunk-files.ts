import { join } from 'node:path'
import type { ClusterId } from '../../protocol/ids.js'
import type { Disk, DiskFile } from '../platform/disk.js'
import type { Failpoints } from '../platform/failpoints.js'
import { type Metrics, noMetrics } from '../platform/metrics.js'
import { ByteLru } from './byte-lru.js'
import { ChunkCorruption } from './corruption.js'
import { chunkFileName, chunkIdOf } from './format.js'
import { LentFiles } from './lent-files.js'
import { LentSection, type TakeTurn } from './lent-section.js'
import { ChunkRemoved, OpenFiles, openChunkFile } from './open-files.js'
import {
  type ChunkRead,
  type SectionAddress,
  type SectionPlace,
  SectionReader,
  type TakeMemory,
} from './section-reader.js'
import { defaultIndexIntervalBytes, SparseIndex } from './sparse-index.js'

export interface ChunkFilesOptions {
  readonly disk: Disk
  readonly directory: string
  /** When given, files of another cluster are refused. */
  readonly clusterId?: ClusterId
  readonly openFilesMax: number
  readonly indexCacheBytesMax: number
  readonly metrics?: Metrics
  readonly failpoints?: Failpoints
}

/** Places where sequential readers go on; beyond these the index serves. */
const positionsMax = 4_096
/** Removed chunks that are still known as such. A reader that comes later than that has lost its way. */
const removedMax = 65_536

/** The sealed chunks in a directory, for reading and for removal. */
export class ChunkFiles {
  readonly directory: string
  readonly #disk: Disk
  readonly #metrics: Metrics
  readonly #files: OpenFiles
  readonly #lent: LentFiles
  readonly #indexes: ByteLru<SparseIndex>
  /** File position of an entry, by chunk and offset: one that the reader before stopped at. */
  readonly #positions = new Map<string, number>()
  readonly #removed = new Set<number>()
  readonly #isTrusting: boolean

  constructor(options: ChunkFilesOptions) {
    const { disk, directory, clusterId, openFilesMax } = options
    this.directory = directory
    this.#disk = disk
    this.#metrics = options.metrics ?? noMetrics
    this.#isTrusting = options.failpoints?.planted === 'chunkCrcUnchecked'
    const open = (chunkId: number): Promise<DiskFile> =>
      openChunkFile({ disk, directory, clusterId }, chunkId)
    this.#files = new OpenFiles({ open, openFilesMax })
    this.#lent = new LentFiles(open)
    this.#indexes = new ByteLru(options.indexCacheBytesMax)
  }

  /**
   * Whole stored entries, up to `maxBytes` but at least one. The first holds `offset`, or is the next one where
   * `offset` falls into a gap; a gap at the end of the section gives no entry and nextOffset = section.endOffset.
   * Every entry is checked: both CRCs, its topic and partition, its place. Rejects with ChunkCorruption (code
   * CORRUPT_DATA), with ChunkRemoved after a removal, with a DiskError when the disk fails.
   */
  read(
    args: SectionAddress & { offset: number; maxBytes: number; takeMemory?: TakeMemory },
  ): Promise<ChunkRead> {
    const { section, offset, maxBytes } = args
    if (!(offset >= section.baseOffset && offset < section.endOffset)) {
      const range = `${section.baseOffset} to ${section.endOffset}`
      return Promise.reject(new RangeError(`offset ${offset} is outside the section's, ${range}`))
    }
    return this.#withFile(args.chunkId, async (file) => {
      this.#metrics.count('chunkReads')
      const position = this.#positions.get(positionKey(args, offset))
      const start = position === undefined ? await this.#startOf(file, args, offset) : { offset, position }
      const slackBytes =
        position === undefined && offset !== section.baseOffset ? defaultIndexIntervalBytes : 0
      const readEnd = slackBytes === 0 ? await this.#readEnd(file, args, start.position) : undefined
      const reader = new SectionReader(file, args, args.takeMemory, this.#isTrusting)
      const { nextPosition, ...found } = await reader.read({ offset, maxBytes, start, slackBytes, readEnd })
      this.#keepPosition(args, found.nextOffset, nextPosition)
      return found
    })
  }

  /**
   * The first offset of the first batch that was appended at or after `time` (broker time, milliseconds);
   * section.endOffset when there is none. Rejects as `read` does.
   */
  async findTime(args: SectionAddress & { time: number }): Promise<number> {
    const { section, time } = args
    if (time <= section.minAppendTime) return section.baseOffset
    if (time > section.maxAppendTime) return section.endOffset
    return this.#withFile(args.chunkId, async (file) => {
      const index = await this.#index(file, args)
      return new SectionReader(file, args).offsetAtTime({ time, start: index.beforeTime(time) })
    })
  }

  /**
   * A section for reading it at length: to its end, also when the chunk is removed meanwhile, and without holding up the removal. The
   * caller closes it. Rejects as `read` does.
   */
  async lend(address: SectionAddress, takeTurn?: TakeTurn): Promise<LentSection> {
    const { chunkId } = address
    if (this.#removed.has(chunkId)) throw new ChunkRemoved(chunkId)
    try {
      const lent = await this.#lent.borrow(chunkId)
      const placeBefore = async (position: number): Promise<SectionPlace> =>
        (await this.#index(lent.file, address)).atPosition(position)
      return new LentSection({ lent, address, placeBefore, takeTurn })
    } catch (error) {
      // It went while it was opened.
      if (this.#removed.has(chunkId)) throw new ChunkRemoved(chunkId)
      throw error
    }
  }

  /** Ids of the chunk files in the directory, in ascending order. Files of other names are passed over. */
  async list(): Promise<number[]> {
    const ids: number[] = []
    for (const name of await this.#disk.list(this.directory)) {
      const chunkId = chunkIdOf(name)
      if (chunkId !== undefined) ids.push(chunkId)
    }
    return ids
  }

  /**
   * Unlinks chunks that nothing refers to any more, each after its last read (those at length apart), and syncs the directory once for all.
   * A chunk that is gone already is no error.
   */
  async remove(chunkIds: number | readonly number[]): Promise<void> {
    const ids = typeof chunkIds === 'number' ? [chunkIds] : chunkIds
    for (const id of ids) {
      this.#removed.add(id)
      this.#lent.forget(id)
      dropOldest(this.#removed, removedMax)
    }
    await Promise.all(
      ids.map(async (id) => {
        await this.#files.retire(id)
        await this.#disk.remove(join(this.directory, chunkFileName(id)))
      }),
    )
    await this.#disk.syncDirectory(this.directory)
  }

  /** Waits for reads under way, those at length apart. */
  async close(): Promise<void> {
    await this.#lent.close()
    await this.#files.close()
  }

  async #withFile<T>(chunkId: number, use: (file: DiskFile) => Promise<T>): Promise<T> {
    if (this.#removed.has(chunkId)) throw new ChunkRemoved(chunkId)
    return this.#files.pinned(chunkId, use)
  }

  async #startOf(file: DiskFile, address: SectionAddress, offset: number): Promise<SectionPlace> {
    if (offset === address.section.baseOffset) return { offset, position: address.section.byteStart }
    return (await this.#index(file, address)).atOffset(offset)
  }

  /** Of a read that could end in the middle of a large entry; undefined where that costs little, or is not to be known. */
  async #readEnd(
    file: DiskFile,
    address: SectionAddress & { maxBytes: number },
    position: number,
  ): Promise<number | undefined> {
    const { section, maxBytes } = address
    const sectionEnd = section.byteEnd
    if (maxBytes <= defaultIndexIntervalBytes || position + maxBytes >= sectionEnd) return undefined
    try {
      return (await this.#index(file, address)).readEnd({ position, bytes: maxBytes, sectionEnd })
    } catch {
      // Entries have checks of their own: whoever needs no index to find them does not fail for one.
      return undefined
    }
  }

  async #index(file: DiskFile, address: SectionAddress): Promise<SparseIndex> {
    const { indexStart, indexBytes } = address.section
    const key = `${address.chunkId}:${indexStart}`
    const cached = this.#indexes.get(key)
    if (cached) return cached
    const bytes = Buffer.allocUnsafe(indexBytes)
    const index = SparseIndex.decode(bytes.subarray(0, await file.read(bytes, indexStart)), address)
    if (typeof index === 'string') {
      throw new ChunkCorruption({ file: file.path, byteOffset: indexStart, reason: index })
    }
    this.#indexes.set(key, index)
    return index
  }

  #keepPosition(address: SectionAddress, offset: number, position: number): void {
    if (position >= address.section.byteEnd) return
    this.#positions.set(positionKey(address, offset), position)
    dropOldest(this.#positions, positionsMax)
  }
}

/** Maps and sets keep the order of insertion. */
function dropOldest<Key>(entries: Map<Key, unknown> | Set<Key>, max: number): void {
  if (entries.size <= max) return
  for (const oldest of entries.keys()) {
    entries.delete(oldest)
    return
  }
}

const positionKey = ({ chunkId, section }: SectionAddress, offset: number): string =>
  `${chunkId}:${section.byteStart}:${offset}`
