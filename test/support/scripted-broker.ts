import type { AddressInfo } from 'node:net'
import { WebSocketServer } from 'ws'
import type { Encoding } from '../../protocol/encodings.js'
import { MillraceError } from '../../protocol/error-codes.js'
import { type TopicId, topicIdFrom } from '../../protocol/ids.js'
import { DEFAULT_LIMITS, PRODUCER_WINDOW_BATCHES } from '../../protocol/limits.js'
import { goingAway } from '../../protocol/messages/index.js'
import { ScriptedGroups } from './scripted-groups.js'
import { ScriptedLog } from './scripted-log.js'
import { ScriptedSession } from './scripted-session.js'

/**
 * What a script does with a request: nothing (undefined), refuse it, leave it out, do it and cut, cut at once, or cut and
 * do it a while later, as if it had been on its way.
 */
export type Verdict = undefined | MillraceError | 'ignore' | 'loseAnswer' | 'cut' | 'late'

export interface Request {
  /** For example `PRODUCE`. */
  readonly name: string
  readonly fields: Readonly<Record<string, unknown>>
  /** Connections so far, this request's included. */
  readonly connection: number
  /** Requests of this name so far, this one included. */
  readonly count: number
}

export type Script = (request: Request) => Verdict | Promise<Verdict>

/** Returns the answer, or undefined when there is none. */
export type ScriptedHandler = (
  fields: Readonly<Record<string, unknown>>,
  session: ScriptedSession,
) => unknown[] | undefined

export interface ScriptedTopic {
  readonly topicId: TopicId
  readonly name: string
  readonly keyEncoding: Encoding
  readonly valueEncoding: Encoding
  readonly createdAt: number
  readonly logs: ScriptedLog[]
}

/** A broker in memory that speaks the protocol on a real WebSocket and fails as its script says. */
export class ScriptedBroker {
  readonly topics = new Map<string, ScriptedTopic>()
  readonly groups = new ScriptedGroups(this)
  readonly counts = new Map<string, number>()
  readonly credentials: (Uint8Array | null)[] = []
  readonly limits = {
    ...DEFAULT_LIMITS,
    producerWindowBatches: PRODUCER_WINDOW_BATCHES,
  }
  script: Script = () => undefined
  /** What it does with requests that it does not know by itself, or not so. */
  readonly handlers = new Map<string, ScriptedHandler>()
  connections = 0
  producerIds = 0
  readonly #producerNames = new Map<string, { producerId: number; producerEpoch: number }>()
  readonly #requests = new Map<string, unknown[]>()
  #topicIds = 0
  #server: WebSocketServer
  #port = 0
  readonly #sessions = new Set<ScriptedSession>()

  private constructor() {
    this.#server = this.#newServer(0)
  }

  static async start(): Promise<ScriptedBroker> {
    const broker = new ScriptedBroker()
    await broker.#listening()
    return broker
  }

  get url(): string {
    return `ws://127.0.0.1:${this.#port}`
  }

  #newServer(port: number): WebSocketServer {
    const server = new WebSocketServer({ host: '127.0.0.1', port, path: '/ws', perMessageDeflate: false })
    server.on('connection', (socket) =>
      this.#sessions.add(new ScriptedSession(this, socket, ++this.connections)),
    )
    return server
  }

  async #listening(): Promise<void> {
    if (this.#server.address() === null) {
      await new Promise<void>((resolve, reject) => {
        this.#server.once('listening', resolve)
        this.#server.once('error', reject)
      })
    }
    this.#port = (this.#server.address() as AddressInfo).port
  }

  /** Cuts every connection and takes no new ones; the data stays. */
  async stop(): Promise<void> {
    this.cutAll()
    await new Promise<void>((resolve) => this.#server.close(() => resolve()))
  }

  /** Listens again on the same port. */
  async restart(): Promise<void> {
    this.#server = this.#newServer(this.#port)
    await this.#listening()
  }

  cutAll(): void {
    for (const session of this.#sessions) session.cut()
    this.#sessions.clear()
  }

  sayGoingAway(): void {
    for (const session of this.#sessions) {
      session.send(goingAway.write({ reason: 'test', deadlineMs: 1_000 }))
    }
  }

  log(topic: string, partition = 0): ScriptedLog {
    const log = this.topics.get(topic)?.logs[partition]
    if (log === undefined) throw new Error(`no partition ${partition} of ${topic}`)
    return log
  }

  countOf(name: string): number {
    return this.counts.get(name) ?? 0
  }

  createTopic(fields: {
    name: string
    partitions: number
    keyEncoding: Encoding
    valueEncoding: Encoding
  }): ScriptedTopic {
    const { partitions, ...rest } = fields
    const topicId = topicIdFrom((++this.#topicIds).toString(16).padStart(32, '0'))
    const logs = Array.from({ length: partitions }, (_, partition) => new ScriptedLog(topicId, partition))
    const topic = { ...rest, topicId, createdAt: Date.now(), logs }
    this.topics.set(fields.name, topic)
    return topic
  }

  deleteTopic(name: string): TopicId {
    const topic = this.topics.get(name)
    if (topic === undefined) throw new MillraceError('UNKNOWN_TOPIC')
    this.topics.delete(name)
    for (const session of this.#sessions) session.topicDeleted(topic)
    return topic.topicId
  }

  topicById(topicId: unknown): ScriptedTopic {
    for (const topic of this.topics.values()) if (topic.topicId === topicId) return topic
    throw new MillraceError('UNKNOWN_TOPIC')
  }

  initProducer(name: string | null): { producerId: number; producerEpoch: number } {
    if (name === null) return { producerId: ++this.producerIds, producerEpoch: 0 }
    const known = this.#producerNames.get(name) ?? { producerId: ++this.producerIds, producerEpoch: -1 }
    const next = { ...known, producerEpoch: known.producerEpoch + 1 }
    this.#producerNames.set(name, next)
    return next
  }

  assertNotFenced(producerId: number | null, producerEpoch: number): void {
    for (const known of this.#producerNames.values()) {
      if (known.producerId === producerId && known.producerEpoch !== producerEpoch) {
        throw new MillraceError('PRODUCER_FENCED')
      }
    }
  }

  /** The first answer to a request id, again. */
  once(requestId: string, answer: () => unknown[]): unknown[] {
    const known = this.#requests.get(requestId) ?? answer()
    this.#requests.set(requestId, known)
    return known
  }

  appended(log: ScriptedLog): void {
    for (const session of this.#sessions) session.appended(log)
  }
}
