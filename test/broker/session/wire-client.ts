import { once } from 'node:events'
import type { Socket } from 'node:net'
import { WebSocket } from 'ws'
import { packFrame, unpackFrame } from '../../../protocol/frame.js'
import type { TopicId } from '../../../protocol/ids.js'
import {
  deliver,
  type ErrorFields,
  error,
  hello,
  MESSAGES,
  type Message,
  type ProduceAck,
  produce,
  produced,
  type Welcome,
  welcome,
} from '../../../protocol/messages/index.js'
import type { Fields, FieldsOf } from '../../../protocol/shape.js'
import { SUBPROTOCOL } from '../../../protocol/version.js'

export interface Received {
  readonly name: string
  readonly fields: Record<string, unknown>
}

/** Far longer than any answer takes, so that a missing one fails its test and not the whole run. */
const ANSWER_MS_MAX = 30_000

/** A client that says exactly what a test tells it to, and keeps what comes. */
export class WireClient {
  readonly webSocket: WebSocket
  readonly received: Received[] = []
  /** WebSocket messages, for what only shows in their bytes. */
  readonly messages: Buffer[] = []
  readonly closed: Promise<{ code: number; reason: string }>
  #waiting: (() => void)[] = []
  #correlationId = 0

  constructor(webSocket: WebSocket) {
    this.webSocket = webSocket
    webSocket.on('error', () => {})
    this.closed = new Promise((resolve) =>
      webSocket.on('close', (code, reason) => resolve({ code, reason: reason.toString() })),
    )
    webSocket.on('message', (data: Buffer) => {
      this.messages.push(data)
      this.received.push(described(data))
      this.#wake()
    })
    webSocket.on('close', () => this.#wake())
  }

  static async open(
    port: number,
    options: { headers?: Record<string, string>; hello?: boolean } = {},
  ): Promise<WireClient> {
    const webSocket = new WebSocket(`ws://127.0.0.1:${port}/ws`, SUBPROTOCOL, {
      perMessageDeflate: false,
      headers: options.headers ?? {},
    })
    const client = new WireClient(webSocket)
    await once(webSocket, 'open')
    if (options.hello !== false) await client.hello()
    return client
  }

  /** The TCP socket under the WebSocket. */
  get socket(): Socket {
    return (this.webSocket as unknown as { _socket: Socket })._socket
  }

  nextId(): number {
    return ++this.#correlationId
  }

  hello(): Promise<Welcome> {
    this.send(hello, {
      correlationId: this.nextId(),
      minVersion: 1,
      maxVersion: 1,
      clientName: 'test',
      credential: null,
      features: [],
    })
    return this.next(welcome)
  }

  send<F extends Fields>(message: Message<string, F>, fields: FieldsOf<F>): void {
    this.webSocket.send(packFrame(message.write(fields)))
  }

  sendRaw(frame: unknown[]): void {
    this.webSocket.send(packFrame(frame))
  }

  /** Takes the oldest kept frame of this message, waiting for one. */
  async next<F extends Fields>(message: Message<string, F>): Promise<FieldsOf<F>> {
    await this.until(() => this.received.some(({ name }) => name === message.name), `a ${message.name}`)
    const index = this.received.findIndex(({ name }) => name === message.name)
    const [found] = this.received.splice(index, 1)
    return (found as Received).fields as FieldsOf<F>
  }

  nextError(): Promise<ErrorFields> {
    return this.next(error)
  }

  async request<F extends Fields, G extends Fields>(
    message: Message<string, F>,
    fields: Omit<FieldsOf<F>, 'correlationId'>,
    answer: Message<string, G>,
  ): Promise<FieldsOf<G>> {
    this.send(message, { ...fields, correlationId: this.nextId() } as unknown as FieldsOf<F>)
    return this.next(answer)
  }

  /** Sends a batch and returns its correlation id. */
  produce(topicId: TopicId, payload: Uint8Array, partition = 0): number {
    const correlationId = this.nextId()
    this.send(produce, produceFields(topicId, payload, { correlationId, partition }))
    return correlationId
  }

  async acks(count: number): Promise<ProduceAck[]> {
    const acks: ProduceAck[] = []
    while (acks.length < count) acks.push(...(await this.next(produced)).acks)
    return acks
  }

  /** Entries of the DELIVER frames of a subscription, until they hold `bytes`; takes them. */
  async delivered(subscriptionId: number, bytes: number): Promise<Buffer> {
    const isMine = ({ name, fields }: Received): boolean =>
      name === deliver.name && fields.subscriptionId === subscriptionId
    const entriesOf = ({ fields }: Received): Uint8Array => fields.entries as Uint8Array
    const total = (): number =>
      this.received.filter(isMine).reduce((sum, frame) => sum + entriesOf(frame).length, 0)
    await this.until(() => total() >= bytes, `${bytes} bytes of subscription ${subscriptionId}`)
    const mine = this.received.filter(isMine)
    const others = this.received.filter((frame) => !isMine(frame))
    this.received.splice(0, this.received.length, ...others)
    return Buffer.concat(mine.map(entriesOf))
  }

  async until(isThere: () => boolean, what: string): Promise<void> {
    let isLate = false
    const timer = setTimeout(() => {
      isLate = true
      this.#wake()
    }, ANSWER_MS_MAX)
    try {
      while (!isThere()) {
        if (isLate) throw new Error(`${what} did not come; there was ${this.#summary()}`)
        if (this.webSocket.readyState === WebSocket.CLOSED) {
          throw new Error(`closed before ${what} came; there was ${this.#summary()}`)
        }
        await new Promise<void>((resolve) => this.#waiting.push(resolve))
      }
    } finally {
      clearTimeout(timer)
    }
  }

  close(): Promise<unknown> {
    this.webSocket.terminate()
    return this.closed
  }

  #wake(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const resolve of waiting) resolve()
  }

  #summary(): string {
    return (
      this.received.map(({ name, fields }) => `${name} ${String(fields.message ?? '')}`).join(', ') ||
      'nothing'
    )
  }
}

function described(data: Buffer): Received {
  const frame = unpackFrame(data)
  const message = MESSAGES.find(({ opcode }) => opcode === frame[0])
  if (!message) throw new Error(`the broker sent opcode ${String(frame[0])}`)
  return { name: message.name, fields: message.read(frame) as Record<string, unknown> }
}

export function produceFields(
  topicId: TopicId,
  payload: Uint8Array,
  at: { correlationId: number; partition?: number },
): FieldsOf<(typeof produce)['fields']> {
  return {
    correlationId: at.correlationId,
    topicId,
    partition: at.partition ?? 0,
    producerId: null,
    producerEpoch: 0,
    baseSequence: 0,
    attributes: 0,
    baseTimestamp: 1_700_000_000_000,
    recordCount: 1,
    inflatedBytes: payload.length,
    payloadCrc: 0,
    payload,
  }
}
