import type { ChunkRow } from '../manifest/rows.js'
import { dropCursor, dropQueue } from './apply-groups.js'
import { dropWindow } from './apply-producers.js'
import { answerRequest } from './apply-request.js'
import { dropStream } from './apply-streams.js'
import type { ChunkSealed } from './command-codec/chunks.js'
import type { StartMoved, TopicAltered, TopicCreated, TopicDeleted } from './command-codec/topics.js'
import { freedBy } from './retention.js'
import { type PartitionState, partitionKey, type ShardState, TopicState } from './state.js'

export function createTopic(state: ShardState, command: TopicCreated, time: number): void {
  const { topicId, name, partitions, keyEncoding, valueEncoding, options, internal } = command
  const topic = new TopicState({
    topicId,
    name,
    partitions,
    keyEncoding,
    valueEncoding,
    createdAt: time,
    options,
    internal,
  })
  state.addTopic(topic)
  state.overlay.topics.add(topic.row)
  for (const partition of topic.partitions) state.overlay.partitions.add(partition)
  answerRequest(state, command.requestId, { time, result: { topicId } })
}

export function alterTopic(state: ShardState, command: TopicAltered, time: number): void {
  const { topicId, options, requestId } = command
  const topic = state.topics.get(topicId)
  if (topic !== undefined) {
    state.overlay.topics.delete(topic.row)
    topic.row = { ...topic.row, options }
    state.overlay.topics.add(topic.row)
    state.dedup.setWindow(topicId, options.dedupWindowMs)
  }
  answerRequest(state, requestId, { time, result: { topicId, options } })
}

export function deleteTopic(state: ShardState, command: TopicDeleted, time: number): void {
  const { topicId, requestId } = command
  const topic = state.topics.get(topicId)
  if (topic !== undefined) {
    const { overlay } = state
    state.topics.delete(topicId)
    state.topicsByName.delete(topic.row.name)
    state.partitionCount -= topic.partitions.length
    overlay.topics.delete(topic.row)
    overlay.deletedTopics.push(topic.row)
    for (const partition of topic.partitions) {
      overlay.partitions.delete(partition)
      overlay.deletedPartitions.push({ topicId, partition: partition.partition })
      for (const row of partition.producers.values()) dropWindow(state, row)
      for (const row of partition.chunks) dropChunk(state, row)
      dropPositions(state, partition)
    }
    state.dedup.deleteTopic(topicId)
    dropStream(state, topic)
  }
  answerRequest(state, requestId, { time, result: { topicId } })
}

/** The groups' places in a partition that is gone. */
function dropPositions(state: ShardState, partition: PartitionState): void {
  const key = partitionKey(partition)
  for (const { groupId } of partition.cursors) {
    const group = state.groups.get(groupId)
    if (group === undefined) continue
    dropCursor(state, group, key)
    dropQueue(state, group, key)
  }
}

export function sealChunk(state: ShardState, { rows }: ChunkSealed): void {
  for (const row of rows) {
    const partition = state.partition(row.topicId, row.partition)
    // Overtaken by a deletion: nothing refers to the section, and the file goes with the others that nobody needs.
    if (partition === undefined || row.section.baseOffset < partition.sealedEnd) continue
    raiseSealedEnd(partition, row.section.endOffset)
    state.addChunk(row)
    state.overlay.chunks.add(row)
    state.overlay.partitions.add(partition)
  }
}

const NOTHING_FREED = { records: 0, bytes: 0 }

export function moveStart(state: ShardState, command: StartMoved, time: number): void {
  const { topicId, startOffset, sealedEnd, requestId } = command
  const partition = state.partition(topicId, command.partition)
  const { records, bytes } = partition === undefined ? NOTHING_FREED : freedBy(partition, startOffset)
  if (partition !== undefined && startOffset > partition.startOffset) {
    partition.startOffset = startOffset
    let gone = 0
    for (const row of partition.chunks) {
      if (row.section.endOffset > startOffset) break
      dropChunk(state, row)
      gone++
    }
    partition.chunks.splice(0, gone)
    if (sealedEnd > partition.sealedEnd) raiseSealedEnd(partition, sealedEnd)
    state.overlay.partitions.add(partition)
  }
  answerRequest(state, requestId, { time, result: { startOffset, records, bytes } })
}

/** What lies below is no longer the WAL's to keep. */
function raiseSealedEnd(partition: PartitionState, sealedEnd: number): void {
  partition.tail.sealed({ from: partition.sealedEnd, to: sealedEnd })
  partition.sealedEnd = sealedEnd
  partition.tail.trim(sealedEnd)
}

function dropChunk(state: ShardState, row: ChunkRow): void {
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
