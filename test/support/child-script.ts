import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { build } from 'esbuild'

const { resolve } = createRequire(import.meta.url)

/** A TypeScript file made runnable by a bare `node`, which does not read TypeScript. */
export class ChildScript {
  readonly #directory = mkdtempSync(join(tmpdir(), 'millrace-script-'))
  readonly #file = join(this.#directory, 'script.mjs')

  static async compile(entry: URL): Promise<ChildScript> {
    const script = new ChildScript()
    await build({
      entryPoints: [entry.pathname],
      outfile: script.#file,
      bundle: true,
      platform: 'node',
      format: 'esm',
      target: 'node20',
      logLevel: 'error',
      plugins: [
        {
          // Packages stay where they are installed: native ones look for their parts beside themselves.
          name: 'packages-by-path',
          setup({ onResolve }) {
            onResolve({ filter: /^[^./#]/ }, ({ path, kind }) => {
              if (kind === 'entry-point' || path.startsWith('node:')) return undefined
              return { path: resolve(path), external: true }
            })
          },
        },
      ],
    })
    return script
  }

  /** Starts a process that answers each line it is sent with one line. */
  start(env: Record<string, string> = {}): ScriptProcess {
    return new ScriptProcess(spawn(process.execPath, [this.#file], { env: { ...process.env, ...env } }))
  }

  remove(): void {
    rmSync(this.#directory, { recursive: true, force: true })
  }
}

export class ScriptProcess {
  readonly pid: number
  readonly #child: ChildProcessWithoutNullStreams
  readonly #lines: AsyncIterator<string>
  readonly #ended: Promise<unknown[]>

  constructor(child: ChildProcessWithoutNullStreams) {
    if (child.pid === undefined) throw new Error('the child process did not start')
    this.pid = child.pid
    this.#child = child
    this.#ended = once(child, 'exit')
    this.#lines = createInterface(child.stdout)[Symbol.asyncIterator]()
    child.stderr.pipe(process.stderr)
    child.stdin.on('error', () => {})
  }

  /** The next line it prints; undefined once it has ended. */
  async line(): Promise<string | undefined> {
    const { value, done } = await this.#lines.next()
    return done ? undefined : value
  }

  send(line: string): void {
    this.#child.stdin.write(`${line}\n`)
  }

  /** Sends a line and waits for the answer, parsed as JSON. */
  async ask<T>(line: string): Promise<T> {
    this.send(line)
    const answer = await this.line()
    if (answer === undefined) throw new Error(`the child process ended before it answered "${line}"`)
    return JSON.parse(answer) as T
  }

  /** Waits for its end: the exit code, or the name of the signal. */
  async ended(): Promise<number | NodeJS.Signals> {
    const [code, signal] = (await this.#ended) as [number | null, NodeJS.Signals | null]
    return signal ?? code ?? 0
  }

  kill(): Promise<number | NodeJS.Signals> {
    this.#child.kill('SIGKILL')
    return this.ended()
  }
}
