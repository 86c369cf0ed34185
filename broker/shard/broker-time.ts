import type { Clock } from '../platform/clock.js'

/** How fast broker time goes while it is ahead of the wall clock, which so catches up. */
const AHEAD_RATE = 1 / 2

/**
 * Broker time: the wall clock, but it never falls. Where the wall clock jumped back it goes on at half speed, by the
 * monotonic clock, until the wall clock has caught up: deadlines come later by then, but they come.
 */
export class BrokerTime {
  readonly #clock: Clock
  /** The last time that was the wall clock's or the log's, and when it was said by the monotonic clock. */
  #fromMs: number
  #saidAtMs: number

  /** Begins no earlier than `loggedMs`, the time of the last group in the log. */
  constructor(clock: Clock, loggedMs: number) {
    this.#clock = clock
    this.#fromMs = loggedMs
    this.#saidAtMs = clock.monotonic()
  }

  /** Milliseconds since 1970, whole ones. */
  now(): number {
    const wallMs = this.#clock.now()
    const monotonicMs = this.#clock.monotonic()
    const leastMs = this.#fromMs + (monotonicMs - this.#saidAtMs) * AHEAD_RATE
    if (wallMs < leastMs) return Math.floor(leastMs)
    this.#fromMs = wallMs
    this.#saidAtMs = monotonicMs
    return wallMs
  }
}
