import { entryBytes, readEntryHeader } from '../../protocol/entry.js'
import { MillraceError } from '../../protocol/error-codes.js'
import type { TopicId } from '../../protocol/ids.js'
import type { ChunkFiles } from '../chunks/chunk-files.js'
import { DiskError } from '../platform/disk.js'
import type { Metrics } from '../platform/metrics.js'
import { entryFault } from '../wal/command.js'
import type { SegmentFiles } from '../wal/segment-files.js'
import type { Slab, SlabPool } from '../wal/slab.js'
import { DiskReads } from './disk-reads.js'
import { readMemory } from './read-memory.js'
import type { PartitionState, ShardState } from './state.js'
import type { TailEntry } from './tail.js'

export interface ReadRequest {
  readonly topicId: TopicId
  readonly partition: number
  readonly offset: number
  /** At least one entry is returned, however large. */
  readonly maxBytes: number
}

export interface ReadResult {
  /** Whole stored entries, end to end; the first may begin below the offset. Empty at the durable end. */
  readonly buffers: readonly Uint8Array[]
  readonly bytes: number
  /** Where to go on. */
  readonly nextOffset: number
  readonly startOffset: number
  readonly durableEnd: number
  readonly source: 'cache' | 'wal' | 'chunk'
  /** Call once the buffers are sent: they return to their pool. */
  release(): void
}

export interface PartitionReaderOptions {
  readonly state: ShardState
  readonly segments: SegmentFiles
  readonly chunks: ChunkFiles
  readonly slabs: SlabPool
  readonly metrics: Metrics
}

/** Bytes of other partitions that one WAL read may carry along rather than be split. */
const GAP_BYTES_MAX = 32 * 1024

/** Of the eight threads that libuv has in a broker. */
const DISK_READS_MAX = 3
/** While others wait, none brings more at once: what it brings is checked and sent in one go. */
const BUSY_READ_BYTES_MAX = 256 * 1024

const nothing = (): void => {}

/** Reads partitions: from the tail cache, else the WAL, else a chunk. Nothing beyond the durable end. */
export class PartitionReader {
  readonly #options: PartitionReaderOptions
  readonly #diskReads = new DiskReads({ max: DISK_READS_MAX })
  readonly #takeMemory = readMemory()

  constructor(options: PartitionReaderOptions) {
    this.#options = options
  }

  /**
   * Synchronous when the tail cache has it. Throws or rejects UNKNOWN_TOPIC, UNKNOWN_PARTITION, OFFSET_OUT_OF_RANGE,
   * CORRUPT_DATA, or STORAGE_FAILED when the disk cannot be read.
   */
  read(request: ReadRequest): ReadResult | Promise<ReadResult> {
    const partition = this.partition(request)
    this.#checkBounds(partition, request.offset)
    if (request.offset === partition.endOffset) {
      return { ...this.#result(partition, [], request.offset), source: 'cache', release: nothing }
    }
    const index = partition.tail.indexOf(request.offset)
    const first = partition.tail.at(index)
    if (first !== undefined && first.baseOffset <= request.offset) {
      if (first.slab !== undefined) return this.#readCache(partition, index, request.maxBytes)
      return this.#readWal(partition, index, request)
    }
    return this.#readChunk(partition, request)
  }

  #bytesMax({ maxBytes }: ReadRequest): number {
    return this.#diskReads.isBusy ? Math.min(maxBytes, BUSY_READ_BYTES_MAX) : maxBytes
  }

  #checkBounds({ startOffset, endOffset }: PartitionState, offset: number): void {
    if (offset >= startOffset && offset <= endOffset) return
    throw new MillraceError('OFFSET_OUT_OF_RANGE', {
      message: `offset ${offset} is outside ${startOffset} to ${endOffset}`,
      details: { startOffset, endOffset },
    })
  }

  /** Throws UNKNOWN_TOPIC or UNKNOWN_PARTITION. */
  partition(at: { topicId: TopicId; partition: number }): PartitionState {
    const topic = this.#options.state.topics.get(at.topicId)
    if (topic === undefined) throw new MillraceError('UNKNOWN_TOPIC')
    const partition = topic.partitions[at.partition]
    if (partition === undefined) throw new MillraceError('UNKNOWN_PARTITION')
    return partition
  }

  #result(partition: PartitionState, buffers: readonly Uint8Array[], nextOffset: number) {
    let bytes = 0
    for (const buffer of buffers) bytes += buffer.length
    return { buffers, bytes, nextOffset, startOffset: partition.startOffset, durableEnd: partition.endOffset }
  }

  #readCache(partition: PartitionState, index: number, maxBytes: number): ReadResult {
    const { slabs, metrics } = this.#options
    const buffers: Uint8Array[] = []
    const used: Slab[] = []
    let bytes = 0
    let nextOffset = 0
    let run: { slab: Slab; start: number; end: number } | undefined
    const closeRun = (): void => {
      if (run !== undefined) buffers.push(run.slab.buffer.subarray(run.start, run.end))
    }
    for (let i = index; ; i++) {
      const entry = partition.tail.at(i)
      if (entry?.slab === undefined || (bytes > 0 && bytes + entry.bytes > maxBytes)) break
      bytes += entry.bytes
      nextOffset = entry.endOffset
      if (run?.slab === entry.slab && run.end === entry.slabPosition) {
        run.end += entry.bytes
        continue
      }
      closeRun()
      if (run?.slab !== entry.slab) {
        slabs.retain(entry.slab)
        used.push(entry.slab)
      }
      run = { slab: entry.slab, start: entry.slabPosition, end: entry.slabPosition + entry.bytes }
    }
    closeRun()
    metrics.count('cacheHits')
    const { topicId, partition: number } = partition
    metrics.tell?.cacheHit?.({
      topicId,
      partition: number,
      offset: partition.tail.at(index)?.baseOffset ?? 0,
    })
    return {
      ...this.#result(partition, buffers, nextOffset),
      source: 'cache',
      release: () => {
        for (const slab of used.splice(0)) slabs.release(slab)
      },
    }
  }

  async #readWal(partition: PartitionState, index: number, request: ReadRequest): Promise<ReadResult> {
    const { metrics, segments, slabs } = this.#options
    const run = walRun(partition, index, this.#bytesMax(request))
    const first = run[0] as TailEntry
    const last = run.at(-1) as TailEntry
    const length = last.position + last.bytes - first.position
    const slab = slabs.take(length)
    let isHeld = true
    const release = (): void => {
      if (isHeld) slabs.release(slab)
      isHeld = false
    }
    const bytes = slab.buffer.subarray(0, length)
    metrics.count('cacheMisses')
    metrics.count('walReads')
    const { topicId, offset } = request
    metrics.tell?.cacheMiss?.({ topicId, partition: request.partition, offset, source: 'wal' })
    try {
      const read = await this.#diskReads.run(() => segments.read(first.segment, bytes, first.position))
      if (read === undefined) {
        release()
        // Segments go once all is sealed, and then the tail no longer has the entry; or the WAL was closed under it.
        const isStillThere = partition.tail.at(partition.tail.indexOf(request.offset)) === first
        if (isStillThere && this.partition(request) === partition) throw new MillraceError('SHUTTING_DOWN')
        return await this.read(request)
      }
      const buffers = run.map((entry) => {
        const start = entry.position - first.position
        const buffer = bytes.subarray(start, start + entry.bytes)
        checkEntry(buffer, partition, entry, segments.path(entry.segment))
        return buffer
      })
      return { ...this.#result(partition, buffers, last.endOffset), source: 'wal', release }
    } catch (error) {
      release()
      throw typed(error)
    }
  }

  async #readChunk(partition: PartitionState, request: ReadRequest): Promise<ReadResult> {
    const { chunks, metrics } = this.#options
    const row = partition.chunks[chunkIndex(partition, request.offset)]
    if (row === undefined)
      throw new MillraceError('CORRUPT_DATA', { message: `no chunk holds offset ${request.offset}` })
    metrics.count('cacheMisses')
    const { topicId } = request
    const maxBytes = this.#bytesMax(request)
    metrics.tell?.cacheMiss?.({
      ...{ topicId, partition: request.partition, offset: request.offset },
      source: 'chunk',
    })
    try {
      const address = { chunkId: row.chunkId, topicId, partition: request.partition, section: row.section }
      const offset = Math.max(request.offset, row.section.baseOffset)
      const takeMemory = this.#takeMemory
      const { buffers, nextOffset, release } = await this.#diskReads.run(() =>
        chunks.read({ ...address, offset, maxBytes, takeMemory }),
      )
      // Nothing but a gap up to the end of the section: no records is the answer at the durable end alone.
      if (buffers.length === 0) return await this.read({ ...request, offset: nextOffset })
      return { ...this.#result(partition, buffers, nextOffset), source: 'chunk', release }
    } catch (error) {
      // A deletion took the chunk with it: say that, not that a file is missing.
      this.#checkBounds(this.partition(request), request.offset)
      throw typed(error)
    }
  }

  /** The first offset whose batch was appended at or after `time`; the durable end when there is none. */
  async offsetAtTime(at: { topicId: TopicId; partition: number; time: number }): Promise<number> {
    const partition = this.partition(at)
    const row = partition.chunks.find(({ section }) => section.maxAppendTime >= at.time)
    if (row !== undefined) {
      try {
        const offset = await this.#options.chunks.findTime({ ...row, time: at.time })
        return Math.max(offset, partition.startOffset)
      } catch (error) {
        // Its topic is gone, or the chunk alone.
        if (this.partition(at).chunks.includes(row)) throw typed(error)
        return await this.offsetAtTime(at)
      }
    }
    const entry = partition.tail.at(partition.tail.indexAtTime(at.time))
    return entry === undefined ? partition.endOffset : Math.max(entry.baseOffset, partition.startOffset)
  }
}

/** A disk that cannot be read, or no file that can be opened: it may be better the next time. */
export function typed(error: unknown): unknown {
  if (!(error instanceof DiskError)) return error
  const message = `reading from disk failed: ${error.message}`
  return new MillraceError('STORAGE_FAILED', { message, outcome: 'notWritten', cause: error })
}

/** Uncached entries that one pread serves. */
function walRun(partition: PartitionState, index: number, maxBytes: number): TailEntry[] {
  const run: TailEntry[] = []
  let bytes = 0
  for (let i = index; ; i++) {
    const entry = partition.tail.at(i)
    if (entry === undefined || entry.slab !== undefined) break
    const before = run.at(-1)
    if (before !== undefined) {
      const gap = entry.position - (before.position + before.bytes)
      if (entry.segment !== before.segment || gap > GAP_BYTES_MAX || bytes + entry.bytes > maxBytes) break
      bytes += gap
    }
    bytes += entry.bytes
    run.push(entry)
  }
  return run
}

/** The chunk that holds `offset`, or the next one after a gap. */
export function chunkIndex(partition: PartitionState, offset: number): number {
  let low = 0
  let high = partition.chunks.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((partition.chunks[middle]?.section.endOffset ?? 0) > offset) high = middle
    else low = middle + 1
  }
  return low
}

/** A recycled segment holds valid bytes of another time: CRCs alone do not say that these are the right ones. */
export function checkEntry(
  bytes: Uint8Array,
  partition: PartitionState,
  entry: TailEntry,
  file: string,
): void {
  const fault = entryFault(bytes) ?? mismatch(bytes, partition, entry)
  if (fault === undefined) return
  throw new MillraceError('CORRUPT_DATA', {
    message: `stored data is damaged: ${file} at byte ${entry.position}: ${fault}`,
    details: { file, byteOffset: entry.position },
  })
}

function mismatch(bytes: Uint8Array, partition: PartitionState, entry: TailEntry): string | undefined {
  const header = readEntryHeader(bytes)
  const isRight =
    header.topicId === partition.topicId &&
    header.partition === partition.partition &&
    header.baseOffset === entry.baseOffset &&
    entryBytes(header) === entry.bytes
  return isRight ? undefined : 'another entry stands here'
}
