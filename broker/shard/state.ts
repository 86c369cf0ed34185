import { createHash } from 'node:crypto'
import type { ClusterId, RequestId, TopicId } from '../../protocol/ids.js'
import type {
  ChunkRow,
  ManifestContents,
  PartitionRow,
  ProducerBatch,
  ProducerNameRow,
  ProducerRow,
  RequestRow,
  ShardRow,
  TopicRow,
} from '../manifest/rows.js'
import { Overlay } from './overlay.js'
import { Tail } from './tail.js'

export type Follower = () => void

/** What a producer wrote last to a partition; the one row that changes with every batch. */
export interface ProducerState extends ProducerRow {
  producerEpoch: number
  lastSeen: number
  batches: ProducerBatch[]
}

/** One partition as it stands after the last applied group, with what the broker holds of it in memory. */
export class PartitionState {
  readonly topicId: TopicId
  readonly partition: number
  startOffset = 0
  /** Offsets below are in chunks. */
  sealedEnd = 0
  /** The durable end: the first offset that does not exist yet. */
  endOffset = 0
  lastAppendTime = 0
  readonly chunks: ChunkRow[] = []
  /** By producer id: what each producer wrote last. */
  readonly producers = new Map<number, ProducerState>()

  // Below: not state, never persisted.
  /** The end with the batches of the group that is being written. */
  assignedEnd = 0
  readonly tail = new Tail()
  readonly followers = new Set<Follower>()

  constructor(topicId: TopicId, partition: number) {
    this.topicId = topicId
    this.partition = partition
  }

  get row(): PartitionRow {
    const { topicId, partition, startOffset, sealedEnd, endOffset, lastAppendTime } = this
    return { topicId, partition, startOffset, sealedEnd, endOffset, lastAppendTime }
  }
}

export class TopicState {
  readonly row: TopicRow
  readonly partitions: readonly PartitionState[]
  /** A group with its deletion is being written: nothing may be added to it. Not persisted. */
  deleting = false

  constructor(row: TopicRow) {
    this.row = row
    this.partitions = Array.from(
      { length: row.partitions },
      (_, index) => new PartitionState(row.topicId, index),
    )
  }
}

/** Answers of mutations are kept for so many requests; part of the state's definition, so a constant. */
export const REQUESTS_KEPT = 4096

/**
 * Everything that the WAL's commands have made of the shard. Only apply.ts changes it. It reads no clock, no
 * configuration and no file: replaying the same groups gives the same state.
 */
export class ShardState {
  readonly clusterId: ClusterId
  readonly walId: string
  shardEpoch = 0
  /** The last applied group. */
  applied = { sequence: 0, headerCrc: 0 }
  /** Broker time of the last applied group. */
  time = 0
  nextProducerId = 1
  requestOrder = 0
  readonly topics = new Map<TopicId, TopicState>()
  readonly topicsByName = new Map<string, TopicState>()
  readonly producerNames = new Map<string, ProducerNameRow>()
  readonly producerNamesById = new Map<number, ProducerNameRow>()
  /** In the order in which they were answered. */
  readonly requests = new Map<RequestId, RequestRow>()
  producerWindows = 0
  partitionCount = 0
  chunkRows = 0
  /** How many chunk references point into each file. */
  readonly chunkReferences = new Map<number, number>()

  // Below: not state.
  /** What the manifest does not hold yet. */
  readonly overlay = new Overlay()
  /** Chunk files without a reference, to be removed once the manifest agrees. */
  readonly unreferencedChunks: { chunkId: number; sequence: number }[] = []

  constructor(identity: { clusterId: ClusterId; walId: string }) {
    this.clusterId = identity.clusterId
    this.walId = identity.walId
  }

  partition(topicId: TopicId, partition: number): PartitionState | undefined {
    return this.topics.get(topicId)?.partitions[partition]
  }

  /** Puts what the manifest holds into an empty state. */
  load(contents: ManifestContents): void {
    const { shard } = contents
    if (shard !== undefined) {
      this.shardEpoch = shard.shardEpoch
      this.applied = { ...shard.applied }
      this.time = shard.time
      this.nextProducerId = shard.nextProducerId
      this.requestOrder = shard.requestOrder
    }
    for (const row of contents.topics) this.addTopic(new TopicState(row))
    for (const row of contents.partitions) {
      const partition = this.partition(row.topicId, row.partition) as PartitionState
      partition.startOffset = row.startOffset
      partition.sealedEnd = row.sealedEnd
      partition.endOffset = row.endOffset
      partition.assignedEnd = row.endOffset
      partition.lastAppendTime = row.lastAppendTime
    }
    for (const row of contents.chunks) this.addChunk(row)
    for (const row of contents.producerNames) this.setProducerName(row)
    for (const row of contents.producers) {
      this.partition(row.topicId, row.partition)?.producers.set(row.producerId, {
        ...row,
        batches: [...row.batches],
      })
      this.producerWindows++
    }
    const requests = [...contents.requests].sort((a, b) => a.order - b.order)
    for (const row of requests) this.requests.set(row.requestId, row)
  }

  addTopic(topic: TopicState): void {
    this.topics.set(topic.row.topicId, topic)
    this.topicsByName.set(topic.row.name, topic)
    this.partitionCount += topic.partitions.length
  }

  addChunk(row: ChunkRow): void {
    this.partition(row.topicId, row.partition)?.chunks.push(row)
    this.chunkReferences.set(row.chunkId, (this.chunkReferences.get(row.chunkId) ?? 0) + 1)
    this.chunkRows++
  }

  setProducerName(row: ProducerNameRow): void {
    this.producerNames.set(row.name, row)
    this.producerNamesById.set(row.producerId, row)
  }

  /** The shard's own row; `replayFrom` is the first group that a start must read. */
  shardRow(replayFrom: number): ShardRow {
    return {
      clusterId: this.clusterId,
      walId: this.walId,
      shardEpoch: this.shardEpoch,
      applied: { ...this.applied },
      replayFrom,
      time: this.time,
      nextProducerId: this.nextProducerId,
      requestOrder: this.requestOrder,
      counts: {
        topics: this.topics.size,
        partitions: this.partitionCount,
        chunks: this.chunkRows,
        producerNames: this.producerNames.size,
        producers: this.producerWindows,
        requests: this.requests.size,
      },
    }
  }

  /** SHA-256 over every row of the state in a fixed order: equal states have equal hashes. */
  hash(): string {
    const hash = createHash('sha256')
    const add = (value: object): void => void hash.update(`${JSON.stringify(value, inKeyOrder)}\n`)
    add(this.shardRow(0))
    for (const [, topic] of sorted(this.topics)) {
      add(topic.row)
      for (const partition of topic.partitions) {
        add(partition.row)
        for (const chunk of partition.chunks) add(chunk)
        for (const [, producer] of sorted(partition.producers)) add(producer)
      }
    }
    for (const [, row] of sorted(this.producerNames)) add(row)
    for (const [, row] of sorted(this.requests)) add(row)
    return hash.digest('hex')
  }
}

/** Rows of equal content give equal text, whether the manifest made them or a command did. */
function inKeyOrder(_key: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
}

function sorted<K extends string | number, V>(map: ReadonlyMap<K, V>): [K, V][] {
  return [...map].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
}
