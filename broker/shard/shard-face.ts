import type { Encoding } from '../../protocol/encodings.js'
import type { MillraceError } from '../../protocol/error-codes.js'
import type { ClusterId, RequestId, TopicId } from '../../protocol/ids.js'
import type { TopicOptions, TopicOptionsPatch } from '../../protocol/topic-options.js'
import type { AppendBatch } from './append-batch.js'
import type { AppendAck } from './sequencer.js'
import type { StreamWrite, StreamWritten } from './stream-write.js'
import type { AlterTopicArgs, DeleteBeforeArgs, RecordsDeleted, TopicInfo } from './topic-requests.js'
import type { CursorAck, JobAck, UnitResult, WriteUnit } from './write-unit.js'

export type {
  AlterTopicArgs,
  AppendAck,
  AppendBatch,
  CursorAck,
  DeleteBeforeArgs,
  JobAck,
  RecordsDeleted,
  StreamWrite,
  StreamWritten,
  TopicInfo,
  UnitResult,
  WriteUnit,
}

/**
 * What sessions and HTTP routes need of a shard, and all they know of it. The shard of this process satisfies it; so may one that
 * lives in another process.
 */
export interface ShardFace {
  readonly clusterId: ClusterId
  readonly shardEpoch: number
  /** Broker time, milliseconds since 1970. */
  time(): number
  topic(topicId: TopicId): TopicInfo | undefined
  topicNamed(name: string): TopicInfo | undefined
  /** Topics by name, those after `after`. */
  topicsAfter(after: string | null, limit: number): TopicInfo[]
  createTopic(args: CreateTopicArgs): Promise<{ topic: TopicInfo; created: boolean }>
  deleteTopic(args: { requestId: RequestId; name: string }): Promise<{ topicId: TopicId }>
  /** What `clear` names gets its default again. Throws UNKNOWN_TOPIC, TOPIC_READ_ONLY, ILLEGAL_ARGUMENT. */
  alterTopic(args: AlterTopicArgs): Promise<{ options: TopicOptions }>
  /** Throws UNKNOWN_TOPIC, UNKNOWN_PARTITION, TOPIC_READ_ONLY, OFFSET_OUT_OF_RANGE. */
  deleteBefore(args: DeleteBeforeArgs): Promise<RecordsDeleted>
  initProducer(args: { requestId: RequestId; name: string | null }): Promise<ProducerIdentity>
  /** One per connection that produces. `onPressure(true)`: read no more from its socket until `onPressure(false)`. */
  openSource(listener: { onPressure(paused: boolean): void }): AppendSource
  /**
   * Returns at once what the tail cache holds and a promise for what must come from disk. An offset at the durable
   * end reads as empty. Throws or rejects with UNKNOWN_TOPIC, UNKNOWN_PARTITION, OFFSET_OUT_OF_RANGE, CORRUPT_DATA.
   */
  read(args: PartitionOf & { offset: number; maxBytes: number }): ReadResult | Promise<ReadResult>
  /** Throws UNKNOWN_TOPIC, UNKNOWN_PARTITION. */
  bounds(topicId: TopicId, partition: number): Bounds
  offsetAtTime(args: PartitionOf & { time: number }): Promise<number>
  /** Calls `wake` after the durable end or the start offset moved or the topic went; returns how to stop that. */
  follow(args: PartitionOf, wake: () => void): () => void
}

export interface PartitionOf {
  readonly topicId: TopicId
  readonly partition: number
}

export interface Bounds {
  readonly startOffset: number
  /** The first offset that is not durable: nobody reads past it. */
  readonly durableEnd: number
}

export interface CreateTopicArgs {
  readonly requestId: RequestId
  readonly name: string
  readonly partitions: number
  readonly keyEncoding: Encoding
  readonly valueEncoding: Encoding
  readonly ifMissing: boolean
  /** What is not set has its default. */
  readonly options?: TopicOptionsPatch | undefined
}

export interface ProducerIdentity {
  readonly producerId: number
  readonly producerEpoch: number
}

export interface AppendSource {
  /**
   * Never throws. `done` is called exactly once, after `close()` too; those of one WAL group in one synchronous run.
   * The payload is the source's until then.
   */
  append(batch: AppendBatch, done: (error: MillraceError | null, ack: AppendAck | undefined) => void): void
  /** The same for a unit. */
  appendUnit(unit: WriteUnit, done: (error: MillraceError | null, ack: UnitResult | undefined) => void): void
  close(): void
}

export interface ReadResult extends Bounds {
  /** Whole stored entries end to end. */
  readonly buffers: readonly Uint8Array[]
  readonly bytes: number
  readonly nextOffset: number
  readonly source: 'cache' | 'wal' | 'chunk'
  /** To be called once the buffers are sent, or will not be. */
  release(): void
}
