import type { Clock, Timer } from '../broker/platform/clock.js'

/** A clock for one life of a broker: after its end none of its timers fires. */
export class MortalClock implements Clock {
  readonly #clock: Clock
  readonly #timers = new Set<Timer>()
  #isOver = false

  constructor(clock: Clock) {
    this.#clock = clock
  }

  now(): number {
    return this.#clock.now()
  }

  monotonic(): number {
    return this.#clock.monotonic()
  }

  setTimer(fn: () => void, ms: number, options?: { unref?: boolean }): Timer {
    if (this.#isOver) return { cancel: () => {} }
    const inner = this.#clock.setTimer(
      () => {
        this.#timers.delete(timer)
        fn()
      },
      ms,
      options,
    )
    const timer = {
      cancel: () => {
        this.#timers.delete(timer)
        inner.cancel()
      },
    }
    this.#timers.add(timer)
    return timer
  }

  end(): void {
    this.#isOver = true
    for (const timer of [...this.#timers]) timer.cancel()
  }
}
