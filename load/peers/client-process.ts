/** One figure of one peer, in a process of its own: argv holds a ClientRequest as JSON, the parent gets a ClientAnswer. */
import { clients } from './clients.js'
import { consume, consumeBatches, loneSends, produceBatches, produceEach, queue } from './figures.js'

const figures = { produceEach, produceBatches, consume, consumeBatches, loneSends, queue }

export type FigureName = keyof typeof figures

export interface ClientRequest {
  readonly client: keyof typeof clients
  readonly url: string
  readonly figure: FigureName
  /** Those of the figure in RunningPeer. */
  readonly options: Readonly<Record<string, number>>
}

export type ClientAnswer = { readonly value: unknown } | { readonly error: string }

async function run({ client: name, url, figure, options }: ClientRequest): Promise<unknown> {
  const client = clients[name]
  const stream = await client.open(url, `bench-${figure}-${process.pid}`)
  const measure: (...args: [typeof stream, never]) => Promise<unknown> = figures[figure]
  const value = await measure(stream, { ...options, inFlight: client.sendsInFlight } as never)
  await stream.remove()
  return value
}

async function answer(): Promise<ClientAnswer> {
  try {
    return { value: await run(JSON.parse(process.argv[2] ?? '{}') as ClientRequest) }
  } catch (error) {
    return { error: error instanceof Error ? (error.stack ?? error.message) : String(error) }
  }
}

// A client may keep timers: the answer ends the process.
process.send?.(await answer(), () => process.exit(0))
