/** A timer that has been set. `cancel` after it fired does nothing. */
export interface Timer {
  cancel(): void
}

/** Time, injected. Wall time may jump either way; monotonic time only grows. */
export interface Clock {
  /** Wall clock, milliseconds since 1970. */
  now(): number
  /** Milliseconds since some fixed moment, with a fraction. */
  monotonic(): number
  /** Calls `fn` once after `ms`. With `unref` the timer alone does not keep the process alive. */
  setTimer(fn: () => void, ms: number, options?: { unref?: boolean }): Timer
}

/** Node fires a longer timeout at once, so longer waits are made of several. */
const timeoutMsMax = 2 ** 31 - 1

/** The machine's clock. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  setTimer(fn, ms, options) {
    let timeout: NodeJS.Timeout
    const arm = (remainingMs: number): void => {
      const waitMs = Math.min(remainingMs, timeoutMsMax)
      timeout = setTimeout(() => (remainingMs > waitMs ? arm(remainingMs - waitMs) : fn()), waitMs)
      if (options?.unref) timeout.unref()
    }
    arm(ms)
    return { cancel: () => clearTimeout(timeout) }
  },
}
