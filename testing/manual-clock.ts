import { performance as machine } from 'node:perf_hooks'
import type { Clock, Timer } from '../broker/platform/clock.js'
import { hasPendingWork } from './pending-work.js'

// Taken now: a test may put its own in their place later.
const { setTimeout, clearTimeout, setImmediate } = globalThis
const machineMs = machine.now.bind(machine)

export interface ManualClockOptions {
  /** What the wall clock says at first; default the machine's time. */
  readonly now?: number | Date
}

interface Pending {
  readonly dueMs: number
  readonly order: number
  readonly fn: () => void
  readonly isRef: boolean
}

/** Turns of the event loop without a sign of life after which nothing is under way any more. */
const QUIET_TURNS = 4
/** One for what goes on in a turn of its own, and one to see what came of it. */
const QUIET_TURNS_AT_FIRST = 2
/** Real time after which work that does not come to rest is no longer waited for. */
const SETTLE_MS_MAX = 2_000
/** What one turn of the loop counts at most: while the process stands still, nothing can come to rest. */
const TURN_MS_MAX = 50
/** Node fires a longer timeout at once. */
const TIMEOUT_MS_MAX = 2 ** 31 - 1

/**
 * A clock that a test moves. By itself it goes as the machine's does, so that what waits a moment (a batch, a reconnect) needs
 * no help; `advance` moves it on at once. Brokers that share one clock, and their clients, move together.
 */
export class ManualClock implements Clock {
  /** Wall clock at the monotonic zero. */
  readonly #startedAt: number
  readonly #pending = new Set<Pending>()
  #order = 0
  #refs = 0
  /** Monotonic time minus the machine's. */
  #aheadMs: number
  /** The time, while it is being moved: then it goes by steps alone. */
  #stoodAtMs: number | undefined
  #timeout: NodeJS.Timeout | undefined
  #timeoutDueMs = Number.POSITIVE_INFINITY
  #advancing: Promise<void> = Promise.resolve()

  constructor(options: ManualClockOptions = {}) {
    this.#startedAt = Number(options.now ?? Date.now())
    if (!Number.isFinite(this.#startedAt)) throw new RangeError('now is not a time')
    this.#aheadMs = -machineMs()
  }

  /** Wall clock, milliseconds since 1970. */
  now(): number {
    return Math.floor(this.#startedAt + this.monotonic())
  }

  /** Milliseconds since the clock was made. */
  monotonic(): number {
    return this.#stoodAtMs ?? machineMs() + this.#aheadMs
  }

  /** Calls `fn` once after `ms` of this clock. With `unref` the timer alone does not keep the process alive. */
  setTimer(fn: () => void, ms: number, options?: { unref?: boolean }): Timer {
    const dueMs = this.monotonic() + Math.max(0, ms)
    const pending = { dueMs, order: this.#order++, fn, isRef: options?.unref !== true }
    this.#pending.add(pending)
    if (pending.isRef) this.#refs++
    this.#arm(dueMs)
    return { cancel: () => this.#remove(pending) }
  }

  /**
   * Moves on by `ms`. Timers fire in the order of their times, each at its own, and those they set count too; after each one
   * what it began (on disks, between brokers and clients of this process) comes to its end first. Work of your own that waits
   * for something else is not waited for. Resolves when the time has come; calls take turns. An hour takes about a second.
   * Throws a RangeError for what is no length of time.
   */
  advance(ms: number): Promise<void> {
    if (!(ms >= 0 && Number.isFinite(ms))) throw new RangeError(`time cannot be moved by ${ms} ms`)
    const advanced = this.#advancing.then(() => this.#advance(ms))
    this.#advancing = advanced.catch(() => {})
    return advanced
  }

  async #advance(ms: number): Promise<void> {
    const untilMs = this.monotonic() + ms
    this.#stoodAtMs = this.monotonic()
    this.#disarm()
    try {
      await settled()
      for (let next = this.#next(untilMs); next !== undefined; next = this.#next(untilMs)) {
        this.#stoodAtMs = Math.max(this.#stoodAtMs, next.dueMs)
        this.#remove(next)
        next.fn()
        await settled()
      }
      this.#stoodAtMs = untilMs
    } finally {
      this.#aheadMs = this.#stoodAtMs - machineMs()
      this.#stoodAtMs = undefined
      this.#arm(this.#next()?.dueMs)
    }
  }

  #next(untilMs = Number.POSITIVE_INFINITY): Pending | undefined {
    let next: Pending | undefined
    for (const pending of this.#pending) {
      if (pending.dueMs > untilMs) continue
      // A set keeps the order in which they were set.
      if (next === undefined || pending.dueMs < next.dueMs) next = pending
    }
    return next
  }

  #remove(pending: Pending): void {
    if (!this.#pending.delete(pending) || !pending.isRef) return
    if (--this.#refs === 0) this.#timeout?.unref()
  }

  /** Sees to it that the machine wakes us at `dueMs` or before. */
  #arm(dueMs: number | undefined): void {
    if (dueMs === undefined || this.#stoodAtMs !== undefined) return
    if (dueMs < this.#timeoutDueMs) {
      this.#disarm()
      const waitMs = Math.max(0, Math.ceil(dueMs - this.monotonic()))
      this.#timeoutDueMs = dueMs
      this.#timeout = setTimeout(() => this.#fireDue(), Math.min(waitMs, TIMEOUT_MS_MAX))
    }
    if (this.#refs > 0) this.#timeout?.ref()
    else this.#timeout?.unref()
  }

  #disarm(): void {
    clearTimeout(this.#timeout)
    this.#timeout = undefined
    this.#timeoutDueMs = Number.POSITIVE_INFINITY
  }

  #fireDue(): void {
    this.#disarm()
    const nowMs = this.monotonic()
    try {
      for (let next = this.#next(nowMs); next !== undefined; next = this.#next(nowMs)) {
        this.#remove(next)
        next.fn()
      }
    } finally {
      this.#arm(this.#next()?.dueMs)
    }
  }
}

/**
 * Waits until what has begun is done: no operation of a disk is under way, and the event loop has met nothing new for some
 * turns. A few are enough where nothing began: what was sent within this process has arrived by then.
 */
async function settled(): Promise<void> {
  let waitedMs = 0
  let quietTurns = QUIET_TURNS - QUIET_TURNS_AT_FIRST
  for (;;) {
    const events = loopEvents()
    const begunMs = machineMs()
    await new Promise((resolve) => setImmediate(resolve))
    if (hasPendingWork() || loopEvents() !== events) quietTurns = 0
    else if (++quietTurns >= QUIET_TURNS) return
    waitedMs += Math.min(TURN_MS_MAX, machineMs() - begunMs)
    if (waitedMs > SETTLE_MS_MAX) return
  }
}

/** What sockets, files and other processes have reported so far. */
const loopEvents = (): number => machine.nodeTiming.uvMetricsInfo.events
