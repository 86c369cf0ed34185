/**
 * Everything the broker measures: a name, and a sentence for whoever reads it in a dashboard. Units stand last in a name;
 * `broker/http/prometheus.ts` says what the names are to Prometheus.
 */

export const COUNTERS = {
  walGroups: 'Groups written to the write-ahead log.',
  walBytes: 'Bytes written to the write-ahead log.',
  walReads: 'Reads that were served from the write-ahead log.',
  walRolls: 'Segments of the write-ahead log that were begun.',
  produceBatches: 'Batches appended.',
  produceRecords: 'Records appended.',
  produceBytes: 'Bytes of the batches appended.',
  produceDuplicates: 'Batches that were recognised as written before.',
  produceRefusals: 'Batches that were refused.',
  deliveredRecords: 'Records that readers got.',
  deliveredBytes: 'Stored bytes that were read for readers.',
  cacheHits: 'Reads that the tail cache served.',
  cacheMisses: 'Reads that went to disk.',
  cacheEvictions: 'Pieces of memory that the tail cache let go of, the oldest first.',
  cacheEvictedBytes: 'Bytes that the tail cache let go of.',
  chunkReads: 'Reads that were served from chunks.',
  chunksSealed: 'Chunks that were sealed.',
  chunksServed: 'Chunks that were sent over HTTP, ranges of them included.',
  chunksServedBytes: 'Bytes of the chunks that were sent over HTTP, before compression.',
  chunksRevalidated: 'Requests for chunks that a cache had already (304).',
  chunksGone: 'Requests for chunks that are not there any more (410).',
  chunkFallbacksUnaligned: 'Reads that wanted a whole chunk and began within one.',
  chunkFallbacksUnsealed: 'Reads that wanted a whole chunk where nothing is sealed yet.',
  chunkFallbacksTruncated: 'Reads that wanted a whole chunk that holds deleted records too.',
  chunkFallbacksBounded: 'Reads that wanted a whole chunk and less than it holds.',
  sealedBytes: 'Bytes that were sealed into chunks.',
  sealFailures: 'Chunks that could not be sealed; each is tried again.',
  manifestFlushes: 'Writes of changed state to the manifest.',
  snapshots: 'Snapshots of the manifest.',
  demotions: 'Followers that fell behind the tail cache and read from disk.',
  backpressure: 'Batches refused because a backlog stayed full past its deadline.',
  connectionsOpened: 'WebSocket connections that were opened.',
  connectionsRefused: 'WebSocket connections that were refused.',
  acks: 'Acknowledgements of consumer groups.',
  acksFenced: 'Acknowledgements of members that no longer own the partition.',
  cursorsReset: 'Cursors that were reset.',
  cursorsExpired: 'Cursors deleted because nobody moved them for cursorIdleMs.',
  groupRebalances: 'Rebalances of consumer groups.',
  partitionsMoved: 'Partitions that went from one member to another.',
  membersExpired: 'Members that were expelled for their silence.',
  jobsDelivered: 'Jobs of work queues that were delivered.',
  jobsAcked: 'Jobs that were done; atomic writes finish jobs too.',
  jobsRedelivered: 'Jobs that were delivered again.',
  leasesExpired: 'Leases that ran out.',
  leasesExtended: 'Leases that were extended.',
  deadLetters: 'Records that groups gave up.',
  dlqReplayed: 'Dead letters that were replayed.',
  dlqPurged: 'Dead letters that were deleted.',
  dedupDuplicates: 'Records left out because their dedup id was there already.',
  dedupRefusals: 'Batches with dedup ids refused because the index is full.',
  atomicWrites: 'Atomic writes.',
  atomicRetries: 'Atomic writes that got the answer of their first try.',
  expectedOffsetConflicts: 'Writes whose expected offset did not hold.',
  truncations: 'Start offsets that rose, by retention or on request.',
  truncatedRecords: 'Records deleted, by retention or on request.',
  truncatedBytes: 'Bytes of chunks deleted, by retention or on request.',
  retentionDeletions: 'Deletions by retention.',
  retentionRecords: 'Records deleted by retention.',
  retentionBytes: 'Bytes of chunks deleted by retention.',
  lagWarnings: 'Warnings of readers that fall behind.',
  lagDrops: 'Cursors that deletion no longer waits for.',
  changeEvents: 'Events written to the changes topic.',
  changeEventsSkipped: 'Events that the changes topic could not take.',
} as const satisfies Readonly<Record<string, string>>

export const HISTOGRAMS = {
  walWriteMs: 'One write of the write-ahead log, durable when it returns: the fsync of this broker.',
  walGroupBytes: 'Size of a group written to the write-ahead log.',
  produceMs: 'From the arrival of a batch to its acknowledgement.',
  sealMs: 'Sealing one chunk.',
  manifestFlushMs: 'Writing changed state to the manifest.',
  rebalanceMs: 'One rebalance of a consumer group.',
  ackMs: 'From the arrival of an acknowledgement to its answer.',
  queueMs: 'From the arrival of a batch or an atomic write until a group of the write-ahead log takes it.',
  atomicMs: 'From the arrival of an atomic write to its answer.',
  fetchMs: 'One read on request; waiting for records that are not there yet is no part of it.',
  httpMs: 'From the arrival of an HTTP request to the end of its answer, waiting included.',
} as const satisfies Readonly<Record<string, string>>

export const GAUGES = {
  connections: 'WebSocket connections.',
  subscriptions: 'Subscriptions of all connections.',
  frameMemoryBytes: 'Memory of frames that are coming in.',
  inFlightBytes: 'Requests of WebSockets that are not answered.',
  walBacklogBytes: 'Batches that wait for the write-ahead log.',
  walTotalBytes: 'Size of the write-ahead log.',
  tailCacheBytes: 'Records that the tail cache holds.',
  overlayBytes: 'Changed state that the manifest does not hold yet.',
  diskFreeBytes: 'Free bytes on the disk of the data directory.',
  groups: 'Consumer groups and work queues.',
  groupMembers: 'Members of all groups, those included that are away.',
  lagRecordsMax: 'Largest lag of a cursor, records.',
  lagBytesMax: 'Largest lag of a cursor, bytes.',
  lagMsMax: 'Largest lag of a cursor, time.',
  leasesOut: 'Jobs of work queues that members have.',
  dedupIds: 'Dedup ids that are remembered.',
  dedupBytes: 'Memory of dedup ids.',
  answersKept: 'Answers of atomic writes that a retry would get again.',
  streamProducers: 'Producers that streams remember.',
  queueRanges: 'Ranges of unsettled records in work queues.',
  httpRequestsOpen: 'HTTP requests that are not answered.',
  httpBodyBytes: 'Bodies of HTTP requests that are not answered.',
  httpUnsentBytes: 'Pages that HTTP clients have not taken.',
} as const satisfies Readonly<Record<string, string>>

export type CounterName = keyof typeof COUNTERS
export type HistogramName = keyof typeof HISTOGRAMS
export type GaugeName = keyof typeof GAUGES
export type MetricName = CounterName | HistogramName | GaugeName

export const counterNames = Object.keys(COUNTERS) as CounterName[]
export const histogramNames = Object.keys(HISTOGRAMS) as HistogramName[]

const MS_BOUNDS = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000]
const BYTE_BOUNDS = [4, 16, 64, 256, 1024, 4096, 16_384].map((kib) => kib * 1024)

/** The upper bounds of a histogram's public buckets, in its own unit. */
export const boundsOf = (name: HistogramName): readonly number[] =>
  name.endsWith('Bytes') ? BYTE_BOUNDS : MS_BOUNDS
