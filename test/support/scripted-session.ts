import type { WebSocket } from 'ws'
import { MillraceError } from '../../protocol/error-codes.js'
import { packFrame, unpackFrame } from '../../protocol/frame.js'
import { clusterIdFrom, type TopicId } from '../../protocol/ids.js'
import * as messages from '../../protocol/messages/index.js'
import { SUBPROTOCOL } from '../../protocol/version.js'
import type { ScriptedBroker, ScriptedTopic, Verdict } from './scripted-broker.js'
import type { ScriptedLog } from './scripted-log.js'

interface Subscription {
  readonly id: number
  readonly log: ScriptedLog
  readonly topic: ScriptedTopic
  offset: number
  credit: number
}

const LATE_MS = 15
const DELIVER_BYTES_MAX = 256 * 1024

/** One connection of a scripted broker. */
export class ScriptedSession {
  readonly #broker: ScriptedBroker
  readonly #socket: WebSocket
  readonly #connection: number
  readonly #subscriptions = new Map<number, Subscription>()
  #queue: Promise<void> = Promise.resolve()
  #pending = 0
  #isCut = false

  constructor(broker: ScriptedBroker, socket: WebSocket, connection: number) {
    this.#broker = broker
    this.#socket = socket
    this.#connection = connection
    socket.on('error', () => {})
    socket.on('close', () => broker.groups.gone(this))
    socket.on('message', (data: Buffer) => {
      const frame = unpackFrame(new Uint8Array(data))
      const message = messages.messageOfOpcode(frame[0])
      if (message === undefined) throw new Error(`opcode ${frame[0]}`)
      const fields = message.read(frame) as Record<string, unknown>
      const count = broker.countOf(message.name) + 1
      broker.counts.set(message.name, count)
      const verdict = broker.script({ name: message.name, fields, connection: this.#connection, count })
      if (verdict instanceof Promise) {
        this.#queue = this.#queue.then(async () => this.#act(message.name, fields, await verdict))
      } else if (this.#pending > 0) {
        this.#queue = this.#queue.then(() => this.#act(message.name, fields, verdict))
      } else {
        this.#act(message.name, fields, verdict)
        return
      }
      this.#pending++
      void this.#queue.then(() => this.#pending--)
    })
  }

  cut(): void {
    this.#isCut = true
    this.#broker.groups.gone(this)
    this.#socket.terminate()
  }

  send(frame: unknown[]): void {
    if (!this.#isCut) this.#socket.send(packFrame(frame))
  }

  #act(name: string, fields: Record<string, unknown>, verdict: Verdict): void {
    if (verdict === 'late') setTimeout(() => this.#doLate(name, fields), LATE_MS)
    if (verdict === 'cut' || verdict === 'late') this.cut()
    if (this.#isCut || verdict === 'ignore') return
    const correlationId = fields.correlationId as number
    try {
      if (verdict instanceof MillraceError) throw verdict
      const answer = this.#answer(name, fields)
      if (verdict === 'loseAnswer') this.cut()
      else if (answer !== undefined) this.send(answer)
      if (name === 'SUBSCRIBE') this.#deliver(fields.subscriptionId as number)
    } catch (error) {
      if (!(error instanceof MillraceError)) throw error
      this.send(
        messages.error.write({
          correlationId,
          code: error.code,
          message: error.message,
          retriable: error.retriable,
          outcome: error.outcome === 'unknown' ? 1 : 0,
          retryAfterMs: error.retryAfterMs ?? null,
          details: error.details ?? null,
        }),
      )
    }
  }

  #doLate(name: string, fields: Record<string, unknown>): void {
    try {
      this.#answer(name, fields)
    } catch (error) {
      if (!(error instanceof MillraceError)) throw error
    }
  }

  #answer(name: string, fields: Record<string, unknown>): unknown[] | undefined {
    const broker = this.#broker
    const correlationId = fields.correlationId as number
    const handler = broker.handlers.get(name)
    if (handler !== undefined) return handler(fields, this)
    switch (name) {
      case 'HELLO':
        if (this.#socket.protocol !== SUBPROTOCOL) throw new MillraceError('UNSUPPORTED_VERSION')
        broker.credentials.push(fields.credential as Uint8Array | null)
        return messages.welcome.write({
          correlationId,
          version: 1,
          clusterId: clusterIdFrom('c'.repeat(32)),
          shardEpoch: 1,
          brokerName: 'scripted/0',
          limits: broker.limits,
          features: [],
          time: Date.now(),
        })
      case 'PING':
        return messages.pong.write({ correlationId })
      case 'CREATE_TOPIC':
        return this.#createTopic(fields as unknown as messages.CreateTopic)
      case 'DELETE_TOPIC': {
        const { requestId, name: topicName } = fields as unknown as messages.DeleteTopic
        const frame = broker.once(requestId, () => [broker.deleteTopic(topicName)])
        return messages.topicDeleted.write({ correlationId, topicId: frame[0] as TopicId })
      }
      case 'METADATA':
        return this.#metadata(fields as unknown as messages.Metadata)
      case 'INIT_PRODUCER': {
        const { requestId, name: producerName } = fields as unknown as messages.InitProducer
        const [identity] = broker.once(requestId, () => [broker.initProducer(producerName)])
        return messages.producerReady.write({
          correlationId,
          ...(identity as ReturnType<typeof broker.initProducer>),
        })
      }
      case 'PRODUCE':
        return this.#produce(fields as unknown as messages.Produce)
      case 'LIST_OFFSETS':
        return this.#listOffsets(fields as unknown as messages.ListOffsets)
      case 'SUBSCRIBE':
        return this.#subscribe(fields as unknown as messages.Subscribe)
      case 'CREDIT': {
        const subscription = this.#subscriptions.get(fields.subscriptionId as number)
        if (subscription !== undefined) subscription.credit += fields.bytes as number
        this.#deliver(fields.subscriptionId as number)
        return undefined
      }
      case 'UNSUBSCRIBE': {
        const subscriptionId = fields.subscriptionId as number
        if (!this.#subscriptions.delete(subscriptionId)) throw new MillraceError('UNKNOWN_SUBSCRIPTION')
        return messages.unsubscribed.write({ correlationId, subscriptionId })
      }
      default:
        return broker.groups.answer(name, fields, this)
    }
  }

  #createTopic(fields: messages.CreateTopic): unknown[] {
    const { correlationId, requestId, ifMissing, ...asked } = fields
    const [topic, created] = this.#broker.once(requestId, () => {
      const known = this.#broker.topics.get(asked.name)
      if (known !== undefined && !ifMissing) throw new MillraceError('TOPIC_EXISTS')
      return [known ?? this.#broker.createTopic(asked), known === undefined]
    }) as [ScriptedTopic, boolean]
    const { topicId, keyEncoding, valueEncoding, logs } = topic
    return messages.topicCreated.write({
      correlationId,
      topicId,
      created,
      partitions: logs.length,
      keyEncoding,
      valueEncoding,
    })
  }

  #metadata({ correlationId, names, after, limit }: messages.Metadata): unknown[] {
    const sorted = [...this.#broker.topics.values()].sort((a, b) => (a.name < b.name ? -1 : 1))
    const chosen = sorted.filter(({ name }) => names?.includes(name) ?? (after === null || name > after))
    const page = chosen.slice(0, limit ?? chosen.length)
    return messages.metadataListed.write({
      correlationId,
      topics: page.map(({ logs, ...topic }) => ({ ...topic, partitions: logs.length })),
      next: page.length < chosen.length ? (page.at(-1)?.name ?? null) : null,
    })
  }

  #produce(fields: messages.Produce): unknown[] {
    const topic = this.#broker.topicById(fields.topicId)
    const log = topic.logs[fields.partition]
    if (log === undefined) throw new MillraceError('UNKNOWN_PARTITION')
    this.#broker.assertNotFenced(fields.producerId, fields.producerEpoch)
    const ack = log.append({ ...fields, payload: fields.payload.slice() }, Date.now())
    if (!ack.duplicate) queueMicrotask(() => this.#broker.appended(log))
    return messages.produced.write({ acks: [{ correlationId: fields.correlationId, ...ack }] })
  }

  #listOffsets({ correlationId, topicId, queries }: messages.ListOffsets): unknown[] {
    const { logs } = this.#broker.topicById(topicId)
    const offsets = queries.map(({ partition, at, time }) => {
      const log = logs[partition]
      if (log === undefined) throw new MillraceError('UNKNOWN_PARTITION')
      const offset = [log.startOffset, log.end, log.offsetAt(time)][at] as number
      return { partition, offset, startOffset: log.startOffset, durableEnd: log.end }
    })
    return messages.offsetsListed.write({ correlationId, offsets })
  }

  #subscribe(fields: messages.Subscribe): unknown[] {
    const { correlationId, subscriptionId, offset, creditBytes } = fields
    const topic = this.#broker.topicById(fields.topicId)
    const log = topic.logs[fields.partition]
    if (log === undefined) throw new MillraceError('UNKNOWN_PARTITION')
    log.assertInRange(offset)
    this.#subscriptions.set(subscriptionId, { id: subscriptionId, log, topic, offset, credit: creditBytes })
    const { startOffset, end } = log
    return messages.subscribed.write({ correlationId, subscriptionId, startOffset, durableEnd: end })
  }

  appended(log: ScriptedLog): void {
    for (const subscription of this.#subscriptions.values()) {
      if (subscription.log === log) this.#deliver(subscription.id)
    }
  }

  topicDeleted(topic: ScriptedTopic): void {
    for (const subscription of this.#subscriptions.values()) {
      if (subscription.topic === topic) this.#end(subscription, new MillraceError('UNKNOWN_TOPIC'))
    }
  }

  #end(subscription: Subscription, error: MillraceError): void {
    this.#subscriptions.delete(subscription.id)
    const { code, message, retriable, details = null } = error
    const fields = { subscriptionId: subscription.id, code, message, retriable, details }
    this.send(messages.subscriptionEnded.write(fields))
  }

  #deliver(id: number): void {
    const subscription = this.#subscriptions.get(id)
    if (subscription === undefined) return
    const { log } = subscription
    while (!this.#isCut && subscription.credit > 0 && subscription.offset < log.end) {
      try {
        const { entries, nextOffset } = log.read(
          subscription.offset,
          Math.min(subscription.credit, DELIVER_BYTES_MAX),
        )
        subscription.offset = nextOffset
        subscription.credit -= entries.length
        const { startOffset, end } = log
        this.send(messages.deliver.write({ subscriptionId: id, startOffset, durableEnd: end, entries }))
      } catch (error) {
        if (!(error instanceof MillraceError)) throw error
        this.#end(subscription, error)
        return
      }
    }
  }
}
