import './deterministic-zlib.js'
import { writeSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { type PlantedFault, plantedFaultNames } from '../../broker/platform/planted-faults.js'
import { writeHistory } from '../checker/history-file.js'
import { describeFailure, replayCommand } from './failure-report.js'
import { type SimulationReport, simulate } from './simulation.js'
import { TraceFile } from './trace-file.js'

const HELP = `npm run sim -- [options]

Runs Millrace, broker and clients, in a simulated world that a seed decides: disk, clock, network and randomness. The same seed and
steps give the same run, event by event, and the same trace hash.

  --seed N       the seed, or the first one (default 1)
  --seeds N      so many seeds, from --seed on (default 1)
  --steps N      events after which the world heals and all is checked (default 2000)
  --minutes N    stop after so many minutes, however many seeds are left
  --planted NAME the broker makes a mistake, for the checker to find: one of broker/platform/planted-faults.ts
  --history FILE write what clients saw to a file, one JSON object a line (of the last seed)
  --trace FILE   write every event to a file, one line each (of the last seed)
  --json         one JSON object for each seed instead of a line, and one for the sum
  --keep-going   go on after a seed that fails
  --help         this text
`

interface Arguments {
  readonly seed: number
  readonly seeds: number
  readonly steps: number
  readonly untilMs: number
  readonly planted: PlantedFault | undefined
  readonly traceFile: string | undefined
  readonly historyFile: string | undefined
  readonly isJson: boolean
  readonly keepsGoing: boolean
}

// Held before anything simulated takes its place.
const now = Date.now.bind(Date)

/** At once, so that nothing is lost when the process ends. */
function say(line: string): void {
  try {
    writeSync(1, `${line}\n`)
  } catch (error) {
    // Whoever read it has seen enough.
    if ((error as NodeJS.ErrnoException).code === 'EPIPE') process.exit(0)
    throw error
  }
}

function argumentsOf(args: string[]): Arguments | undefined {
  const { values } = parseArgs({
    args,
    options: {
      seed: { type: 'string', default: '1' },
      seeds: { type: 'string', default: '1' },
      steps: { type: 'string', default: '2000' },
      minutes: { type: 'string' },
      planted: { type: 'string' },
      trace: { type: 'string' },
      history: { type: 'string' },
      json: { type: 'boolean', default: false },
      'keep-going': { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return undefined
  const minutes = values.minutes === undefined ? Number.POSITIVE_INFINITY : Number(values.minutes)
  if (Number.isNaN(minutes)) throw new Error(`--minutes is a number, not ${values.minutes}`)
  return {
    seed: whole('seed', values.seed),
    seeds: whole('seeds', values.seeds),
    steps: whole('steps', values.steps),
    untilMs: now() + minutes * 60_000,
    planted: values.planted === undefined ? undefined : plantedFault(values.planted),
    traceFile: values.trace,
    historyFile: values.history,
    isJson: values.json,
    keepsGoing: values['keep-going'],
  }
}

function plantedFault(text: string): PlantedFault {
  const name = plantedFaultNames.find((known) => known === text)
  if (name === undefined) throw new Error(`--planted is one of ${plantedFaultNames.join(', ')}`)
  return name
}

function whole(name: string, text: string): number {
  const number = Number(text)
  if (!Number.isSafeInteger(number) || number < 0) throw new Error(`--${name} is a whole number, not ${text}`)
  return number
}

async function main(): Promise<number> {
  const options = argumentsOf(process.argv.slice(2))
  if (options === undefined) {
    say(HELP)
    return 0
  }
  const startedMs = now()
  const sum = { seeds: 0, failed: [] as number[], steps: 0, crashes: 0, events: 0, simulatedMs: 0 }
  for (let seed = options.seed; seed < options.seed + options.seeds && now() < options.untilMs; seed++) {
    const report = await runSeed(seed, options)
    sum.seeds++
    sum.steps += report.steps
    sum.simulatedMs += report.simulatedMs
    sum.events += report.history.length
    sum.crashes += report.ends.powerCut + report.ends.kill + report.ends.failed
    if (report.failure === undefined && report.violations.length === 0) continue
    sum.failed.push(seed)
    if (!options.keepsGoing) break
  }
  const seconds = (now() - startedMs) / 1_000
  if (options.isJson) say(JSON.stringify({ ...sum, seconds }))
  else if (options.seeds > 1) {
    const failed =
      sum.failed.length === 0 ? 'none failed' : `${sum.failed.length} failed: ${sum.failed.join(' ')}`
    say(
      `${sum.seeds} seeds, ${sum.steps} steps, ${sum.crashes} crashes, ${sum.events} events checked in ${seconds.toFixed(1)} s: ${failed}`,
    )
  }
  return sum.failed.length === 0 ? 0 : 1
}

async function runSeed(
  seed: number,
  { steps, planted, traceFile, historyFile, isJson }: Arguments,
): Promise<SimulationReport> {
  const trace = traceFile === undefined ? undefined : new TraceFile(traceFile)
  const startedMs = now()
  const report = await simulate({
    seed,
    steps,
    planted,
    onTrace: trace === undefined ? undefined : (line) => trace.add(line),
  })
  const ms = now() - startedMs
  trace?.close()
  if (historyFile !== undefined) await writeHistory(historyFile, report.history)
  const { history, violations, failure, plan: _plan, ...figures } = report
  const isGood = failure === undefined && violations.length === 0
  if (isJson) {
    const failures = { violations, failure: failure && describeFailure(failure) }
    say(JSON.stringify({ ...figures, events: history.length, ms, isGood, ...(isGood ? {} : failures) }))
    return report
  }
  const { ends, traceHash, simulatedMs } = figures
  say(
    `seed ${seed}: ${isGood ? 'ok' : 'FAILED'}, ${figures.steps} steps, ${(simulatedMs / 1_000).toFixed(1)} s simulated in ${ms} ms, ` +
      `${ends.powerCut} power cuts, ${ends.kill} kills, ${ends.stop} stops, ${ends.failed} disk failures, ${history.length} events, trace ${traceHash}`,
  )
  if (isGood) return report
  if (failure !== undefined) say(describeFailure(failure))
  for (const { rule, message, events } of violations.slice(0, 10)) {
    say(`  ${rule}: ${message}`)
    for (const event of events.slice(0, 5)) say(`    ${JSON.stringify(event).slice(0, 300)}`)
  }
  if (violations.length > 10) say(`  and ${violations.length - 10} more`)
  say(`  replay: ${replayCommand({ seed, steps })}`)
  return report
}

main().then(
  (code) => process.exit(code),
  (error) => {
    say(error instanceof Error ? error.message : String(error))
    process.exit(2)
  },
)
