import { peerPackage } from './packages.js'
import type { PeerClient, PeerStream } from './peer-stream.js'

/** What is used of `@durable-streams/client`. */
interface DurableStreamsModule {
  readonly DurableStream: {
    create(options: { url: string; contentType: string }): Promise<DurableStream>
  }
  readonly IdempotentProducer: new (
    stream: DurableStream,
    producerId: string,
    options: { onError: (error: Error) => void },
  ) => IdempotentProducer
  stream(options: { url: string; offset: string; live: false }): Promise<StreamSession>
}

interface DurableStream {
  append(json: string): Promise<void>
  delete(): Promise<void>
}

interface IdempotentProducer {
  append(json: string): void
  flush(): Promise<void>
}

interface StreamSession {
  subscribeJson(onBatch: (batch: JsonBatch) => void): unknown
}

interface JsonBatch {
  readonly items: readonly string[]
  readonly upToDate: boolean
}

const START = '-1'

/** A stream of JSON messages, a message per record. */
export const durableStreamsClient: PeerClient = {
  packages: ['@durable-streams/client', '@durable-streams/server'],
  sendsInFlight: 16_000,
  async open(baseUrl, name): Promise<PeerStream> {
    const client = peerPackage<DurableStreamsModule>('@durable-streams/client')
    const url = `${baseUrl}/v1/stream/${name}`
    const stream = await client.DurableStream.create({ url, contentType: 'application/json' })
    return new DurableStreamsStream({ client, stream, url })
  },
}

class DurableStreamsStream implements PeerStream {
  readonly #client: DurableStreamsModule
  readonly #stream: DurableStream
  readonly #url: string
  readonly #producer: IdempotentProducer
  #producerError: Error | undefined

  constructor({ client, stream, url }: { client: DurableStreamsModule; stream: DurableStream; url: string }) {
    this.#client = client
    this.#stream = stream
    this.#url = url
    this.#producer = new client.IdempotentProducer(stream, 'bench', {
      onError: (error) => {
        this.#producerError ??= error
      },
    })
  }

  /** The client sends together what is appended while a request is under way. */
  send(value: string): Promise<void> {
    return this.#stream.append(JSON.stringify(value))
  }

  async sendBatch(values: readonly string[]): Promise<void> {
    for (const value of values) this.#producer.append(JSON.stringify(value))
    await this.#producer.flush()
    if (this.#producerError !== undefined) throw this.#producerError
  }

  async read(_records: number, onBatch: (values: Iterable<string>, count: number) => void): Promise<void> {
    const session = await this.#client.stream({ url: this.#url, offset: START, live: false })
    await new Promise<void>((resolve, reject) => {
      session.subscribeJson(({ items, upToDate }) => {
        try {
          onBatch(items, items.length)
        } catch (error) {
          reject(error)
        }
        if (upToDate) resolve()
      })
    })
  }

  async stored(): Promise<number> {
    let stored = 0
    await this.read(0, (_values, count) => {
      stored += count
    })
    return stored
  }

  async remove(): Promise<void> {
    await this.#stream.delete()
  }
}
