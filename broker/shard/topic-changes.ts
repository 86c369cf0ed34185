import type { Encoding } from '../../protocol/encodings.js'
import { MillraceError } from '../../protocol/error-codes.js'
import { hexFromBytes, type RequestId, type TopicId } from '../../protocol/ids.js'
import { HARD_LIMITS, illegalTopicName } from '../../protocol/limits.js'
import {
  DEFAULT_TOPIC_OPTIONS,
  illegalTopicOptions,
  isTopicOptionName,
  patchedTopicOptions,
  type TopicOptions,
  type TopicOptionsPatch,
} from '../../protocol/topic-options.js'
import type { TopicRow } from '../manifest/rows.js'
import type { Random } from '../platform/random.js'
import type { Change } from './change.js'
import { CHANGES_TOPIC } from './change-events.js'
import { claim } from './claims.js'
import type { ShardState } from './state.js'
import { decideDeletion } from './stream-deletion.js'
import type { AlterTopicArgs } from './topic-requests.js'

export interface NewTopic {
  readonly requestId: RequestId
  readonly name: string
  readonly partitions: number
  readonly keyEncoding: Encoding
  readonly valueEncoding: Encoding
  /** An existing topic is an answer, not an error. */
  readonly ifMissing: boolean
  /** What is not set has its default. */
  readonly options?: TopicOptionsPatch | undefined
  /** The broker's own. */
  readonly internal?: boolean
}

export interface TopicLimits {
  readonly topicsMax: number
  readonly partitionsMax: number
}

export function createTopicChange(
  state: ShardState,
  topic: NewTopic,
  { random, limits }: { random: Random; limits: TopicLimits },
): Change<{ topic: TopicRow; created: boolean }> {
  return {
    decide({ time, claimed }) {
      const { name, requestId, internal = false } = topic
      const fault = internal ? undefined : illegalTopicName(name)
      if (fault !== undefined) throw new MillraceError('ILLEGAL_TOPIC_NAME', { message: fault })
      if (!claim(claimed, `topic ${name}`, `request ${requestId}`)) return undefined
      const { partitions, keyEncoding, valueEncoding } = topic
      const options = optionsOf(topic)
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
          options,
          internal,
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
      checkPartitions(state, topic, limits)
      const topicId = hexFromBytes(random.bytes(16)) as TopicId
      const row = {
        topicId,
        name,
        partitions,
        keyEncoding,
        valueEncoding,
        createdAt: time,
        options,
        internal,
      }
      const command = { type: 'topicCreated' as const, ...row, requestId }
      return { commands: [command], result: { topic: row, created: true } }
    },
  }
}

/** Throws ILLEGAL_ARGUMENT. */
function optionsOf({ options: patch }: NewTopic): TopicOptions {
  if (patch === undefined) return DEFAULT_TOPIC_OPTIONS
  const fault = illegalTopicOptions(patch)
  if (fault !== undefined) throw new MillraceError('ILLEGAL_ARGUMENT', { message: fault })
  return patchedTopicOptions(DEFAULT_TOPIC_OPTIONS, { patch })
}

function checkPartitions(state: ShardState, topic: NewTopic, limits: TopicLimits): void {
  const { partitions } = topic
  if (partitions < 1 || partitions > HARD_LIMITS.partitionsPerTopicMax) {
    throw new MillraceError('ILLEGAL_ARGUMENT', {
      message: `a topic has 1 to ${HARD_LIMITS.partitionsPerTopicMax} partitions, not ${partitions}`,
    })
  }
  // The broker's own has its place whatever the limits say, and takes none away.
  if (topic.internal === true) return
  const own = state.topicsByName.get(CHANGES_TOPIC)
  if (state.topics.size - (own === undefined ? 0 : 1) >= limits.topicsMax) {
    throw new MillraceError('LIMIT_REACHED', {
      message: `there are ${limits.topicsMax} topics, as many as are allowed`,
    })
  }
  if (state.partitionCount - (own?.partitions.length ?? 0) + partitions > limits.partitionsMax) {
    throw new MillraceError('LIMIT_REACHED', {
      message: `${partitions} more partitions would pass the limit of ${limits.partitionsMax}`,
    })
  }
}

export function deleteTopicChange(
  state: ShardState,
  { name, requestId }: { name: string; requestId: RequestId },
  random: Random,
): Change<{ topicId: TopicId }> {
  return {
    decide({ claimed }) {
      const before = state.requests.get(requestId)?.result as { topicId?: TopicId } | undefined
      if (before?.topicId !== undefined) return { commands: [], result: { topicId: before.topicId } }
      const topic = state.topicsByName.get(name)
      if (topic?.stream !== undefined && !topic.deleting)
        return decideDeletion({ state, topic, stream: topic.stream, claimed, requestId, random })
      if (!claim(claimed, `topic ${name}`, `request ${requestId}`)) return undefined
      if (topic === undefined)
        throw new MillraceError('UNKNOWN_TOPIC', { message: `there is no topic "${name}"` })
      if (topic.row.internal) throw new MillraceError('TOPIC_READ_ONLY')
      topic.deleting = true
      const { topicId } = topic.row
      return { commands: [{ type: 'topicDeleted', topicId, requestId }], result: { topicId } }
    },
  }
}

/** Sets options of a topic, and gives those in `clear` their defaults again. `isInternal`: the broker sets its own. */
export function alterTopicChange(
  state: ShardState,
  alteration: AlterTopicArgs,
  { isInternal = false } = {},
): Change<{ options: TopicOptions }> {
  return {
    decide({ claimed }) {
      const { name, requestId, options: patch, clear } = alteration
      const fault = illegalTopicOptions(patch, clear)
      if (fault !== undefined) throw new MillraceError('ILLEGAL_ARGUMENT', { message: fault })
      if (!claim(claimed, `topic ${name}`, `request ${requestId}`)) return undefined
      const before = state.requests.get(requestId)?.result as { options?: TopicOptions } | undefined
      if (before?.options !== undefined) return { commands: [], result: { options: before.options } }
      const topic = state.topicsByName.get(name)
      if (topic === undefined)
        throw new MillraceError('UNKNOWN_TOPIC', { message: `there is no topic "${name}"` })
      if (topic.row.internal !== isInternal) throw new MillraceError('TOPIC_READ_ONLY')
      const { topicId } = topic.row
      const names = clear.filter(isTopicOptionName)
      const options = patchedTopicOptions(topic.row.options, { patch, clear: names })
      return { commands: [{ type: 'topicAltered', topicId, options, requestId }], result: { options } }
    },
  }
}
