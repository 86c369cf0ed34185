import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { ClientAnswer, ClientRequest, FigureName } from './client-process.js'
import { endWithUs, signalGroup } from './offspring.js'
import type { RunningPeer } from './peer.js'

const clientProcess = fileURLToPath(new URL('./client-process.js', import.meta.url))

/** Beyond the time it was asked to measure: for connecting, filling a stream and checking it. */
const TIMEOUT_MS = 180_000

type Figures = Required<Pick<RunningPeer, FigureName>>

/** A started server with these figures, each of which forks a client process. */
export function runningPeer(options: {
  readonly client: ClientRequest['client']
  readonly url: string
  readonly figures: readonly FigureName[]
  stop(): Promise<void>
}): RunningPeer {
  const { client, url } = options
  const all: Figures = {
    produceEach: (o) => runFigure({ client, url, figure: 'produceEach', options: o }),
    produceBatches: (o) => runFigure({ client, url, figure: 'produceBatches', options: o }),
    consume: (o) => runFigure({ client, url, figure: 'consume', options: o }),
    consumeBatches: (o) => runFigure({ client, url, figure: 'consumeBatches', options: o }),
    loneSends: (o) => runFigure({ client, url, figure: 'loneSends', options: o }),
    queue: (o) => runFigure({ client, url, figure: 'queue', options: o }),
  }
  const offered: Partial<Figures> = Object.fromEntries(options.figures.map((name) => [name, all[name]]))
  return { url, ...offered, stop: options.stop }
}

/** Throws what the client process threw, or how it ended. */
async function runFigure<T>(request: ClientRequest): Promise<T> {
  const child = fork(clientProcess, [JSON.stringify(request)], {
    detached: true,
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    execArgv: [],
  })
  endWithUs(child)
  let stderr = ''
  child.stderr?.on('data', (data: Buffer) => {
    stderr = (stderr + data.toString()).slice(-4_000)
  })
  let answer: ClientAnswer | undefined
  child.on('message', (message) => {
    answer = message as ClientAnswer
  })
  const timeoutMs = TIMEOUT_MS + 2 * (request.options.ms ?? 0)
  let isLate = false
  const timer = setTimeout(() => {
    isLate = true
    signalGroup(child, 'SIGKILL')
  }, timeoutMs)
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject).once('close', resolve)
  })
  clearTimeout(timer)
  const what = `${request.client} ${request.figure}`
  if (isLate) throw new Error(`${what} did not end within ${timeoutMs} ms`)
  if (answer === undefined) throw new Error(`${what}: its process ended with ${code}\n${stderr}`)
  if ('error' in answer) throw new Error(`${what}: ${answer.error}`)
  return answer.value as T
}
