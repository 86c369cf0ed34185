import type { Encoding } from '../../protocol/encodings.js'
import { MillraceError } from '../../protocol/error-codes.js'
import { hexFromBytes, type RequestId, type TopicId } from '../../protocol/ids.js'
import { HARD_LIMITS, illegalTopicName } from '../../protocol/limits.js'
import type { TopicRow } from '../manifest/rows.js'
import type { Random } from '../platform/random.js'
import type { Change } from './group-commit.js'
import type { ShardState } from './state.js'

export interface NewTopic {
  readonly requestId: RequestId
  readonly name: string
  readonly partitions: number
  readonly keyEncoding: Encoding
  readonly valueEncoding: Encoding
  /** An existing topic is an answer, not an error. */
  readonly ifMissing: boolean
}

interface TopicLimits {
  readonly topicsMax: number
  readonly partitionsMax: number
}

export function createTopicChange(
  state: ShardState,
  topic: NewTopic,
  options: { random: Random; limits: TopicLimits; time: () => number },
): Change<{ topic: TopicRow; created: boolean }> {
  return {
    decide({ time, claimed }) {
      const { name, requestId } = topic
      const fault = illegalTopicName(name)
      if (fault !== undefined) throw new MillraceError('ILLEGAL_TOPIC_NAME', { message: fault })
      if (!claim(claimed, `topic ${name}`, `request ${requestId}`)) return undefined
      const { partitions, keyEncoding, valueEncoding } = topic
      const before = state.requests.get(requestId)
      const { topicId: answered } = (before?.result ?? {}) as { topicId?: TopicId }
      if (before !== undefined && answered !== undefined) {
        // Deleted since: a retry gets the first answer all the same, and creates nothing.
        const row = {
          topicId: answered,
          name,
          partitions,
          keyEncoding,
          valueEncoding,
          createdAt: before.time,
        }
        return { commands: [], result: { topic: state.topics.get(answered)?.row ?? row, created: true } }
      }
      const existing = state.topicsByName.get(name)?.row
      if (existing !== undefined) {
        if (topic.ifMissing) return { commands: [], result: { topic: existing, created: false } }
        throw new MillraceError('TOPIC_EXISTS', { message: `topic "${name}" exists` })
      }
      // One creation in a group: each must see how many there are.
      if (!claim(claimed, 'number of topics')) return undefined
      checkPartitions(state, topic, options.limits)
      const topicId = hexFromBytes(options.random.bytes(16)) as TopicId
      const row = { topicId, name, partitions, keyEncoding, valueEncoding, createdAt: time }
      const command = { type: 'topicCreated' as const, ...row, requestId }
      return { commands: [command], result: { topic: row, created: true } }
    },
  }
}

function checkPartitions(state: ShardState, topic: NewTopic, limits: TopicLimits): void {
  const { partitions } = topic
  if (partitions < 1 || partitions > HARD_LIMITS.partitionsPerTopicMax) {
    throw new MillraceError('ILLEGAL_ARGUMENT', {
      message: `a topic has 1 to ${HARD_LIMITS.partitionsPerTopicMax} partitions, not ${partitions}`,
    })
  }
  if (state.topics.size >= limits.topicsMax) {
    throw new MillraceError('LIMIT_REACHED', {
      message: `there are ${limits.topicsMax} topics, as many as are allowed`,
    })
  }
  if (state.partitionCount + partitions > limits.partitionsMax) {
    throw new MillraceError('LIMIT_REACHED', {
      message: `${partitions} more partitions would pass the limit of ${limits.partitionsMax}`,
    })
  }
}

export function deleteTopicChange(
  state: ShardState,
  { name, requestId }: { name: string; requestId: RequestId },
): Change<{ topicId: TopicId }> {
  return {
    decide({ claimed }) {
      if (!claim(claimed, `topic ${name}`, `request ${requestId}`)) return undefined
      const before = state.requests.get(requestId)?.result as { topicId?: TopicId } | undefined
      if (before?.topicId !== undefined) return { commands: [], result: { topicId: before.topicId } }
      const topic = state.topicsByName.get(name)
      if (topic === undefined)
        throw new MillraceError('UNKNOWN_TOPIC', { message: `there is no topic "${name}"` })
      topic.deleting = true
      const { topicId } = topic.row
      return { commands: [{ type: 'topicDeleted', topicId, requestId }], result: { topicId } }
    },
  }
}

/** Takes the names for this group; false when another change of the group has one of them. */
export function claim(claimed: Set<string>, ...names: string[]): boolean {
  if (names.some((name) => claimed.has(name))) return false
  for (const name of names) claimed.add(name)
  return true
}
