import { execFile, spawn } from 'node:child_process'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { bundleScenario, FLAVOURS, type Flavour, flavourFor } from './bundle.js'
import { SCENARIOS, scenarioNamed } from './catalogue.js'
import { describeVariables, type Environment, readSettings, VARIABLES } from './environment.js'

export interface RunnerOptions {
  /** What follows `npm run load --`. */
  readonly arguments: readonly string[]
  readonly environment: Environment
  /** Takes lines. */
  readonly print: (text: string) => void
  readonly complain: (text: string) => void
}

/** Exit codes of the runner itself; all others are k6's, which ends with 99 when a threshold failed. */
const EXIT = { ok: 0, noK6: 1, usage: 2 } as const

const list = (): string =>
  `Scenarios:\n${SCENARIOS.map(({ name, summary }) => `  ${name.padEnd(17)} ${summary}`).join('\n')}`

const help = (): string => `npm run load -- SCENARIO [ARGUMENTS OF k6 run]
npm run load -- --bundle DIR    writes the scripts for every k6 into DIR, and runs nothing

Loads a running broker by k6, on its real protocol. A run fails (exit code 99) when something came twice, was missing or
was refused, or when a latency is above its bound.

${list()}

Environment (defaults in brackets; scenarios set some otherwise, the numbers of connections above all):
${describeVariables()}

More in load/k6/README.md.`

const HOW_TO_GET_K6 = `There is no k6 on the PATH. It is one program without dependencies, and not an npm package:
  macOS     brew install k6
  Windows   winget install k6
  Debian    from Grafana's own repository
  Docker    grafana/k6
  otherwise the archive for your system among the releases of github.com/grafana/k6
grafana.com/docs/k6 says more ("Install k6"). Without k6 here, \`npm run load -- --bundle DIR\` writes the scripts,
and \`k6 run DIR/FLAVOUR/SCENARIO.js\` runs one anywhere.`

/** Builds a scenario and runs k6 on it; the promise holds the exit code. */
export async function runLoad(options: RunnerOptions): Promise<number> {
  const { print, complain, environment } = options
  const [name, ...rest] = options.arguments
  if (name === '--help' || name === '-h') {
    print(help())
    return EXIT.ok
  }
  if (name === undefined) {
    print(`${list()}\n\nRun one with \`npm run load -- NAME\`; \`npm run load -- --help\` says more.`)
    return EXIT.ok
  }
  if (name === '--bundle') return await writeBundles(rest, options)
  const scenario = scenarioNamed(name)
  if (scenario === undefined) {
    complain(`There is no scenario "${name}".\n${list()}`)
    return EXIT.usage
  }
  try {
    readSettings(environment, scenario)
  } catch (error) {
    complain((error as Error).message)
    return EXIT.usage
  }
  const version = await k6Version(environment)
  if (version === undefined) {
    complain(HOW_TO_GET_K6)
    return EXIT.noK6
  }
  const flavour = flavourFor(version)
  if (flavour === undefined) {
    complain(`This k6 is not known to work: ${version.trim()}. It takes 0.47 or later.`)
    return EXIT.noK6
  }
  return await runK6({ name, flavour, rest, environment })
}

async function writeBundles(rest: readonly string[], { print, complain }: RunnerOptions): Promise<number> {
  const [directory] = rest
  if (directory === undefined) {
    complain('--bundle needs a directory.')
    return EXIT.usage
  }
  for (const flavour of FLAVOURS) {
    const folder = join(directory, flavour.name)
    await mkdir(folder, { recursive: true })
    for (const { name } of SCENARIOS) {
      await writeFile(join(folder, `${name}.js`), await bundleScenario(name, flavour))
    }
    print(`${folder}: for k6 ${flavour.since.join('.')} and later`)
  }
  return EXIT.ok
}

/** What `k6 version` prints; undefined where there is no k6. */
function k6Version(environment: Environment): Promise<string | undefined> {
  return new Promise((resolve) => {
    execFile('k6', ['version'], { env: { ...environment } }, (error, stdout) =>
      resolve(error === null ? stdout : undefined),
    )
  })
}

async function runK6(options: {
  name: string
  flavour: Flavour
  rest: readonly string[]
  environment: Environment
}): Promise<number> {
  const { name, flavour, rest, environment } = options
  const folder = await mkdtemp(join(tmpdir(), 'millrace-k6-'))
  try {
    const script = join(folder, `${name}.js`)
    await writeFile(script, await bundleScenario(name, flavour))
    const variables = Object.values(VARIABLES).flatMap((variable) => {
      const value = environment[variable.name]
      return value === undefined ? [] : ['-e', `${variable.name}=${value}`]
    })
    return await spawnK6(['run', ...variables, ...rest, script], {
      K6_NO_USAGE_REPORT: 'true',
      ...environment,
    })
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

function spawnK6(commandLine: readonly string[], environment: Environment): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn('k6', commandLine, { stdio: 'inherit', env: { ...environment } })
    // Ctrl-C reaches both; k6 then ends in order and prints its summary, which must not be cut off.
    const wait = (): void => {}
    process.on('SIGINT', wait)
    child.once('error', reject)
    child.once('exit', (code) => {
      process.off('SIGINT', wait)
      resolve(code ?? 1)
    })
  })
}
