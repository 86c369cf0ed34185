/** A timer that has been set. `cancel` after it fired does nothing. */
export interface Timer {
  cancel(): void
}

/** Time, injected, so that tests need not wait. */
export interface Clock {
  /** Wall clock, milliseconds since 1970. */
  now(): number
  /** Milliseconds since some fixed moment; only grows. */
  monotonic(): number
  /** Calls `fn` once after `ms`. */
  setTimer(fn: () => void, ms: number): Timer
}

/** setTimeout fires at once when asked for more. */
const TIMEOUT_MS_MAX = 2 ** 31 - 1

/** The machine's clock. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  setTimer(fn, ms) {
    const timeout = setTimeout(fn, Math.min(Math.max(0, ms), TIMEOUT_MS_MAX))
    return { cancel: () => clearTimeout(timeout) }
  },
}
