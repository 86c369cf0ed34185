import type { RequestId, TopicId } from '../../protocol/ids.js'
import type { StreamSegment } from './stream-segments.js'

export type { StreamSegment }

/** What HTTP needs of a shard's streams; what it appends and reads goes by the shard itself. */
export interface StreamsFace {
  /** One that is deleted but has forks is there, and says so. */
  named(name: string): StreamInfo | undefined
  /** Where its records stand, in the order of their offsets. */
  segments(topicId: TopicId): readonly StreamSegment[]
  /** Somebody has read it: its time to live begins anew. */
  accessed(topicId: TopicId): void
  /**
   * Makes a stream, or finds it as it was asked for. Rejects with TOPIC_EXISTS, TOPIC_MISMATCH, UNKNOWN_TOPIC (there is nothing to
   * fork), ILLEGAL_ARGUMENT, ILLEGAL_TOPIC_NAME, LIMIT_REACHED, and with what `open` and `resolve` reject with.
   */
  create(args: CreateStreamArgs): Promise<{ created: boolean; stream: StreamInfo }>
  /** Rejects with UNKNOWN_TOPIC, STREAM_DELETED. */
  delete(args: { topicId: TopicId; requestId: RequestId }): Promise<void>
}

/** A stream as it is now. */
export interface StreamInfo {
  readonly topicId: TopicId
  /** Of its topic. */
  readonly name: string
  readonly contentType: string
  readonly ttlSeconds: number | null
  readonly expiresAt: string | null
  readonly isClosed: boolean
  /** Kept for its forks alone. */
  readonly isDeleted: boolean
  readonly isFork: boolean
  /** The first offset that is not durable. */
  readonly endOffset: number
}

export interface CreateStreamArgs {
  readonly requestId: RequestId
  /** Of its topic. */
  readonly name: string
  /** Null: a fork's is its source's. */
  readonly contentType: string | null
  readonly ttlSeconds: number | null
  readonly expiresAt: string | null
  readonly closed: boolean
  readonly fork: {
    readonly sourceName: string
    readonly offset: number | null
    readonly subOffset: number
    /** Throws where the stream that has the source's name now is not the one that is meant. */
    readonly refuseOther?: (source: StreamInfo) => void
  } | null
  /** Whether it begins with records: until `open` has written them nobody sees the stream. */
  readonly hasRecords: boolean
  readonly open: (topicId: TopicId) => Promise<void>
  /** Where a fork ends that takes a part of what stands at an offset. Rejects with ILLEGAL_ARGUMENT. */
  readonly resolve: (
    source: StreamInfo,
    at: { offset: number; subOffset: number },
  ) => Promise<{ endOffset: number; endBytes: number }>
}
