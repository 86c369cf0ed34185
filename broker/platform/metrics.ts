/** The names of everything the broker measures, by kind. Units stand last in a name. */
export const counterNames = [
  'walGroups',
  'walBytes',
  'walReads',
  'walRolls',
  'produceBatches',
  'produceRecords',
  'produceBytes',
  'produceDuplicates',
  'produceRefusals',
  'deliveredRecords',
  'deliveredBytes',
  'cacheHits',
  'cacheMisses',
  'chunkReads',
  'chunksSealed',
  'sealedBytes',
  'manifestFlushes',
  'snapshots',
  /** Followers that fell behind the tail cache and read from disk. */
  'demotions',
  /** Produce requests refused because a backlog stayed full past its deadline. */
  'backpressure',
  'connectionsOpened',
  'connectionsRefused',
  'acks',
  /** Acks of members that no longer own the partition. */
  'acksFenced',
  'cursorsReset',
  /** Cursors that nobody moved for `cursorIdleMs`. */
  'cursorsExpired',
  'groupRebalances',
  'partitionsMoved',
  'membersExpired',
  'jobsDelivered',
  /** Atomic writes finish jobs too. */
  'jobsAcked',
  'jobsRedelivered',
  'leasesExpired',
  'leasesExtended',
  'deadLetters',
  'dlqReplayed',
  'dlqPurged',
  /** Records left out because their dedup id was there already. */
  'dedupDuplicates',
  /** Batches with dedup ids refused because the index is full. */
  'dedupRefusals',
  'atomicWrites',
  /** Atomic writes that got the answer of their first try. */
  'atomicRetries',
  'expectedOffsetConflicts',
  'retentionDeletions',
  'retentionRecords',
  'retentionBytes',
  'lagWarnings',
  /** Cursors that deletion no longer waits for. */
  'lagDrops',
  'changeEvents',
  'changeEventsSkipped',
] as const

export const histogramNames = [
  'walWriteMs',
  'walGroupBytes',
  'produceMs',
  'sealMs',
  'manifestFlushMs',
  'rebalanceMs',
  'ackMs',
  /** From the arrival of a batch or an atomic write until a WAL group takes it. */
  'queueMs',
  'atomicMs',
] as const

export const gaugeNames = [
  'connections',
  'subscriptions',
  'frameMemoryBytes',
  'inFlightBytes',
  'walBacklogBytes',
  'walTotalBytes',
  'tailCacheBytes',
  'overlayBytes',
  'diskFreeBytes',
  'groups',
  'groupMembers',
  'lagRecordsMax',
  'lagBytesMax',
  'lagMsMax',
  'leasesOut',
  'dedupIds',
  'dedupBytes',
  /** Answers of atomic writes that a retry would get again. */
  'answersKept',
  'queueRanges',
] as const

export type CounterName = (typeof counterNames)[number]
export type HistogramName = (typeof histogramNames)[number]
export type GaugeName = (typeof gaugeNames)[number]
export type MetricName = CounterName | HistogramName | GaugeName

/** Where the broker reports to. Calls are cheap enough for the write path. */
export interface Metrics {
  /** Adds to a counter, 1 by default. */
  count(name: CounterName, by?: number): void
  /** Adds one observation to a histogram. */
  observe(name: HistogramName, value: number): void
  /** Registers how to read a gauge; a later registration of the same name takes its place. */
  gauge(name: GaugeName, read: () => number): void
}

/** Measures nothing. */
export const noMetrics: Metrics = { count() {}, observe() {}, gauge() {} }

/** A histogram's observations summed up; quantiles are right to within a tenth. All zero before the first one. */
export interface Distribution {
  readonly count: number
  readonly sum: number
  readonly min: number
  readonly max: number
  readonly p50: number
  readonly p99: number
}

export interface MetricsSnapshot {
  readonly counters: Readonly<Record<CounterName, number>>
  readonly histograms: Readonly<Record<HistogramName, Distribution>>
  /** Only gauges that were registered. */
  readonly gauges: Readonly<Partial<Record<GaugeName, number>>>
}

/** Keeps everything in the process's memory, in constant space. */
export class MemoryMetrics implements Metrics {
  readonly #counters = Object.fromEntries(counterNames.map((name) => [name, 0])) as Record<
    CounterName,
    number
  >
  readonly #histograms = Object.fromEntries(histogramNames.map((name) => [name, new Histogram()])) as Record<
    HistogramName,
    Histogram
  >
  readonly #gauges = new Map<GaugeName, () => number>()

  count(name: CounterName, by = 1): void {
    this.#counters[name] += by
  }

  observe(name: HistogramName, value: number): void {
    this.#histograms[name].observe(value)
  }

  gauge(name: GaugeName, read: () => number): void {
    this.#gauges.set(name, read)
  }

  /** Everything as it stands now; gauges are read for it. */
  snapshot(): MetricsSnapshot {
    return {
      counters: { ...this.#counters },
      histograms: Object.fromEntries(
        histogramNames.map((name) => [name, this.#histograms[name].distribution()]),
      ) as Record<HistogramName, Distribution>,
      gauges: Object.fromEntries([...this.#gauges].map(([name, read]) => [name, read()])),
    }
  }
}

/** Each bucket's upper bound is this much above the one before. */
const bucketGrowth = 1.2
/** The first bucket's upper bound: what is below is as good as zero. */
const bucketFloor = 0.001
/** Reaches past 10^15. */
const bucketCount = 240

class Histogram {
  readonly #buckets = new Float64Array(bucketCount)
  #count = 0
  #sum = 0
  #min = Number.POSITIVE_INFINITY
  #max = Number.NEGATIVE_INFINITY

  observe(value: number): void {
    const bucket =
      value <= bucketFloor ? 0 : Math.ceil(Math.log(value / bucketFloor) / Math.log(bucketGrowth))
    const index = Math.min(bucket, bucketCount - 1)
    this.#buckets[index] = (this.#buckets[index] ?? 0) + 1
    this.#count++
    this.#sum += value
    this.#min = Math.min(this.#min, value)
    this.#max = Math.max(this.#max, value)
  }

  distribution(): Distribution {
    if (this.#count === 0) return { count: 0, sum: 0, min: 0, max: 0, p50: 0, p99: 0 }
    return {
      count: this.#count,
      sum: this.#sum,
      min: this.#min,
      max: this.#max,
      p50: this.#quantile(0.5),
      p99: this.#quantile(0.99),
    }
  }

  /** The middle of the bucket in which the quantile falls, kept within what was observed. */
  #quantile(fraction: number): number {
    let left = Math.ceil(fraction * this.#count)
    const bucket = this.#buckets.findIndex((count) => {
      left -= count
      return left <= 0
    })
    const middle = bucketFloor * bucketGrowth ** (bucket - 0.5)
    return Math.min(Math.max(middle, this.#min), this.#max)
  }
}
