import type { RequestId, TopicId } from '../ids.js'
import { HARD_LIMITS } from '../limits.js'
import { bool, encoding, id, tail, text, uint, uint32 } from '../shape.js'
import { topicOptionsPatch } from '../topic-options.js'
import { type MessageFields, message } from './message.js'

const name = text(1024)

export const createTopic = message('CREATE_TOPIC', 10, {
  correlationId: uint32(),
  requestId: id<RequestId>(),
  name,
  partitions: uint(HARD_LIMITS.uint32Max),
  keyEncoding: encoding(),
  valueEncoding: encoding(),
  /** When the topic exists: answer with what it is (true), or with TOPIC_EXISTS. */
  ifMissing: bool(),
  /** What is not set has its default. */
  options: tail(topicOptionsPatch),
})
export type CreateTopic = MessageFields<typeof createTopic>

/** What the topic is, which with `ifMissing` may differ from what was asked for. */
export const topicCreated = message('TOPIC_CREATED', 11, {
  correlationId: uint32(),
  topicId: id<TopicId>(),
  created: bool(),
  partitions: uint(),
  keyEncoding: encoding(),
  valueEncoding: encoding(),
})
export type TopicCreated = MessageFields<typeof topicCreated>

export const deleteTopic = message('DELETE_TOPIC', 12, {
  correlationId: uint32(),
  requestId: id<RequestId>(),
  name,
})
export type DeleteTopic = MessageFields<typeof deleteTopic>

export const topicDeleted = message('TOPIC_DELETED', 13, { correlationId: uint32(), topicId: id<TopicId>() })
export type TopicDeleted = MessageFields<typeof topicDeleted>
