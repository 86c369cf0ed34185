import { beforeEach, describe, expect, it } from 'vitest'
import { QueueCredit } from '../../client/queue-credit.js'

const MIB = 1024 * 1024
const NONE = { waiting: 0, waitingBytes: 0 }

let nowMs: number
beforeEach(() => {
  nowMs = 0
})

const creditOf = (prefetch: number | undefined): QueueCredit =>
  new QueueCredit({ prefetch, prefetchBytes: 8 * MIB, nowMs: () => nowMs })

/** Delivers all that there is credit for, jobs of 100 bytes, and starts each; returns how many that were. */
function workOff(credit: QueueCredit, given: number, msPerJob: number): number {
  credit.delivered(given, given * 100)
  for (let i = 0; i < given; i++) {
    nowMs += msPerJob
    credit.started()
  }
  return credit.due(NONE)
}

describe('the credit of a worker', () => {
  it('grows to what bridges the way to the broker when jobs are quick, and no further', () => {
    const credit = creditOf(undefined)
    let given = credit.begin(NONE)
    expect(given).toBe(32)
    for (let i = 0; i < 20; i++) given = workOff(credit, given, 0.001)
    expect(given).toBe(4096)
  })

  it('stays where jobs last as long as they should', () => {
    const credit = creditOf(undefined)
    let given = credit.begin(NONE)
    for (let i = 0; i < 20; i++) given = workOff(credit, given, 0.5)
    expect(given * 0.5).toBeGreaterThanOrEqual(40)
    expect(given * 0.5).toBeLessThanOrEqual(200)
  })

  it('shrinks again when jobs get slow, so that others may have them', () => {
    const credit = creditOf(undefined)
    let given = credit.begin(NONE)
    for (let i = 0; i < 20; i++) given = workOff(credit, given, 0.001)
    given = workOff(credit, given, 0.1)
    given = workOff(credit, given, 20)
    expect(given).toBe(32)
  })

  it('is what was asked for, however quick jobs are', () => {
    const credit = creditOf(50)
    let given = credit.begin(NONE)
    for (let i = 0; i < 20; i++) given = workOff(credit, given, 0.001)
    expect(given).toBe(50)
  })

  it('is bounded by the bytes that wait, whatever it has grown to', () => {
    const credit = creditOf(undefined)
    let given = credit.begin(NONE)
    for (let i = 0; i < 20; i++) given = workOff(credit, given, 0.001)
    credit.delivered(given, given * 100)
    expect(credit.due({ waiting: 1000, waitingBytes: 8 * MIB - 5_000 })).toBe(50)
  })
})
