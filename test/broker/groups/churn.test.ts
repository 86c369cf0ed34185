import { describe, expect, it } from 'vitest'
import type { MemberId, TopicId } from '../../../protocol/ids.js'
import { ChurnMeter } from '../../support/churn-meter.js'
import { SimulatedGroup } from '../../support/simulated-group.js'

const orders = 'a'.repeat(32) as TopicId
const refunds = 'b'.repeat(32) as TopicId
const partitions = new Map([
  [orders, 40],
  [refunds, 24],
])
const seeds = process.env.MILLRACE_LONG === undefined ? 20 : 1000
const timeoutMs = process.env.MILLRACE_LONG === undefined ? 120_000 : 600_000
const firstSeed = Number(process.env.MILLRACE_SEED ?? 1)

/** 16 members, of whom one joins or leaves 200 times, `gapMs` apart on average. */
function churn(seed: number, gapMs: number, more: { isSlow?: number } = {}) {
  const meter = new ChurnMeter(64)
  const world = new SimulatedGroup({ seed, partitions, meter, ...more })
  const { random, members } = world
  for (let n = 0; n < 16; n++) world.join()
  world.run(1000)
  const settledAtFirst = meter.moved
  for (let changes = 0; changes < 200; changes++) {
    const canJoin = members.size < 16
    if (canJoin && (members.size < 4 || random.chance(0.5))) world.join()
    else world.leave(random.pick([...members.keys()] as MemberId[]))
    const untilNext = random.below(2 * gapMs)
    for (let acks = 0; acks < 4; acks++) {
      world.run(untilNext / 4)
      world.ack()
    }
  }
  world.run(10_000)
  world.checkSettled()
  return { world, meter, settledAtFirst }
}

function forEachSeed(check: (seed: number) => void): void {
  for (let seed = firstSeed; seed < firstSeed + seeds; seed++) {
    try {
      check(seed)
    } catch (error) {
      throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error })
    }
  }
}

describe('16 members that join and leave 200 times over 64 partitions', { timeout: timeoutMs }, () => {
  it('move the fewest partitions there can be, if one change is over before the next', () => {
    forEachSeed((seed) => {
      const { meter, settledAtFirst } = churn(seed, 3000)
      expect(settledAtFirst).toBe(0)
      expect(meter.moved).toBeLessThanOrEqual(1.05 * meter.fewest)
      expect(meter.moved).toBeGreaterThan(500)
    })
  })

  it('move at most 1.2 times the fewest when changes come in the middle of others', () => {
    forEachSeed((seed) => {
      const { meter } = churn(seed, 100)
      expect(meter.moved).toBeLessThanOrEqual(1.2 * meter.fewest)
    })
  })

  it('leave no partition unread for more than two seconds, though some let go late', () => {
    forEachSeed((seed) => {
      const { meter } = churn(seed, 300, { isSlow: 0.2 })
      expect(meter.pausedMsMax).toBeLessThan(2000)
      expect(meter.unread).toBe(0)
    })
  })

  it('fence nobody who lets go in time', () => {
    forEachSeed((seed) => {
      const { world } = churn(seed, 300)
      expect(world.acks).toBeGreaterThan(500)
      expect(world.fenced).toBe(0)
    })
  })

  it('end with equal shares', () => {
    forEachSeed((seed) => {
      const loads = churn(seed, 50).meter.loads()
      expect(Math.max(...loads) - Math.min(...loads)).toBeLessThanOrEqual(1)
    })
  })
})
