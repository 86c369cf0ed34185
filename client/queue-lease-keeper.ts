import { MillraceError } from '../protocol/error-codes.js'
import type { Clock, Timer } from './clock.js'
import type { HeldJob, SettlementCaller } from './held-job.js'
import type { QueueLeases } from './queue-leases.js'
import { NOBODY, type QueueSettlements } from './queue-settlements.js'

export interface LeaseKeeperOptions {
  readonly clock: Clock
  readonly leases: QueueLeases
  readonly settlements: QueueSettlements
  /** Until the broker says what it grants. */
  readonly leaseMs: number
  /** The job is another's, or will be. */
  readonly lost: (job: HeldJob, error: MillraceError) => void
}

/** After a blocked event loop timers run before what has come is read: then one more look decides. */
const LAST_LOOK_MS = 250

/**
 * Keeps the leases of all jobs that wait or are worked on: every third of a lease it extends those that have had a third of
 * theirs. As long as the worker is joined the broker alone says which leases are lost: an extension may have been granted, or the
 * answer be here and not read yet. Out of reach the local clock says it. Its deadlines are never too early.
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
    if (!this.#isJoined) return
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

  extend(job: HeldJob, ms: number, caller: SettlementCaller): void {
    const { clock, settlements, lost } = this.#options
    // Meanwhile none goes out by itself, which might shorten it.
    job.isExtending = true
    settlements.add({
      kind: 'extend',
      job,
      ms,
      reason: null,
      caller: {
        done: () => {
          job.isExtending = false
          job.deadlineMs = Math.max(job.deadlineMs, clock.monotonic() + ms)
          caller.done()
        },
        refused: (error) => {
          job.isExtending = false
          // What is being settled has its own answer.
          const isHeld = job.state === 'waiting' || job.state === 'started'
          if (error.code === 'LEASE_LOST' && isHeld) lost(job, error)
          caller.refused(error)
        },
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
    if (this.#isJoined) {
      this.#timer = clock.setTimer(() => {
        this.#extendDue()
        this.#rearm()
      }, this.#leaseMs / 3)
      return
    }
    // Out of reach nothing can be extended: then the first deadline counts.
    const delayMs = Math.max(1, leases.firstDeadlineMs - clock.monotonic())
    this.#timer = clock.setTimer(() => this.#lookOnceMore(), delayMs)
  }

  #lookOnceMore(): void {
    const { clock } = this.#options
    const expiredAtMs = clock.monotonic()
    this.#timer = clock.setTimer(() => {
      this.#dropExpired(expiredAtMs)
      this.#rearm()
    }, LAST_LOOK_MS)
  }

  /** Those that had expired by then. */
  #dropExpired(byMs: number): void {
    const { leases, settlements, lost } = this.#options
    const isExpired = (job: HeldJob): boolean => job.deadlineMs <= byMs
    const error = new MillraceError('LEASE_LOST', {
      message: 'the lease ran out while the broker was out of reach',
    })
    for (const job of leases.jobsIn('waiting', 'started')) if (isExpired(job)) lost(job, error)
    settlements.refuse(isExpired, error)
  }

  #extendDue(): void {
    const enoughMs = this.#options.clock.monotonic() + (2 * this.#leaseMs) / 3
    for (const job of this.#kept()) {
      if (job.deadlineMs <= enoughMs && !job.isExtending) this.#extendByItself(job)
    }
  }

  #extendByItself(job: HeldJob): void {
    this.extend(job, this.#leaseMs, NOBODY)
  }
}
