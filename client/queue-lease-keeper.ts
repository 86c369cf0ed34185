import { MillraceError } from '../protocol/error-codes.js'
import type { Clock, Timer } from './clock.js'
import type { HeldJob, QueueLeases } from './queue-leases.js'
import type { QueueSettlements, Settlement } from './queue-settlements.js'

export interface LeaseKeeperOptions {
  readonly clock: Clock
  readonly leases: QueueLeases
  readonly settlements: QueueSettlements
  /** Until the broker says what it grants. */
  readonly leaseMs: number
  /** The job is another's, or will be. */
  readonly lost: (job: HeldJob, error: MillraceError) => void
}

/**
 * Keeps the leases of all jobs that wait or are worked on: every third of a lease it extends those that have had a third of
 * theirs. Deadlines are of the local clock and never too early: a job that is past its own is surely lost.
 */
export class LeaseKeeper {
  readonly #options: LeaseKeeperOptions
  #leaseMs: number
  #isJoined = false
  #isStopped = false
  #timer: Timer | undefined

  constructor(options: LeaseKeeperOptions) {
    this.#options = options
    this.#leaseMs = options.leaseMs
  }

  /** Of a job that is delivered now. */
  deadlineOfNew(): number {
    return this.#options.clock.monotonic() + this.#leaseMs
  }

  joined(leaseMs: number): void {
    this.#isJoined = true
    this.#leaseMs = leaseMs
    // How much is left of their leases, nobody here knows.
    for (const job of this.#kept()) this.#extendByItself(job)
    this.#rearm()
  }

  linkDown(): void {
    this.#isJoined = false
    this.#rearm()
  }

  /** There are leases to look after. */
  watch(): void {
    if (this.#timer === undefined) this.#rearm()
  }

  stop(): void {
    this.#isStopped = true
    this.#timer?.cancel()
  }

  extend(job: HeldJob, ms: number, caller: Pick<Settlement, 'done' | 'refused'>): void {
    const { clock, settlements, lost } = this.#options
    settlements.add({
      kind: 'extend',
      job,
      ms,
      reason: null,
      done: () => {
        job.deadlineMs = Math.max(job.deadlineMs, clock.monotonic() + ms)
        caller.done()
      },
      refused: (error) => {
        // What is being settled has its own answer.
        const isHeld = job.state === 'waiting' || job.state === 'started'
        if (error.code === 'LEASE_LOST' && isHeld) lost(job, error)
        caller.refused(error)
      },
    })
  }

  #kept(): HeldJob[] {
    return this.#options.leases.jobsIn('waiting', 'started', 'carried')
  }

  #rearm(): void {
    const { clock, leases } = this.#options
    this.#timer?.cancel()
    this.#timer = undefined
    if (leases.isEmpty || this.#isStopped) return
    // Out of reach nothing can be extended: then the first deadline counts.
    const remainingMs = this.#isJoined ? Number.POSITIVE_INFINITY : leases.firstDeadlineMs - clock.monotonic()
    const delayMs = Math.max(1, Math.min(this.#leaseMs / 3, remainingMs))
    this.#timer = clock.setTimer(() => {
      this.#dropExpired()
      if (this.#isJoined) this.#extendDue()
      this.#rearm()
    }, delayMs)
  }

  #dropExpired(): void {
    const { clock, leases, settlements, lost } = this.#options
    const nowMs = clock.monotonic()
    const isExpired = (job: HeldJob): boolean => job.deadlineMs <= nowMs
    const error = new MillraceError('LEASE_LOST', {
      message: 'the lease ran out while the broker was out of reach',
    })
    for (const job of leases.jobsIn('waiting', 'started')) if (isExpired(job)) lost(job, error)
    if (!this.#isJoined) settlements.refuse(isExpired, error)
  }

  #extendDue(): void {
    const enoughMs = this.#options.clock.monotonic() + (2 * this.#leaseMs) / 3
    for (const job of this.#kept()) {
      if (job.deadlineMs <= enoughMs && !job.isExtending) this.#extendByItself(job)
    }
  }

  #extendByItself(job: HeldJob): void {
    job.isExtending = true
    const answered = (): void => {
      job.isExtending = false
    }
    this.extend(job, this.#leaseMs, { done: answered, refused: answered })
  }
}
