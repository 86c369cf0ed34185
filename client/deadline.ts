import type { Clock } from './clock.js'

/** Says once that something ends. Any number may listen; of an AbortSignal with more than ten listeners Node warns. */
export class Ending {
  #isOver = false
  readonly #listeners = new Set<() => void>()

  get isOver(): boolean {
    return this.#isOver
  }

  end(): void {
    this.#isOver = true
    for (const listener of [...this.#listeners]) listener()
    this.#listeners.clear()
  }

  listen(listener: () => void): void {
    this.#listeners.add(listener)
  }

  /** Resolves when it ends. */
  promise(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#isOver) resolve()
      else this.listen(resolve)
    })
  }

  unlisten(listener: () => void): void {
    this.#listeners.delete(listener)
  }
}

/** A pause that ends early: by throwing the reason of `signal` when that aborts, or just so when `hurry` says so. */
export function pause(
  ms: number,
  clock: Clock,
  { signal, hurry }: { signal: AbortSignal | undefined; hurry: Ending },
): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason)
    if (hurry.isOver) return resolve()
    const end = (): void => {
      timer.cancel()
      signal?.removeEventListener('abort', end)
      hurry.unlisten(end)
      if (signal?.aborted) reject(signal.reason)
      else resolve()
    }
    const timer = clock.setTimer(end, ms)
    signal?.addEventListener('abort', end, { once: true })
    hurry.listen(end)
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
