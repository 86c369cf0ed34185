import { createHash } from 'node:crypto'
import type { ClusterId, RequestId, TopicId } from '../../protocol/ids.js'
import type {
  ChunkRow,
  ManifestContents,
  ProducerNameRow,
  RequestRow,
  ShardRow,
  StreamRow,
} from '../manifest/rows.js'
import { Answers } from './answers.js'
import { DedupIndex } from './dedup/dedup-index.js'
import { CursorState, GroupState, partitionKey } from './group-state.js'
import { Overlay } from './overlay.js'
import { QueueState } from './queue-state.js'
import { requestBytes } from './request-bytes.js'
import { StreamProducers } from './stream-producers.js'
import { StreamState } from './stream-state.js'
import { type PartitionState, TopicState } from './topic-state.js'

export {
  CursorState,
  GroupState,
  type PartitionKeyText,
  type PartitionName,
  partitionKey,
} from './group-state.js'
export { StreamState } from './stream-state.js'
export { type Follower, PartitionState, type ProducerState, TopicState } from './topic-state.js'

/** Answers of mutations are kept for so many requests; part of the state's definition, so a constant. */
export const REQUESTS_KEPT = 4096

/**
 * Everything that the WAL's commands have made of the shard. Only apply.ts and its parts change it. It reads no clock,
 * no configuration and no file: replaying the same groups gives the same state.
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
  nextGroupId = 1
  readonly topics = new Map<TopicId, TopicState>()
  readonly topicsByName = new Map<string, TopicState>()
  readonly producerNames = new Map<string, ProducerNameRow>()
  readonly producerNamesById = new Map<number, ProducerNameRow>()
  /** In the order in which they were answered. */
  readonly requests = new Map<RequestId, RequestRow>()
  /** Memory of the answers, about. */
  requestBytes = 0
  readonly groups = new Map<number, GroupState>()
  readonly groupsByName = new Map<string, GroupState>()
  /** Of atomic writes. */
  readonly answers = new Answers()
  readonly dedup = new DedupIndex()
  producerWindows = 0
  partitionCount = 0
  chunkRows = 0
  cursorCount = 0
  queueCount = 0
  streams = 0
  readonly streamProducers = new StreamProducers()
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

  /** Memory of what the manifest does not hold yet. */
  get overlayBytes(): number {
    return this.overlay.bytes + this.dedup.changedBytes
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
      this.nextGroupId = shard.nextGroupId
      this.answers.order = shard.answerOrder
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
    for (const row of inOrder(contents.requests)) this.keepRequest(row)
    this.#loadGroups(contents)
    this.#loadStreams(contents)
    for (const row of inOrder(contents.answers)) this.answers.load(row)
    const windowMsOf = (topicId: TopicId): number => this.topics.get(topicId)?.row.options.dedupWindowMs ?? 0
    this.dedup.load({ buckets: contents.dedupBuckets, pages: contents.dedupPages }, windowMsOf)
  }

  #loadGroups(contents: ManifestContents): void {
    for (const row of contents.groups) this.addGroup(new GroupState(row))
    for (const row of contents.cursors) {
      const group = this.groups.get(row.groupId)
      if (group !== undefined) this.addCursor(group, CursorState.fromRow(row))
    }
    for (const row of contents.queues) {
      const group = this.groups.get(row.groupId)
      if (group !== undefined) this.addQueue(group, QueueState.fromRow(row))
    }
  }

  #loadStreams({ streams, streamProducers }: ManifestContents): void {
    const topicOf = (topicId: TopicId): TopicState => this.topics.get(topicId) as TopicState
    for (const row of streams) this.addStream(topicOf(row.topicId), row)
    // A fork's topic may come before its source's.
    for (const { topicId } of streams) (topicOf(topicId).stream as StreamState).forks = 0
    for (const { fork } of streams) if (fork !== null) (topicOf(fork.topicId).stream as StreamState).forks++
    for (const row of streamProducers) topicOf(row.topicId).stream?.producers.set(row.producerId, row)
    this.streamProducers.load(streamProducers)
  }

  /** The topic is a stream from now on. */
  addStream(topic: TopicState, row: StreamRow): void {
    topic.stream = new StreamState(row)
    this.streams++
    const source = row.fork === null ? undefined : this.topics.get(row.fork.topicId)?.stream
    if (source !== undefined) source.forks++
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

  /** Puts one behind the others. */
  keepRequest(row: RequestRow): void {
    this.requests.set(row.requestId, row)
    this.requestBytes += requestBytes(row)
  }

  addGroup(group: GroupState): void {
    this.groups.set(group.groupId, group)
    this.groupsByName.set(group.name, group)
  }

  addCursor(group: GroupState, cursor: CursorState): void {
    group.cursors.set(partitionKey(cursor), cursor)
    this.partition(cursor.topicId, cursor.partition)?.cursors.add(cursor)
    this.cursorCount++
  }

  addQueue(group: GroupState, queue: QueueState): void {
    group.queues.set(partitionKey(queue), queue)
    this.partition(queue.topicId, queue.partition)?.cursors.add(queue)
    this.queueCount++
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
      nextGroupId: this.nextGroupId,
      answerOrder: this.answers.order,
      counts: {
        topics: this.topics.size,
        partitions: this.partitionCount,
        chunks: this.chunkRows,
        producerNames: this.producerNames.size,
        producers: this.producerWindows,
        requests: this.requests.size,
        groups: this.groups.size,
        cursors: this.cursorCount,
        queues: this.queueCount,
        dedupBuckets: this.dedup.bucketCount,
        dedupPages: this.dedup.pageCount,
        answers: this.answers.size,
        streams: this.streams,
        streamProducers: this.streamProducers.size,
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
      if (topic.stream === undefined) continue
      add(topic.stream.row)
      for (const [, producer] of sorted(topic.stream.producers)) add(producer)
    }
    for (const [, row] of sorted(this.producerNames)) add(row)
    for (const [, row] of sorted(this.requests)) add(row)
    for (const [, group] of sorted(this.groups)) {
      add(group.row)
      for (const [, cursor] of sorted(group.cursors)) add(cursor.row)
      for (const [, queue] of sorted(group.queues)) add(queue.row)
    }
    for (const row of this.answers.rows()) add(row)
    for (const bucket of this.dedup.digests()) add(bucket)
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

const inOrder = <Row extends { readonly order: number }>(rows: readonly Row[]): Row[] =>
  [...rows].sort((a, b) => a.order - b.order)
