import type { Tellers } from './events.js'
import {
  boundsOf,
  type CounterName,
  counterNames,
  type GaugeName,
  type HistogramName,
  histogramNames,
} from './metric-names.js'

export type { CounterName, GaugeName, HistogramName, MetricName } from './metric-names.js'

/** Where the broker reports to. Calls are cheap enough for the write path. */
export interface Metrics {
  /** Adds to a counter, 1 by default. */
  count(name: CounterName, by?: number): void
  /** Adds one observation to a histogram. */
  observe(name: HistogramName, value: number): void
  /** Registers how to read a gauge; a later registration of the same name takes its place. */
  gauge(name: GaugeName, read: () => number): void
  /** Tells of single events: `metrics.tell?.seal?.({ … })`. What is told is counted by itself. */
  readonly tell?: Tellers | undefined
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
  /** Observations up to each of the histogram's bounds (`boundsOf`), those below included. */
  readonly cumulative: readonly number[]
}

export interface MetricsSnapshot {
  readonly counters: Readonly<Record<CounterName, number>>
  readonly histograms: Readonly<Record<HistogramName, Distribution>>
  /** Only gauges that were registered. */
  readonly gauges: Readonly<Partial<Record<GaugeName, number>>>
}

/** Keeps everything in the process's memory, in constant space. */
export class MemoryMetrics implements Metrics {
  readonly tell: Tellers | undefined
  readonly #counters = Object.fromEntries(counterNames.map((name) => [name, 0])) as Record<
    CounterName,
    number
  >
  readonly #histograms = Object.fromEntries(
    histogramNames.map((name) => [name, new Histogram(boundsOf(name))]),
  ) as Record<HistogramName, Histogram>
  readonly #gauges = new Map<GaugeName, () => number>()

  /** `tell`: who is told of events. */
  constructor({ tell }: { readonly tell?: Tellers } = {}) {
    this.tell = tell
  }

  count(name: CounterName, by = 1): void {
    this.#counters[name] += by
  }

  observe(name: HistogramName, value: number): void {
    this.#histograms[name].observe(value)
  }

  gauge(name: GaugeName, read: () => number): void {
    this.#gauges.set(name, read)
  }

  /** A gauge as it stands now; undefined before it was registered. */
  read(name: GaugeName): number | undefined {
    return this.#gauges.get(name)?.()
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
  readonly #bounds: readonly number[]
  /** Observations within each bound and past the one before. */
  readonly #within: Float64Array
  #count = 0
  #sum = 0
  #min = Number.POSITIVE_INFINITY
  #max = Number.NEGATIVE_INFINITY

  constructor(bounds: readonly number[]) {
    this.#bounds = bounds
    this.#within = new Float64Array(bounds.length)
  }

  observe(value: number): void {
    let bound = 0
    while (bound < this.#bounds.length && value > (this.#bounds[bound] as number)) bound++
    if (bound < this.#bounds.length) this.#within[bound] = (this.#within[bound] ?? 0) + 1
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
    let sum = 0
    const cumulative = Array.from(this.#within, (count) => {
      sum += count
      return sum
    })
    if (this.#count === 0) return { count: 0, sum: 0, min: 0, max: 0, p50: 0, p99: 0, cumulative }
    return {
      count: this.#count,
      sum: this.#sum,
      min: this.#min,
      max: this.#max,
      p50: this.#quantile(0.5),
      p99: this.#quantile(0.99),
      cumulative,
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
