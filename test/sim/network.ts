import { EventEmitter } from 'node:events'
import type { IncomingMessage, Server } from 'node:http'
import type { Socket } from 'node:net'
import type { Listener, ListenerOptions } from '../../broker/listener.js'
import { WebSocketFace } from '../../broker/session/websocket-server.js'
import type { OpenSocket, SocketListener, SocketOptions } from '../../client/platform/socket.js'
import { SUBPROTOCOL, WEBSOCKET_PATH } from '../../protocol/version.js'
import type { SeededRandom } from '../support/seeded-random.js'
import { BrokerSocket } from './broker-socket.js'
import { ClientSocket } from './client-socket.js'
import { type NetworkWeather, Pipe } from './pipe.js'
import type { Owner, Scheduler } from './scheduler.js'
import type { WireTap } from './wire-tap.js'

/** Some key; nobody checks what it comes to. */
const WEBSOCKET_KEY = Buffer.alloc(16, 7).toString('base64')
const NOTHING = Buffer.alloc(0)

interface Connection {
  readonly id: number
  readonly client: Owner
  readonly broker: Owner
  readonly toBroker: Pipe
  readonly toClient: Pipe
}

/** Where the broker listens, while it does. */
interface Port {
  readonly owner: Owner
  readonly server: EventEmitter
}

/** The network between the clients and the broker: slow, and not to be relied upon. */
export class SimulatedNetwork {
  /** May be changed at any time. */
  readonly weather: { -readonly [Name in keyof NetworkWeather]: NetworkWeather[Name] }
  readonly #scheduler: Scheduler
  readonly #random: SeededRandom
  readonly #connections = new Map<number, Connection>()
  #port: Port | undefined
  #id = 0

  constructor(options: { scheduler: Scheduler; random: SeededRandom; weather: NetworkWeather }) {
    this.#scheduler = options.scheduler
    this.#random = options.random
    this.weather = { ...options.weather }
  }

  /** Connections that neither end has seen the end of, in the order in which they were made. */
  get connections(): readonly number[] {
    return [...this.#connections.keys()]
  }

  /** The broker's side: what `startListener` does on a real one, for WebSockets alone. */
  listen(options: ListenerOptions): Listener {
    const owner = this.#scheduler.owner
    const server = new EventEmitter()
    const face = new WebSocketFace({
      ...options,
      server: server as unknown as Server,
      origins: { allowedOrigins: options.allowedOrigins, ownHosts: [options.host] },
      takeOver: (socket, onBytes) =>
        (socket as unknown as BrokerSocket).readWith(onBytes) as unknown as Socket,
    })
    const port = { owner, server }
    this.#port = port
    return {
      port: 4600,
      get connections() {
        return face.connections
      },
      close: async ({ drainMs }) => {
        if (this.#port === port) this.#port = undefined
        await face.close({ drainMs })
      },
      cut: async () => this.cutAllOf(owner),
    }
  }

  /** A client's side. */
  openSocketOf(client: Owner, tap?: WireTap): OpenSocket {
    return (options, listener) => this.#open({ client, tap }, options, listener)
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
    const { latencyMsMin, latencyMsMax } = this.weather
    const ms = latencyMsMin + this.#random.fraction() * (latencyMsMax - latencyMsMin)
    const { world } = this.#scheduler
    this.#scheduler.after(ms, () => this.#connect(id, client, socket), {
      kind: 'connect',
      detail: id,
      owner: world,
    })
    return socket
  }

  #connect(id: number, client: Owner, socket: ClientSocket): void {
    const port = this.#port
    if (port === undefined) {
      this.#scheduler.after(0, () => socket.reset(), { kind: 'refuse', detail: id, owner: client })
      return
    }
    const pipe = (name: string, sender: Owner, owner: Owner, receiver: ClientSocket | BrokerSocket): Pipe =>
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
    this.#scheduler.after(0, () => port.server.emit('upgrade', upgradeRequest, brokerSocket, NOTHING), {
      kind: 'upgrade',
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
