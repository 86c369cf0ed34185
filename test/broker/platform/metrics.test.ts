import { describe, expect, it } from 'vitest'
import { boundsOf } from '../../../broker/platform/metric-names.js'
import { MemoryMetrics, noMetrics } from '../../../broker/platform/metrics.js'

describe('MemoryMetrics', () => {
  it('adds up counters from zero', () => {
    const metrics = new MemoryMetrics()
    metrics.count('walGroups')
    metrics.count('walBytes', 4096)
    metrics.count('walBytes', 4096)
    expect(metrics.snapshot().counters).toMatchObject({ walGroups: 1, walBytes: 8192, demotions: 0 })
  })

  it('reads gauges when asked, by their latest registration', () => {
    const metrics = new MemoryMetrics()
    let connections = 1
    metrics.gauge('connections', () => -1)
    metrics.gauge('connections', () => connections)
    connections = 3
    expect(metrics.snapshot().gauges).toEqual({ connections: 3 })
  })

  it('tells quantiles of what it observed to within a tenth', () => {
    const metrics = new MemoryMetrics()
    for (let value = 1; value <= 1_000; value++) metrics.observe('walWriteMs', value / 100)
    const { count, sum, min, max, p50, p99 } = metrics.snapshot().histograms.walWriteMs
    expect([count, min, max]).toEqual([1_000, 0.01, 10])
    expect(sum).toBeCloseTo(5_005)
    expect(Math.abs(p50 / 5 - 1)).toBeLessThan(0.1)
    expect(Math.abs(p99 / 9.9 - 1)).toBeLessThan(0.1)
  })

  it('counts observations up to each bound, the bound itself included', () => {
    const metrics = new MemoryMetrics()
    for (const value of [0.05, 0.1, 0.100001, 7, 10_000, 10_001]) metrics.observe('ackMs', value)
    const { cumulative, count } = metrics.snapshot().histograms.ackMs
    const bounds = boundsOf('ackMs')
    const upTo = (bound: number) => cumulative[bounds.indexOf(bound)]
    expect([upTo(0.1), upTo(0.25), upTo(5), upTo(10), upTo(10_000), count]).toEqual([2, 3, 3, 4, 5, 6])
  })

  it('takes zero and very large values, and is zero before any', () => {
    const metrics = new MemoryMetrics()
    expect(metrics.snapshot().histograms.sealMs).toEqual({
      count: 0,
      sum: 0,
      min: 0,
      max: 0,
      p50: 0,
      p99: 0,
      cumulative: boundsOf('sealMs').map(() => 0),
    })
    metrics.observe('sealMs', 0)
    expect(metrics.snapshot().histograms.sealMs).toMatchObject({ count: 1, p50: 0, p99: 0 })
    metrics.observe('sealMs', 1e30)
    expect(metrics.snapshot().histograms.sealMs).toMatchObject({ count: 2, max: 1e30 })
  })

  it('takes only names that are listed, each for its own kind', () => {
    // @ts-expect-error a histogram is not a counter
    noMetrics.count('walWriteMs')
    // @ts-expect-error a misspelt name
    noMetrics.count('walGroup')
  })
})
