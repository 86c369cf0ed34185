/**
 * What the manifest keeps, one type per keyspace. The shard's state is made of the same types, so that a flush is a
 * copy and not a translation.
 */
import type { Encoding } from '../../protocol/encodings.js'
import type { ClusterId, RequestId, TopicId } from '../../protocol/ids.js'

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
}

export interface PartitionKey {
  readonly topicId: TopicId
  readonly partition: number
}

/** Offsets of a partition: startOffset <= sealedEnd <= endOffset. */
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

/** Row type by keyspace. */
export interface Rows {
  readonly topics: TopicRow
  readonly partitions: PartitionRow
  readonly chunks: ChunkRow
  readonly producerNames: ProducerNameRow
  readonly producers: ProducerRow
  readonly requests: RequestRow
}

/** Key type by keyspace; a row can always stand for its key. */
export interface Keys {
  readonly topics: TopicKey
  readonly partitions: PartitionKey
  readonly chunks: ChunkKey
  readonly producerNames: ProducerNameKey
  readonly producers: ProducerKey
  readonly requests: RequestKey
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
