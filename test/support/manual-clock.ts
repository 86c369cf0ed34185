import type { Clock, Timer } from '../../broker/platform/clock.js'

interface Pending {
  readonly dueMs: number
  readonly order: number
  readonly fn: () => void
}

/** A clock that moves only when told to. */
export class ManualClock implements Clock {
  #wallMs: number
  #monotonicMs = 0
  #order = 0
  readonly #pending = new Set<Pending>()

  constructor(startMs = Date.UTC(2026, 0, 1)) {
    this.#wallMs = startMs
  }

  now(): number {
    return Math.floor(this.#wallMs)
  }

  monotonic(): number {
    return this.#monotonicMs
  }

  setTimer(fn: () => void, ms: number): Timer {
    const pending = { dueMs: this.#monotonicMs + Math.max(0, ms), order: this.#order++, fn }
    this.#pending.add(pending)
    return { cancel: () => void this.#pending.delete(pending) }
  }

  /** Timers set and neither fired nor cancelled. */
  get timers(): number {
    return this.#pending.size
  }

  /** Moves on by `ms`, firing what falls due, in order and each at its own time; timers they set count as well. */
  advance(ms: number): void {
    const untilMs = this.#monotonicMs + ms
    for (let next = this.#nextDue(untilMs); next; next = this.#nextDue(untilMs)) this.#fire(next)
    this.#moveTo(untilMs)
  }

  /** As `advance`, but after each timer lets promises settle, and so set further timers, before the next. */
  async advanceAndSettle(ms: number): Promise<void> {
    const untilMs = this.#monotonicMs + ms
    await settled()
    for (let next = this.#nextDue(untilMs); next; next = this.#nextDue(untilMs)) {
      this.#fire(next)
      await settled()
    }
    this.#moveTo(untilMs)
    await settled()
  }

  /** As a process that is stopped for `ms`: nothing fires until it is over, and then all that fell due, late. */
  stall(ms: number): void {
    const untilMs = this.#monotonicMs + ms
    this.#moveTo(untilMs)
    for (let next = this.#nextDue(untilMs); next; next = this.#nextDue(untilMs)) {
      this.#pending.delete(next)
      next.fn()
    }
  }

  /** Sets the wall clock alone, as an administrator or NTP would: it may go back. Timers are not touched. */
  jumpTo(wallMs: number): void {
    this.#wallMs = wallMs
  }

  #nextDue(untilMs: number): Pending | undefined {
    let next: Pending | undefined
    for (const pending of this.#pending) {
      if (pending.dueMs > untilMs) continue
      if (
        !next ||
        pending.dueMs < next.dueMs ||
        (pending.dueMs === next.dueMs && pending.order < next.order)
      ) {
        next = pending
      }
    }
    return next
  }

  #fire(pending: Pending): void {
    this.#pending.delete(pending)
    this.#moveTo(pending.dueMs)
    pending.fn()
  }

  #moveTo(monotonicMs: number): void {
    this.#wallMs += monotonicMs - this.#monotonicMs
    this.#monotonicMs = monotonicMs
  }
}

function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
