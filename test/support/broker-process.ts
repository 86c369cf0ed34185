import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

const executable = fileURLToPath(new URL('../../dist/broker/millrace.cjs', import.meta.url))

/** Between two lives of a broker its port is anybody's. */
const PORT_MS_MAX = 30_000

export interface BrokerProcessOptions {
  readonly dataDir: string
  /** Settings as flags, for example `{ 'wal-bytes-max': '64MiB' }`. */
  readonly flags?: Readonly<Record<string, string>>
  readonly env?: Readonly<Record<string, string>>
  /** A command to run it under, for example strace with its arguments. */
  readonly under?: readonly string[]
}

/** A broker in a process of its own, on the port that it got at its first start. Run `npm run build` first. */
export class BrokerProcess {
  readonly #options: BrokerProcessOptions
  #child: ChildProcess | undefined
  #port = 0
  #output = ''

  constructor(options: BrokerProcessOptions) {
    this.#options = options
  }

  get url(): string {
    return `ws://127.0.0.1:${this.#port}`
  }

  /** Of the process started directly: of strace, where the broker runs under it. */
  get pid(): number {
    return this.#child?.pid ?? 0
  }

  /** All that it logged. */
  get output(): string {
    return this.#output
  }

  /** Resolves when it is ready; waits for its port where somebody else has it for a moment. */
  async start(): Promise<void> {
    const untilMs = performance.now() + PORT_MS_MAX
    for (;;) {
      const { length } = this.#output
      try {
        return await this.#spawn()
      } catch (error) {
        const isPortTaken = this.#output.slice(length).includes(`port ${this.#port} on 127.0.0.1 is in use`)
        if (!isPortTaken || performance.now() > untilMs) throw error
        await sleep(50)
      }
    }
  }

  async #spawn(): Promise<void> {
    const { dataDir, flags = {}, env = {}, under = [] } = this.#options
    const settings = Object.entries(flags).flatMap(([name, value]) => [`--${name}`, value])
    const command = [
      ...under,
      process.execPath,
      executable,
      'start',
      '--data-dir',
      dataDir,
      '--port',
      String(this.#port),
      ...settings,
    ]
    const child = spawn(command[0] as string, command.slice(1), {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
    })
    this.#child = child
    child.stderr?.on('data', (data: Buffer) => {
      this.#output += data.toString()
    })
    let log = ''
    await new Promise<void>((resolve, reject) => {
      // Not at its exit: what it said last may not have been read by then.
      child.once('close', (code, signal) =>
        reject(new Error(`the broker ended (${signal ?? code}) before it was ready:\n${this.#output}`)),
      )
      child.stdout?.on('data', (data: Buffer) => {
        const text = data.toString()
        this.#output += text
        log += text
        const ready = /ready on ws:\/\/127\.0\.0\.1:(\d+)/.exec(log)
        if (ready === null) return
        log = ''
        this.#port = Number(ready[1])
        resolve()
      })
    })
  }

  /** Resolves when it is gone: with the exit code, or the name of the signal. */
  async ended(): Promise<number | NodeJS.Signals | null> {
    const child = this.#child
    if (child === undefined) return null
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
    return child.signalCode ?? child.exitCode
  }

  /** SIGKILL, and waits until it is gone. */
  async kill(): Promise<void> {
    await this.#end('SIGKILL')
  }

  /** SIGTERM; returns the exit code. */
  async stop(): Promise<number | null> {
    return await this.#end('SIGTERM')
  }

  async #end(signal: NodeJS.Signals): Promise<number | null> {
    const child = this.#child
    if (child === undefined || child.exitCode !== null || child.signalCode !== null)
      return child?.exitCode ?? null
    const exited = once(child, 'exit') as Promise<[number | null]>
    process.kill(this.#options.under === undefined ? this.pid : await onlyChildOf(this.pid), signal)
    return (await exited)[0]
  }
}

/** A tracer keeps signals to itself. */
async function onlyChildOf(pid: number): Promise<number> {
  return Number((await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')).trim())
}
