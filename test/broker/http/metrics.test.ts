import { describe, expect, it } from 'vitest'
import { prometheusName } from '../../../broker/http/prometheus.js'
import { COUNTERS, GAUGES, HISTOGRAMS } from '../../../broker/platform/metric-names.js'
import { startHttp } from './harness.js'

/** The samples of a page, by name with labels. */
function samplesOf(page: string): Map<string, number> {
  const lines = page.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return new Map(
    lines.map((line) => {
      const at = line.lastIndexOf(' ')
      return [line.slice(0, at), Number(line.slice(at + 1))]
    }),
  )
}

describe('/metrics', () => {
  it('names everything that is measured, with help, in base units', async () => {
    const http = await startHttp()
    const { text, headers } = await http.get('/metrics')
    expect(headers['content-type']).toBe('text/plain; version=0.0.4; charset=utf-8')
    const names = [
      ...Object.keys(COUNTERS).map((name) => prometheusName(name, { isCounter: true })),
      ...Object.keys(HISTOGRAMS).map((name) => prometheusName(name)),
      ...Object.keys(GAUGES).map((name) => prometheusName(name)),
    ]
    expect(new Set(names).size).toBe(names.length)
    for (const name of names) {
      expect(text).toContain(`# HELP ${name} `)
      expect(name).toMatch(/^millrace_[a-z]+(_[a-z]+)*$/)
      expect(name).not.toMatch(/_ms|milli|(seconds|bytes)_(?!total$)/)
    }
    expect(text).toContain('nodejs_eventloop_lag_seconds')
  })

  it('calls a thing by the same rule everywhere', () => {
    expect(prometheusName('walBytes', { isCounter: true })).toBe('millrace_wal_bytes_total')
    expect(prometheusName('walWriteMs')).toBe('millrace_wal_write_seconds')
    expect(prometheusName('lagMsMax')).toBe('millrace_lag_max_seconds')
    expect(prometheusName('dedupIds')).toBe('millrace_dedup_ids')
  })

  it('counts what was done, and how long it took', async () => {
    const http = await startHttp({})
    await http.createTopic('a')
    const before = samplesOf((await http.get('/metrics')).text)
    for (let i = 0; i < 3; i++) await http.post('/v1/topics/a/records', [{ value: i }, { value: i }])
    await http.get('/v1/topics/a/partitions/0/records')
    await http.get('/v1/topics/a')
    await http.get('/v1/topics/no-such-topic')
    await http.get('/v1/topics/nor-this-one')
    const after = samplesOf((await http.get('/metrics')).text)
    const grown = (name: string): number => (after.get(name) ?? 0) - (before.get(name) ?? 0)
    expect(grown('millrace_produce_records_total')).toBe(6)
    expect(grown('millrace_produce_seconds_count')).toBe(3)
    expect(grown('millrace_fetch_seconds_count')).toBe(1)
    expect(grown('millrace_delivered_records_total')).toBe(6)
    expect(
      grown('millrace_http_requests_total{method="POST",route="/v1/topics/:topic/records",status="200"}'),
    ).toBe(3)
    // Whatever is asked for, the label is the route.
    expect(grown('millrace_http_requests_total{method="GET",route="/v1/topics/:topic",status="404"}')).toBe(2)
    expect(grown('millrace_http_requests_total{method="GET",route="/v1/topics/:topic",status="200"}')).toBe(1)
    expect(after.get('millrace_wal_write_seconds_count')).toBeGreaterThan(3)
    const sum = after.get('millrace_produce_seconds_sum') as number
    expect(sum).toBeGreaterThan(0)
    expect(sum).toBeLessThan(10)
    expect(after.get('millrace_disk_free_bytes')).toBeGreaterThan(0)
  })

  it('has buckets that rise to the count', async () => {
    const http = await startHttp({})
    await http.createTopic('a')
    await http.post('/v1/topics/a/records', { value: 1 })
    const samples = samplesOf((await http.get('/metrics')).text)
    for (const name of Object.keys(HISTOGRAMS).map((name) => prometheusName(name))) {
      const buckets = [...samples].filter(([sample]) => sample.startsWith(`${name}_bucket`))
      const bounds = buckets.map(([sample]) =>
        Number(/le="([^"]+)"/.exec(sample)?.[1]?.replace('+Inf', 'Infinity')),
      )
      const counts = buckets.map(([, value]) => value)
      expect(bounds).toEqual([...bounds].sort((a, b) => a - b))
      expect(counts).toEqual([...counts].sort((a, b) => a - b))
      expect(counts.at(-1)).toBe(samples.get(`${name}_count`))
    }
    expect(samples.get('millrace_wal_write_seconds_bucket{le="10"}')).toBeGreaterThan(0)
  })
})
