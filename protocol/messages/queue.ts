import { HARD_LIMITS } from '../limits.js'
import { bytes, choice, list, nullable, text, tuple, uint, uint32 } from '../shape.js'
import { type MessageFields, message } from './message.js'
import { membership, part, ranges, refusals } from './part.js'

/** Jobs of one partition, leased to the member. */
export const queueDeliver = message('QUEUE_DELIVER', 53, {
  ...membership,
  ...part,
  leaseId: uint(),
  /** Broker time at which the lease ends, milliseconds. */
  deadline: uint(),
  /** The offsets of the jobs. */
  ranges,
  /** Jobs of which deliveries counted, and those that a member had that was lost: 0, too. */
  counts: list(tuple({ offset: uint(), count: uint32() }), HARD_LIMITS.rangesMax),
  /** Where the records come from, one for each payload. */
  batches: list(
    tuple({
      baseOffset: uint(),
      /** Broker time, milliseconds. */
      appendTime: uint(),
      baseTimestamp: uint(),
      /** Records in this payload. */
      recordCount: uint(HARD_LIMITS.recordsPerBatchMax),
      payloadBytes: uint32(),
    }),
    HARD_LIMITS.rangesMax,
  ),
  /** Record payloads end to end, not compressed, holding the jobs alone. */
  payloads: bytes(0x7fffffff),
})
export type QueueDeliver = MessageFields<typeof queueDeliver>

/** Adds room for jobs; has no answer. Credit above `prefetchMax` is cut to it. */
export const queueCredit = message('QUEUE_CREDIT', 54, {
  ...membership,
  records: uint(HARD_LIMITS.prefetchMax),
})
export type QueueCredit = MessageFields<typeof queueCredit>

/** What became of jobs; `release`: the program never started them. On the wire: never renumbered. */
export const SETTLE_KIND = { ack: 0, nack: 1, extend: 2, release: 3 } as const
export type SettleKind = keyof typeof SETTLE_KIND

export const queueSettle = message('QUEUE_SETTLE', 55, {
  correlationId: uint32(),
  ...membership,
  items: list(
    tuple({
      kind: choice(SETTLE_KIND),
      ...part,
      leaseId: uint(),
      from: uint(),
      to: uint(),
      /** nack: the delay before the next delivery, nil for the broker's backoff. extend: from now on. Else nil. */
      ms: nullable(uint(HARD_LIMITS.jobMsMax)),
      /** nack: why, for the dead letter. */
      reason: nullable(text(HARD_LIMITS.reasonCharsMax)),
    }),
    HARD_LIMITS.acksPerRequestMax,
  ),
})
export type QueueSettle = MessageFields<typeof queueSettle>
export type SettleItem = QueueSettle['items'][number]

/** Items refused (all others are durable), and where the extended leases end now. */
export const queueSettled = message('QUEUE_SETTLED', 56, {
  correlationId: uint32(),
  results: refusals,
  deadlines: list(tuple({ index: uint32(), deadline: uint() }), HARD_LIMITS.acksPerRequestMax),
})
export type QueueSettled = MessageFields<typeof queueSettled>

/** Sent as jobs are handed to the program: from here on their delivery counts. Has no answer. */
export const queueStarted = message('QUEUE_STARTED', 57, { ...membership, ...part, leaseId: uint(), ranges })
export type QueueStarted = MessageFields<typeof queueStarted>
