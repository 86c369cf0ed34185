import type { ClusterId } from '../ids.js'
import { HARD_LIMITS } from '../limits.js'
import { bytes, id, list, nullable, text, tuple, uint, uint32 } from '../shape.js'
import { type MessageFields, message } from './message.js'

/** The first frame of a connection, and only the first. */
export const hello = message('HELLO', 1, {
  correlationId: uint32(),
  minVersion: uint(255),
  maxVersion: uint(255),
  /** For the broker's logs, for example `millrace-js/0.1.0`. */
  clientName: text(HARD_LIMITS.clientNameCharsMax),
  /** Reserved: brokers of this version take any credential and check none. */
  credential: nullable(bytes(HARD_LIMITS.credentialBytesMax)),
  /** Optional behaviour that the client understands. */
  features: list(text(64), 64),
})
export type Hello = MessageFields<typeof hello>

/** What a connection may send; bytes. */
export const sessionLimits = tuple({
  frameBytesMax: uint(),
  recordBytesMax: uint(),
  batchBytesMax: uint(),
  inFlightBytesMax: uint(),
  /** Unanswered batches that a producer may have in one partition. */
  producerWindowBatches: uint(),
})

export const welcome = message('WELCOME', 2, {
  correlationId: uint32(),
  version: uint(255),
  clusterId: id<ClusterId>(),
  shardEpoch: uint32(),
  /** For example `millrace/0.1.0`. */
  brokerName: text(255),
  limits: sessionLimits,
  features: list(text(64), 64),
  /** Broker time, milliseconds since 1970. */
  time: uint(),
})
export type Welcome = MessageFields<typeof welcome>
