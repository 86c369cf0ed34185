import { describe, expect, test } from 'vitest'
import { BrokerTime } from '../../../broker/shard/broker-time.js'
import { ManualClock } from '../../support/manual-clock.js'
import { SeededRandom } from '../../support/seeded-random.js'

const HOUR_MS = 3_600_000
const START = Date.UTC(2026, 0, 1)

const setBackAnHour = (clock: ManualClock): void => clock.jumpTo(clock.now() - HOUR_MS)

describe('broker time', () => {
  test('is the wall clock, whichever way it goes forward', () => {
    const clock = new ManualClock(START)
    const time = new BrokerTime(clock, 0)
    expect(time.now()).toBe(START)
    clock.advance(7)
    expect(time.now()).toBe(START + 7)
    clock.jumpTo(START + HOUR_MS)
    expect(time.now()).toBe(START + HOUR_MS)
  })

  test('begins at the last logged time when the wall clock is before it', () => {
    const clock = new ManualClock(START)
    const time = new BrokerTime(clock, START + HOUR_MS)
    expect(time.now()).toBe(START + HOUR_MS)
    clock.advance(1000)
    expect(time.now()).toBe(START + HOUR_MS + 500)
  })

  test('goes on at half speed when the wall clock jumped back, however often it is asked', () => {
    const clock = new ManualClock(START)
    const time = new BrokerTime(clock, 0)
    time.now()
    setBackAnHour(clock)
    for (let i = 0; i < 1000; i++) {
      clock.advance(1)
      time.now()
    }
    expect(time.now()).toBe(START + 500)
    clock.advance(1000)
    expect(time.now()).toBe(START + 1000)
  })

  test('has caught up with a jump of an hour after two hours', () => {
    const clock = new ManualClock(START)
    const time = new BrokerTime(clock, 0)
    time.now()
    setBackAnHour(clock)
    clock.advance(2 * HOUR_MS - 1000)
    expect(time.now()).toBe(START + HOUR_MS - 500)
    expect(time.now()).toBeGreaterThan(clock.now())
    clock.advance(1000)
    expect(time.now()).toBe(clock.now())
    clock.advance(1000)
    expect(time.now()).toBe(clock.now())
  })

  test('never falls, never stands still for long, and is never behind the wall clock', () => {
    for (let seed = 1; seed <= 200; seed++) {
      const random = new SeededRandom(seed)
      const clock = new ManualClock(START)
      const time = new BrokerTime(clock, START + random.below(2000) - 1000)
      let last = time.now()
      for (let i = 0; i < 200; i++) {
        if (random.chance(0.1)) clock.jumpTo(clock.now() + random.below(2 * HOUR_MS) - HOUR_MS)
        const passedMs = random.below(5_000) / 100
        clock.advance(passedMs)
        const now = time.now()
        const what = `seed ${seed}, step ${i}`
        expect(Number.isSafeInteger(now), what).toBe(true)
        expect(now, what).toBeGreaterThanOrEqual(last + Math.floor(passedMs / 2))
        expect(now, what).toBeGreaterThanOrEqual(clock.now())
        last = now
      }
    }
  })
})
