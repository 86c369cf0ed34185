import { inNextTurn } from '#socket'
import type { Clock } from './clock.js'

/** So long code may go on with what is at hand before sockets and timers have their turn. */
const TURN_MS_MAX = 2

/** Tells code that need not wait for anything when it should, so that it does not keep the event loop for itself. */
export class Turn {
  readonly #clock: Clock
  #isCounted = false
  #endMs = 0

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Whether this turn of the event loop has lasted for long enough since it was first asked. */
  get isOver(): boolean {
    const nowMs = this.#clock.monotonic()
    if (this.#isCounted) return nowMs >= this.#endMs
    this.#isCounted = true
    this.#endMs = nowMs + TURN_MS_MAX
    inNextTurn(() => {
      this.#isCounted = false
    })
    return false
  }

  /** Resolves in the next one. */
  next(): Promise<void> {
    return new Promise(inNextTurn)
  }
}
