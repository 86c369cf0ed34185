/** Where the records go that a group gave up, and what is written beside them. */
import { HARD_LIMITS } from './limits.js'

/** The topic that holds what a group gave up in a topic. */
export const deadLetterTopicName = (topic: string, group: string): string => `${topic}.${group}.dlq`

/** The topic through which dead letters come to the group once more. */
export const retryTopicName = (topic: string, group: string): string => `${topic}.${group}.retry`

/** Why a group cannot have dead letters of a topic, or undefined when it can. */
export function illegalDeadLetterTopic(topic: string, group: string): string | undefined {
  const { length } = retryTopicName(topic, group)
  const { topicNameCharsMax } = HARD_LIMITS
  if (length <= topicNameCharsMax) return undefined
  return `the names of the topic and the group, with ".retry", have ${length} characters, at most ${topicNameCharsMax} are allowed`
}

/** Headers of a dead letter, all of them text; they are added to the record's own. Numbers are decimal. */
export const DEAD_LETTER_HEADERS = {
  reason: 'millrace-reason',
  /** Deliveries that counted, the last one included. */
  count: 'millrace-count',
  topic: 'millrace-topic',
  partition: 'millrace-partition',
  offset: 'millrace-offset',
  group: 'millrace-group',
  /** Broker time at which it was given up, milliseconds. */
  time: 'millrace-time',
} as const

/**
 * A header of a dead letter whose record could not be read when it was given up: key and value are null, and it has none
 * of the record's own headers. Text: the code of the error. It stays with the letter over replays.
 */
export const UNREADABLE_HEADER = 'millrace-unreadable'
