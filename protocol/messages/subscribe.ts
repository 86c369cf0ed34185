import type { TopicId } from '../ids.js'
import { HARD_LIMITS } from '../limits.js'
import { bool, bytes, details, id, nullable, text, uint, uint32 } from '../shape.js'
import { type MessageFields, message } from './message.js'

export const subscribe = message('SUBSCRIBE', 22, {
  correlationId: uint32(),
  /** Chosen by the client, unique on its connection. */
  subscriptionId: uint32(),
  topicId: id<TopicId>(),
  partition: uint32(),
  offset: uint(),
  /** Bytes of entries that the broker may send before it gets more credit. */
  creditBytes: uint(HARD_LIMITS.creditBytesMax),
})
export type Subscribe = MessageFields<typeof subscribe>

export const subscribed = message('SUBSCRIBED', 23, {
  correlationId: uint32(),
  subscriptionId: uint32(),
  startOffset: uint(),
  durableEnd: uint(),
})
export type Subscribed = MessageFields<typeof subscribed>

/** Adds credit; has no answer. Credit above `creditBytesMax` is cut to it. */
export const credit = message('CREDIT', 24, {
  subscriptionId: uint32(),
  bytes: uint(HARD_LIMITS.creditBytesMax),
})
export type Credit = MessageFields<typeof credit>

/** Sent while credit is above zero; it may overdraw it by one entry. */
export const deliver = message('DELIVER', 25, {
  subscriptionId: uint32(),
  startOffset: uint(),
  durableEnd: uint(),
  /** Stored entries end to end; the very first may begin below the asked offset. */
  entries: bytes(0x7fffffff),
})
export type Deliver = MessageFields<typeof deliver>

export const unsubscribe = message('UNSUBSCRIBE', 26, { correlationId: uint32(), subscriptionId: uint32() })
export type Unsubscribe = MessageFields<typeof unsubscribe>

/** After this frame no DELIVER of the subscription comes. */
export const unsubscribed = message('UNSUBSCRIBED', 27, { correlationId: uint32(), subscriptionId: uint32() })
export type Unsubscribed = MessageFields<typeof unsubscribed>

/** The broker ended a subscription: the topic was deleted, the offset fell below the start, data is damaged. */
export const subscriptionEnded = message('SUBSCRIPTION_ENDED', 30, {
  subscriptionId: uint32(),
  code: text(64),
  message: text(4096),
  retriable: bool(),
  details: nullable(details()),
})
export type SubscriptionEnded = MessageFields<typeof subscriptionEnded>
