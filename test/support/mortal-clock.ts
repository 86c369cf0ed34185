import { type Clock, systemClock, type Timer } from '../../broker/platform/clock.js'

/** Where the time of faster clocks begins: it goes on from one life to the next. */
const originMs = systemClock.now()
const originMonotonicMs = systemClock.monotonic()

/** The machine's clock for one life of a process: once it has died no timer fires any more. It may run faster. */
export class MortalClock implements Clock {
  readonly #speed: number
  readonly #timers = new Set<Timer>()
  #isDead = false

  constructor({ speed = 1 }: { speed?: number } = {}) {
    this.#speed = speed
  }

  now(): number {
    return Math.floor(originMs + (systemClock.now() - originMs) * this.#speed)
  }

  monotonic(): number {
    return (systemClock.monotonic() - originMonotonicMs) * this.#speed
  }

  setTimer(fn: () => void, ms: number, options?: { unref?: boolean }): Timer {
    const run = (): void => {
      this.#timers.delete(timer)
      if (!this.#isDead) fn()
    }
    const timer = systemClock.setTimer(run, ms / this.#speed, options)
    if (this.#isDead) timer.cancel()
    else this.#timers.add(timer)
    return timer
  }

  get isDead(): boolean {
    return this.#isDead
  }

  die(): void {
    this.#isDead = true
    // Each would keep its dead life in memory until it fires.
    for (const timer of this.#timers) timer.cancel()
    this.#timers.clear()
  }
}
