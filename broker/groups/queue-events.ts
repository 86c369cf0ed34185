/** What goes into the machine of a work queue and what comes out: work-queue.ts. */
import type { MemberId } from '../../protocol/ids.js'
import type { OffsetRange, QueueState } from '../shard/queue-state.js'
import type { ReadRecords } from './queue-hand.js'

/** What a member says of jobs that it holds. */
export interface Settlement extends OffsetRange {
  readonly kind: 'ack' | 'nack' | 'extend' | 'release'
  readonly memberId: MemberId
  readonly leaseId: number
  /** nack: the delay before the next delivery, null for the backoff. extend: from now on. */
  readonly ms: number | null
  /** nack: why, for the dead letter. */
  readonly reason: string | null
}

/** Jobs that a member may be given. */
export interface MemberDemand {
  readonly memberId: MemberId
  readonly credits: number
}

/** A job that was delivered too often. It stays leased until its dead letter is written. */
export interface DeadJob {
  readonly offset: number
  readonly leaseId: number
  /** Deliveries that counted, the last one too. */
  readonly count: number
  readonly reason: string
}

export type QueueEvent<Item extends Settlement> =
  /** Members may be given so many jobs; what they were given before and did not get is forgotten. */
  | { readonly type: 'demand'; readonly members: readonly MemberDemand[] }
  /** The answer to `read`. */
  | ({ readonly type: 'records' } & ReadRecords)
  /** The answer to `read` when what is at hand has bytes enough: it is to be claimed first. */
  | { readonly type: 'full' }
  /** The answer to `read` when it failed: it is tried again at that time. */
  | { readonly type: 'unreadable'; readonly retryAt: number }
  | { readonly type: 'settle'; readonly items: readonly Item[] }
  | {
      readonly type: 'started'
      readonly memberId: MemberId
      readonly leaseId: number
      readonly ranges: readonly OffsetRange[]
    }
  /** The member's connection is lost, for now: it gets nothing. */
  | { readonly type: 'away'; readonly memberId: MemberId }
  /** The member is out; one that left says that it gives back what it did not finish, so nothing counts. */
  | { readonly type: 'gone'; readonly memberId: MemberId; readonly left: boolean }
  /** The member is back on a new connection and has these leases: others never reached it. */
  | { readonly type: 'back'; readonly memberId: MemberId; readonly held: readonly HeldLease[] }
  /** The move that was decided last is durable and applied. */
  | { readonly type: 'written' }
  /** The dead letter is written, or was not needed any more. */
  | { readonly type: 'buried'; readonly offset: number }
  /** Time has passed, or records came. */
  | { readonly type: 'time' }

export interface HeldLease {
  readonly leaseId: number
  readonly started: readonly OffsetRange[]
}

export type QueueEffect<Item extends Settlement> =
  /** Have `decide` asked when the next group is cut; then `written`. */
  | { readonly type: 'write' }
  /** Read entries from here on; so many records are as many as are wanted, if they lie close together. */
  | { readonly type: 'read'; readonly offset: number; readonly records: number }
  | ({ readonly type: 'deliver' } & Delivery)
  | { readonly type: 'bury'; readonly jobs: readonly DeadJob[] }
  /** Done and durable. */
  | { readonly type: 'answer'; readonly item: Item; readonly deadline?: number }
  | { readonly type: 'refuse'; readonly item: Item; readonly code: 'LEASE_LOST' | 'ACK_OUT_OF_RANGE' }
  /** There is work, and no demand for it. */
  | { readonly type: 'hungry' }
  /** What is left of the demand; it is forgotten here. */
  | { readonly type: 'unused'; readonly members: readonly MemberDemand[] }
  /** Send `time` at this broker time, and forget what was said before. */
  | { readonly type: 'wakeAt'; readonly time: number }

export interface Delivery {
  readonly memberId: MemberId
  readonly leaseId: number
  readonly deadline: number
  readonly ranges: readonly OffsetRange[]
  /** Of jobs delivered before, in the order of their offsets; 0 of those that a lost member may have started. */
  readonly counts: readonly { readonly offset: number; readonly count: number }[]
}

/** What the machine is shown of the world with each event. */
export interface QueueView {
  /** Broker time, milliseconds. */
  readonly now: number
  readonly queue: QueueState
  /** The partition's durable end. */
  readonly endOffset: number
}
