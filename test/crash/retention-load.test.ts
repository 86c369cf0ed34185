import { expect, test } from 'vitest'
import { RetentionWorkload } from './retention-workload.js'

const first = Number(process.env.MILLRACE_SEED ?? 1)
const seeds = Number(process.env.MILLRACE_SEEDS ?? 3)

test(`deletion takes nothing that is wanted and leaves nothing behind, over crashes at any moment, ${seeds} seeds`, {
  timeout: 3_600_000,
}, async () => {
  const totals = { crashes: 0, acknowledged: 0, deleted: 0, chunksHeldMax: 0 }
  for (let seed = first; seed < first + seeds; seed++) {
    try {
      const report = await new RetentionWorkload({ seed, lives: 6 }).run()
      totals.crashes += report.crashes
      totals.acknowledged += report.acknowledged
      totals.deleted += report.deleted
      totals.chunksHeldMax = Math.max(totals.chunksHeldMax, report.chunksHeldMax)
    } catch (error) {
      throw new Error(
        `seed ${seed} (replay: MILLRACE_SEED=${seed} MILLRACE_SEEDS=1 npx vitest run test/crash/retention-load)`,
        { cause: error },
      )
    }
  }
  console.log(`deletion under load: ${JSON.stringify(totals)}`)
  expect(totals.crashes).toBeGreaterThan(5 * seeds)
  expect(totals.deleted).toBeGreaterThan(totals.acknowledged / 2)
  // Two partitions, each with what its slower group lacks, one chunk that is being sealed, and the topic of changes.
  expect(totals.chunksHeldMax).toBeLessThan(40)
})
