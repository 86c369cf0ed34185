/** What a shard may hold and how it works; bytes and milliseconds, as in the broker's configuration. */
export interface ShardLimits {
  readonly recordBytesMax: number
  readonly batchBytesMax: number
  readonly topicsMax: number
  readonly partitionsMax: number
  readonly producersMax: number
  readonly producerIdleMs: number
  readonly groupsMax: number
  readonly cursorsMax: number
  readonly queueRangesMax: number
  readonly dedupBytesMax: number
  /** 0: there is no topic of changes. */
  readonly changesBytesMax: number
  readonly walSegmentBytes: number
  readonly walBytesMax: number
  readonly spareWalSegments: number
  readonly groupBytesMax: number
  readonly walBacklogBytes: number
  readonly backpressureDeadlineMs: number
  readonly proofIdleMs: number
  readonly tailCacheBytes: number
  readonly chunkBytes: number
  readonly chunkMaxAgeMs: number
  readonly manifestFlushMs: number
  readonly manifestOverlayBytesMax: number
  readonly snapshotEveryBytes: number
  readonly diskFreeBytesMin: number
}
