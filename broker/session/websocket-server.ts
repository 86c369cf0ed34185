import type { IncomingMessage, Server } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Logger } from 'pino'
import { type WebSocket, WebSocketServer } from 'ws'
import { SUBPROTOCOL, WEBSOCKET_PATH } from '../../protocol/version.js'
import { type OriginPolicy, originFault } from '../config/origin.js'
import type { GroupsFace } from '../groups/groups-face.js'
import type { Clock } from '../platform/clock.js'
import { type Failpoints, noFailpoints } from '../platform/failpoints.js'
import type { Metrics } from '../platform/metrics.js'
import type { Random } from '../platform/random.js'
import type { ShardFace } from '../shard/shard-face.js'
import { ByteBudget } from './byte-budget.js'
import { CLOSE } from './close-codes.js'
import type { RefuseRequest } from './dispatch.js'
import { FairQueue } from './fair-queue.js'
import { InFlightBudget } from './flow-control.js'
import { FrameMemory } from './frame-memory.js'
import type { Inlet } from './inlet.js'
import type { SessionLimits } from './limits.js'
import { readInPlace } from './raw-socket.js'
import { Session, type SessionEnvironment } from './session.js'
import { refuseUpgrade } from './upgrade-refusal.js'

export interface WebSocketFaceOptions {
  readonly server: Server
  readonly shard: ShardFace
  readonly groups: GroupsFace
  readonly limits: SessionLimits
  readonly origins: OriginPolicy
  readonly clock: Clock
  readonly random: Random
  readonly metrics: Metrics
  readonly log: Logger
  /** For WELCOME, for example `millrace/0.1.0`. */
  readonly brokerName: string
  readonly failpoints?: Failpoints | undefined
  readonly refuse?: RefuseRequest | undefined
  /** Takes a connection over from the HTTP server and reads it from then on: `readInPlace`, unless a test has its own network. */
  readonly takeOver?: typeof readInPlace
}

/** How often a drain looks whether it is over. */
const DRAIN_POLL_MS = 10
/** A frame of 8 MiB in segments of 536 bytes, twice over. */
const CHUNKS_PER_MESSAGE_MAX = 32 * 1024
const FRAGMENTS_PER_MESSAGE_MAX = 4 * 1024
const NOTHING = Buffer.alloc(0)

/** Takes WebSocket connections on an HTTP server and runs a session on each. */
export class WebSocketFace {
  readonly #options: WebSocketFaceOptions
  readonly #environment: SessionEnvironment
  readonly #webSockets: WebSocketServer
  readonly #sessions = new Set<Session>()
  #isDraining = false
  #connectionNumber = 0

  constructor(options: WebSocketFaceOptions) {
    const { server, limits, metrics } = options
    this.#options = options
    this.#environment = {
      shard: options.shard,
      groups: options.groups,
      limits,
      clock: options.clock,
      metrics,
      failpoints: options.failpoints ?? noFailpoints,
      fairQueue: new FairQueue(options.clock),
      frameMemory: new FrameMemory({ bytesMax: limits.inFlightTotalBytesMax }),
      inFlightBudget: new InFlightBudget(limits.inFlightTotalBytesMax),
      deliveryBudget: new ByteBudget(limits.deliverTotalBytesMax),
      replyBudget: new ByteBudget(limits.outBufferTotalBytesMax),
      brokerName: options.brokerName,
      refuse: options.refuse,
    }
    this.#webSockets = new WebSocketServer({
      noServer: true,
      clientTracking: false,
      perMessageDeflate: false,
      maxPayload: limits.frameBytesMax,
      maxBufferedChunks: CHUNKS_PER_MESSAGE_MAX,
      maxFragments: FRAGMENTS_PER_MESSAGE_MAX,
      handleProtocols: () => SUBPROTOCOL,
      ...closeTimeout(limits),
    })
    server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) =>
      this.#upgrade(request, socket as Socket, head),
    )
    metrics.gauge('connections', () => this.#sessions.size)
    metrics.gauge('subscriptions', () => sum(this.#sessions, (session) => session.subscriptions.count))
    const { frameMemory, inFlightBudget } = this.#environment
    metrics.gauge('frameMemoryBytes', () => frameMemory.bytesInUse)
    metrics.gauge('inFlightBytes', () => inFlightBudget.bytes)
  }

  get connections(): number {
    return this.#sessions.size
  }

  /**
   * Takes no more connections and no more mutations, waits until what is in flight is answered and the answers have
   * left, at most `drainMs`, then closes what is idle and cuts the rest.
   */
  async close({ drainMs }: { drainMs: number }): Promise<void> {
    const { clock } = this.#options
    this.#isDraining = true
    const deadlineMs = clock.monotonic() + drainMs
    for (const session of this.#sessions) session.drain({ reason: 'the broker stops', deadlineMs: drainMs })
    await this.#until(deadlineMs, () => this.#closeIdle())
    for (const session of this.#sessions) session.terminate()
    await this.#until(Number.POSITIVE_INFINITY, () => this.#sessions.size === 0)
  }

  /** Drops every connection without a word, as the end of a process does. */
  cut(): void {
    this.#isDraining = true
    for (const session of this.#sessions) session.terminate()
  }

  #closeIdle(): boolean {
    for (const session of this.#sessions) {
      if (session.isIdle) session.close(CLOSE.goingAway, 'the broker stops')
    }
    return this.#sessions.size === 0
  }

  async #until(deadlineMs: number, isDone: () => boolean): Promise<void> {
    const { clock } = this.#options
    while (!isDone() && clock.monotonic() < deadlineMs) {
      // Not the injected clock: how often we look is no part of what time decides.
      await new Promise((resolve) => setTimeout(resolve, DRAIN_POLL_MS))
    }
  }

  #upgrade(request: IncomingMessage, socket: Socket, head: Buffer): void {
    const refusal = this.#refusal(request)
    if (refusal) {
      this.#options.metrics.count('connectionsRefused')
      this.#options.log.debug({ ...refusal, remoteAddress: socket.remoteAddress }, 'connection refused')
      refuseUpgrade(socket, refusal)
      return
    }
    let inlet: Inlet | undefined
    const takeOver = this.#options.takeOver ?? readInPlace
    const inPlace = takeOver(socket, (bytes) => inlet?.take(bytes))
    this.#webSockets.handleUpgrade(request, inPlace, NOTHING, (webSocket) => {
      inlet = this.#open(webSocket, inPlace).inlet
      if (head.length > 0) inlet.take(head)
    })
    inPlace.resume()
  }

  #refusal(request: IncomingMessage): { status: number; message: string } | undefined {
    const { limits, origins } = this.#options
    const { url = '', headers } = request
    if (url.split('?', 1)[0] !== WEBSOCKET_PATH) {
      return { status: 404, message: `WebSockets are served at ${WEBSOCKET_PATH}` }
    }
    const originMessage = originFault(headers, origins)
    if (originMessage !== undefined) return { status: 403, message: originMessage }
    const offered = (headers['sec-websocket-protocol'] ?? '').split(',').map((name) => name.trim())
    if (!offered.includes(SUBPROTOCOL)) {
      return { status: 400, message: `this broker speaks the WebSocket subprotocol ${SUBPROTOCOL} only` }
    }
    if (this.#isDraining) return { status: 503, message: 'the broker is shutting down' }
    if (this.#sessions.size >= limits.connectionsMax) {
      return { status: 503, message: `the broker has ${limits.connectionsMax} connections and takes no more` }
    }
    return undefined
  }

  #open(webSocket: WebSocket, socket: Socket): Session {
    const { log, random, metrics } = this.#options
    const { remoteAddress, remotePort } = socket
    const session: Session = new Session(this.#environment, {
      webSocket,
      socket,
      log: log.child({ connection: ++this.#connectionNumber, remote: `${remoteAddress}:${remotePort}` }),
      jitter: random.fraction(),
      onClosed: () => this.#sessions.delete(session),
    })
    this.#sessions.add(session)
    metrics.count('connectionsOpened')
    return session
  }
}

/** `ws` 8.23 takes this option; its types do not know it yet. */
const closeTimeout = (limits: SessionLimits): object => ({ closeTimeout: limits.closeTimeoutMs })

function sum<T>(items: Iterable<T>, value: (item: T) => number): number {
  let total = 0
  for (const item of items) total += value(item)
  return total
}
