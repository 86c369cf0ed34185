import { DEFAULT_LIMITS } from '../../protocol/limits.js'

const KIB = 1024
const MIB = 1024 * KIB
const SECOND = 1_000

/** Everything that bounds what connections may hold, ask for and take in time. All of it is configurable. */
export interface SessionLimits {
  /** One WebSocket message, either way. */
  readonly frameBytesMax: number
  /** Told to clients in WELCOME; the shard holds batches to it. */
  readonly recordBytesMax: number
  /** Told to clients in WELCOME; the shard holds batches to it. */
  readonly batchBytesMax: number

  /** Connections at a time; one more is refused with 503. */
  readonly connectionsMax: number
  /** Plain HTTP connections beside them. */
  readonly httpConnectionsMax: number
  readonly subscriptionsPerConnectionMax: number
  /** FETCH requests of a connection that wait or are queued. */
  readonly fetchesPerConnectionMax: number

  /** Requests of one connection that are not answered; past it its socket is not read. */
  readonly inFlightBytesMax: number
  /** The same over all connections, frames that have come in part included. */
  readonly inFlightTotalBytesMax: number
  /** Replies that a client has not taken; past it its requests are not handled. */
  readonly outBufferBytesMax: number
  /** The same over all connections: near it, each may have fewer (but never none). */
  readonly outBufferTotalBytesMax: number

  /** Largest DELIVER, unless one entry is larger. */
  readonly deliverBytesMax: number
  /** Largest FETCHED, unless one entry is larger. */
  readonly fetchBytesMax: number
  /** Stored data is sent to a socket only while less than this waits in it. */
  readonly deliverMarkBytes: number
  /** Stored data that waits in all sockets: near it, reads become small (but never stop). */
  readonly deliverTotalBytesMax: number

  /** Time a new connection has to say HELLO. */
  readonly helloTimeoutMs: number
  /** Pause between pings. */
  readonly heartbeatMs: number
  /** A connection that is silent for so many pings is dropped. */
  readonly heartbeatMissesMax: number
  /** A connection that takes not one byte of what waits for it for so long is dropped. */
  readonly stallMsMax: number
  /** Time a peer has to answer a close. */
  readonly closeTimeoutMs: number
}

export const DEFAULT_SESSION_LIMITS: SessionLimits = {
  frameBytesMax: DEFAULT_LIMITS.frameBytesMax,
  recordBytesMax: DEFAULT_LIMITS.recordBytesMax,
  batchBytesMax: DEFAULT_LIMITS.batchBytesMax,
  connectionsMax: 10_000,
  httpConnectionsMax: 1_000,
  subscriptionsPerConnectionMax: 1_000,
  fetchesPerConnectionMax: 1_000,
  inFlightBytesMax: DEFAULT_LIMITS.inFlightBytesMax,
  inFlightTotalBytesMax: 128 * MIB,
  outBufferBytesMax: 4 * MIB,
  outBufferTotalBytesMax: 64 * MIB,
  deliverBytesMax: 1 * MIB,
  fetchBytesMax: 4 * MIB,
  deliverMarkBytes: 256 * KIB,
  deliverTotalBytesMax: 128 * MIB,
  helloTimeoutMs: 10 * SECOND,
  heartbeatMs: 15 * SECOND,
  heartbeatMissesMax: 2,
  stallMsMax: 60 * SECOND,
  closeTimeoutMs: 3 * SECOND,
}
