import { answerRequest } from './apply-request.js'
import type {
  StreamCreated,
  StreamDeleted,
  StreamMoved,
  StreamProducersForgotten,
  StreamsAccessed,
} from './command-codec/streams.js'
import type { ShardState, TopicState } from './state.js'
import type { StreamState } from './stream-state.js'

export function createStream(state: ShardState, command: StreamCreated, time: number): void {
  const topic = state.topics.get(command.topicId)
  const [partition] = topic?.partitions ?? []
  if (topic === undefined || partition === undefined) return
  const { topicId, contentType, ttlSeconds, expiresAt, closed, opened, fork } = command
  if (fork !== null) {
    // What lies below is the source's.
    const { endOffset } = fork
    partition.startOffset = endOffset
    partition.sealedEnd = endOffset
    partition.endOffset = endOffset
    partition.assignedEnd = Math.max(partition.assignedEnd, endOffset)
    state.overlay.partitions.add(partition)
  }
  state.addStream(topic, {
    ...{ topicId, contentType, ttlSeconds, expiresAt, closed, opened, fork },
    closedBy: null,
    seq: null,
    accessedAt: time,
    deleted: false,
  })
  change(state, topic.stream as StreamState, {})
}

/** Another write of the stream has happened. */
export function moveStream(state: ShardState, command: StreamMoved, time: number): void {
  state.streamProducers.arrived(command)
  const stream = state.topics.get(command.topicId)?.stream
  if (stream === undefined) return
  const { closes, opens, producer, seq, forgotten } = command
  stream.cut.applied(command)
  for (const producerId of forgotten) forget(state, stream, producerId)
  if (producer !== null) {
    const before = stream.producers.get(producer.producerId)
    if (before !== undefined) state.overlay.streamProducers.delete(before)
    const row = { topicId: command.topicId, ...producer, lastSeen: time }
    stream.producers.set(producer.producerId, row)
    state.streamProducers.keep(row, before)
    state.overlay.streamProducers.add(row)
  }
  change(state, stream, {
    accessedAt: time,
    ...(closes ? { closed: true, closedBy: producer } : {}),
    ...(opens ? { opened: true } : {}),
    ...(seq === null ? {} : { seq }),
  })
}

export function accessStreams(state: ShardState, { accesses }: StreamsAccessed): void {
  for (const { topicId, accessedAt } of accesses) {
    const stream = state.topics.get(topicId)?.stream
    if (stream !== undefined && accessedAt > stream.row.accessedAt) change(state, stream, { accessedAt })
  }
}

/** Other streams need their room. */
export function forgetStreamProducers(state: ShardState, { producers }: StreamProducersForgotten): void {
  for (const { topicId, producerId } of producers) {
    const stream = state.topics.get(topicId)?.stream
    if (stream !== undefined) forget(state, stream, producerId)
  }
}

export function softDeleteStream(state: ShardState, command: StreamDeleted, time: number): void {
  const { topicId, requestId } = command
  const stream = state.topics.get(topicId)?.stream
  if (stream !== undefined) {
    for (const producerId of [...stream.producers.keys()]) forget(state, stream, producerId)
    stream.deleting = false
    change(state, stream, { deleted: true })
  }
  answerRequest(state, requestId, { time, result: { topicId } })
}

/** Its topic goes. */
export function dropStream(state: ShardState, { stream }: TopicState): void {
  if (stream === undefined) return
  for (const producerId of [...stream.producers.keys()]) forget(state, stream, producerId)
  state.streams--
  state.overlay.streams.delete(stream)
  state.overlay.deletedStreams.push(stream.row)
  const source = stream.row.fork === null ? undefined : state.topics.get(stream.row.fork.topicId)?.stream
  if (source !== undefined) source.forks--
}

function change(state: ShardState, stream: StreamState, changes: Partial<StreamState['row']>): void {
  stream.row = { ...stream.row, ...changes }
  state.overlay.streams.add(stream)
}

function forget(state: ShardState, stream: StreamState, producerId: string): void {
  const row = stream.producers.get(producerId)
  if (row === undefined) return
  stream.producers.delete(producerId)
  state.streamProducers.forget(row)
  state.overlay.streamProducers.delete(row)
  state.overlay.deletedStreamProducers.push(row)
}
