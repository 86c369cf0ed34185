import type { Scheduler } from './scheduler.js'

/** What a timer function of Node returns, as far as anyone looks. */
class VirtualTimer {
  readonly cancel: () => void

  constructor(cancel: () => void) {
    this.cancel = cancel
  }

  ref(): this {
    return this
  }

  unref(): this {
    return this
  }

  hasRef(): boolean {
    return true
  }

  [Symbol.toPrimitive](): number {
    throw new Error('a simulated timer is no number')
  }
}

/** Where simulated wall time begins. */
export const EPOCH_MS = Date.UTC(2026, 0, 1)

/**
 * Puts the scheduler in the place of the loop's timers, the clocks and Math.random, for everything in this process, the `ws`
 * package too; returns how to undo it. What runs in a simulation then finds no other time, even where it does not ask the
 * clock that it was given.
 */
export function installVirtualGlobals(scheduler: Scheduler, random: { fraction(): number }): () => void {
  const schedule =
    (kind: string) =>
    (fn: (...args: unknown[]) => void, ms: number, ...args: unknown[]): VirtualTimer => {
      const task = scheduler.after(ms, () => fn(...args), { kind })
      return new VirtualTimer(() => {
        task.isCancelled = true
      })
    }
  const clear = (timer: unknown): void => {
    if (timer instanceof VirtualTimer) timer.cancel()
  }
  const timeout = schedule('timeout')
  const immediate = schedule('immediate')
  const undo = [
    replace(globalThis, 'setTimeout', (fn: (...args: unknown[]) => void, ms = 1, ...args: unknown[]) =>
      timeout(fn, Math.max(1, ms), ...args),
    ),
    replace(globalThis, 'setImmediate', (fn: (...args: unknown[]) => void, ...args: unknown[]) =>
      immediate(fn, 0, ...args),
    ),
    replace(globalThis, 'setInterval', () => {
      throw new Error('nothing in a simulation may use setInterval')
    }),
    replace(globalThis, 'clearTimeout', clear),
    replace(globalThis, 'clearImmediate', clear),
    replace(Date, 'now', () => Math.floor(EPOCH_MS + scheduler.nowMs)),
    replace(performance, 'now', () => scheduler.nowMs),
    replace(Math, 'random', () => random.fraction()),
  ]
  return () => {
    for (const step of undo.reverse()) step()
  }
}

function replace(host: object, name: string, value: unknown): () => void {
  const before = Object.getOwnPropertyDescriptor(host, name)
  Object.defineProperty(host, name, { value, configurable: true, writable: true })
  return () => {
    if (before === undefined) delete (host as Record<string, unknown>)[name]
    else Object.defineProperty(host, name, before)
  }
}
