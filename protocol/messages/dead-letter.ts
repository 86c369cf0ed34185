import type { RequestId, TopicId } from '../ids.js'
import { HARD_LIMITS } from '../limits.js'
import { id, text, uint, uint32 } from '../shape.js'
import { type MessageFields, message } from './message.js'
import { membership, name, part } from './part.js'

/** A member of a consumer group gives a record up: it is written to the dead-letter topic as the cursor moves past it. */
export const deadLetter = message('DEAD_LETTER', 70, {
  correlationId: uint32(),
  requestId: id<RequestId>(),
  ...membership,
  ...part,
  /** As assigned: of this partition. */
  epoch: uint32(),
  /** The record's. */
  offset: uint(),
  /** Where the cursor goes: past the record. */
  cursor: uint(),
  /** How often it was tried. */
  count: uint32(),
  reason: text(HARD_LIMITS.reasonCharsMax),
})
export type DeadLetter = MessageFields<typeof deadLetter>

export const deadLettered = message('DEAD_LETTERED', 71, {
  correlationId: uint32(),
  /** In the dead-letter topic. */
  dlqOffset: uint(),
})
export type DeadLettered = MessageFields<typeof deadLettered>

/** Gives the oldest dead letters to the group once more, and to no other. */
export const dlqReplay = message('DLQ_REPLAY', 72, {
  correlationId: uint32(),
  requestId: id<RequestId>(),
  topicId: id<TopicId>(),
  group: name,
  /** At most so many; `uintMax` for all. */
  max: uint(),
})
export type DlqReplay = MessageFields<typeof dlqReplay>

export const dlqReplayed = message('DLQ_REPLAYED', 73, {
  correlationId: uint32(),
  replayed: uint(),
  /** Dead letters that are still there. */
  left: uint(),
})
export type DlqReplayed = MessageFields<typeof dlqReplayed>

/** Deletes the dead letters of a group. */
export const dlqPurge = message('DLQ_PURGE', 74, {
  correlationId: uint32(),
  requestId: id<RequestId>(),
  topicId: id<TopicId>(),
  group: name,
})
export type DlqPurge = MessageFields<typeof dlqPurge>

export const dlqPurged = message('DLQ_PURGED', 75, { correlationId: uint32(), records: uint() })
export type DlqPurged = MessageFields<typeof dlqPurged>
