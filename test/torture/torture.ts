import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Violation } from '../checker/history.js'
import { writeHistory } from '../checker/history-file.js'
import { SeededRandom } from '../support/seeded-random.js'
import { Killer, type Kills } from './killer.js'
import { type RoundReport, torture } from './round.js'

/** So long that a broker gets old, and so short that a history fits into memory. */
const ROUND_MS = 30_000

export interface TortureOptions {
  /** How long brokers are killed; the last work and the checks come on top. */
  readonly ms: number
  readonly seed: number
  /** Where brokers have their data. */
  readonly directory: string
  /** Called about once a second. */
  readonly onProgress?: (progress: TortureProgress) => void
}

export interface TortureProgress {
  readonly round: number
  readonly elapsedMs: number
  readonly kills: number
}

export interface TortureReport {
  readonly seed: number
  readonly rounds: number
  readonly seconds: number
  readonly kills: Kills
  readonly events: number
  /** Records whose writes were answered. */
  readonly records: number
  /** Records that were refused as duplicates of others. */
  readonly duplicates: number
  readonly stallMsMax: number
  readonly violations: readonly Violation[]
  readonly problems: readonly string[]
  /** Where the data, the log and the history of the round are that went wrong. */
  readonly kept: string | undefined
}

/** Rounds of work and kills until the time is over or one goes wrong. */
export async function runTorture({
  ms,
  seed,
  directory,
  onProgress,
}: TortureOptions): Promise<TortureReport> {
  const random = new SeededRandom(seed)
  const killer = new Killer(random.fork())
  const startedMs = performance.now()
  await mkdir(directory, { recursive: true })
  const elapsedMs = (): number => performance.now() - startedMs
  const sums = { events: 0, records: 0, duplicates: 0, stallMsMax: 0 }
  let rounds = 0
  let tortured = 0
  let wrong: { readonly report: RoundReport; readonly kept: string } | undefined
  const progress = setInterval(() => {
    onProgress?.({ round: rounds, elapsedMs: elapsedMs(), kills: killer.total })
  }, 1_000)
  try {
    while (wrong === undefined && tortured < ms) {
      rounds++
      const roundMs = Math.min(ROUND_MS, ms - tortured)
      tortured += roundMs
      // Another one each time: what an earlier run has kept would be found in it.
      const place = await mkdtemp(join(directory, `torture-${seed}-${rounds}-`))
      const dataDir = join(place, 'data')
      await mkdir(dataDir)
      const report = await torture({ dataDir, ms: roundMs, random: random.fork(), killer })
      sums.events += report.events.length
      sums.records += report.written
      sums.duplicates += report.duplicates
      sums.stallMsMax = Math.max(sums.stallMsMax, report.stallMsMax)
      if (report.violations.length + report.problems.length === 0) await rm(place, { recursive: true })
      else {
        await keep(place, report)
        wrong = { report, kept: place }
      }
    }
  } finally {
    clearInterval(progress)
  }
  return {
    seed,
    rounds,
    seconds: Math.round(elapsedMs() / 1000),
    kills: killer.kills,
    ...sums,
    violations: wrong?.report.violations ?? [],
    problems: wrong?.report.problems ?? [],
    kept: wrong?.kept,
  }
}

async function keep(place: string, { events, violations, problems, output }: RoundReport): Promise<void> {
  await writeHistory(join(place, 'history.ndjson'), events)
  await writeFile(join(place, 'broker.log'), output)
  await writeFile(join(place, 'findings.json'), JSON.stringify({ violations, problems }, undefined, 2))
}
