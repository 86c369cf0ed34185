import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { systemClock } from '../../../broker/platform/clock.js'
import { ManualClock } from '../../support/manual-clock.js'

describe('systemClock', () => {
  beforeEach(() => void vi.useFakeTimers())
  afterEach(() => void vi.useRealTimers())

  it('fires a timer once and a cancelled one never', () => {
    const fired = vi.fn()
    systemClock.setTimer(fired, 10)
    systemClock.setTimer(fired, 10).cancel()
    vi.advanceTimersByTime(100)
    expect(fired).toHaveBeenCalledTimes(1)
  })

  it('waits out a delay that is longer than one timeout of Node can be', () => {
    const fired = vi.fn()
    const sixtyDaysMs = 60 * 86_400_000
    systemClock.setTimer(fired, sixtyDaysMs)
    const cancelled = systemClock.setTimer(fired, sixtyDaysMs)
    vi.advanceTimersByTime(sixtyDaysMs - 1)
    expect(fired).not.toHaveBeenCalled()
    cancelled.cancel()
    vi.advanceTimersByTime(1)
    expect(fired).toHaveBeenCalledTimes(1)
  })
})

describe('ManualClock', () => {
  it('fires timers in order, each at its own time, with those that they set', () => {
    const clock = new ManualClock(1_000)
    const fired: [string, number][] = []
    const note = (name: string) => () => void fired.push([name, clock.now()])
    clock.setTimer(note('late'), 30)
    clock.setTimer(note('cancelled'), 15).cancel()
    clock.setTimer(() => {
      note('early')()
      clock.setTimer(note('nested'), 5)
    }, 10)
    clock.advance(29)
    expect(fired).toEqual([
      ['early', 1_010],
      ['nested', 1_015],
    ])
    clock.advance(1)
    expect(fired.at(-1)).toEqual(['late', 1_030])
    expect(clock.timers).toBe(0)
  })

  it('lets promises set further timers on the way', async () => {
    const clock = new ManualClock()
    const sleep = (ms: number) => new Promise<void>((resolve) => void clock.setTimer(resolve, ms))
    let done = false
    void (async () => {
      await sleep(10)
      await sleep(10)
      done = true
    })()
    await clock.advanceAndSettle(19)
    expect(done).toBe(false)
    await clock.advanceAndSettle(1)
    expect(done).toBe(true)
  })

  it('lets the wall clock jump back while monotonic time goes on', () => {
    const clock = new ManualClock(5_000)
    clock.advance(10)
    clock.jumpTo(1_000)
    clock.advance(10)
    expect([clock.now(), clock.monotonic()]).toEqual([1_010, 20])
  })
})
