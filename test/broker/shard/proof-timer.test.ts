import { beforeEach, describe, expect, test, vi } from 'vitest'
import { ProofTimer } from '../../../broker/shard/proof-timer.js'
import { ManualClock } from '../../support/manual-clock.js'

const IDLE_MS = 50

let clock: ManualClock
let dueAtMs: number[]
let timer: ProofTimer

beforeEach(() => {
  clock = new ManualClock()
  dueAtMs = []
  timer = new ProofTimer({ clock, idleMs: IDLE_MS, onDue: () => dueAtMs.push(clock.monotonic()) })
})

/** A group is written, and is the last one until the next. */
function group(): void {
  timer.disarm()
  timer.arm()
}

describe('the proof of the last group', () => {
  test('is due once, the idle time after it', () => {
    group()
    clock.advance(10 * IDLE_MS)
    expect(dueAtMs).toEqual([IDLE_MS])
  })

  test('is put off by each group, and due the idle time after the last of them', () => {
    for (let i = 0; i < 100; i++) {
      group()
      clock.advance(20)
    }
    expect(dueAtMs).toEqual([])
    clock.advance(10 * IDLE_MS)
    expect(dueAtMs).toEqual([99 * 20 + IDLE_MS])
  })

  test('is not put off by being asked for again', () => {
    timer.arm()
    clock.advance(IDLE_MS - 1)
    timer.arm()
    clock.advance(1)
    expect(dueAtMs).toEqual([IDLE_MS])
  })

  test('is not due while a group is being written, however long that takes', () => {
    group()
    clock.advance(10)
    timer.disarm()
    clock.advance(3 * IDLE_MS)
    expect(dueAtMs).toEqual([])
    timer.arm()
    clock.advance(IDLE_MS)
    expect(dueAtMs).toEqual([10 + 4 * IDLE_MS])
  })

  test('is due again after the next group', () => {
    group()
    clock.advance(2 * IDLE_MS)
    group()
    clock.advance(2 * IDLE_MS)
    expect(dueAtMs).toEqual([IDLE_MS, 3 * IDLE_MS])
  })

  test('costs no timer for each group', () => {
    const set = vi.spyOn(clock, 'setTimer')
    for (let i = 0; i < 1_000; i++) {
      group()
      clock.advance(1)
    }
    // One for each idle time that went by.
    expect(set.mock.calls.length).toBeLessThanOrEqual(1 + 1_000 / IDLE_MS)
    expect(clock.timers).toBe(1)
  })

  test('is never due after a stop, which leaves no timer', () => {
    group()
    timer.stop()
    expect(clock.timers).toBe(0)
    clock.advance(10 * IDLE_MS)
    expect(dueAtMs).toEqual([])
  })
})
