import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { endWithUs, signalGroup } from './offspring.js'

export interface PeerServerOptions {
  readonly name: string
  readonly command: string
  readonly args: readonly string[]
  /** Where it runs; nothing is written elsewhere. */
  readonly directory: string
  /** The server is taken to be ready when it accepts connections here. */
  readonly port: number
  readonly env?: Readonly<Record<string, string>>
  readonly startTimeoutMs?: number
}

const LOG_LINES_MAX = 20
const STOP_TIMEOUT_MS = 10_000

/** A server in a process group of its own, which ends at the latest with this process. */
export class PeerServer {
  readonly port: number
  readonly #child: ChildProcess

  private constructor(child: ChildProcess, port: number) {
    this.#child = child
    this.port = port
  }

  /** Throws with the server's last log lines when it ends or does not listen in time. */
  static async start(options: PeerServerOptions): Promise<PeerServer> {
    const { name, command, args, directory, port, env, startTimeoutMs = 20_000 } = options
    const child = spawn(command, args, {
      cwd: directory,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
    })
    endWithUs(child)
    let log = ''
    const keep = (data: Buffer): void => {
      log = (log + data.toString()).slice(-20_000)
    }
    child.stdout.on('data', keep)
    child.stderr.on('data', keep)
    let failure: Error | undefined
    child.once('error', (error) => {
      failure = error
    })
    const server = new PeerServer(child, port)
    const startedMs = performance.now()
    while (!(await accepts(port))) {
      const problem =
        failure?.message ??
        (child.exitCode !== null || child.signalCode !== null
          ? `ended with ${child.exitCode ?? child.signalCode}`
          : performance.now() - startedMs > startTimeoutMs
            ? `did not listen within ${startTimeoutMs} ms`
            : undefined)
      if (problem !== undefined) {
        await server.stop()
        const lines = log.trim().split('\n').slice(-LOG_LINES_MAX).join('\n')
        throw new Error(`${name} ${problem}; its last log lines:\n${lines}`)
      }
      await sleep(20)
    }
    return server
  }

  /** SIGTERM, and SIGKILL for what is left of the group. */
  async stop(): Promise<void> {
    const child = this.#child
    if (child.pid !== undefined && child.exitCode === null && child.signalCode === null) {
      const exited = once(child, 'exit')
      signalGroup(child, 'SIGTERM')
      await Promise.race([exited, sleep(STOP_TIMEOUT_MS, undefined, { ref: false })])
    }
    signalGroup(child, 'SIGKILL')
  }
}

/** Whether somebody listens on this port of 127.0.0.1. */
export function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port })
    const done = (isOpen: boolean): void => {
      socket.destroy()
      resolve(isOpen)
    }
    socket.once('connect', () => done(true)).once('error', () => done(false))
  })
}
