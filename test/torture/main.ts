import { resolve } from 'node:path'
import { checkHistory } from '../checker/check.js'
import { readHistory } from '../checker/history-file.js'
import { HELP, type TortureArguments, tortureArguments } from './arguments.js'
import { describeViolation, textReport } from './text-report.js'
import { runTorture, type TortureProgress } from './torture.js'

/** Run by scripts/torture.js. */

async function main({ minutes, seed, directory, isJson, check }: TortureArguments): Promise<number> {
  if (check !== undefined) {
    const violations = checkHistory(await readHistory(check))
    for (const violation of violations) console.log(describeViolation(violation))
    console.log(violations.length === 0 ? 'no rule is broken' : `${violations.length} violations`)
    return violations.length === 0 ? 0 : 1
  }
  console.error(`seed ${seed}, ${minutes} min, in ${resolve(directory)}`)
  const report = await runTorture({
    ms: minutes * 60_000,
    seed,
    directory: resolve(directory),
    onProgress: show,
  })
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K')
  const { violations, ...rest } = report
  const short = violations.map(({ rule, message, events }) => ({
    rule,
    message,
    events: events.map(({ index }) => index),
  }))
  console.log(isJson ? JSON.stringify({ ...rest, violations: short }) : textReport(report))
  return report.kept === undefined ? 0 : 1
}

/** One line that is written over; without a terminal, a line now and then. */
function show({ round, elapsedMs, kills }: TortureProgress): void {
  const seconds = Math.round(elapsedMs / 1000)
  const line = `round ${round}, ${seconds} s, ${kills} kills`
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${line}`)
  else if (seconds % 30 === 0) console.error(line)
}

function readArguments(): TortureArguments | undefined {
  try {
    return tortureArguments(process.argv.slice(2))
  } catch (error) {
    console.error(`${(error as Error).message}\n\n${HELP}`)
    process.exit(2)
  }
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130))
const args = readArguments()
if (args === undefined) process.stdout.write(HELP)
// Where a round went wrong, its clients may have requests under way.
else process.exit(await main(args))
