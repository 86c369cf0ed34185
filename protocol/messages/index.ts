/** Every frame of protocol version 1, by opcode. */
import { HARD_LIMITS } from '../limits.js'
import { ack, acked } from './ack.js'
import { atomic, atomicDone } from './atomic.js'
import { produceChecked, producedChecked } from './checked-produce.js'
import { deadLetter, deadLettered, dlqPurge, dlqPurged, dlqReplay, dlqReplayed } from './dead-letter.js'
import { error } from './error.js'
import { fetch, fetched, listOffsets, offsetsListed } from './fetch.js'
import { goingAway } from './going-away.js'
import {
  groupAssignment,
  groupEnded,
  groupJoined,
  groupLeft,
  groupRevoked,
  joinGroup,
  leaveGroup,
} from './group.js'
import {
  cursorsReset,
  deleteGroup,
  describeGroup,
  groupDeleted,
  groupDescribed,
  groupsListed,
  listGroups,
  resetCursors,
} from './group-admin.js'
import { hello, welcome } from './hello.js'
import type { Message } from './message.js'
import { metadata, metadataListed } from './metadata.js'
import { ping, pong } from './ping.js'
import { initProducer, produce, produced, producerReady } from './produce.js'
import { queueCredit, queueDeliver, queueSettle, queueSettled, queueStarted } from './queue.js'
import {
  credit,
  deliver,
  subscribe,
  subscribed,
  subscriptionEnded,
  unsubscribe,
  unsubscribed,
} from './subscribe.js'
import { createTopic, deleteTopic, topicCreated, topicDeleted } from './topic.js'
import { alterTopic, deleteBefore, recordsDeleted, topicAltered } from './topic-admin.js'

export * from './ack.js'
export * from './atomic.js'
export {
  type DuplicateRecord,
  type ProduceChecked,
  type ProducedChecked,
  produceChecked,
  producedChecked,
} from './checked-produce.js'
export * from './dead-letter.js'
export * from './error.js'
export * from './fetch.js'
export * from './going-away.js'
export * from './group.js'
export * from './group-admin.js'
export * from './hello.js'
export * from './message.js'
export * from './metadata.js'
export * from './ping.js'
export * from './produce.js'
export * from './queue.js'
export * from './subscribe.js'
export * from './topic.js'
export * from './topic-admin.js'

export const MESSAGES: readonly Message[] = [
  hello,
  welcome,
  ping,
  pong,
  error,
  goingAway,
  createTopic,
  topicCreated,
  deleteTopic,
  topicDeleted,
  metadata,
  metadataListed,
  initProducer,
  producerReady,
  produce,
  produced,
  fetch,
  fetched,
  subscribe,
  subscribed,
  credit,
  deliver,
  unsubscribe,
  unsubscribed,
  listOffsets,
  offsetsListed,
  subscriptionEnded,
  produceChecked,
  producedChecked,
  atomic,
  atomicDone,
  joinGroup,
  groupJoined,
  leaveGroup,
  groupLeft,
  groupAssignment,
  groupRevoked,
  ack,
  acked,
  groupEnded,
  queueDeliver,
  queueCredit,
  queueSettle,
  queueSettled,
  queueStarted,
  listGroups,
  groupsListed,
  describeGroup,
  groupDescribed,
  resetCursors,
  cursorsReset,
  deleteGroup,
  groupDeleted,
  alterTopic,
  topicAltered,
  deleteBefore,
  recordsDeleted,
  deadLetter,
  deadLettered,
  dlqReplay,
  dlqReplayed,
  dlqPurge,
  dlqPurged,
] as unknown as readonly Message[]

const BY_OPCODE: ReadonlyMap<number, Message> = new Map(MESSAGES.map((message) => [message.opcode, message]))

/** The message that an unpacked frame's first element stands for; undefined when this version has none. */
export const messageOfOpcode = (opcode: unknown): Message | undefined => BY_OPCODE.get(opcode as number)

/**
 * The correlation id that an ERROR about this unpacked frame carries, even where its other fields are wrong: 0 when its
 * message has none or it is no uint32. An unknown opcode is taken for a request, whose first field it always is.
 */
export function correlationIdOf(frame: readonly unknown[]): number {
  const known = messageOfOpcode(frame[0])
  if (known !== undefined && !Object.hasOwn(known.fields, 'correlationId')) return 0
  const id = frame[1]
  return typeof id === 'number' && Number.isInteger(id) && id >= 0 && id <= HARD_LIMITS.uint32Max ? id : 0
}
