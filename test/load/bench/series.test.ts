import { describe, expect, it } from 'vitest'
import { median, percentiles, quantile, summaryOf } from '../../../load/bench/series.js'

describe('a series of runs', () => {
  it('has the middle value as its median, whatever the order', () => {
    expect(median([9, 1, 5])).toBe(5)
    expect(median([10, 9])).toBe(9.5)
    expect(median([4, 100, 2, 6])).toBe(5)
    expect(median([7])).toBe(7)
  })

  it('is sorted as numbers and not as text, and stays as it is', () => {
    const series = [100, 9, 20]
    expect(median(series)).toBe(20)
    expect(series).toEqual([100, 9, 20])
  })

  it('has no median when nothing was measured', () => {
    expect(() => median([])).toThrow(RangeError)
  })

  it('has quantiles that so many of its values do not exceed', () => {
    const hundred = Array.from({ length: 100 }, (_, i) => i + 1).reverse()
    expect(quantile(hundred, 0.5)).toBe(50)
    expect(quantile(hundred, 0.99)).toBe(99)
    expect(quantile(hundred, 1)).toBe(100)
    expect(quantile([3], 0.99)).toBe(3)
    expect(() => quantile([], 0.5)).toThrow(RangeError)
    expect(percentiles(hundred)).toEqual({ p50Ms: 50, p99Ms: 99 })
  })

  it('is summed up by its median and its extremes', () => {
    expect(summaryOf([3, 1, 2])).toEqual({ median: 2, min: 1, max: 3 })
  })
})
