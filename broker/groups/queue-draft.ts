import type { MemberId } from '../../protocol/ids.js'
import { joined, OffsetRanges } from '../shard/offset-ranges.js'
import {
  type OffsetRange,
  QUEUE_REASON,
  type QueueClaim,
  type QueueExtension,
  type QueueMove,
  type QueueReason,
  type QueueReturn,
  type QueueState,
} from '../shard/queue-state.js'
import type { DeadJob, Delivery, Settlement } from './queue-events.js'

/** Leases to be taken back from a member. */
export interface HandBack {
  readonly memberId: MemberId
  /** Leases from this id on are none of its business: they were given later. */
  readonly below: number
  readonly keep: ReadonlySet<number>
  readonly counts: boolean
}

/** What is told once a decided move is durable. */
export interface Outcome<Item extends Settlement> {
  readonly answers: { item: Item; deadline?: number }[]
  readonly refusals: { item: Item; code: 'LEASE_LOST' | 'ACK_OUT_OF_RANGE' }[]
  readonly deliveries: Delivery[]
  readonly dead: DeadJob[]
}

/** A move while it is being decided. */
export class QueueDraft {
  readonly queue: QueueState
  readonly time: number
  readonly #acked: OffsetRange[] = []
  readonly #returned: QueueReturn[] = []
  readonly extended: QueueExtension[] = []
  readonly claims: QueueClaim[] = []
  /** What is acked or given back here; a later word on it comes too late. */
  readonly taken = new OffsetRanges()
  frontier: number
  nextLeaseId: number
  reason: QueueReason = QUEUE_REASON.settled
  /** Ranges that were gone through for it. */
  work = 0

  constructor(queue: QueueState, time: number) {
    this.queue = queue
    this.time = time
    this.frontier = queue.frontier
    this.nextLeaseId = queue.nextLeaseId
  }

  ack({ from, to }: OffsetRange): void {
    this.#acked.push({ from, to })
    this.taken.add({ from, to })
  }

  giveBack(range: QueueReturn): void {
    this.#returned.push(range)
    this.taken.add(range)
  }

  move(): QueueMove | undefined {
    const { claims, extended, frontier, nextLeaseId, reason } = this
    const changes = this.#acked.length + this.#returned.length + extended.length + claims.length
    if (changes === 0 && frontier === this.queue.frontier) return undefined
    const acked = joined(this.#acked)
    return {
      floor0: this.queue.floor,
      frontier,
      nextLeaseId,
      claims,
      acked,
      returned: this.#returned,
      extended,
      reason,
    }
  }
}
