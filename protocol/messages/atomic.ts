import type { RequestId } from '../ids.js'
import { HARD_LIMITS } from '../limits.js'
import { bool, bytes, id, list, tuple, uint, uint32 } from '../shape.js'
import { batchFields, conditionFields, duplicates } from './checked-produce.js'
import { type MessageFields, message } from './message.js'
import { membership, part, ranges } from './part.js'

/** Batches, acks and settled jobs that are written all together or not at all. */
export const atomic = message('ATOMIC', 42, {
  correlationId: uint32(),
  requestId: id<RequestId>(),
  writes: list(
    tuple({ ...part, ...batchFields, ...conditionFields, payload: bytes(0x7fffffff) }),
    HARD_LIMITS.atomicWritesMax,
  ),
  /** Of consumer groups: cumulative, `offset` is the next to read. */
  acks: list(
    tuple({ ...membership, ...part, epoch: uint32(), offset: uint() }),
    HARD_LIMITS.acksPerRequestMax,
  ),
  /** Of work queues: jobs that are done. */
  jobs: list(tuple({ ...membership, ...part, leaseId: uint(), ranges }), HARD_LIMITS.acksPerRequestMax),
})
export type Atomic = MessageFields<typeof atomic>
export type AtomicWrite = Atomic['writes'][number]
export type AtomicAck = Atomic['acks'][number]
export type AtomicJobs = Atomic['jobs'][number]

/** In the order of the writes. */
export const atomicDone = message('ATOMIC_DONE', 43, {
  correlationId: uint32(),
  /** Broker time, milliseconds. */
  appendTime: uint(),
  writes: list(tuple({ partition: uint32(), baseOffset: uint(), duplicates }), HARD_LIMITS.atomicWritesMax),
  /** It had been done before: this is the first answer. */
  retried: bool(),
})
export type AtomicDone = MessageFields<typeof atomicDone>
