import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { endWithUs } from '../peers/offspring.js'
import type { Meter } from './servers/metered-broker.js'

export type FloorKind = 'floor once' | 'floor kept' | 'floor twice' | 'floor fan-out' | 'floor idle'
export type ServerKind = 'broker' | 'metered broker' | FloorKind

/** Settings as flags, for example `{ 'chunk-bytes': '4KiB' }`; of a broker only. */
export type Flags = Readonly<Record<string, string>>

const script = (path: string): string => fileURLToPath(new URL(path, import.meta.url))
const floor = script('./floor.js')
/** The first three differ in what they write: a ring of one segment, a file that holds the whole run, a ring and new files. */
const COMMANDS: Readonly<Record<ServerKind, (directory: string) => readonly string[]>> = {
  broker: (directory) => [
    script('../../broker/millrace.cjs'),
    'start',
    '--port',
    '0',
    '--data-dir',
    directory,
  ],
  'metered broker': (directory) => [script('./servers/metered-broker.js'), directory],
  'floor once': (directory) => [floor, directory, 'once'],
  'floor kept': (directory) => [floor, directory, 'once', '8192'],
  'floor twice': (directory) => [floor, directory, 'twice'],
  'floor fan-out': (directory) => [script('./servers/fan-out-floor.js'), directory],
  'floor idle': () => [script('./servers/idle-floor.js')],
}

/** A broker or a floor in a process of its own. */
export class ServerProcess {
  readonly url: string
  readonly directory: string
  /** From the start of the process to the moment it takes connections, Node's own start included. */
  readonly startMs: number
  readonly #child: ChildProcess

  private constructor(child: ChildProcess, options: { url: string; directory: string; startMs: number }) {
    this.#child = child
    this.url = options.url
    this.directory = options.directory
    this.startMs = options.startMs
  }

  static async start(kind: ServerKind, directory: string, flags: Flags = {}): Promise<ServerProcess> {
    await mkdir(directory, { recursive: true })
    const args = [
      ...COMMANDS[kind](directory),
      ...Object.entries(flags).flatMap(([name, value]) => [`--${name}`, value]),
    ]
    // The same pool for both: the broker sets it for itself.
    const env = { ...process.env, UV_THREADPOOL_SIZE: '8' }
    const startedMs = performance.now()
    const child = spawn(process.execPath, args, {
      detached: true,
      stdio: ['ignore', 'pipe', 'inherit', ...(kind === 'metered broker' ? (['ipc'] as const) : [])],
      env,
    })
    endWithUs(child)
    let output = ''
    const port = await new Promise<string>((resolve, reject) => {
      child.once('exit', (code) => reject(new Error(`${kind} ended with ${code}: ${output}`)))
      child.stdout?.on('data', (data: Buffer) => {
        output = (output + data.toString()).slice(-10_000)
        const found = /"port":(\d+)/.exec(output) ?? /ready on ws:\/\/127\.0\.0\.1:(\d+)/.exec(output)
        if (found?.[1] !== undefined) resolve(found[1])
      })
    })
    const startMs = performance.now() - startedMs
    return new ServerProcess(child, { url: `ws://127.0.0.1:${port}`, directory, startMs })
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  /** Of a metered broker. */
  async meter(): Promise<Meter> {
    const answered = once(this.#child, 'message')
    this.#child.send('meter')
    return (await answered)[0] as Meter
  }

  /** Bytes of the files in one folder of its directory. */
  async bytesIn(folder: string): Promise<number> {
    const path = join(this.directory, folder)
    let bytes = 0
    for (const name of await readdir(path).catch(() => [])) {
      bytes += (await stat(join(path, name)).catch(() => ({ size: 0 }))).size
    }
    return bytes
  }

  async stop(): Promise<void> {
    await this.#end('SIGTERM')
  }

  async kill(): Promise<void> {
    await this.#end('SIGKILL')
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const exited = once(this.#child, 'exit')
    this.#child.kill(signal)
    await exited
  }
}

/** A server for the length of `use`, in a directory that is empty before and gone after. */
export async function withServer<T>(
  kind: ServerKind,
  directory: string,
  use: (server: ServerProcess) => Promise<T>,
  flags: Flags = {},
): Promise<T> {
  const place = join(directory, kind.replaceAll(' ', '-'))
  await rm(place, { recursive: true, force: true })
  try {
    return await withServerOn(kind, place, use, flags)
  } finally {
    await rm(place, { recursive: true, force: true })
  }
}

/** A server for the length of `use`, on what is in the directory; that stays. */
export async function withServerOn<T>(
  kind: ServerKind,
  directory: string,
  use: (server: ServerProcess) => Promise<T>,
  flags: Flags = {},
): Promise<T> {
  const server = await ServerProcess.start(kind, directory, flags)
  try {
    return await use(server)
  } finally {
    await server.stop()
  }
}
