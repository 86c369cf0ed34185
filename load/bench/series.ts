/** Every run's value of one thing measured. */
export type Series = readonly number[]

export interface Summary {
  readonly median: number
  readonly min: number
  readonly max: number
}

const sorted = (series: Series): number[] => [...series].sort((a, b) => a - b)

/** Of an even number of values, the mean of the two in the middle. */
export function median(series: Series): number {
  const values = sorted(series)
  const low = values[(values.length - 1) >> 1]
  const high = values[values.length >> 1]
  if (low === undefined || high === undefined) throw new RangeError('the median of nothing')
  return (low + high) / 2
}

/** The value that `fraction` of them do not exceed. */
export function quantile(series: Series, fraction: number): number {
  const values = sorted(series)
  const value = values[Math.max(0, Math.ceil(values.length * fraction) - 1)]
  if (value === undefined) throw new RangeError('a quantile of nothing')
  return value
}

export function summaryOf(series: Series): Summary {
  return { median: median(series), min: Math.min(...series), max: Math.max(...series) }
}

/** Of latencies in milliseconds. */
export function percentiles(latencies: Series): { p50Ms: number; p99Ms: number } {
  return { p50Ms: quantile(latencies, 0.5), p99Ms: quantile(latencies, 0.99) }
}
