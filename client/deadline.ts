import type { Clock } from './clock.js'

/**
 * A pause that ends early when one of the signals aborts: by throwing the reason of `signal`, or just so when `hurry` does.
 */
export function pause(
  ms: number,
  clock: Clock,
  { signal, hurry }: { signal: AbortSignal | undefined; hurry: AbortSignal },
): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason)
    if (hurry.aborted) return resolve()
    const end = (): void => {
      timer.cancel()
      signal?.removeEventListener('abort', end)
      hurry.removeEventListener('abort', end)
      if (signal?.aborted) reject(signal.reason)
      else resolve()
    }
    const timer = clock.setTimer(end, ms)
    signal?.addEventListener('abort', end, { once: true })
    hurry.addEventListener('abort', end, { once: true })
  })
}

/** What `promise` settles with, unless the signal aborts first: then its reason is thrown and the promise left alone. */
export function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      promise.catch(() => {})
      return reject(signal.reason)
    }
    const aborted = (): void => reject(signal.reason)
    signal.addEventListener('abort', aborted, { once: true })
    const unlisten = (): void => signal.removeEventListener('abort', aborted)
    promise.then(
      (value) => {
        unlisten()
        resolve(value)
      },
      (error) => {
        unlisten()
        reject(error)
      },
    )
  })
}
