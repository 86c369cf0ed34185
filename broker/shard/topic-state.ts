import type { TopicId } from '../../protocol/ids.js'
import type { ChunkRow, PartitionRow, ProducerBatch, ProducerRow, TopicRow } from '../manifest/rows.js'
import type { StreamState } from './stream-state.js'
import { Tail } from './tail.js'

export type Follower = () => void

/** Whoever still needs what lies from `position` on: a cursor, or one partition of a work queue. */
export interface Position {
  readonly groupId: number
  readonly position: number
  /** Broker time of its last move, milliseconds. */
  readonly movedAt: number
}

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
  /** The cursors and queues of all groups on it. */
  readonly cursors = new Set<Position>()

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
  /** Replaced when the topic is altered. */
  row: TopicRow
  /** Of a stream. */
  stream: StreamState | undefined
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
