import { DEFAULT_LIMITS, HARD_LIMITS } from '../../protocol/limits.js'

const KIB = 1024
const MIB = 1024 * KIB
const SECOND = 1_000

/** Everything that bounds what HTTP requests may hold, ask for and take in time. */
export interface HttpLimits {
  /** TCP connections at a time that are no WebSockets (yet). */
  readonly connectionsMax: number
  /** Requests that are not answered: a connection may bring any number of them at once. */
  readonly requestsMax: number
  /** One request's body. */
  readonly bodyBytesMax: number
  /** The bodies of all requests that are not answered; past it requests are refused with BACKPRESSURE. */
  readonly bodyBytesTotalMax: number
  /** A request's line and headers; past it Node answers with 431. */
  readonly headerBytesMax: number
  readonly headersMax: number
  /** Time a client has to send a request's head. */
  readonly headersTimeoutMs: number
  /** Time a client has to send a whole request. */
  readonly requestTimeoutMs: number
  /** Time a connection may be idle between requests. */
  readonly keepAliveMs: number
  /** Time in which not one byte moves on a connection, past which it is cut: longer than any wait, and than the comments in events. */
  readonly stallMsMax: number
  /** How long a read may wait for records. */
  readonly waitMsMax: number
  /** Stored bytes that one read returns, unless one batch is larger. */
  readonly fetchBytesMax: number
  readonly fetchRecordsMax: number
  /** Pages that clients have not taken yet, all together: past it pages become small (but never stop). */
  readonly pageBytesTotalMax: number
  /** How long caches may keep a chunk without asking. */
  readonly chunkMaxAgeMs: number
  /** Largest record: a longer append to a stream of bytes becomes several. */
  readonly recordBytesMax: number
  /** How long a long-poll of a stream waits. */
  readonly streamPollMs: number
}

export const DEFAULT_HTTP_LIMITS: HttpLimits = {
  connectionsMax: 1_000,
  requestsMax: 10_000,
  bodyBytesMax: 8 * MIB,
  bodyBytesTotalMax: 64 * MIB,
  headerBytesMax: 16 * KIB,
  headersMax: 100,
  headersTimeoutMs: 10 * SECOND,
  requestTimeoutMs: 30 * SECOND,
  keepAliveMs: 72 * SECOND,
  stallMsMax: 120 * SECOND,
  waitMsMax: HARD_LIMITS.maxWaitMsMax,
  fetchBytesMax: 4 * MIB,
  fetchRecordsMax: 10_000,
  pageBytesTotalMax: 64 * MIB,
  chunkMaxAgeMs: 365 * 24 * 60 * 60 * SECOND,
  recordBytesMax: DEFAULT_LIMITS.recordBytesMax,
  streamPollMs: 30 * SECOND,
}
