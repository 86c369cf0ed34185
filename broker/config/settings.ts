import { DEFAULT_LIMITS } from '../../protocol/limits.js'
import type { BrokerConfig } from './schema.js'
import type { ValueKind } from './values.js'

/** One setting: from this row come its default, flag, environment variable, checks, help and documentation. */
export interface Setting<Value = unknown> {
  readonly kind: ValueKind
  readonly default: Value
  /** One sentence; the docstring in `schema.ts` is the same. */
  readonly about: string
  readonly min?: number
  readonly max?: number
}

export type SettingName = keyof BrokerConfig
type Table = { readonly [Name in SettingName]: Setting<BrokerConfig[Name]> }

const KIB = 1024
const MIB = 1024 * KIB
const GIB = 1024 * MIB
const TIB = 1024 * GIB
const SECOND = 1000
const MINUTE = 60 * SECOND
const DAY = 24 * 60 * MINUTE

const bytes = (value: number, about: string, bounds: { min: number; max: number }): Setting<number> => ({
  kind: 'bytes',
  default: value,
  about,
  ...bounds,
})
const duration = (value: number, about: string, bounds: { min: number; max: number }): Setting<number> => ({
  kind: 'duration',
  default: value,
  about,
  ...bounds,
})
const count = (value: number, about: string, bounds: { min: number; max: number }): Setting<number> => ({
  kind: 'count',
  default: value,
  about,
  ...bounds,
})

export const SETTINGS: Table = {
  dataDir: {
    kind: 'path',
    default: './millrace-data',
    about: 'Directory of everything the broker keeps; created when missing.',
  },
  host: {
    kind: 'text',
    default: '127.0.0.1',
    about:
      'Address to listen on; anything but loopback is reachable by others, and there is no authentication yet.',
  },
  port: {
    kind: 'port',
    default: 4600,
    about: 'Port to listen on; 0 takes any free one.',
    min: 0,
    max: 65_535,
  },
  allowedOrigins: {
    kind: 'origins',
    default: [],
    about:
      "Web origins whose pages may connect and may use HTTP (CORS), besides the broker's own host; * allows every page.",
  },
  allowedHosts: {
    kind: 'hosts',
    default: [],
    about:
      "Host names that HTTP requests may ask for, besides IP addresses, names without dots and the broker's own; * allows every name.",
  },

  frameBytesMax: bytes(DEFAULT_LIMITS.frameBytesMax, 'Largest WebSocket message, either way.', {
    min: 16 * KIB,
    max: 256 * MIB,
  }),
  batchBytesMax: bytes(DEFAULT_LIMITS.batchBytesMax, 'Largest batch, as sent and as inflated.', {
    min: 4 * KIB,
    max: 128 * MIB,
  }),
  recordBytesMax: bytes(DEFAULT_LIMITS.recordBytesMax, 'Largest record: key, value and headers as encoded.', {
    min: 1 * KIB,
    max: 64 * MIB,
  }),
  connectionsMax: count(10_000, 'Connections at a time.', { min: 1, max: 1_000_000 }),
  inFlightBytesPerConnection: bytes(
    DEFAULT_LIMITS.inFlightBytesMax,
    'Unanswered requests of one connection; past it the broker stops reading from its socket.',
    { min: 16 * KIB, max: 4 * GIB },
  ),
  inFlightBytes: bytes(128 * MIB, 'Unanswered requests of all connections together.', {
    min: 16 * KIB,
    max: 64 * GIB,
  }),
  helloTimeoutMs: duration(10 * SECOND, 'Time a new connection has to say HELLO.', {
    min: 100,
    max: 10 * MINUTE,
  }),
  heartbeatMs: duration(
    15 * SECOND,
    'Pause between pings; a connection that is silent for two of them is dropped.',
    { min: 100, max: 10 * MINUTE },
  ),

  httpConnectionsMax: count(1_000, 'HTTP connections at a time, besides WebSockets.', {
    min: 1,
    max: 1_000_000,
  }),
  httpBodyBytesMax: bytes(8 * MIB, 'Largest body of an HTTP request.', { min: 1 * KIB, max: 256 * MIB }),
  httpBodyBytes: bytes(
    64 * MIB,
    'Bodies of HTTP requests that are not answered; past it requests are refused with BACKPRESSURE.',
    { min: 16 * KIB, max: 64 * GIB },
  ),
  httpRequestTimeoutMs: duration(30 * SECOND, 'Time a client has to send a whole HTTP request.', {
    min: 100,
    max: 60 * MINUTE,
  }),
  httpChunkMaxAgeMs: duration(
    365 * DAY,
    'How long caches may keep a sealed chunk without asking whether it is still there.',
    { min: 0, max: 365 * DAY },
  ),

  topicsMax: count(10_000, 'Topics at a time.', { min: 1, max: 1_000_000 }),
  partitionsMax: count(50_000, 'Partitions of all topics together.', { min: 1, max: 1_000_000 }),
  producersMax: count(
    100_000,
    'Producer identities kept for recognising retries; those of streams, as many again at most.',
    {
      min: 1,
      max: 10_000_000,
    },
  ),
  producerIdleMs: duration(7 * DAY, 'A producer identity unused for so long is forgotten.', {
    min: 1 * SECOND,
    max: 3650 * DAY,
  }),
  streamPollMs: duration(30 * SECOND, 'Time that a long-poll of a stream waits for new data.', {
    min: 10,
    max: 100 * SECOND,
  }),

  groupsMax: count(10_000, 'Consumer groups and work queues at a time.', { min: 1, max: 1_000_000 }),
  cursorsMax: count(200_000, 'Cursors of all groups together, one for each partition that a group reads.', {
    min: 1,
    max: 10_000_000,
  }),
  queueRangesMax: count(
    10_000,
    'Ranges of unsettled records in one partition of a work queue; past it nothing new is handed out.',
    { min: 16, max: 1_000_000 },
  ),
  dedupBytesMax: bytes(
    256 * MIB,
    'Memory for dedup ids of all topics; past it records with ids are refused with DEDUP_FULL.',
    { min: 1 * MIB, max: 64 * GIB },
  ),
  changesBytesMax: bytes(64 * MIB, 'Size of the topic _millrace.changes, past which its oldest events go.', {
    min: 1 * MIB,
    max: 1 * TIB,
  }),

  walSegmentBytes: bytes(64 * MIB, 'Size of one WAL segment file.', { min: 64 * KIB, max: 1 * GIB }),
  walBytesMax: bytes(2 * GIB, 'Size of the whole WAL past which what holds its oldest segment is sealed.', {
    min: 256 * KIB,
    max: 64 * TIB,
  }),
  spareWalSegments: count(
    2,
    'WAL segments kept ready, so that work which frees space goes on when the disk is full.',
    { min: 1, max: 64 },
  ),
  groupBytesMax: bytes(1 * MIB, 'Largest group of batches that one WAL write commits.', {
    min: 4 * KIB,
    max: 64 * MIB,
  }),
  walBacklogBytes: bytes(64 * MIB, 'Accepted batches that wait for the WAL; past it sockets pause.', {
    min: 16 * KIB,
    max: 4 * GIB,
  }),
  backpressureDeadlineMs: duration(
    5 * SECOND,
    'Time a batch waits for room in a full backlog before it is refused with BACKPRESSURE.',
    { min: 1, max: 10 * MINUTE },
  ),
  proofIdleMs: duration(50, 'Quiet time after which the last group is proven durable by an empty one.', {
    min: 1,
    max: 1 * MINUTE,
  }),

  tailCacheBytes: bytes(64 * MIB, 'Newest records held in memory for readers, over all partitions.', {
    min: 16 * KIB,
    max: 1 * TIB,
  }),
  chunkBytes: bytes(8 * MIB, "A partition's unsealed records become a chunk at this size.", {
    min: 4 * KIB,
    max: 1 * GIB,
  }),
  chunkMaxAgeMs: duration(10 * MINUTE, "A partition's unsealed records become a chunk at this age.", {
    min: 100,
    max: 30 * DAY,
  }),

  manifestFlushMs: duration(10 * SECOND, 'Pause between writes of changed state to the manifest.', {
    min: 1,
    max: 10 * MINUTE,
  }),
  manifestOverlayBytesMax: bytes(
    16 * MIB,
    'Changed state held in memory until the manifest has it; past it appends wait.',
    { min: 64 * KIB, max: 4 * GIB },
  ),
  snapshotEveryBytes: bytes(256 * MIB, 'WAL written between two snapshots of the manifest.', {
    min: 64 * KIB,
    max: 64 * TIB,
  }),
  diskFreeBytesMin: bytes(
    256 * MIB,
    'Free disk below which records are refused with DISK_FULL; reading, sealing and deleting go on.',
    { min: 0, max: 64 * TIB },
  ),

  drainMs: duration(8 * SECOND, 'Time a stop gives to work under way before it is cut.', {
    min: 0,
    max: 10 * MINUTE,
  }),
  logLevel: { kind: 'level', default: 'info', about: 'Least severe level that is logged.' },
}

/** Headings of the help text and the documentation; every setting stands under exactly one. */
export const SETTING_GROUPS: readonly { readonly title: string; readonly names: readonly SettingName[] }[] = [
  { title: 'Place', names: ['dataDir', 'host', 'port', 'allowedOrigins', 'allowedHosts'] },
  {
    title: 'Connections',
    names: [
      'frameBytesMax',
      'batchBytesMax',
      'recordBytesMax',
      'connectionsMax',
      'inFlightBytesPerConnection',
      'inFlightBytes',
      'helloTimeoutMs',
      'heartbeatMs',
    ],
  },
  {
    title: 'HTTP',
    names: [
      'httpConnectionsMax',
      'httpBodyBytesMax',
      'httpBodyBytes',
      'httpRequestTimeoutMs',
      'httpChunkMaxAgeMs',
      'streamPollMs',
    ],
  },
  { title: 'Topics and producers', names: ['topicsMax', 'partitionsMax', 'producersMax', 'producerIdleMs'] },
  {
    title: 'Groups, dedup and changes',
    names: ['groupsMax', 'cursorsMax', 'queueRangesMax', 'dedupBytesMax', 'changesBytesMax'],
  },
  {
    title: 'Write-ahead log',
    names: [
      'walSegmentBytes',
      'walBytesMax',
      'spareWalSegments',
      'groupBytesMax',
      'walBacklogBytes',
      'backpressureDeadlineMs',
      'proofIdleMs',
    ],
  },
  { title: 'Cache and chunks', names: ['tailCacheBytes', 'chunkBytes', 'chunkMaxAgeMs'] },
  {
    title: 'Manifest and disk',
    names: ['manifestFlushMs', 'manifestOverlayBytesMax', 'snapshotEveryBytes', 'diskFreeBytesMin'],
  },
  { title: 'Process', names: ['drainMs', 'logLevel'] },
]

export const SETTING_NAMES = Object.keys(SETTINGS) as SettingName[]

export const isSettingName = (name: string): name is SettingName => Object.hasOwn(SETTINGS, name)
/** `walSegmentBytes` is `--wal-segment-bytes`. */
export const flagOf = (name: SettingName): string =>
  `--${name.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)}`
/** `walSegmentBytes` is `MILLRACE_WAL_SEGMENT_BYTES`. */
export const variableOf = (name: SettingName): string =>
  `MILLRACE_${name.replace(/[A-Z]/g, (c) => `_${c}`).toUpperCase()}`
