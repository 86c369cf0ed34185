import { describe, expect, test } from 'vitest'
import { failpointNames } from '../../broker/platform/failpoints.js'
import { FIRST_SEED, SEEDS_PER_FAULT_MAX, STEPS as steps } from './ci-seeds.js'
import { describeFailure, replayCommand } from './failure-report.js'
import { type SimulationReport, simulate } from './simulation.js'

const first = Number(process.env.MILLRACE_SEED ?? FIRST_SEED)
const seeds = Number(process.env.MILLRACE_SEEDS ?? 8)
/** So often at least every failpoint is passed, over as many seeds as CI simulates. */
const HITS_MIN = 50

/** Why a run failed, and how to run it again; undefined when all promises were kept. */
function fault({ seed, failure, violations }: SimulationReport): string | undefined {
  if (failure === undefined && violations.length === 0) return undefined
  const why = failure === undefined ? JSON.stringify(violations[0], undefined, 2) : describeFailure(failure)
  return `seed ${seed} (replay: ${replayCommand({ seed, steps })})\n${why}`
}

describe('broker and clients in a simulated world', () => {
  test(`keep every promise while the world breaks, over ${seeds} seeds`, { timeout: 3_600_000 }, async () => {
    const sum = { crashes: 0, faults: {} as Record<string, number>, events: 0, acknowledged: 0 }
    const hits = Object.fromEntries(failpointNames.map((name) => [name, 0]))
    for (let seed = first; seed < first + seeds; seed++) {
      const report = await simulate({ seed, steps })
      expect(fault(report)).toBeUndefined()
      sum.crashes += report.ends.powerCut + report.ends.kill
      sum.events += report.history.length
      sum.acknowledged += report.history.filter(({ type }) => type === 'written' || type === 'done').length
      for (const name of failpointNames) hits[name] = (hits[name] ?? 0) + (report.failpointHits[name] ?? 0)
      for (const [name, count] of Object.entries(report.faults))
        sum.faults[name] = (sum.faults[name] ?? 0) + count
    }
    console.log(`simulated: ${JSON.stringify(sum)}`)
    // Otherwise the runs prove less than they say.
    expect(sum.crashes).toBeGreaterThan(2 * seeds)
    expect(sum.acknowledged).toBeGreaterThan(50 * seeds)
    const rare = Object.entries(hits).filter(([, count]) => count < HITS_MIN)
    if (seeds >= SEEDS_PER_FAULT_MAX) expect(rare).toEqual([])
  })

  test('are the same run, event by event, whenever the seed is the same', { timeout: 300_000 }, async () => {
    // Streams, events, chunks over HTTP, and none of them.
    const seeds = [2, 7, 13, 3]
    const runs = async () => {
      const reports: SimulationReport[] = []
      for (const seed of seeds) reports.push(await simulate({ seed, steps: 1_500 }))
      return reports
    }
    const [once, again] = [await runs(), await runs()]
    expect(again.map(({ traceHash }) => traceHash)).toEqual(once.map(({ traceHash }) => traceHash))
    expect(again.map(({ history }) => history)).toEqual(once.map(({ history }) => history))
    expect(new Set(once.map(({ traceHash }) => traceHash)).size).toBe(seeds.length)
  })

  test('leave the clocks and timers of this process as they were', async () => {
    const before = [setTimeout, setImmediate, Date.now, Math.random, performance.now]
    await simulate({ seed: 1, steps: 100 })
    expect([setTimeout, setImmediate, Date.now, Math.random, performance.now]).toEqual(before)
  })
})
