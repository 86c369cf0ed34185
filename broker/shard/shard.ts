import { MillraceError } from '../../protocol/error-codes.js'
import type { ClusterId, RequestId, TopicId } from '../../protocol/ids.js'
import type { TopicOptions } from '../../protocol/topic-options.js'
import { ChunkFiles } from '../chunks/chunk-files.js'
import type { Store } from '../manifest/store.js'
import type { Clock } from '../platform/clock.js'
import type { Disk } from '../platform/disk.js'
import type { Failpoints } from '../platform/failpoints.js'
import type { Metrics } from '../platform/metrics.js'
import type { Random } from '../platform/random.js'
import { SlabPool } from '../wal/slab.js'
import { AppendCommand } from './append-command.js'
import { AppendQueue, type AppendSource, type SourceListener } from './append-queue.js'
import { applyGroup, wakeFollowers } from './apply-group.js'
import { ChangeLog } from './change-log.js'
import { Checkpoint } from './checkpoint.js'
import type { Command } from './commands.js'
import { type AppliedGroup, type Change, GroupCommit } from './group-commit.js'
import { Housekeeping } from './housekeeping.js'
import type { IsLive } from './lag-watch.js'
import { type Layout, layoutOf, writeCleanStop } from './layout.js'
import { ProducerIds } from './producer-ids.js'
import { PartitionReader, type ReadRequest, type ReadResult } from './read.js'
import { type Recovered, type RecoveryReport, recover } from './recover.js'
import { Sealer } from './seal.js'
import { SealedChunks } from './sealed-chunks.js'
import { ShardGroups } from './shard-groups.js'
import type { ShardLimits } from './shard-limits.js'
import { ShardTopics } from './shard-topics.js'
import type { ShardState } from './state.js'
import { TailCache } from './tail-cache.js'
import type { NewTopic } from './topic-changes.js'
import type { AlterTopicArgs, DeleteBeforeArgs, RecordsDeleted, TopicInfo } from './topic-requests.js'
import { keptAnswer } from './unit-answer.js'

export type { ShardLimits } from './shard-limits.js'
export type { TopicInfo } from './topic-requests.js'

export interface ShardOptions {
  readonly directory: string
  readonly disk: Disk
  readonly store: Store
  readonly clock: Clock
  readonly random: Random
  readonly failpoints: Failpoints
  readonly metrics: Metrics
  readonly limits: ShardLimits
  /** Called once when storage failed: nothing is written or acknowledged any more, the process should end. */
  readonly onFailed: (error: unknown) => void
  /** Something went wrong that the shard gets over by itself. */
  readonly onWarning: (message: string, error: unknown) => void
}

const SLAB_BYTES_MAX = 4 * 1024 * 1024
const OPEN_CHUNKS_MAX = 256
const INDEX_CACHE_BYTES = 16 * 1024 * 1024

/** One WAL, one sequencer, one manifest, and all that they hold. Opened once, closed once. */
export class Shard {
  readonly report: RecoveryReport
  readonly groups: ShardGroups
  readonly sealed: SealedChunks
  readonly topics: ShardTopics
  readonly #options: ShardOptions
  readonly #layout: Layout
  readonly #recovered: Recovered
  readonly #state: ShardState
  readonly #slabs: SlabPool
  readonly #cache: TailCache
  readonly #queue: AppendQueue
  readonly #commit: GroupCommit
  readonly #chunks: ChunkFiles
  readonly #reader: PartitionReader
  readonly #sealer: Sealer
  readonly #checkpoint: Checkpoint
  readonly #producerIds: ProducerIds
  readonly #changeLog: ChangeLog
  readonly #housekeeping: Housekeeping
  #failed = false
  #closing: Promise<void> | undefined

  private constructor(options: ShardOptions, layout: Layout, recovered: Recovered, slabs: SlabPool) {
    const { disk, clock, random, failpoints, metrics, limits } = options
    const { state, wal, manifest } = recovered
    this.report = recovered.report
    this.#options = options
    this.#layout = layout
    this.#recovered = recovered
    this.#state = state
    this.#slabs = slabs
    this.#cache = new TailCache({ pool: slabs, bytesMax: limits.tailCacheBytes, metrics })
    this.#chunks = new ChunkFiles({
      disk,
      directory: layout.chunks,
      clusterId: state.clusterId,
      openFilesMax: OPEN_CHUNKS_MAX,
      indexCacheBytesMax: INDEX_CACHE_BYTES,
      metrics,
      failpoints,
    })
    this.#reader = new PartitionReader({ state, segments: wal.files, chunks: this.#chunks, slabs, metrics })
    this.sealed = new SealedChunks({ reader: this.#reader, files: this.#chunks, planted: failpoints.planted })
    this.#queue = new AppendQueue({
      clock,
      metrics,
      limits,
      backlogBytesMax: limits.walBacklogBytes,
      deadlineMs: limits.backpressureDeadlineMs,
      refuse: () => this.#housekeeping.watermark.refuseIfFull(),
      encodingsOf: (batch) => {
        this.#reader.partition(batch)
        return (this.#state.topics.get(batch.topicId) as { row: TopicInfo }).row
      },
      answerOf: (unit) => keptAnswer(state.answers, unit),
      submitAcks: (unit) => this.#commit.submitAcks(unit),
      refusalOf: (error) => this.#refusalOf(error),
      onReady: () => this.#commit.kick(),
    })
    this.#changeLog = new ChangeLog({ state, metrics, groupBytesMax: limits.groupBytesMax })
    this.#commit = new GroupCommit({
      state,
      wal,
      queue: this.#queue,
      clock,
      metrics,
      groupBytesMax: limits.groupBytesMax,
      proofIdleMs: limits.proofIdleMs,
      changeLog: this.#changeLog,
      dedupBytesMax: limits.dedupBytesMax,
      producersMax: limits.producersMax,
      planted: failpoints.planted,
      apply: (group) => this.#apply(group),
      applied: wakeFollowers,
      refusalOf: (error) => this.#refusalOf(error),
      failed: (error) => this.#fail(error),
    })
    this.#checkpoint = new Checkpoint({
      disk,
      layout,
      state,
      store: options.store,
      manifest,
      chunks: this.#chunks,
      wal,
      clock,
      failpoints,
      metrics,
      flushMs: limits.manifestFlushMs,
      overlayBytesMax: limits.manifestOverlayBytesMax,
      walBytesMax: limits.walBytesMax,
      snapshotEveryBytes: limits.snapshotEveryBytes,
      oldestUnsealedSequence: () => this.#sealer.oldestUnsealedSequence(),
      hold: (reason) => this.#commit.hold(reason),
      unhold: (reason) => this.#commit.unhold(reason),
      failed: (error) => this.#commit.abort(error),
      warn: options.onWarning,
    })
    this.#sealer = new Sealer({
      disk,
      directory: layout.chunks,
      clusterId: state.clusterId,
      state,
      reader: this.#reader,
      clock,
      time: () => this.time(),
      failpoints,
      metrics,
      chunkBytes: limits.chunkBytes,
      chunkMaxAgeMs: limits.chunkMaxAgeMs,
      isTooMuch: (fromSegment) => wal.files.bytesFrom(fromSegment) > limits.walBytesMax / 2,
      submit: (change) => this.#commit.submit(change),
      removeChunk: (chunkId) => this.#chunks.remove(chunkId),
      sealed: (partitions) => {
        this.#checkpoint.kickIfTrimmable()
        this.#housekeeping.sealed(partitions)
      },
      failed: (error) => options.onWarning('sealing a chunk failed; it is tried again', error),
    })
    const submit = <T>(change: Change<T>): Promise<T> => this.#commit.submit(change)
    this.groups = new ShardGroups({ state, submit, limits, metrics, planted: failpoints.planted })
    this.topics = new ShardTopics({ state, random, metrics, limits, submit, planted: failpoints.planted })
    this.#housekeeping = new Housekeeping({
      state,
      disk,
      directory: options.directory,
      clock,
      metrics,
      failpoints,
      limits,
      log: this.#changeLog,
      submit,
      time: () => this.time(),
      flushLog: () => this.#commit.kick(),
      freeSpace: () => this.#checkpoint.kick(),
      warn: options.onWarning,
    })
    const onSurplus = (): void => this.#housekeeping.expireProducers()
    this.#producerIds = new ProducerIds({ state, submit, limits, onSurplus })
  }

  /** Recovers the directory and takes the shard over under the next shard epoch. Throws CORRUPT_DATA. */
  static async open(options: ShardOptions): Promise<Shard> {
    const { disk, limits, random, failpoints, metrics, store } = options
    const layout = layoutOf(options.directory)
    const slabBytes = Math.max(64 * 1024, Math.min(SLAB_BYTES_MAX, Math.floor(limits.tailCacheBytes / 16)))
    const slabs = new SlabPool({ slabBytes, freeBytesMax: 4 * slabBytes, isAligned: true })
    const recovered = await recover({
      disk,
      layout,
      random,
      store,
      walOptions: {
        segmentBytes: limits.walSegmentBytes,
        sparesMax: limits.spareWalSegments,
        keptBytesMax: limits.walBytesMax / 2,
        bytesMax: limits.walBytesMax,
        slabs,
        failpoints,
        metrics,
      },
    })
    const shard = new Shard(options, layout, recovered, slabs)
    try {
      await shard.#start()
    } catch (error) {
      await shard.close().catch(() => {})
      throw error
    }
    return shard
  }

  async #start(): Promise<void> {
    const { state, wal } = this.#recovered
    for (const { partitions } of state.topics.values())
      for (const partition of partitions) if (partition.tail.unsealedBytes > 0) this.#sealer.grown(partition)
    const { clusterId } = state
    const shardEpoch = state.shardEpoch + 1
    await this.#commit.submit({
      decide: () => ({ commands: [{ type: 'shardEpochStarted', clusterId, shardEpoch }], result: undefined }),
    })
    this.#checkpoint.start()
    this.#sealer.start()
    await this.topics.ensureChangesTopic()
    await this.#housekeeping.start()
    const { metrics, onWarning } = this.#options
    metrics.gauge('walBacklogBytes', () => this.#queue.backlogBytes)
    metrics.gauge('walTotalBytes', () => wal.files.totalBytes)
    metrics.gauge('tailCacheBytes', () => this.#cache.bytes)
    metrics.gauge('overlayBytes', () => state.overlayBytes)
    metrics.gauge('dedupIds', () => state.dedup.ids)
    metrics.gauge('dedupBytes', () => state.dedup.bytes)
    metrics.gauge('answersKept', () => state.answers.size)
    metrics.gauge('streamProducers', () => state.streamProducers.size)
    wal.files.restock().catch((error: unknown) => onWarning('a spare WAL segment could not be made', error))
  }

  get clusterId(): ClusterId {
    return this.#state.clusterId
  }

  get shardEpoch(): number {
    return this.#state.shardEpoch
  }

  /** Broker time, milliseconds: it never falls. */
  time(): number {
    return this.#commit.time()
  }

  topic(topicId: TopicId): TopicInfo | undefined {
    return this.topics.byId(topicId)
  }

  topicNamed(name: string): TopicInfo | undefined {
    return this.topics.named(name)
  }

  /** Up to `limit` topics in the order of their names, after `after`; the broker's own come last. */
  topicsAfter(after: string | null, limit: number): TopicInfo[] {
    return this.topics.after(after, limit)
  }

  /** Throws ILLEGAL_TOPIC_NAME, ILLEGAL_ARGUMENT, TOPIC_EXISTS, LIMIT_REACHED. */
  createTopic(topic: NewTopic): Promise<{ topic: TopicInfo; created: boolean }> {
    return this.topics.create(topic)
  }

  /** Throws UNKNOWN_TOPIC, TOPIC_READ_ONLY. */
  deleteTopic(args: { requestId: RequestId; name: string }): Promise<{ topicId: TopicId }> {
    return this.topics.delete(args)
  }

  /** Throws UNKNOWN_TOPIC, TOPIC_READ_ONLY, ILLEGAL_ARGUMENT. */
  alterTopic(args: AlterTopicArgs): Promise<{ options: TopicOptions }> {
    return this.topics.alter(args)
  }

  /** Throws UNKNOWN_TOPIC, UNKNOWN_PARTITION, TOPIC_READ_ONLY, OFFSET_OUT_OF_RANGE. */
  deleteBefore(args: DeleteBeforeArgs): Promise<RecordsDeleted> {
    return this.topics.deleteBefore(args)
  }

  /** Says which groups have members: their cursors are in use. Until then no group has any. */
  setLiveGroups(isLive: IsLive): void {
    this.#housekeeping.setLiveGroups(isLive)
  }

  /** A name keeps its id and gets its next epoch; without a name the id is new. Throws LIMIT_REACHED. */
  initProducer(args: Parameters<ProducerIds['init']>[0]): ReturnType<ProducerIds['init']> {
    return this.#producerIds.init(args)
  }

  /** One per connection: batches of different sources share groups fairly. */
  openSource(listener: SourceListener): AppendSource {
    return this.#queue.openSource(listener)
  }

  /** Synchronous when the tail cache has it. Throws or rejects UNKNOWN_TOPIC, UNKNOWN_PARTITION, OFFSET_OUT_OF_RANGE, CORRUPT_DATA. */
  read(request: ReadRequest): ReadResult | Promise<ReadResult> {
    return this.#reader.read(request)
  }

  /** Throws UNKNOWN_TOPIC, UNKNOWN_PARTITION. */
  bounds(topicId: TopicId, partition: number): { startOffset: number; durableEnd: number } {
    const { startOffset, endOffset } = this.#reader.partition({ topicId, partition })
    return { startOffset, durableEnd: endOffset }
  }

  /** The first offset appended at or after `time` (broker time); the durable end when there is none. */
  offsetAtTime(at: { topicId: TopicId; partition: number; time: number }): Promise<number> {
    return this.#reader.offsetAtTime(at)
  }

  /** Calls `wake` whenever the partition's bounds moved or its topic went. Returns how to stop. Throws UNKNOWN_TOPIC, UNKNOWN_PARTITION. */
  follow(at: { topicId: TopicId; partition: number }, wake: () => void): () => void {
    const { followers } = this.#reader.partition(at)
    // A function of its own: the same `wake` given twice is two followers.
    const follower = (): void => wake()
    followers.add(follower)
    return () => void followers.delete(follower)
  }

  /** SHA-256 over the whole state: equal for equal histories. */
  stateHash(): string {
    return this.#state.hash()
  }

  /** A group is on disk: make it true. */
  #apply(group: AppliedGroup): void {
    const { committed, commands } = group
    applyGroup(this.#state, group, (partition, entry) => {
      this.#cache.add(committed.slab, partition, entry)
      this.#sealer.grown(partition)
    })
    const changes = commands.filter((command): command is Command => !(command instanceof AppendCommand))
    if (changes.length > 0) {
      this.topics.applied(changes)
      this.#changeLog.applied(changes)
      this.#housekeeping.applied(changes)
      this.groups.applied(changes)
    }
    this.#slabs.release(committed.slab)
    this.#cache.evict()
    this.#checkpoint.grown(committed.bytes)
  }

  /** What went wrong inside is for the log, not for a client. */
  #refusalOf(error: unknown): MillraceError {
    if (error instanceof MillraceError) return error
    this.#options.onWarning('a request failed in a way that nobody expected', error)
    return new MillraceError('INTERNAL', { cause: error })
  }

  #fail(error: unknown): void {
    if (this.#failed) return
    this.#failed = true
    this.#housekeeping.stop()
    this.#options.onFailed(error)
  }

  /** Writes what waits, brings the manifest up to date and says where the WAL ends. After a failure it only lets go. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    this.#housekeeping.stop()
    const { wal } = this.#recovered
    await this.#sealer.stop()
    await this.#commit.stop()
    try {
      await this.#checkpoint.stop({ flush: !this.#failed })
      if (!this.#failed) await writeCleanStop(this.#options.disk, this.#layout, wal.end)
    } finally {
      await wal.close()
      await this.#chunks.close()
    }
  }
}
