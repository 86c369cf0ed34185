/**
 * What the manifest keeps, one type per keyspace. The shard's state is made of the same types, so that a flush is a
 * copy and not a translation.
 */
import type { Encoding } from '../../protocol/encodings.js'
import type { ClusterId, MemberId, RequestId, TopicId } from '../../protocol/ids.js'
import type { GroupKind } from '../../protocol/messages/group.js'
import type { TopicOptions } from '../../protocol/topic-options.js'

/** The last WAL group whose effects a state holds; both zero for none. */
export interface AppliedPosition {
  readonly sequence: number
  readonly headerCrc: number
}

/** Rows per keyspace, written with every flush: a row that is lost or comes back shows at the next load. */
export interface RowCounts {
  readonly topics: number
  readonly partitions: number
  readonly chunks: number
  readonly producerNames: number
  readonly producers: number
  readonly requests: number
  readonly groups: number
  readonly cursors: number
  readonly queues: number
  readonly dedupBuckets: number
  readonly dedupPages: number
  readonly answers: number
  readonly streams: number
  readonly streamProducers: number
}

/** The one row of the shard itself. */
export interface ShardRow {
  readonly clusterId: ClusterId
  /** 128 bits that name this WAL, as 32 hex digits. */
  readonly walId: string
  readonly shardEpoch: number
  readonly applied: AppliedPosition
  /** Sequence of the first WAL group that replay must read. */
  readonly replayFrom: number
  /** Broker time of the last applied group, milliseconds. */
  readonly time: number
  readonly nextProducerId: number
  /** Order of the newest remembered request. */
  readonly requestOrder: number
  /** Group ids below were given out. */
  readonly nextGroupId: number
  /** Order of the newest remembered answer of an atomic write. */
  readonly answerOrder: number
  readonly counts: RowCounts
}

export interface TopicKey {
  readonly topicId: TopicId
}

export interface TopicRow extends TopicKey {
  readonly name: string
  readonly partitions: number
  readonly keyEncoding: Encoding
  readonly valueEncoding: Encoding
  readonly createdAt: number
  readonly options: TopicOptions
  /** The broker's own: nobody else writes to it, alters or deletes it. */
  readonly internal: boolean
}

export interface PartitionKey {
  readonly topicId: TopicId
  readonly partition: number
}

/**
 * Offsets of a partition: startOffset <= endOffset and sealedEnd <= endOffset. The start lies behind the sealed end when
 * nothing sealed is left.
 */
export interface PartitionRow extends PartitionKey {
  /** First offset that may be read. */
  readonly startOffset: number
  /** End of what stands in chunks; what follows is in the WAL. */
  readonly sealedEnd: number
  readonly endOffset: number
  readonly lastAppendTime: number
}

/** Where a partition's records stand inside a chunk file: ChunkSection of broker/chunks, field by field. */
export interface SectionRow {
  readonly baseOffset: number
  readonly endOffset: number
  readonly byteStart: number
  readonly byteEnd: number
  readonly indexStart: number
  readonly indexBytes: number
  readonly recordCount: number
  readonly minAppendTime: number
  readonly maxAppendTime: number
  readonly digest: string
}

/** `baseOffset` is the section's: it stands in the key, so that a partition's chunks sort by offset. */
export interface ChunkKey extends PartitionKey {
  readonly chunkId: number
  readonly section: Pick<SectionRow, 'baseOffset'>
}

/** One reference from a partition to a section of a chunk file. */
export interface ChunkRow extends PartitionKey {
  readonly chunkId: number
  readonly section: SectionRow
}

export interface ProducerNameKey {
  readonly name: string
}

export interface ProducerNameRow extends ProducerNameKey {
  readonly producerId: number
  readonly producerEpoch: number
  readonly lastSeen: number
}

export interface ProducerKey extends PartitionKey {
  readonly producerId: number
}

/** A batch that a retry may name again. */
export interface ProducerBatch {
  readonly baseSequence: number
  readonly lastSequence: number
  readonly baseOffset: number
  readonly appendTime: number
}

/** What one producer wrote to one partition: its newest batches, oldest first. */
export interface ProducerRow extends ProducerKey {
  readonly producerEpoch: number
  readonly lastSeen: number
  readonly batches: readonly ProducerBatch[]
}

export interface RequestKey {
  readonly requestId: RequestId
}

/** The answer that a mutation got, for its retry. */
export interface RequestRow extends RequestKey {
  /** Counts up from 1, in the order in which requests were applied. */
  readonly order: number
  readonly time: number
  /** A plain value that MessagePack can carry. */
  readonly result: unknown
}

export interface GroupKey {
  /** Given out once, by the shard. */
  readonly groupId: number
}

/** What the first member of a work queue asked for. */
export interface QueueOptions {
  readonly leaseMs: number
  readonly maxDeliveries: number
}

export interface GroupRow extends GroupKey {
  readonly name: string
  readonly kind: GroupKind
  /** Of the newest assignment; owners of earlier ones are fenced where it moved something. */
  readonly epoch: number
  /** When a cursor was moved or assigned last; broker time, milliseconds. */
  readonly activeAt: number
  readonly createdAt: number
  /** Null for a consumer group. */
  readonly queue: QueueOptions | null
}

export interface CursorKey extends PartitionKey {
  readonly groupId: number
}

/** How far a consumer group has acknowledged one partition, and who may acknowledge more. */
export interface CursorRow extends CursorKey {
  /** The next to read: everything below is acknowledged. */
  readonly offset: number
  readonly ownerMember: MemberId | null
  /** Group epoch of the assignment that the owner has it from. */
  readonly ownerEpoch: number
  readonly movedAt: number
}

/** Records `[from, to)` of a work queue that are in one state. */
export interface QueueRangeRow {
  readonly from: number
  readonly to: number
  /** 0 done, 1 leased, 2 ready. */
  readonly kind: 0 | 1 | 2
  /** 0 unless leased. */
  readonly leaseId: number
  readonly memberId: MemberId | null
  /** Deadline of a lease; when a ready range may be handed out. */
  readonly time: number
  /** Deliveries that counted. */
  readonly count: number
}

/** One partition of a work queue: below `floor` all is done, at `frontier` begins what was never handed out. */
export interface QueueRow extends CursorKey {
  readonly floor: number
  readonly frontier: number
  readonly nextLeaseId: number
  readonly movedAt: number
  /** Without holes from `floor` to `frontier`. */
  readonly ranges: readonly QueueRangeRow[]
}

export interface DedupBucketKey extends TopicKey {
  /** Broker time of its first moment, milliseconds. */
  readonly start: number
}

/** Dedup ids of one topic that came within `widthMs` from `start`; they go together. */
export interface DedupBucketRow extends DedupBucketKey {
  readonly widthMs: number
  /** Of its ids, over all its pages. */
  readonly count: number
}

export interface DedupPageKey extends DedupBucketKey {
  readonly page: number
}

/** Ids of a bucket in the order in which they came. */
export interface DedupPageRow extends DedupPageKey {
  /** 16 bytes an id; empty in the manifest when they stand in the page file, as those of every whole page do. */
  readonly hashes: Uint8Array
  /** Where in the page file, counted in pages; null when `hashes` has them. */
  readonly slot: number | null
  /** CRC-32 of the hashes in the page file; 0 without a slot. */
  readonly crc: number
  /**
   * Where their records stand: of each run of ids whose records stand one behind the other, the index of its first id in
   * the page (u32), the partition (u32) and the offset of that id's record (u64), little-endian.
   */
  readonly runs: Uint8Array
}

export interface AnswerKey {
  readonly requestId: RequestId
}

/** The answer that an atomic write got, for its retry. */
export interface AnswerRow extends AnswerKey {
  /** Counts up from 1. */
  readonly order: number
  readonly time: number
  /** A plain value that MessagePack can carry. */
  readonly result: unknown
}

/** Where a fork leaves its source: below `endOffset` it reads what the source has. */
export interface ForkPoint {
  /** Of the source. */
  readonly topicId: TopicId
  /** As they were asked for. */
  readonly offset: number
  readonly subOffset: number
  /** The first offset of the fork's own. */
  readonly endOffset: number
  /** How many bytes of the last record below belong to the fork; 0: all. */
  readonly endBytes: number
}

/** One write of one producer of a stream. */
export interface ProducerTuple {
  readonly producerId: string
  readonly epoch: number
  readonly seq: number
}

/** What a topic of one partition has that is a stream (docs/HTTP.md, Durable Streams). */
export interface StreamRow extends TopicKey {
  readonly contentType: string
  /** Its life after the last access; null: without end. */
  readonly ttlSeconds: number | null
  /** When it ends, as it was asked for (RFC 3339); null: never. */
  readonly expiresAt: string | null
  readonly closed: boolean
  /** The producer's write that closed it. */
  readonly closedBy: ProducerTuple | null
  /** The last `Stream-Seq`. */
  readonly seq: string | null
  /** Of the last access that was logged, besides appends; broker time, milliseconds. */
  readonly accessedAt: number
  /** Its first records are written: until then it is not there for anybody. */
  readonly opened: boolean
  /** Kept for its forks alone. */
  readonly deleted: boolean
  readonly fork: ForkPoint | null
}

export interface StreamProducerKey extends TopicKey {
  readonly producerId: string
}

/** The last write of one producer of a stream. */
export interface StreamProducerRow extends StreamProducerKey {
  readonly epoch: number
  readonly seq: number
  readonly lastSeen: number
}

/** Row type by keyspace. */
export interface Rows {
  readonly topics: TopicRow
  readonly partitions: PartitionRow
  readonly chunks: ChunkRow
  readonly producerNames: ProducerNameRow
  readonly producers: ProducerRow
  readonly requests: RequestRow
  readonly groups: GroupRow
  readonly cursors: CursorRow
  readonly queues: QueueRow
  readonly dedupBuckets: DedupBucketRow
  readonly dedupPages: DedupPageRow
  readonly answers: AnswerRow
  readonly streams: StreamRow
  readonly streamProducers: StreamProducerRow
}

/** Key type by keyspace; a row can always stand for its key. */
export interface Keys {
  readonly topics: TopicKey
  readonly partitions: PartitionKey
  readonly chunks: ChunkKey
  readonly producerNames: ProducerNameKey
  readonly producers: ProducerKey
  readonly requests: RequestKey
  readonly groups: GroupKey
  readonly cursors: CursorKey
  readonly queues: CursorKey
  readonly dedupBuckets: DedupBucketKey
  readonly dedupPages: DedupPageKey
  readonly answers: AnswerKey
  readonly streams: TopicKey
  readonly streamProducers: StreamProducerKey
}

export type RowKind = keyof Rows

/** The whole manifest in memory. Rows stand in the order of their keys. */
export type ManifestContents = {
  /** Undefined when nothing was ever flushed; every list is empty then. */
  readonly shard: ShardRow | undefined
} & { readonly [Kind in RowKind]: Rows[Kind][] }

/** What one flush changes. Deletes come before puts. */
export interface ManifestChanges {
  /** As it stands after the changes, counts included. */
  readonly shard: ShardRow
  readonly put?: { readonly [Kind in RowKind]?: Iterable<Rows[Kind]> | undefined }
  readonly delete?: { readonly [Kind in RowKind]?: Iterable<Keys[Kind]> | undefined }
}
