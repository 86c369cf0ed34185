import { entryBytes, readEntryHeader } from '../../protocol/entry.js'
import { MillraceError } from '../../protocol/error-codes.js'
import type { ClusterId } from '../../protocol/ids.js'
import { ChunkWriter } from '../chunks/chunk-writer.js'
import { chunkFileName } from '../chunks/format.js'
import type { ChunkRow } from '../manifest/rows.js'
import type { Clock, Timer } from '../platform/clock.js'
import { type DirectPieces, directPieces } from '../platform/direct-writer.js'
import type { Disk } from '../platform/disk.js'
import type { Failpoints } from '../platform/failpoints.js'
import type { Metrics } from '../platform/metrics.js'
import { claim } from './claims.js'
import type { Change } from './group-commit.js'
import type { PartitionReader } from './read.js'
import { deletes } from './retention.js'
import { startClaim } from './start-move.js'
import type { PartitionState, ShardState } from './state.js'

export interface SealerOptions {
  readonly disk: Disk
  readonly directory: string
  readonly clusterId: ClusterId
  readonly state: ShardState
  readonly reader: PartitionReader
  readonly clock: Clock
  /** Broker time: what batches are dated by. */
  readonly time: () => number
  readonly failpoints: Failpoints
  readonly metrics: Metrics
  readonly chunkBytes: number
  readonly chunkMaxAgeMs: number
  /** Whether the WAL from this segment on is so large that whatever pins the segment must go. */
  readonly isTooMuch: (fromSegment: number) => boolean
  readonly submit: <T>(change: Change<T>) => Promise<T>
  readonly removeChunk: (chunkId: number) => Promise<void>
  /** A chunk is part of these logs now: the WAL may be trimmed, and chunks that are not wanted go. */
  readonly sealed: (partitions: readonly PartitionState[]) => void
  /** A seal failed; it is tried again after a pause. */
  readonly failed: (error: unknown) => void
}

/** Entries that a partition may have in the WAL, whatever their size: each costs memory until it is sealed. */
const UNSEALED_ENTRIES_MAX = 16_384
/** From the cache, where a large read saves nothing and thousands of small entries hold up everybody else. */
const CACHE_READ_BYTES = 64 * 1024
const DISK_READ_BYTES = 1024 * 1024
/** Checked and copied in one turn of the event loop: few, for the latency of others, unless that is too few to keep up. */
const ENTRIES_PER_TURN = { usually: 64, behind: 1024 }
/** Cold partitions go into one chunk up to this size. */
const SHARED_CHUNK_FACTOR = 4
/** How much larger a chunk becomes when sealing is behind. */
const BEHIND_CHUNK_FACTOR = 4
/** How long a partition whose entries cannot be read is left out. */
const UNREADABLE_MS = 60_000
const TICK_MS = 1000
const RETRY_MS = 1000

/**
 * Moves what is in the WAL into chunks, one chunk at a time. The chunk becomes part of the log by one command in the WAL;
 * before that its file means nothing, and a start sweeps it.
 */
export class Sealer {
  readonly #options: SealerOptions
  /** Partitions with anything unsealed, longest first. */
  readonly #unsealed = new Set<PartitionState>()
  readonly #due = new Set<PartitionState>()
  /** Partitions with damaged entries, and when to try again: one of them must not hold up the others. */
  readonly #setAsideUntilMs = new WeakMap<PartitionState, number>()
  #chunkCounter = 0
  /** Sealed since others had their turn. */
  #entriesInTurn = 0
  /** One chunk at a time is written. */
  #pieces: DirectPieces | undefined
  #running: Promise<void> | undefined
  #started = false
  #stopped = false
  #timer: Timer | undefined
  #pausedUntilMs = 0

  constructor(options: SealerOptions) {
    this.#options = options
  }

  /** Not before the shard epoch is durable: chunk ids are made of it. */
  start(): void {
    this.#started = true
    this.#tick()
  }

  /** A partition got entries. Cheap: called for every batch. */
  grown(partition: PartitionState): void {
    this.#unsealed.add(partition)
    if (!this.#isFull(partition)) return
    this.#due.add(partition)
    this.kick()
  }

  #isFull(partition: PartitionState): boolean {
    return this.#hasChunks(partition, 1)
  }

  #isBehind(partition: PartitionState): boolean {
    return this.#hasChunks(partition, 2)
  }

  /** Not while anything waits for the sealer, unless it has taken very much. */
  #isTurnOver(partition: PartitionState): boolean {
    if (this.#entriesInTurn >= ENTRIES_PER_TURN.behind) return true
    const oldest = partition.tail.firstUnsealed(partition.sealedEnd)?.segment
    const isPinning = oldest !== undefined && this.#options.isTooMuch(oldest)
    const othersDue = this.#due.size - (this.#due.has(partition) ? 1 : 0)
    return !isPinning && othersDue === 0 && !this.#isBehind(partition)
  }

  /** Whether there is enough for so many chunks. */
  #hasChunks({ tail, sealedEnd }: PartitionState, chunks: number): boolean {
    if (tail.unsealedBytes >= chunks * this.#options.chunkBytes) return true
    const entries = chunks * UNSEALED_ENTRIES_MAX
    return tail.length >= entries && tail.length - tail.indexOf(sealedEnd) >= entries
  }

  /** The first WAL group that holds anything unsealed; undefined when all is in chunks. */
  oldestUnsealedSequence(): number | undefined {
    let oldest: number | undefined
    for (const partition of this.#unsealed) {
      const sequence = this.#firstUnsealed(partition)?.sequence
      if (sequence !== undefined && (oldest === undefined || sequence < oldest)) oldest = sequence
    }
    return oldest
  }

  #firstUnsealed(partition: PartitionState) {
    const isLive = this.#options.state.partition(partition.topicId, partition.partition) === partition
    const entry = isLive ? partition.tail.firstUnsealed(partition.sealedEnd) : undefined
    if (entry === undefined) this.#unsealed.delete(partition)
    return entry
  }

  kick(): void {
    if (!this.#started || this.#stopped || this.#running !== undefined) return
    if (this.#options.clock.monotonic() < this.#pausedUntilMs) return
    this.#running = this.#run().finally(() => {
      this.#running = undefined
    })
  }

  #tick(): void {
    if (this.#stopped) return
    this.kick()
    this.#timer = this.#options.clock.setTimer(() => this.#tick(), TICK_MS, { unref: true })
  }

  async #run(): Promise<void> {
    let job: PartitionState[] = []
    try {
      for (job = this.#nextJob(); job.length > 0 && !this.#stopped; job = this.#nextJob())
        await this.#seal(job)
    } catch (error) {
      // They are as due as before, and behind the others: one that cannot be sealed does not keep them all.
      for (const partition of job) this.grown(partition)
      this.#pausedUntilMs = this.#options.clock.monotonic() + RETRY_MS
      if (this.#stopped) return
      this.#options.metrics.count('sealFailures')
      this.#options.failed(error)
    }
  }

  /** Partitions for the next chunk: a full one alone, else those that are old or pin the WAL, and go together. */
  #nextJob(): PartitionState[] {
    for (const partition of this.#due) {
      this.#due.delete(partition)
      // It came to be due while what is in a chunk now counted with it.
      if (!this.#isFull(partition)) continue
      if (this.#firstUnsealed(partition) !== undefined && !this.#isSetAside(partition)) return [partition]
    }
    const { state, time, chunkBytes, isTooMuch } = this.#options
    const now = time()
    let together: string | undefined
    const oldest = this.#oldestSegment()
    const pinned = isTooMuch(oldest) ? oldest : -1
    const job: PartitionState[] = []
    let bytes = 0
    for (const partition of this.#unsealed) {
      const first = this.#firstUnsealed(partition)
      if (first === undefined) continue
      if (first.appendTime > now - this.#ageMaxMs(partition) && first.segment > pinned) continue
      if (this.#isSetAside(partition)) continue
      const lifetime = lifetimeIn(state, partition)
      together ??= lifetime
      if (lifetime !== together) continue
      job.push(partition)
      bytes += Math.min(partition.tail.unsealedBytes, chunkBytes)
      if (bytes >= SHARED_CHUNK_FACTOR * chunkBytes) break
    }
    return job
  }

  /** What is to go at an age must be in a chunk long before. */
  #ageMaxMs({ topicId }: PartitionState): number {
    const { state, chunkMaxAgeMs } = this.#options
    const maxAgeMs = state.topics.get(topicId)?.row.options.maxAgeMs ?? null
    return maxAgeMs === null ? chunkMaxAgeMs : Math.min(chunkMaxAgeMs, maxAgeMs / 2)
  }

  #oldestSegment(): number {
    let oldest = Number.POSITIVE_INFINITY
    for (const partition of this.#unsealed) {
      if (this.#isSetAside(partition)) continue
      oldest = Math.min(oldest, this.#firstUnsealed(partition)?.segment ?? oldest)
    }
    return oldest
  }

  #isSetAside(partition: PartitionState): boolean {
    return (this.#setAsideUntilMs.get(partition) ?? 0) > this.#options.clock.monotonic()
  }

  async #seal(job: readonly PartitionState[]): Promise<void> {
    const { disk, directory, clusterId, state, failpoints, metrics, submit, removeChunk, sealed } =
      this.#options
    const startedMs = performance.now()
    const chunkId = state.shardEpoch * 2 ** 32 + this.#chunkCounter++
    this.#pieces ??= directPieces()
    const writer = await ChunkWriter.create({
      disk,
      directory,
      chunkId,
      clusterId,
      failpoints,
      pieces: this.#pieces,
    })
    const rows: ChunkRow[] = []
    let bytes = 0
    try {
      for (const partition of job) {
        const row = await this.#writeSection(writer, partition, chunkId).catch((error: unknown) => {
          if (error instanceof MillraceError && error.code === 'CORRUPT_DATA') {
            this.#setAsideUntilMs.set(partition, this.#options.clock.monotonic() + UNREADABLE_MS)
          }
          throw error
        })
        if (row !== undefined) rows.push(row)
      }
      bytes = (await writer.finish()).bytes
      await failpoints.hit('sealBeforeCommit')
    } catch (error) {
      await writer.abort().catch(() => {})
      // No command names the file yet. What cannot be removed now is swept at the next start.
      await removeChunk(chunkId).catch(() => {})
      if (!wasOvertaken(error)) throw error
      // Records, or a topic, that were deleted meanwhile are no failure: the next job goes without them.
      for (const partition of job) this.grown(partition)
      return
    }
    const isUsed = await submit(commitOf(state, chunkId, rows))
    await failpoints.hit('sealAfterCommit')
    for (const partition of job) if (partition.tail.unsealedBytes > 0) this.grown(partition)
    if (!isUsed) {
      await removeChunk(chunkId)
      return
    }
    metrics.count('chunksSealed')
    metrics.count('sealedBytes', bytes)
    const ms = performance.now() - startedMs
    metrics.observe('sealMs', ms)
    const records = rows.reduce((sum, { section }) => sum + section.recordCount, 0)
    const chunk = chunkFileName(chunkId)
    metrics.tell?.seal?.({ chunk, partitions: rows.length, records, bytes, ms: Math.round(ms) })
    sealed(job)
  }

  async #writeSection(
    writer: ChunkWriter,
    partition: PartitionState,
    chunkId: number,
  ): Promise<ChunkRow | undefined> {
    const { chunkBytes, reader } = this.#options
    const { topicId } = partition
    const end = partition.endOffset
    // The start may lie within the first entry.
    let offset = Math.max(partition.sealedEnd, partition.startOffset)
    if (offset === end) return undefined
    writer.beginSection({ topicId, partition: partition.partition })
    let bytes = 0
    const isBehind = this.#isBehind(partition)
    // Behind by several chunks, one larger file costs fewer syncs, and each sync holds up the WAL.
    const wanted = isBehind ? BEHIND_CHUNK_FACTOR * chunkBytes : chunkBytes
    let readBytes = CACHE_READ_BYTES
    while (offset < end && bytes < wanted) {
      const read = await reader.read({
        topicId,
        partition: partition.partition,
        offset,
        maxBytes: readBytes,
      })
      readBytes = read.source === 'cache' ? CACHE_READ_BYTES : DISK_READ_BYTES
      try {
        for (const buffer of read.buffers) {
          for (let at = 0; at < buffer.length; ) {
            const header = readEntryHeader(buffer, at)
            const entry = buffer.subarray(at, at + entryBytes(header))
            // Checks both CRCs: nothing damaged is ever sealed.
            const full = writer.append(entry, header)
            if (full !== undefined) await full
            at += entry.length
            bytes += entry.length
            if (++this.#entriesInTurn % ENTRIES_PER_TURN.usually === 0 && this.#isTurnOver(partition)) {
              await nextTurn()
              this.#entriesInTurn = 0
            }
          }
        }
      } finally {
        read.release()
      }
      offset = read.nextOffset
    }
    return { topicId, partition: partition.partition, chunkId, section: await writer.endSection() }
  }

  async stop(): Promise<void> {
    this.#stopped = true
    this.#timer?.cancel()
    await this.#running
  }
}

/** A file is freed once nothing in it is wanted any more: only what is deleted at about one time shares one. */
function lifetimeIn(state: ShardState, { topicId }: PartitionState): string {
  const options = state.topics.get(topicId)?.row.options
  if (options === undefined || !deletes(options)) return 'kept'
  return options.untilAcked ? topicId : `${options.maxAgeMs} ${options.maxBytes}`
}

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

const wasOvertaken = (error: unknown): boolean =>
  error instanceof MillraceError && (error.code === 'UNKNOWN_TOPIC' || error.code === 'OFFSET_OUT_OF_RANGE')

/** Makes a chunk part of the log, without what was deleted while it was written. False when nothing of it is left. */
function commitOf(state: ShardState, chunkId: number, rows: readonly ChunkRow[]): Change<boolean> {
  return {
    decide({ claimed }) {
      if (!claim(claimed, ...rows.map(startClaim))) return undefined
      const live = rows.filter((row) => isWanted(state, row))
      if (live.length === 0) return { commands: [], result: false }
      return { commands: [{ type: 'chunkSealed', chunkId, rows: live }], result: true }
    },
  }
}

/** Whether the log still goes on, in the chunk, where its other chunks end. */
function isWanted(state: ShardState, { topicId, partition: number, section }: ChunkRow): boolean {
  const topic = state.topics.get(topicId)
  if (topic === undefined || topic.deleting) return false
  const partition = topic.partitions[number]
  if (partition === undefined) return false
  return section.baseOffset === partition.sealedEnd && section.endOffset > partition.startOffset
}
