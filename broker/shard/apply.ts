/**
 * The transitions of the shard's state: a pure function of state and command. The same code runs when a group has
 * become durable and when it is replayed.
 */
import { type EntryHeader, NO_PRODUCER_ID } from '../../protocol/entry.js'
import type { RequestId } from '../../protocol/ids.js'
import { PRODUCER_WINDOW_BATCHES } from '../../protocol/limits.js'
import type { ProducerRow } from '../manifest/rows.js'
import type { Command } from './commands.js'
import {
  type PartitionState,
  type ProducerState,
  REQUESTS_KEPT,
  type ShardState,
  TopicState,
} from './state.js'

/** What APPEND changes; the entry itself lies in the WAL. */
export type AppendedEntry = Pick<
  EntryHeader,
  | 'baseOffset'
  | 'lastOffsetDelta'
  | 'appendTime'
  | 'producerId'
  | 'producerEpoch'
  | 'baseSequence'
  | 'recordCount'
>

export function applyAppend(state: ShardState, partition: PartitionState, entry: AppendedEntry): void {
  const endOffset = entry.baseOffset + entry.lastOffsetDelta + 1
  if (entry.baseOffset !== partition.endOffset) {
    throw new Error(
      `partition ${partition.topicId}/${partition.partition}: an entry at offset ${entry.baseOffset} was applied at the end ${partition.endOffset}`,
    )
  }
  partition.endOffset = endOffset
  partition.lastAppendTime = entry.appendTime
  state.overlay.partitions.add(partition)
  if (entry.producerId !== NO_PRODUCER_ID) applyProducer(state, partition, entry)
}

function applyProducer(state: ShardState, partition: PartitionState, entry: AppendedEntry): void {
  const batch = {
    baseSequence: entry.baseSequence,
    lastSequence: entry.baseSequence + entry.recordCount - 1,
    baseOffset: entry.baseOffset,
    appendTime: entry.appendTime,
  }
  let row = partition.producers.get(entry.producerId)
  if (row === undefined) {
    row = newProducer(partition, entry)
    partition.producers.set(entry.producerId, row)
    state.producerWindows++
  }
  if (row.producerEpoch !== entry.producerEpoch) {
    row.producerEpoch = entry.producerEpoch
    row.batches = []
  }
  row.lastSeen = entry.appendTime
  row.batches.push(batch)
  if (row.batches.length > PRODUCER_WINDOW_BATCHES) row.batches.shift()
  state.overlay.producers.add(row)
}

const newProducer = (partition: PartitionState, entry: AppendedEntry): ProducerState => ({
  producerId: entry.producerId,
  topicId: partition.topicId,
  partition: partition.partition,
  producerEpoch: entry.producerEpoch,
  lastSeen: entry.appendTime,
  batches: [],
})

/** Applies any command but APPEND, with the broker time of its group. */
export function applyCommand(state: ShardState, command: Command, time: number): void {
  switch (command.type) {
    case 'shardEpochStarted':
      state.shardEpoch = command.shardEpoch
      return
    case 'topicCreated': {
      const { topicId, name, partitions, keyEncoding, valueEncoding } = command
      const topic = new TopicState({ topicId, name, partitions, keyEncoding, valueEncoding, createdAt: time })
      state.addTopic(topic)
      state.overlay.topics.add(topic.row)
      for (const partition of topic.partitions) state.overlay.partitions.add(partition)
      answer(state, command.requestId, { time, result: { topicId } })
      return
    }
    case 'topicDeleted':
      deleteTopic(state, command)
      answer(state, command.requestId, { time, result: { topicId: command.topicId } })
      return
    case 'producerIdsReserved':
      state.nextProducerId = command.below
      return
    case 'producerRegistered': {
      const { name, producerId, producerEpoch } = command
      const before = state.producerNames.get(name)
      if (before !== undefined) state.overlay.producerNames.delete(before)
      const row = { name, producerId, producerEpoch, lastSeen: time }
      state.setProducerName(row)
      state.nextProducerId = Math.max(state.nextProducerId, producerId + 1)
      state.overlay.producerNames.add(row)
      answer(state, command.requestId, { time, result: { producerId, producerEpoch } })
      return
    }
    case 'producersExpired':
      for (const { producerId, topicId, partition } of command.windows) {
        const producers = state.partition(topicId, partition)?.producers
        const row = producers?.get(producerId)
        if (producers === undefined || row === undefined) continue
        producers.delete(producerId)
        dropProducer(state, row)
      }
      return
    case 'chunkSealed':
      for (const row of command.rows) {
        const partition = state.partition(row.topicId, row.partition)
        if (partition === undefined) continue
        partition.tail.sealed({ from: partition.sealedEnd, to: row.section.endOffset })
        partition.sealedEnd = row.section.endOffset
        partition.tail.trim(partition.sealedEnd)
        state.addChunk(row)
        state.overlay.chunks.add(row)
        state.overlay.partitions.add(partition)
      }
      return
  }
}

/** The answer stands in the state with its cause, so that a retry of the request gets it again. */
function answer(state: ShardState, requestId: RequestId, given: { time: number; result: unknown }): void {
  const row = { requestId, order: state.requestOrder++, ...given }
  state.requests.set(requestId, row)
  state.overlay.requests.add(row)
  if (state.requests.size <= REQUESTS_KEPT) return
  const [oldest] = state.requests.values()
  if (oldest === undefined) return
  state.requests.delete(oldest.requestId)
  if (!state.overlay.requests.delete(oldest)) state.overlay.deletedRequests.push(oldest.requestId)
}

function dropProducer(state: ShardState, row: ProducerRow): void {
  state.producerWindows--
  state.overlay.producers.delete(row)
  state.overlay.deletedProducers.push(row)
}

function deleteTopic(state: ShardState, command: { topicId: TopicState['row']['topicId'] }): void {
  const topic = state.topics.get(command.topicId)
  if (topic === undefined) return
  const { overlay } = state
  state.topics.delete(command.topicId)
  state.topicsByName.delete(topic.row.name)
  state.partitionCount -= topic.partitions.length
  overlay.topics.delete(topic.row)
  overlay.deletedTopics.push(topic.row)
  for (const partition of topic.partitions) {
    overlay.partitions.delete(partition)
    overlay.deletedPartitions.push({ topicId: partition.topicId, partition: partition.partition })
    for (const row of partition.producers.values()) dropProducer(state, row)
    for (const row of partition.chunks) dropChunk(state, row)
  }
}

function dropChunk(state: ShardState, row: TopicState['partitions'][number]['chunks'][number]): void {
  state.chunkRows--
  state.overlay.chunks.delete(row)
  state.overlay.deletedChunks.push(row)
  const left = (state.chunkReferences.get(row.chunkId) ?? 1) - 1
  if (left > 0) {
    state.chunkReferences.set(row.chunkId, left)
    return
  }
  state.chunkReferences.delete(row.chunkId)
  state.unreferencedChunks.push({ chunkId: row.chunkId, sequence: state.applied.sequence + 1 })
}
