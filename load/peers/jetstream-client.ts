import { peerPackage } from './packages.js'
import type { PeerClient, PeerStream } from './peer-stream.js'

/** What is used of `@nats-io/transport-node`. */
interface Nats {
  connect(options: { servers: string; reconnect: boolean }): Promise<NatsConnection>
}

interface NatsConnection {
  close(): Promise<void>
}

/** What is used of `@nats-io/jetstream`. */
interface JetStreamModule {
  jetstream(connection: NatsConnection, options: { timeout: number }): JetStream
  jetstreamManager(connection: NatsConnection, options: { timeout: number }): Promise<JetStreamAdmin>
}

interface JetStream {
  publish(subject: string, payload: string): Promise<unknown>
  readonly consumers: {
    get(stream: string, options?: Record<string, unknown> | string): Promise<JetStreamConsumer>
  }
}

interface JetStreamConsumer {
  consume(options: {
    max_messages: number
    callback: (message: JetStreamMessage) => void
  }): Promise<{ stop(): void }>
}

interface JetStreamMessage {
  readonly data: Uint8Array
  ackAck(): Promise<boolean>
}

interface JetStreamAdmin {
  readonly streams: {
    add(options: { name: string; subjects: string[]; storage: 'file' }): Promise<unknown>
    info(name: string): Promise<{ state: { messages: number } }>
    delete(name: string): Promise<boolean>
  }
  readonly consumers: {
    add(stream: string, options: Record<string, unknown>): Promise<unknown>
    info(stream: string, name: string): Promise<{ num_pending: number; num_ack_pending: number }>
  }
}

/** How many messages a pull asks for ahead. */
const PULL_RECORDS = 5_000
const WORKERS = 'workers'
const TIMEOUT_MS = 30_000

export const jetStreamClient: PeerClient = {
  packages: ['@nats-io/transport-node', '@nats-io/jetstream'],
  sendsInFlight: 4_000,
  async open(url, name): Promise<PeerStream> {
    const { connect } = peerPackage<Nats>('@nats-io/transport-node')
    const { jetstream, jetstreamManager } = peerPackage<JetStreamModule>('@nats-io/jetstream')
    const connection = await connect({ servers: url, reconnect: false })
    const admin = await jetstreamManager(connection, { timeout: TIMEOUT_MS })
    await admin.streams.add({ name, subjects: [name], storage: 'file' })
    return new JetStreamStream({
      connection,
      admin,
      name,
      js: jetstream(connection, { timeout: TIMEOUT_MS }),
    })
  },
}

interface JetStreamParts {
  readonly connection: NatsConnection
  readonly admin: JetStreamAdmin
  readonly js: JetStream
  readonly name: string
}

class JetStreamStream implements PeerStream {
  readonly #parts: JetStreamParts

  constructor(parts: JetStreamParts) {
    this.#parts = parts
  }

  send(value: string): Promise<unknown> {
    return this.#parts.js.publish(this.#parts.name, value)
  }

  /** An ordered consumer, which needs no acks; the client hands messages over one by one. */
  async read(records: number, onBatch: (values: Iterable<Uint8Array>, count: number) => void): Promise<void> {
    const consumer = await this.#parts.js.consumers.get(this.#parts.name)
    await take(consumer, { messages: records, onMessage: ({ data }) => onBatch([data], 1) })
  }

  /** A pull consumer with explicit acks; the server confirms each ack. */
  async work(jobs: number): Promise<void> {
    const { admin, js, name } = this.#parts
    await admin.consumers.add(name, {
      durable_name: WORKERS,
      ack_policy: 'explicit',
      deliver_policy: 'all',
      max_ack_pending: PULL_RECORDS,
    })
    const consumer = await js.consumers.get(name, WORKERS)
    const acks: Promise<boolean>[] = []
    await take(consumer, { messages: jobs, onMessage: (message) => acks.push(message.ackAck()) })
    const acknowledged = (await Promise.all(acks)).filter((isAcknowledged) => isAcknowledged).length
    if (acknowledged !== jobs) throw new Error(`${acknowledged} of ${jobs} jobs were acknowledged`)
  }

  async unacknowledgedJobs(): Promise<number> {
    const info = await this.#parts.admin.consumers.info(this.#parts.name, WORKERS)
    return info.num_pending + info.num_ack_pending
  }

  async stored(): Promise<number> {
    return (await this.#parts.admin.streams.info(this.#parts.name)).state.messages
  }

  async remove(): Promise<void> {
    await this.#parts.admin.streams.delete(this.#parts.name)
    await this.#parts.connection.close()
  }
}

/** By callback, which costs the client less than its async iterator. */
async function take(
  consumer: JetStreamConsumer,
  { messages, onMessage }: { messages: number; onMessage: (message: JetStreamMessage) => void },
): Promise<void> {
  let taken = 0
  let stop: (() => void) | undefined
  await new Promise<void>((resolve, reject) => {
    const callback = (message: JetStreamMessage): void => {
      if (taken === messages) return
      taken += 1
      onMessage(message)
      if (taken === messages) resolve()
    }
    consumer.consume({ max_messages: PULL_RECORDS, callback }).then((subscription) => {
      stop = () => subscription.stop()
    }, reject)
  })
  stop?.()
}
