import type { MemberId, TopicId } from '../protocol/ids.js'

/** Present on what `client.atomic` can acknowledge: records of consumer groups, and jobs. */
export const ACKNOWLEDGEMENT: unique symbol = Symbol('acknowledgement')

interface Place {
  readonly groupId: number
  readonly memberId: MemberId
  readonly topicId: TopicId
  readonly partition: number
}

/** A record of a consumer group: everything below `offset` is acknowledged with it. */
export interface CursorAck extends Place {
  readonly kind: 'cursor'
  /** Of the partition, as assigned. */
  readonly epoch: number
  /** The next to read. */
  readonly offset: number
}

/** One job of a work queue. */
export interface JobAck extends Place {
  readonly kind: 'job'
  readonly leaseId: number
  readonly offset: number
}

/** An acknowledgement that the atomic write carries in place of its owner. One of `done` and `failed` is called, once. */
export interface CarriedAck {
  readonly ack: CursorAck | JobAck
  /** It is durable. */
  done(): void
  /** It was not written, or nobody knows. */
  failed(error: unknown): void
}

/** Whoever can be acknowledged by an atomic write. */
export interface Acknowledgeable {
  /**
   * Hands the acknowledgement over; `together`: with these. Throws or rejects with what makes it impossible: FENCED, LEASE_LOST,
   * ALREADY_ACKED, ILLEGAL_ARGUMENT.
   */
  [ACKNOWLEDGEMENT](together: readonly Acknowledgeable[]): CarriedAck | Promise<CarriedAck>
}
