import type { Logger } from 'pino'

/** From the least to the most that is logged; `silent` logs nothing. */
export const LOG_LEVELS = ['silent', 'fatal', 'error', 'warn', 'info', 'debug', 'trace'] as const
export type LogLevel = (typeof LOG_LEVELS)[number]

/**
 * Everything a broker can be told, resolved and checked. Sizes are in bytes and durations in milliseconds; files and
 * people may write `64MiB` and `10m`. `settings.ts` says the default, bounds and flag of each; the sentences are the
 * same there (a test compares them).
 */
export interface BrokerConfig {
  /** Directory of everything the broker keeps; created when missing. */
  readonly dataDir: string
  /** Address to listen on; anything but loopback is reachable by others, and there is no authentication yet. */
  readonly host: string
  /** Port to listen on; 0 takes any free one. */
  readonly port: number
  /** Web origins whose pages may connect and may use HTTP (CORS), besides the broker's own host; * allows every page. */
  readonly allowedOrigins: readonly string[]
  /** Host names that HTTP requests may ask for, besides IP addresses, names without dots and the broker's own; * allows every name. */
  readonly allowedHosts: readonly string[]

  /** Largest WebSocket message, either way. */
  readonly frameBytesMax: number
  /** Largest batch, as sent and as inflated. */
  readonly batchBytesMax: number
  /** Largest record: key, value and headers as encoded. */
  readonly recordBytesMax: number
  /** Connections at a time. */
  readonly connectionsMax: number
  /** Unanswered requests of one connection; past it the broker stops reading from its socket. */
  readonly inFlightBytesPerConnection: number
  /** Unanswered requests of all connections together. */
  readonly inFlightBytes: number
  /** Time a new connection has to say HELLO. */
  readonly helloTimeoutMs: number
  /** Pause between pings; a connection that is silent for two of them is dropped. */
  readonly heartbeatMs: number

  /** HTTP connections at a time, besides WebSockets. */
  readonly httpConnectionsMax: number
  /** Largest body of an HTTP request. */
  readonly httpBodyBytesMax: number
  /** Bodies of HTTP requests that are not answered; past it requests are refused with BACKPRESSURE. */
  readonly httpBodyBytes: number
  /** Time a client has to send a whole HTTP request. */
  readonly httpRequestTimeoutMs: number
  /** Time that a long-poll of a stream waits for new data. */
  readonly streamPollMs: number
  /** How long caches may keep a sealed chunk without asking whether it is still there. */
  readonly httpChunkMaxAgeMs: number

  /** Topics at a time. */
  readonly topicsMax: number
  /** Partitions of all topics together. */
  readonly partitionsMax: number
  /** Producer identities kept for recognising retries; those of streams, as many again at most. */
  readonly producersMax: number
  /** A producer identity unused for so long is forgotten. */
  readonly producerIdleMs: number

  /** Consumer groups and work queues at a time. */
  readonly groupsMax: number
  /** Cursors of all groups together, one for each partition that a group reads. */
  readonly cursorsMax: number
  /** Ranges of unsettled records in one partition of a work queue; past it nothing new is handed out. */
  readonly queueRangesMax: number
  /** Memory for dedup ids of all topics; past it records with ids are refused with DEDUP_FULL. */
  readonly dedupBytesMax: number
  /** Size of the topic _millrace.changes, past which its oldest events go. */
  readonly changesBytesMax: number

  /** Size of one WAL segment file. */
  readonly walSegmentBytes: number
  /** Size of the whole WAL past which what holds its oldest segment is sealed. */
  readonly walBytesMax: number
  /** WAL segments kept ready, so that work which frees space goes on when the disk is full. */
  readonly spareWalSegments: number
  /** Largest group of batches that one WAL write commits. */
  readonly groupBytesMax: number
  /** Accepted batches that wait for the WAL; past it sockets pause. */
  readonly walBacklogBytes: number
  /** Time a batch waits for room in a full backlog before it is refused with BACKPRESSURE. */
  readonly backpressureDeadlineMs: number
  /** Quiet time after which the last group is proven durable by an empty one. */
  readonly proofIdleMs: number

  /** Newest records held in memory for readers, over all partitions. */
  readonly tailCacheBytes: number
  /** A partition's unsealed records become a chunk at this size. */
  readonly chunkBytes: number
  /** A partition's unsealed records become a chunk at this age. */
  readonly chunkMaxAgeMs: number

  /** Pause between writes of changed state to the manifest. */
  readonly manifestFlushMs: number
  /** Changed state held in memory until the manifest has it; past it appends wait. */
  readonly manifestOverlayBytesMax: number
  /** WAL written between two snapshots of the manifest. */
  readonly snapshotEveryBytes: number
  /** Free disk below which records are refused with DISK_FULL; reading, sealing and deleting go on. */
  readonly diskFreeBytesMin: number

  /** Time a stop gives to work under way before it is cut. */
  readonly drainMs: number
  /** Least severe level that is logged. */
  readonly logLevel: LogLevel
}

/** What a program that embeds a broker passes: what it leaves out has its default. */
export type BrokerOptions = Partial<BrokerConfig> & {
  /** Where the broker logs to; without it, to stdout at `logLevel`. */
  readonly log?: Logger
}
