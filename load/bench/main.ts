/** `npm run bench` and `npm run bench:limits`; see README.md. */
import { rmSync } from 'node:fs'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { HOW_TO_INSTALL, peers } from '../peers/index.js'
import { type BenchArguments, benchArguments, commandOf, HELP, UsageError } from './arguments.js'
import { ROWS, rowsBeside } from './bars.js'
import { takeFigures } from './bench.js'
import { FIGURES } from './figures/index.js'
import { peersHere } from './peer-series.js'
import { Progress } from './progress.js'
import { hardwareOf, versionsHere } from './report/machine.js'
import { headOf, notMeasuredText, pageWith } from './report/page.js'
import { plotsOf } from './report/plots.js'
import type { Report } from './report/report.js'
import { textTable } from './report/result-table.js'
import { verdictsOf } from './report/verdict.js'

const SIGNALS = ['SIGINT', 'SIGTERM'] as const
const EXIT = { held: 0, failed: 1, usage: 2, missed: 3 } as const

const list = (): string =>
  FIGURES.map(({ name, about, isLimit }) => `${name.padEnd(20)} ${isLimit ? '(limits) ' : ''}${about}`).join(
    '\n',
  )

async function take(args: BenchArguments): Promise<Report> {
  const figures = FIGURES.filter(
    ({ name, isLimit = false }) => args.only?.includes(name) ?? isLimit === args.limits,
  )
  const directory = join(resolve(args.directory), `millrace-bench-${process.pid}`)
  await mkdir(directory, { recursive: true })
  const end = (): void => {
    // Behind what ends the servers, which write there.
    process.once('exit', () => rmSync(directory, { recursive: true, force: true, maxRetries: 3 }))
    process.exit(130)
  }
  for (const signal of SIGNALS) process.once(signal, end)
  try {
    const takenAt = new Date().toISOString()
    const [hardware, versions] = [await hardwareOf(directory), await versionsHere()]
    const { measured, notMeasured } = await peersHere(peers, { isQuick: args.quick })
    const taken = await takeFigures({
      directory,
      isQuick: args.quick,
      peers: measured,
      figures,
      rounds: args.rounds,
      progress: new Progress(),
      onTaken: ({ name, failures }) => {
        for (const failure of failures) console.error(`\nfailed in ${name}: ${failure}`)
      },
    })
    return {
      section: args.limits ? 'bench:limits' : 'bench',
      takenAt,
      command: commandOf(args),
      isQuick: args.quick,
      hardware,
      versions,
      peers: measured.map(({ peer: { name, settings, isDurable }, version }) => ({
        name,
        version,
        settings,
        isDurable,
      })),
      peersNotMeasured: notMeasured,
      figures: taken,
      verdicts: verdictsOf([...ROWS, ...rowsBeside(measured.map(({ peer }) => peer.name))], taken),
    }
  } finally {
    for (const signal of SIGNALS) process.removeListener(signal, end)
    await rm(directory, { recursive: true, force: true })
  }
}

/** The table to the terminal, everything to the JSON file, and what was asked for into the documents. */
async function show(report: Report, args: BenchArguments): Promise<void> {
  console.log(`\n${headOf(report)}\n\n${textTable(report.verdicts)}`)
  for (const line of notMeasuredText(report)) console.log(`\n${line}\n${HOW_TO_INSTALL}`)
  const json = resolve(args.json ?? join('bench-results', `${report.takenAt.replaceAll(':', '-')}.json`))
  await mkdir(dirname(json), { recursive: true })
  await writeFile(json, `${JSON.stringify(report, undefined, 2)}\n`)
  console.log(`\nevery run: ${json}`)
  if (args.plots !== undefined) await writePlots(report, resolve(args.plots))
}

async function writePlots(report: Report, directory: string): Promise<void> {
  await mkdir(directory, { recursive: true })
  const plots = plotsOf(report)
  for (const [file, svg] of plots) await writeFile(join(directory, file), svg)
  const page = join(directory, 'PERFORMANCE.md')
  const text = await readFile(page, 'utf8').catch(() => undefined)
  if (text !== undefined) await writeFile(page, pageWith(text, report, [...plots.keys()]))
  console.log(`plots: ${[...plots.keys()].map((file) => join(directory, file)).join(', ')}`)
}

function exitCode({ figures, verdicts }: Report): number {
  if (figures.some(({ failures }) => failures.length > 0)) return EXIT.failed
  return verdicts.some(({ holds, bar }) => holds === false && !bar?.isAim) ? EXIT.missed : EXIT.held
}

try {
  const args = benchArguments(
    process.argv.slice(2),
    FIGURES.map(({ name }) => name),
  )
  if (args.help) console.log(HELP)
  else if (args.list) console.log(list())
  else {
    const report = await take(args)
    await show(report, args)
    process.exitCode = exitCode(report)
  }
} catch (error) {
  if (!(error instanceof UsageError)) throw error
  console.error(`bench: ${error.message}`)
  process.exitCode = EXIT.usage
}
