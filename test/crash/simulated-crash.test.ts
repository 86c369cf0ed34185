import { describe, expect, test } from 'vitest'
import { runWorkload } from './simulated-workload.js'

const first = Number(process.env.MILLRACE_SEED ?? 1)
const seeds = Number(process.env.MILLRACE_SEEDS ?? 12)

describe('a broker whose disk drops, tears and reorders what was not synced', () => {
  test(`loses nothing acknowledged, repeats nothing and keeps order over ${seeds} seeds`, {
    timeout: 3_600_000,
  }, async () => {
    const totals = { lives: 0, acknowledged: 0, tornTails: 0 }
    const sources = new Set<string>()
    for (let seed = first; seed < first + seeds; seed++) {
      try {
        const report = await runWorkload({ seed, lives: 8, producers: 3, partitions: 2 })
        totals.lives += report.ends['power cut'] + report.ends.kill
        totals.acknowledged += report.acknowledged
        totals.tornTails += report.tornTails
        for (const source of report.sources) sources.add(source)
      } catch (error) {
        throw new Error(`seed ${seed} (replay: MILLRACE_SEED=${seed} MILLRACE_SEEDS=1 npm run test:crash)`, {
          cause: error,
        })
      }
    }
    console.log(`simulated crashes: ${JSON.stringify({ ...totals, sources: [...sources] })}`)
    expect(totals.lives).toBeGreaterThan(seeds)
    expect(totals.acknowledged).toBeGreaterThan(seeds * 50)
    // Otherwise the workload proves less than it says.
    if (seeds >= 10) expect(sources).toEqual(new Set(['cache', 'wal', 'chunk']))
  })
})
