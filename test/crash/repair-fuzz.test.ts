import { cp, mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { repairDirectory } from '../../broker/offline/repair.js'
import { BeyondRepairError } from '../../broker/offline/repair-plan.js'
import { verifyDirectory } from '../../broker/offline/verify.js'
import { nodeDisk } from '../../broker/platform/node-disk.js'
import { systemRandom } from '../../broker/platform/random.js'
import { SeededRandom } from '../support/seeded-random.js'
import { type Contents, openAndRead, smallDataDirectory } from '../support/small-data-directory.js'

const isLong = process.env.MILLRACE_LONG === '1'
/** `MILLRACE_SEED=<n>` repeats one round. */
const onlySeed = process.env.MILLRACE_SEED
const rounds = isLong ? 400 : 8

/** Damages some files at random: flips, holes, cuts, losses. Returns what it did. */
async function damage(directory: string, random: SeededRandom): Promise<string[]> {
  const files: string[] = []
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
    const isData =
      entry.isFile() && !['LOCK', 'lock.mdb'].includes(entry.name) && !entry.name.startsWith('spare-')
    if (isData) files.push(join(entry.parentPath, entry.name))
  }
  files.sort()
  const done: string[] = []
  for (let left = 1 + random.below(3); left > 0; left--) {
    const path = random.pick(files)
    const { size } = await stat(path).catch(() => ({ size: 0 }))
    if (size === 0) continue
    const bytes = await readFile(path)
    const at = random.below(size)
    const how = random.pick(['flip', 'flip', 'flip', 'hole', 'cut', 'loss'])
    done.push(`${how} ${path.slice(directory.length)} at ${at}`)
    if (how === 'loss') await rm(path)
    else if (how === 'cut') await truncate(path, at)
    else {
      if (how === 'flip') bytes[at] = (bytes[at] as number) ^ (1 << random.below(8))
      else bytes.fill(random.below(256), at, Math.min(size, at + random.below(9_000)))
      await writeFile(path, bytes)
    }
  }
  return done
}

/** Records that are not what was acknowledged, and those that are missing though nobody said so. */
function wrongIn(
  found: Contents,
  acknowledged: Contents,
  isLost: (name: string, offset: number) => boolean,
): string[] {
  const wrong: string[] = []
  for (const { name } of acknowledged.topics) {
    for (const [key, records] of Object.entries(acknowledged.records).filter(([each]) =>
      each.startsWith(`${name}/`),
    )) {
      const now = new Map((found.records[key] ?? []).map(({ offset, value }) => [offset, value]))
      for (const { offset, value } of records) {
        if (now.has(offset) ? now.get(offset) !== value : !isLost(key, offset))
          wrong.push(`${key} offset ${offset}`)
        now.delete(offset)
      }
      for (const offset of now.keys()) wrong.push(`${key} offset ${offset} was never written`)
    }
  }
  return wrong
}

test(
  'a repair after any damage gives a clean directory, says what it lost, and brings back nothing that was not written',
  async () => {
    const seeds =
      onlySeed === undefined ? Array.from({ length: rounds }, (_, i) => i + 1) : [Number(onlySeed)]
    const outcomes: Record<string, number> = {}
    for (const stop of ['clean', 'killed'] as const) {
      const made = await smallDataDirectory({ stop })
      for (const seed of seeds) {
        const directory = await mkdtemp(join(tmpdir(), 'millrace-fuzz-'))
        await cp(made.directory, directory, { recursive: true })
        const done = await damage(directory, new SeededRandom(seed))
        const about = `${stop} seed ${seed}: ${done.join('; ')}`
        try {
          const { outcome, plan, report } = await repairDirectory({
            disk: nodeDisk,
            directory,
            random: systemRandom,
            confirm: () => true,
          })
          outcomes[outcome] = (outcomes[outcome] ?? 0) + 1
          expect(report.faults, about).toEqual([])
          const isUnknown = (plan?.lostGroups.length ?? 0) > 0 || (plan?.orphans.size ?? 0) > 0
          const isLost = (key: string, offset: number): boolean =>
            isUnknown ||
            (plan?.lostRecords ?? []).some(
              ({ topic, partition, from, to }) =>
                `${topic}/${partition}` === key && offset >= from && offset < to,
            )
          expect(wrongIn(await openAndRead(directory), made.contents, isLost), about).toEqual([])
          expect((await verifyDirectory({ disk: nodeDisk, directory })).faults, about).toEqual([])
        } catch (error) {
          if (!(error instanceof BeyondRepairError)) throw new Error(about, { cause: error })
          outcomes.beyondRepair = (outcomes.beyondRepair ?? 0) + 1
        }
        await rm(directory, { recursive: true })
      }
      await made.remove()
    }
    if (isLong) console.log(outcomes)
    expect(outcomes.repaired ?? 0).toBeGreaterThan(onlySeed === undefined ? rounds / 2 : -1)
  },
  isLong ? 3_600_000 : 300_000,
)
