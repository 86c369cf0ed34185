import type { Clock, Timer } from '../platform/clock.js'

/**
 * Calls back once the last group has been the last for some time. Each group puts that off, thousands of times in a second: so
 * the timer is not set anew for each, but runs to its end, looks, and waits for the rest.
 */
export class ProofTimer {
  readonly #clock: Clock
  readonly #idleMs: number
  readonly #onDue: () => void
  #timer: Timer | undefined
  /** Monotonic; undefined while nothing is to be proven. */
  #dueMs: number | undefined

  constructor(options: { clock: Clock; idleMs: number; onDue: () => void }) {
    this.#clock = options.clock
    this.#idleMs = options.idleMs
    this.#onDue = options.onDue
  }

  /** There is a group to prove; without effect when that was said before. */
  arm(): void {
    if (this.#dueMs !== undefined) return
    this.#dueMs = this.#clock.monotonic() + this.#idleMs
    if (this.#timer === undefined) this.#wait(this.#idleMs)
  }

  /** Another group comes: what was the last will not be it any more. */
  disarm(): void {
    this.#dueMs = undefined
  }

  /** For good. */
  stop(): void {
    this.disarm()
    this.#timer?.cancel()
    this.#timer = undefined
  }

  #wait(ms: number): void {
    this.#timer = this.#clock.setTimer(this.#look, ms, { unref: true })
  }

  readonly #look = (): void => {
    this.#timer = undefined
    if (this.#dueMs === undefined) return
    const restMs = this.#dueMs - this.#clock.monotonic()
    if (restMs > 0) {
      this.#wait(Math.ceil(restMs))
      return
    }
    this.#dueMs = undefined
    this.#onDue()
  }
}
