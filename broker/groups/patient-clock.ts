import type { Clock } from '../platform/clock.js'

/** The longest that passes between two ticks when all is well. */
const TICK_MS_MAX = 500

/**
 * Time as the members of groups can be held to it: it stands still while this process itself was held up (stopped, short
 * of memory, waiting for a disk). What they sent meanwhile still lies in the sockets, and timers fire before it is read.
 */
export class PatientClock {
  readonly #clock: Clock
  #tickedAtMs: number
  #passedMs = 0

  constructor(clock: Clock) {
    this.#clock = clock
    this.#tickedAtMs = clock.monotonic()
  }

  /** Milliseconds since some moment; only grows. */
  nowMs(): number {
    return this.#passedMs + Math.min(this.#sinceTickMs, TICK_MS_MAX)
  }

  /** To be called often. Returns how long the process was held up since the last call. */
  tick(): number {
    const heldUpMs = Math.max(0, this.#sinceTickMs - TICK_MS_MAX)
    this.#passedMs = this.nowMs()
    this.#tickedAtMs = this.#clock.monotonic()
    return heldUpMs
  }

  get #sinceTickMs(): number {
    return this.#clock.monotonic() - this.#tickedAtMs
  }
}
