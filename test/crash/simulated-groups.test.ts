import { describe, expect, test } from 'vitest'
import { runGroupsWorkload } from './simulated-groups-workload.js'

const first = Number(process.env.MILLRACE_SEED ?? 1)
const seeds = Number(process.env.MILLRACE_SEEDS ?? 3)

describe('groups whose broker loses what its disk had not synced', () => {
  test(`copy each input exactly once, and repeat and forget no ack, over ${seeds} seeds`, {
    timeout: 3_600_000,
  }, async () => {
    const totals = { lives: 0, inputs: 0, retried: 0, doubled: 0, jobsDone: 0, deadLetters: 0 }
    for (let seed = first; seed < first + seeds; seed++) {
      try {
        const { ends, ...counts } = await runGroupsWorkload({ seed, lives: 6 })
        totals.lives += ends['power cut'] + ends.kill
        for (const [name, count] of Object.entries(counts)) totals[name as keyof typeof counts] += count
      } catch (error) {
        throw new Error(`seed ${seed} (replay: MILLRACE_SEED=${seed} MILLRACE_SEEDS=1 npm run test:groups)`, {
          cause: error,
        })
      }
    }
    console.log(`simulated crashes of groups: ${JSON.stringify(totals)}`)
    expect(totals.lives).toBeGreaterThan(seeds)
    expect(totals.inputs).toBeGreaterThan(seeds * 50)
    // Otherwise the workload proves less than it says.
    if (seeds < 3) return
    for (const name of ['retried', 'doubled', 'jobsDone', 'deadLetters'] as const)
      expect(totals[name]).toBeGreaterThan(0)
  })
})
