/** The changes that delete streams: decided when their WAL group is cut. */
import { MillraceError } from '../../protocol/error-codes.js'
import { hexFromBytes, type RequestId, type TopicId } from '../../protocol/ids.js'
import type { Random } from '../platform/random.js'
import type { Change, Decision } from './change.js'
import { claim } from './claims.js'
import type { Command } from './commands.js'
import type { ShardState, StreamState, TopicState } from './state.js'
import { isExpired } from './stream-life.js'

export interface StreamDeletion {
  readonly topicId: TopicId
  /** null: because its time is over, and only then. */
  readonly requestId: RequestId | null
}

/**
 * Deletes a stream: with its topic, and with deleted sources that nobody else reads from; where forks read from it, they keep
 * it. Throws UNKNOWN_TOPIC, STREAM_DELETED.
 */
export function deleteStreamChange(
  state: ShardState,
  { topicId, requestId }: StreamDeletion,
  random: Random,
): Change<{ topicId: TopicId }> {
  return {
    decide({ claimed, time }) {
      const topic = state.topics.get(topicId)
      const stream = topic?.stream
      if (topic === undefined || stream === undefined || topic.deleting)
        throw new MillraceError('UNKNOWN_TOPIC')
      if (requestId === null && !isExpired(topic, time)) return { commands: [], result: { topicId } }
      return decideDeletion({ state, topic, stream, claimed, requestId, random })
    },
  }
}

/** What goes with a stream that somebody deletes; undefined: ask again for the next group. Throws STREAM_DELETED. */
export function decideDeletion({
  state,
  topic,
  stream,
  claimed,
  requestId,
  random,
}: {
  readonly state: ShardState
  readonly topic: TopicState
  readonly stream: StreamState
  readonly claimed: Set<string>
  readonly requestId: RequestId | null
  readonly random: Random
}): Decision<{ topicId: TopicId }> | undefined {
  const { topicId, name } = topic.row
  if (stream.row.deleted || stream.deleting)
    throw new MillraceError('STREAM_DELETED', {
      message: `the stream "${name}" was deleted; its forks keep what they read of it`,
    })
  const newId = (): RequestId => hexFromBytes(random.bytes(16)) as RequestId
  if (stream.forks > 0) {
    if (!claim(claimed, `topic ${name}`, `request ${requestId ?? topicId}`)) return undefined
    stream.deleting = true
    return {
      commands: [{ type: 'streamDeleted', topicId, requestId: requestId ?? newId() }],
      result: { topicId },
    }
  }
  const gone = [topic]
  let source = sourceAfter(state, topic)
  while (source?.stream?.row.deleted && source.stream.forks === 1) {
    gone.push(source)
    source = sourceAfter(state, source)
  }
  // Also the one above, which stays: how many forks it has is about to change.
  const touched = source === undefined ? gone : [...gone, source]
  const names = touched.map(({ row }) => `topic ${row.name}`)
  if (!claim(claimed, ...names, `request ${requestId ?? topicId}`)) return undefined
  const commands = gone.map((each, index): Command => {
    each.deleting = true
    return {
      type: 'topicDeleted',
      topicId: each.row.topicId,
      requestId: index === 0 && requestId !== null ? requestId : newId(),
    }
  })
  return { commands, result: { topicId } }
}

function sourceAfter(state: ShardState, { stream }: TopicState): TopicState | undefined {
  const fork = stream?.row.fork
  return fork == null ? undefined : state.topics.get(fork.topicId)
}
