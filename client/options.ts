import { type Clock, systemClock } from './clock.js'
import type { ClientEvent } from './events.js'
import type { Fetch } from './history/chunk-server.js'
import type { OpenSocket } from './platform/socket.js'
import { type Random, systemRandom } from './random.js'

/** What proves to the broker who this client is; asked for at each connection. */
export type Token = string | Uint8Array
export type TokenSource = Token | (() => Token | Promise<Token>)

export interface ConnectOptions {
  /**
   * The credential of HELLO, or a function that gets it; it is called at every connection, so a token that expires is
   * renewed by itself. When it throws, the attempt counts as failed and is repeated.
   */
  readonly token?: TokenSource
  /** For the broker's logs; default `millrace-js/<version>`. */
  readonly clientName?: string
  /** Every event of the connection; `client.on` gives single kinds. */
  readonly onEvent?: (event: ClientEvent) => void
  /** How long a call may take, reconnects included; default 30 s. Producers have `deliveryTimeoutMs`. */
  readonly requestTimeoutMs?: number
  /** How long one attempt to connect may take; default 10 s. */
  readonly connectTimeoutMs?: number
  /** Upper bound of the first pause between attempts, which doubles; default 100 ms. */
  readonly backoffBaseMs?: number
  /** Upper bound of every pause between attempts; default 5 s. */
  readonly backoffCapMs?: number
  /** Quiet time after which the broker is asked for a sign of life; default 15 s. */
  readonly pingIntervalMs?: number
  /** Time for that sign, after which the connection counts as lost; default 15 s. */
  readonly pingTimeoutMs?: number
  /** Largest message that is taken from the broker (outside browsers); default 64 MiB. */
  readonly frameBytesMax?: number
}

/** The outside world, replaced by tests. Not part of the public face. */
export interface Surroundings {
  readonly clock?: Clock
  readonly random?: Random
  readonly openSocket?: OpenSocket
  readonly fetch?: Fetch
}

export interface Settings extends Required<Omit<ConnectOptions, 'token' | 'onEvent' | 'clientName'>> {
  readonly clock: Clock
  readonly random: Random
  readonly openSocket: OpenSocket | undefined
  readonly fetch: Fetch
}

const MIB = 1024 * 1024

export function settingsOf(options: ConnectOptions, surroundings: Surroundings): Settings {
  return {
    requestTimeoutMs: options.requestTimeoutMs ?? 30_000,
    connectTimeoutMs: options.connectTimeoutMs ?? 10_000,
    backoffBaseMs: options.backoffBaseMs ?? 100,
    backoffCapMs: options.backoffCapMs ?? 5_000,
    pingIntervalMs: options.pingIntervalMs ?? 15_000,
    pingTimeoutMs: options.pingTimeoutMs ?? 15_000,
    frameBytesMax: options.frameBytesMax ?? 64 * MIB,
    clock: surroundings.clock ?? systemClock,
    random: surroundings.random ?? systemRandom,
    openSocket: surroundings.openSocket,
    // Looked up when it is called: browsers want it called as their own.
    fetch: surroundings.fetch ?? ((url, init) => globalThis.fetch(url, init)),
  }
}
