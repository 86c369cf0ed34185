import { setTimeout as sleep } from 'node:timers/promises'
import { peerPackage } from './packages.js'
import type { PeerClient, PeerStream } from './peer-stream.js'

/** What is used of `rabbitmq-stream-js-client`. */
interface RabbitModule {
  connect(options: {
    hostname: string
    port: number
    username: string
    password: string
    vhost: string
  }): Promise<RabbitClient>
  readonly Offset: { first(): unknown; last(): unknown }
}

interface RabbitClient {
  createStream(options: { stream: string; arguments: Record<string, string> }): Promise<unknown>
  deleteStream(options: { stream: string }): Promise<unknown>
  declarePublisher(options: { stream: string; maxChunkLength: number }): Promise<RabbitPublisher>
  declareConsumer(
    options: { stream: string; offset: unknown; creditPolicy: CreditPolicy },
    handle: (message: { content: Buffer; offset?: bigint }) => void,
  ): Promise<{ close(): Promise<void> }>
  close(): Promise<void>
}

interface RabbitPublisher {
  basicSend(publishingId: bigint, content: Buffer): Promise<unknown>
  close(): Promise<void>
  on(event: 'publish_confirm', listener: (error: number | null, publishingIds: bigint[]) => void): void
}

interface CreditPolicy {
  onSubscription(): number
  onChunkReceived(request: (credits: number) => Promise<void>): Promise<void>
  onChunkCompleted(request: (credits: number) => Promise<void>): Promise<void>
}

interface RabbitConnectionModule {
  readonly Connection: { readonly prototype: { exchangeCommandVersions(): Promise<void> } }
}

/** In the URL of a server from before 3.11. */
export const NO_COMMAND_VERSIONS = '?commandVersions=none'

/** Its own load program uses this many messages per frame. */
const CHUNK_RECORDS_MAX = 1_000
const CHUNKS_AHEAD = 10
const QUIET_MS = 250

const tenChunksAhead: CreditPolicy = {
  onSubscription: () => CHUNKS_AHEAD,
  onChunkReceived: async () => {},
  onChunkCompleted: (request) => request(1),
}

export const rabbitMqClient: PeerClient = {
  packages: ['rabbitmq-stream-js-client'],
  sendsInFlight: 4_000,
  async open(url, name): Promise<PeerStream> {
    const { hostname, port, search } = new URL(url)
    if (search === NO_COMMAND_VERSIONS) skipCommandVersions()
    const rabbit = peerPackage<RabbitModule>('rabbitmq-stream-js-client')
    const guest = { username: 'guest', password: 'guest', vhost: '/' }
    const client = await rabbit.connect({ hostname, port: Number(port), ...guest })
    await client.createStream({ stream: name, arguments: {} })
    const publisher = await client.declarePublisher({ stream: name, maxChunkLength: CHUNK_RECORDS_MAX })
    return new RabbitMqStream({ client, publisher, name, Offset: rabbit.Offset })
  },
}

/** The client asks which versions of each command the server knows, and a server from before 3.11 hangs up on that. */
function skipCommandVersions(): void {
  const module = peerPackage<RabbitConnectionModule>('rabbitmq-stream-js-client/dist/connection.js')
  module.Connection.prototype.exchangeCommandVersions = async () => {}
}

interface RabbitParts {
  readonly client: RabbitClient
  readonly publisher: RabbitPublisher
  readonly name: string
  readonly Offset: RabbitModule['Offset']
}

interface Waiter {
  resolve(): void
  reject(error: Error): void
}

class RabbitMqStream implements PeerStream {
  readonly #parts: RabbitParts
  readonly #sends = new Map<bigint, Waiter>()
  #lastId = 0n

  constructor(parts: RabbitParts) {
    this.#parts = parts
    parts.publisher.on('publish_confirm', (error, ids) => {
      for (const id of ids) this.#settle(id, error)
    })
  }

  send(value: string): Promise<void> {
    this.#lastId += 1n
    const id = this.#lastId
    return new Promise((resolve, reject) => {
      this.#sends.set(id, { resolve, reject })
      this.#parts.publisher.basicSend(id, Buffer.from(value)).catch(reject)
    })
  }

  /** The client hands messages over one by one. */
  async read(records: number, onBatch: (values: Iterable<Buffer>, count: number) => void): Promise<void> {
    const { client, name, Offset } = this.#parts
    let seen = 0
    let close: (() => Promise<void>) | undefined
    await new Promise<void>((resolve, reject) => {
      const handle = ({ content }: { content: Buffer }): void => {
        if (seen === records) return
        onBatch([content], 1)
        seen += 1
        if (seen === records) resolve()
      }
      client
        .declareConsumer({ stream: name, offset: Offset.first(), creditPolicy: tenChunksAhead }, handle)
        .then((consumer) => {
          close = () => consumer.close()
        }, reject)
    })
    await close?.()
  }

  /** The server is asked for its last chunk: the offset of its last record tells how many there are. */
  async stored(): Promise<number> {
    const { client, name, Offset } = this.#parts
    let stored = 0
    let heardMs = performance.now()
    const consumer = await client.declareConsumer(
      { stream: name, offset: Offset.last(), creditPolicy: tenChunksAhead },
      ({ offset = -1n }) => {
        stored = Number(offset) + 1
        heardMs = performance.now()
      },
    )
    while (performance.now() - heardMs < QUIET_MS) await sleep(QUIET_MS / 5)
    await consumer.close()
    return stored
  }

  async remove(): Promise<void> {
    const { client, publisher, name } = this.#parts
    // First, or the client closes it again when the server tells that its stream is gone.
    await publisher.close()
    await client.deleteStream({ stream: name })
    await client.close()
  }

  #settle(id: bigint, error: number | null): void {
    const waiter = this.#sends.get(id)
    this.#sends.delete(id)
    if (error === null) waiter?.resolve()
    else waiter?.reject(new Error(`the server refused a record: ${error}`))
  }
}
