import type { Random } from './random.js'

export interface BackoffOptions {
  readonly random: Random
  /** Upper bound of the first delay. */
  readonly baseMs: number
  readonly capMs: number
}

/**
 * Exponential backoff with full jitter: anything between 0 and a bound that doubles. So a thousand clients that lost
 * the same broker do not come back in waves.
 */
export class Backoff {
  readonly #options: BackoffOptions
  #attempts = 0

  constructor(options: BackoffOptions) {
    this.#options = options
  }

  /** Delays drawn since the last reset. */
  get attempts(): number {
    return this.#attempts
  }

  nextDelayMs(): number {
    const { random, baseMs, capMs } = this.#options
    const bound = Math.min(capMs, baseMs * 2 ** Math.min(this.#attempts, 30))
    this.#attempts++
    return random.fraction() * bound
  }

  reset(): void {
    this.#attempts = 0
  }
}
