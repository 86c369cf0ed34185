import { EventEmitter } from 'node:events'
import type { IncomingMessage, Server } from 'node:http'
import type { Socket } from 'node:net'
import { BrokerHealth } from '../../broker/http/health.js'
import { HttpFace } from '../../broker/http/http-server.js'
import { DEFAULT_HTTP_LIMITS } from '../../broker/http/limits.js'
import type { Listener, ListenerOptions } from '../../broker/listener.js'
import { WebSocketFace } from '../../broker/session/websocket-server.js'
import type { OpenSocket, SocketListener, SocketOptions } from '../../client/platform/socket.js'
import { SUBPROTOCOL, WEBSOCKET_PATH } from '../../protocol/version.js'
import type { SeededRandom } from '../support/seeded-random.js'
import { BrokerSocket } from './broker-socket.js'
import { ClientSocket } from './client-socket.js'
import { type NetworkWeather, Pipe, type PipeReceiver } from './pipe.js'
import type { Owner, Scheduler } from './scheduler.js'
import type { WireTap } from './wire-tap.js'

/** Some key; nobody checks what it comes to. */
const WEBSOCKET_KEY = Buffer.alloc(16, 7).toString('base64')
const NOTHING = Buffer.alloc(0)
/** As a broker has them that is told of small records, and of polls that end within a run. */
const HTTP_LIMITS = { ...DEFAULT_HTTP_LIMITS, recordBytesMax: 16 * 1024, streamPollMs: 500 }

interface Connection {
  readonly id: number
  readonly client: Owner
  readonly broker: Owner
  readonly toBroker: Pipe
  readonly toClient: Pipe
}

/** Who hears of the connection, and then of what comes through it. */
export interface ConnectingReceiver extends PipeReceiver {
  connected(out: Pipe): void
}

interface Connecting {
  readonly client: Owner
  readonly receiver: ConnectingReceiver
  readonly isHttp: boolean
}

/** Where the broker listens, while it does. */
interface Port {
  readonly owner: Owner
  readonly server: EventEmitter
  /** Where there is anybody to ask it. */
  readonly http: HttpFace | undefined
}

/** The network between the clients and the broker: slow, and not to be relied upon. */
export class SimulatedNetwork {
  /** May be changed at any time. */
  readonly weather: { -readonly [Name in keyof NetworkWeather]: NetworkWeather[Name] }
  readonly #scheduler: Scheduler
  readonly #random: SeededRandom
  readonly #connections = new Map<number, Connection>()
  /** That were ever made for HTTP. */
  readonly #httpSockets: BrokerSocket[] = []
  #port: Port | undefined
  #id = 0
  #isHttpServed = false

  constructor(options: { scheduler: Scheduler; random: SeededRandom; weather: NetworkWeather }) {
    this.#scheduler = options.scheduler
    this.#random = options.random
    this.weather = { ...options.weather }
  }

  /** Connections that neither end has seen the end of, in the order in which they were made. */
  get connections(): readonly number[] {
    return [...this.#connections.keys()]
  }

  /** The broker's side: what `startListener` does on a real one. */
  async listen(options: ListenerOptions): Promise<Listener> {
    const owner = this.#scheduler.owner
    const http = this.#isHttpServed ? await httpFace(options) : undefined
    const server = new EventEmitter()
    const face = new WebSocketFace({
      ...options,
      server: server as unknown as Server,
      origins: { allowedOrigins: options.allowedOrigins, ownHosts: [options.host] },
      takeOver: (socket, onBytes) =>
        (socket as unknown as BrokerSocket).readWith(onBytes) as unknown as Socket,
    })
    const port = { owner, server, http }
    this.#port = port
    return {
      port: 4600,
      get connections() {
        return face.connections
      },
      close: async ({ drainMs }) => {
        if (this.#port === port) this.#port = undefined
        await Promise.all([face.close({ drainMs }), http?.close({ drainMs })])
      },
      cut: async () => this.cutAllOf(owner),
    }
  }

  /** A client's side. */
  openSocketOf(client: Owner, tap?: WireTap): OpenSocket {
    return (options, listener) => this.#open({ client, tap }, options, listener)
  }

  /** From the next life of the broker on HTTP is served, too. */
  serveHttp(): void {
    this.#isHttpServed = true
  }

  /** A client's side, for bytes of HTTP. */
  openHttp(client: Owner, receiver: ConnectingReceiver): void {
    this.#begin(++this.#id, { client, receiver, isHttp: true })
  }

  /** Loses a connection, in the middle of whatever is under way; both ends hear of it, each in its own time. */
  cut(id: number): void {
    const connection = this.#connections.get(id)
    if (connection === undefined) return
    this.#connections.delete(id)
    this.#scheduler.note('cut', id)
    connection.toBroker.cut()
    connection.toClient.cut()
  }

  /** From now on no byte gets through, and neither end hears of it. */
  silence(id: number): void {
    const connection = this.#connections.get(id)
    if (connection === undefined) return
    this.#scheduler.note('silence', id)
    connection.toBroker.silence()
    connection.toClient.silence()
  }

  /** A process has died, and its machine or another says so to its peers: all of its connections are cut. */
  cutAllOf(owner: Owner): void {
    if (this.#port?.owner === owner) this.#port = undefined
    for (const { id, client, broker } of [...this.#connections.values()])
      if (client === owner || broker === owner) this.cut(id)
  }

  #open(
    { client, tap }: { client: Owner; tap: WireTap | undefined },
    { frameBytesMax }: SocketOptions,
    listener: SocketListener,
  ): ClientSocket {
    const id = ++this.#id
    const socket = new ClientSocket({ listener, frameBytesMax, tap, onGone: () => this.#gone(id) })
    this.#begin(id, { client, receiver: socket, isHttp: false })
    return socket
  }

  #begin(id: number, connecting: Connecting): void {
    const { latencyMsMin, latencyMsMax } = this.weather
    const ms = latencyMsMin + this.#random.fraction() * (latencyMsMax - latencyMsMin)
    const { world } = this.#scheduler
    this.#scheduler.after(ms, () => this.#connect(id, connecting), {
      kind: 'connect',
      detail: id,
      owner: world,
    })
  }

  #connect(id: number, { client, receiver: socket, isHttp }: Connecting): void {
    const port = this.#port
    if (port === undefined || (isHttp && port.http === undefined)) {
      this.#scheduler.after(0, () => socket.reset(), { kind: 'refuse', detail: id, owner: client })
      return
    }
    const pipe = (name: string, sender: Owner, owner: Owner, receiver: PipeReceiver): Pipe =>
      new Pipe({
        scheduler: this.#scheduler,
        random: this.#random.fork(),
        weather: this.weather,
        name: `${id}${name}`,
        sender,
        owner,
        receiver,
      })
    const toClient = pipe('>client', port.owner, client, socket)
    const brokerSocket: BrokerSocket = new BrokerSocket({
      port: id,
      out: toClient,
      onPausing: (isPaused) => (isPaused ? toBroker.hold() : toBroker.unhold()),
      onGone: () => toClient.end(),
    })
    const toBroker = pipe('>broker', client, port.owner, brokerSocket)
    toBroker.hold()
    this.#connections.set(id, { id, client, broker: port.owner, toBroker, toClient })
    if (isHttp) this.#httpSockets.push(brokerSocket)
    const accept = (): void => {
      if (isHttp) port.http?.server.emit('connection', brokerSocket.readAsStream())
      else port.server.emit('upgrade', upgradeRequest, brokerSocket, NOTHING)
    }
    this.#scheduler.after(0, accept, {
      kind: isHttp ? 'accept' : 'upgrade',
      detail: id,
      owner: port.owner,
    })
    this.#scheduler.after(0, () => socket.connected(toBroker), {
      kind: 'connected',
      detail: id,
      owner: client,
    })
  }

  #gone(id: number): void {
    this.#connections.delete(id)
  }

  /** After the run: whatever of it is held from outside may be collected. */
  letGo(): void {
    for (const socket of this.#httpSockets.splice(0)) socket.letGo()
  }
}

/** The broker's HTTP face, for connections that it is given. */
async function httpFace(options: ListenerOptions): Promise<HttpFace> {
  const { host, allowedOrigins } = options
  const face = new HttpFace({
    ...options,
    limits: HTTP_LIMITS,
    health: new BrokerHealth({ isDiskFull: () => false }),
    version: '0',
    origins: { allowedOrigins, ownHosts: [host] },
  })
  face.server.prependListener('request', (_request, response) => {
    // The one thing that is of this day.
    response.sendDate = false
  })
  await face.answer()
  face.serve(options)
  return face
}

const upgradeRequest = {
  method: 'GET',
  url: WEBSOCKET_PATH,
  headers: {
    upgrade: 'websocket',
    'sec-websocket-key': WEBSOCKET_KEY,
    'sec-websocket-version': '13',
    'sec-websocket-protocol': SUBPROTOCOL,
  },
} as unknown as IncomingMessage
