import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'

const executable = join(import.meta.dirname, '../../dist/broker/millrace.cjs')

export interface Finished {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: Buffer
  readonly stderr: string
}

export interface CliOptions {
  readonly env?: Readonly<Record<string, string | undefined>>
  readonly cwd?: string
  /** All of stdin; without it, `stdin` stays open for the test to write to. */
  readonly input?: string | Uint8Array
  /** File descriptor of the child's stdin instead. */
  readonly stdin?: number
}

/** One run of the built command line: `npm test` builds first. */
export class Cli {
  readonly process: ChildProcess
  /** When it has ended and its output is complete. */
  readonly finished: Promise<Finished>
  readonly #stdout: Buffer[] = []
  readonly #stderr: Buffer[] = []

  constructor(argv: readonly string[], { env, cwd, input, stdin }: CliOptions = {}) {
    if (!existsSync(executable)) throw new Error(`${executable} is missing: npm run build`)
    this.process = spawn(process.execPath, [executable, ...argv], {
      cwd,
      env: { ...environment(), ...env },
      stdio: [stdin ?? 'pipe', 'pipe', 'pipe'],
    })
    this.process.stdout?.on('data', (chunk: Buffer) => this.#stdout.push(chunk))
    this.process.stderr?.on('data', (chunk: Buffer) => this.#stderr.push(chunk))
    // A command that fails early closes its stdin under our feet.
    this.process.stdin?.on('error', () => {})
    if (input !== undefined) this.process.stdin?.end(input)
    this.finished = new Promise((resolve, reject) => {
      this.process.on('error', reject)
      this.process.on('close', (code, signal) =>
        resolve({ code, signal, stdout: this.stdout, stderr: this.stderr }),
      )
    })
  }

  get stdout(): Buffer {
    return Buffer.concat(this.#stdout)
  }

  get stderr(): string {
    return Buffer.concat(this.#stderr).toString()
  }

  /** Resolves with the first match in stdout or stderr; rejects when the process ends without one. */
  async seen(pattern: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const match = pattern.exec(this.stdout.toString()) ?? pattern.exec(this.stderr)
      if (match !== null) return match
      if (this.process.exitCode !== null || this.process.signalCode !== null) {
        throw new Error(`the process ended before ${pattern} was seen: ${this.stdout}${this.stderr}`)
      }
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
  }

  kill(signal: NodeJS.Signals): void {
    this.process.kill(signal)
  }
}

/** Runs a command to its end. */
export const millrace = (argv: readonly string[], options: CliOptions = {}): Promise<Finished> =>
  new Cli(argv, { input: '', ...options }).finished

/** Starts a broker on a free port; resolves when it is ready. */
export async function startBrokerProcess(
  dataDir: string,
  { flags = [], env }: { flags?: readonly string[]; env?: CliOptions['env'] } = {},
): Promise<{ cli: Cli; url: string; port: number }> {
  // Small WAL segments: a start writes three of them full of zeros.
  const small = { MILLRACE_WAL_SEGMENT_BYTES: '8MiB' }
  const argv = [
    'start',
    '--data-dir',
    dataDir,
    ...(flags.includes('--port') ? [] : ['--port', '0']),
    ...flags,
  ]
  const cli = new Cli(argv, { env: { ...small, ...env } })
  const match = await cli.seen(/ready on (ws:\/\/[^"\s]*?:(\d+))[,\s]/)
  return { cli, url: match[1] ?? '', port: Number(match[2]) }
}

/** The developer's own settings must not change what a test sees. */
function environment(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('MILLRACE_')))
}
