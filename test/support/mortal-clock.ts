import { type Clock, systemClock, type Timer } from '../../broker/platform/clock.js'

/** The machine's clock for one life of a process: once it has died no timer fires any more. */
export class MortalClock implements Clock {
  #isDead = false

  now(): number {
    return systemClock.now()
  }

  monotonic(): number {
    return systemClock.monotonic()
  }

  setTimer(fn: () => void, ms: number, options?: { unref?: boolean }): Timer {
    return systemClock.setTimer(() => void (this.#isDead || fn()), ms, options)
  }

  get isDead(): boolean {
    return this.#isDead
  }

  die(): void {
    this.#isDead = true
  }
}
