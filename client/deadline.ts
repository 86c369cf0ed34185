import type { Clock } from './clock.js'

/** A pause that ends early, by throwing the signal's reason, when the signal aborts. */
export function pause(ms: number, clock: Clock, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason)
    const aborted = (): void => {
      timer.cancel()
      reject(signal?.reason)
    }
    const timer = clock.setTimer(() => {
      signal?.removeEventListener('abort', aborted)
      resolve()
    }, ms)
    signal?.addEventListener('abort', aborted, { once: true })
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
