import { HARD_LIMITS } from '../limits.js'
import { list, tuple, uint, uint32 } from '../shape.js'
import { type MessageFields, message } from './message.js'
import { membership, part, refusals } from './part.js'

/** Moves cursors of a consumer group. */
export const ack = message('ACK', 50, {
  correlationId: uint32(),
  ...membership,
  acks: list(
    tuple({
      ...part,
      /** As assigned: of this partition. */
      epoch: uint32(),
      /** The next offset to read: everything below is acknowledged. */
      offset: uint(),
    }),
    HARD_LIMITS.acksPerRequestMax,
  ),
})
export type Ack = MessageFields<typeof ack>

/** Those refused; all others are durable. */
export const acked = message('ACKED', 51, { correlationId: uint32(), results: refusals })
export type Acked = MessageFields<typeof acked>
