import { describe, expect, it, vi } from 'vitest'
import { ManualClock } from '../../testing/manual-clock.js'
import { runModule } from './node-child.js'

const MINUTE = 60_000

describe('ManualClock', () => {
  it('begins at the time it is given, and at the machine’s without one', () => {
    const now = Date.UTC(2030, 0, 1)
    // They go on while this is read: by minutes on no machine.
    expect(new ManualClock({ now }).now() - now).toBeLessThan(MINUTE)
    expect(new ManualClock({ now: new Date(now) }).now() - now).toBeLessThan(MINUTE)
    expect(Math.abs(new ManualClock().now() - Date.now())).toBeLessThan(MINUTE)
    expect(() => new ManualClock({ now: Number.NaN })).toThrow(RangeError)
  })

  it('goes as the machine does by itself, and fires timers in time', async () => {
    const clock = new ManualClock()
    const fired = new Promise<number>((resolve) => clock.setTimer(() => resolve(clock.monotonic()), 30))
    const dueMs = clock.monotonic() + 30
    expect(await fired).toBeGreaterThanOrEqual(dueMs - 1)
    expect(await fired).toBeLessThanOrEqual(clock.monotonic())
  })

  it('moves wall clock and monotonic time by what it is told, at once', async () => {
    const clock = new ManualClock()
    const [wallMs, monotonicMs, startedMs] = [clock.now(), clock.monotonic(), performance.now()]
    await clock.advance(10 * MINUTE)
    for (const movedMs of [clock.now() - wallMs, clock.monotonic() - monotonicMs]) {
      expect(movedMs).toBeGreaterThanOrEqual(10 * MINUTE - 1)
      expect(movedMs).toBeLessThanOrEqual(10 * MINUTE + performance.now() - startedMs + 1)
    }
  })

  it('fires timers in the order of their times, each at its own, with those that they set', async () => {
    const clock = new ManualClock()
    const fired: [name: string, atMs: number][] = []
    const [startMs, startedMs] = [clock.monotonic(), performance.now()]
    const set = (name: string, ms: number, then?: () => void): void => {
      clock.setTimer(() => {
        fired.push([name, Math.round(clock.monotonic() - startMs)])
        then?.()
      }, ms)
    }
    set('late', 9_000)
    set('first', 1_000, () => set('set by first', 3_000))
    set('second', 2_000)
    set('also second', 2_000)
    set('never', 20_000)
    await clock.advance(10_000)
    const tookMs = Math.ceil(performance.now() - startedMs) + 1
    const names = ['first', 'second', 'also second', 'set by first', 'late']
    expect(fired.map(([name]) => name)).toEqual(names)
    const dueMs = [1_000, 2_000, 2_000, 4_000, 9_000]
    for (const [index, [, atMs]] of fired.entries()) {
      expect(atMs).toBeGreaterThanOrEqual(dueMs[index] as number)
      expect(atMs).toBeLessThanOrEqual((dueMs[index] as number) + tookMs)
    }
  })

  it('lets promises that a timer settles set further timers before the next one fires', async () => {
    const clock = new ManualClock()
    const fired: string[] = []
    clock.setTimer(() => {
      void Promise.resolve()
        .then(() => new Promise((resolve) => setImmediate(resolve)))
        .then(() => clock.setTimer(() => fired.push('between'), 500))
    }, 1_000)
    clock.setTimer(() => fired.push('after'), 2_000)
    await clock.advance(3_000)
    expect(fired).toEqual(['between', 'after'])
  })

  it('lets them do so too where the process stands still meanwhile', async () => {
    const clock = new ManualClock()
    const fired: string[] = []
    const standStill = (): void => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2_200)
    clock.setTimer(() => {
      setImmediate(() => {
        standStill()
        setImmediate(() => clock.setTimer(() => fired.push('between'), 500))
      })
    }, 1_000)
    clock.setTimer(() => fired.push('after'), 2_000)
    await clock.advance(3_000)
    expect(fired).toEqual(['between', 'after'])
  })

  it('does not fire what was cancelled, nor what is not due', async () => {
    const clock = new ManualClock()
    const fired = vi.fn()
    const cancelled = clock.setTimer(fired, 1_000)
    const late = clock.setTimer(fired, 60_000)
    cancelled.cancel()
    cancelled.cancel()
    await clock.advance(50_000)
    expect(fired).not.toHaveBeenCalled()
    await clock.advance(10_000)
    expect(fired).toHaveBeenCalledTimes(1)
    late.cancel()
  })

  it('fires by itself what an advance left for later', async () => {
    const clock = new ManualClock()
    const fired = vi.fn()
    clock.setTimer(fired, 10_000)
    await clock.advance(9_980)
    await expect.poll(() => fired.mock.calls.length, { interval: 5 }).toBe(1)
  })

  it('takes calls of advance in turns', async () => {
    const clock = new ManualClock()
    const [startMs, startedMs] = [clock.monotonic(), performance.now()]
    const ends: number[] = []
    const advance = (ms: number): Promise<void> =>
      clock.advance(ms).then(() => void ends.push(Math.round(clock.monotonic() - startMs)))
    await Promise.all([advance(10_000), advance(20_000), advance(30_000)])
    const tookMs = Math.ceil(performance.now() - startedMs) + 1
    expect(ends).toHaveLength(3)
    for (const [index, dueMs] of [10_000, 30_000, 60_000].entries()) {
      expect(ends[index]).toBeGreaterThanOrEqual(dueMs)
      expect(ends[index]).toBeLessThanOrEqual(dueMs + tookMs)
    }
  })

  it('rejects with what a timer throws, and goes on', async () => {
    const clock = new ManualClock()
    const fired = vi.fn()
    clock.setTimer(() => {
      throw new Error('no')
    }, 1_000)
    clock.setTimer(fired, 2_000)
    await expect(clock.advance(5_000)).rejects.toThrow('no')
    await clock.advance(5_000)
    expect(fired).toHaveBeenCalledTimes(1)
  })

  it.each([-1, Number.NaN, Number.POSITIVE_INFINITY])('refuses to move by %s ms', (ms) => {
    expect(() => new ManualClock().advance(ms)).toThrow(RangeError)
  })

  it('is not moved by a test that puts its own timers in place of the machine’s', async () => {
    const clock = new ManualClock()
    vi.useFakeTimers()
    try {
      const fired = vi.fn()
      clock.setTimer(fired, 5_000)
      await clock.advance(5_000)
      expect(fired).toHaveBeenCalledTimes(1)
    } finally {
      vi.useRealTimers()
    }
  })

  it('does not wait for ever for work that never comes to rest', async () => {
    const clock = new ManualClock()
    const { port1, port2 } = new MessageChannel()
    port2.onmessage = () => port2.postMessage(0)
    port1.onmessage = () => port1.postMessage(0)
    port1.postMessage(0)
    try {
      await clock.advance(0)
    } finally {
      port1.close()
    }
  })
})

describe('the timers of a ManualClock', () => {
  const script = (timers: string): string =>
    `import { ManualClock } from 'millrace/testing'\nconst clock = new ManualClock()\n${timers}`

  it('do not keep the process alive when nobody asks for it', async () => {
    const ended = await runModule(script('clock.setTimer(() => {}, 600_000, { unref: true })'))
    expect(ended).toEqual({ code: 0, stdout: '', stderr: '' })
  })

  it('keep it alive otherwise, until they fire or are cancelled', async () => {
    const ended = await runModule(
      script(`
        clock.setTimer(() => {}, 600_000, { unref: true })
        clock.setTimer(() => {}, 600_000).cancel()
        clock.setTimer(() => console.log('fired'), 50)`),
    )
    expect(ended).toEqual({ code: 0, stdout: 'fired\n', stderr: '' })
  })
})
