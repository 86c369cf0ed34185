import type { RequestId } from '../ids.js'
import { id, list, text, uint, uint32 } from '../shape.js'
import { TOPIC_OPTION_NAMES, topicOptions, topicOptionsPatch } from '../topic-options.js'
import { type MessageFields, message } from './message.js'
import { name, part } from './part.js'

export const alterTopic = message('ALTER_TOPIC', 66, {
  correlationId: uint32(),
  requestId: id<RequestId>(),
  name,
  /** nil leaves an option as it is. */
  options: topicOptionsPatch,
  /** Names of options that go back to their defaults. */
  clear: list(text(64), TOPIC_OPTION_NAMES.length),
})
export type AlterTopic = MessageFields<typeof alterTopic>

/** The options as they hold now. */
export const topicAltered = message('TOPIC_ALTERED', 67, { correlationId: uint32(), options: topicOptions })
export type TopicAltered = MessageFields<typeof topicAltered>

/** Advances the start offset. */
export const deleteBefore = message('DELETE_BEFORE', 68, {
  correlationId: uint32(),
  requestId: id<RequestId>(),
  ...part,
  /** Records below it go; `uintMax` is the durable end. */
  offset: uint(),
})
export type DeleteBefore = MessageFields<typeof deleteBefore>

export const recordsDeleted = message('RECORDS_DELETED', 69, {
  correlationId: uint32(),
  startOffset: uint(),
  /** Offsets that the start offset passed. */
  records: uint(),
  /** Of chunks that no reader can reach any more; the files go a little later. */
  bytes: uint(),
})
export type RecordsDeleted = MessageFields<typeof recordsDeleted>
