import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export type ServerKind = 'broker' | 'floor once' | 'floor kept' | 'floor twice'

/** What each floor writes: a ring of one segment, a file that holds the whole run, or a ring and new files. */
const FLOOR_ARGUMENTS: Readonly<Record<Exclude<ServerKind, 'broker'>, readonly string[]>> = {
  'floor once': ['once'],
  'floor kept': ['once', '8192'],
  'floor twice': ['twice'],
}

const broker = fileURLToPath(new URL('../../broker/millrace.cjs', import.meta.url))
const floor = fileURLToPath(new URL('./floor.js', import.meta.url))

/** A broker or a floor in a process of its own, with an empty directory. */
export class ServerProcess {
  readonly url: string
  readonly directory: string
  readonly #child: ChildProcess

  private constructor(child: ChildProcess, url: string, directory: string) {
    this.#child = child
    this.url = url
    this.directory = directory
  }

  static async start(kind: ServerKind, directory: string): Promise<ServerProcess> {
    await mkdir(directory, { recursive: true })
    const args =
      kind === 'broker'
        ? [broker, 'start', '--port', '0', '--data-dir', directory]
        : [floor, directory, ...FLOOR_ARGUMENTS[kind]]
    // The same pool for both: the broker sets it for itself.
    const env = { ...process.env, UV_THREADPOOL_SIZE: '8' }
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'], env })
    let output = ''
    const port = await new Promise<string>((resolve, reject) => {
      child.once('exit', (code) => reject(new Error(`${kind} ended with ${code}: ${output}`)))
      child.stdout?.on('data', (data: Buffer) => {
        output = (output + data.toString()).slice(-10_000)
        const found = /"port":(\d+)/.exec(output) ?? /ready on ws:\/\/127\.0\.0\.1:(\d+)/.exec(output)
        if (found?.[1] !== undefined) resolve(found[1])
      })
    })
    return new ServerProcess(child, `ws://127.0.0.1:${port}`, directory)
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
    if (this.#child.exitCode !== null) return
    const exited = once(this.#child, 'exit')
    this.#child.kill('SIGTERM')
    await exited
  }
}
