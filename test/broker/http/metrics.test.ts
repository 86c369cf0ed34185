import { describe, expect, it } from 'vitest'
import { PrometheusPage, prometheusName } from '../../../broker/http/prometheus.js'
import { RequestMeter } from '../../../broker/http/request-meter.js'
import { COUNTERS, GAUGES, HISTOGRAMS } from '../../../broker/platform/metric-names.js'
import { MemoryMetrics } from '../../../broker/platform/metrics.js'
import { connect, defineTopic, nullable, text } from '../../../client/index.js'
import { until } from '../../support/until.js'
import { atEnd, startHttp } from './harness.js'

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
    const { text: page, headers } = await http.get('/metrics')
    expect(headers['content-type']).toBe('text/plain; version=0.0.4; charset=utf-8')
    const names = [
      ...Object.keys(COUNTERS).map((name) => prometheusName(name, { isCounter: true })),
      ...Object.keys(HISTOGRAMS).map((name) => prometheusName(name)),
      ...Object.keys(GAUGES).map((name) => prometheusName(name)),
    ]
    expect(new Set(names).size).toBe(names.length)
    for (const name of names) {
      expect(page).toContain(`# HELP ${name} `)
      expect(name).toMatch(/^millrace_[a-z]+(_[a-z]+)*$/)
      expect(name).not.toMatch(/_ms|milli|(seconds|bytes)_(?!total$)/)
    }
    expect(page).toContain('nodejs_eventloop_lag_seconds')
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
    expect(after.get('millrace_disk_free_bytes')).toBeGreaterThan(0)
  })

  it('has a histogram for each thing that takes time: acknowledgements, syncs, seals, reads', async () => {
    const http = await startHttp({ chunkBytes: 16 * 1024 })
    const count = async (name: string) =>
      samplesOf((await http.get('/metrics')).text).get(`millrace_${name}_seconds_count`) ?? 0
    const client = connect(http.broker.url)
    atEnd(() => client.close())
    const topic = defineTopic({ name: 'a', key: nullable(text()), value: text() })
    await client.createTopic(topic)
    expect(await Promise.all(['produce', 'seal', 'fetch', 'ack'].map(count))).toEqual([0, 0, 0, 0])
    const [synced, record] = [await count('wal_write'), { key: null, value: 'x'.repeat(20_000) }]
    // Over the WebSocket, then over HTTP, then to a stream.
    await client.producer(topic).send(record)
    expect(await count('produce')).toBe(1)
    await http.post('/v1/topics/a/records', record)
    expect(await count('produce')).toBe(2)
    await http.ask('PUT', '/v1/stream/s', { headers: { 'content-type': 'text/plain' } })
    await http.post('/v1/stream/s', 'x', { 'content-type': 'text/plain' })
    expect(await count('produce')).toBe(3)
    expect(await count('wal_write')).toBeGreaterThanOrEqual(synced + 3)
    await until(async () => (await count('seal')) > 0)
    for await (const message of client.consume(topic, { group: 'g', ifNoCursor: 'earliest' })) {
      await message.ack()
      break
    }
    expect(await count('ack')).toBeGreaterThan(0)
    await http.get('/v1/topics/a/partitions/0/records')
    expect(await count('fetch')).toBeGreaterThan(0)
  })

  it('has as many lines however many topics, groups, paths and methods there are', async () => {
    const http = await startHttp({})
    const ask = async (name: string) => {
      await http.createTopic(name)
      await http.post(`/v1/topics/${name}/records`, { value: 1 }, { 'x-request-id': name })
      await http.post(`/v1/groups/${name}/reset`, { to: 'earliest', topic: name, create: true })
      await http.get(`/v1/topics/none-${name}`)
      await http.get(`/${name}/x?y=${name}`)
      await http.ask('PUT', `/v1/stream/of-${name}`, { headers: { 'content-type': 'text/plain' } })
      for (const method of ['PUT', 'TRACE', 'PROPFIND', 'REPORT'])
        await http.askPlainly(method, `/v1/topics/${name}`)
    }
    const samples = async () => samplesOf((await http.get('/metrics')).text)
    await ask('zeta-first')
    await samples()
    const before = [...(await samples()).keys()]
    for (let n = 0; n < 5; n++) await ask(`zeta-${n}`)
    const after = await samples()
    expect([...after.keys()].filter((name) => !/^(process|nodejs)_/.test(name)).sort()).toEqual(
      before.filter((name) => !/^(process|nodejs)_/.test(name)).sort(),
    )
    expect([...after.keys()].join()).not.toMatch(/zeta/)
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

  it('tells times in seconds, to the last sum', async () => {
    const measured = new MemoryMetrics()
    for (const ms of [1, 30, 4_000]) measured.observe('sealMs', ms)
    measured.gauge('lagMsMax', () => 2_500)
    const page = await PrometheusPage.open({ measured, meter: new RequestMeter() })
    const samples = samplesOf((await page.write()).text)
    const seal = (rest: string) => samples.get(`millrace_seal_seconds_${rest}`)
    expect([seal('count'), seal('sum'), seal('bucket{le="0.05"}'), seal('bucket{le="5"}')]).toEqual([
      3, 4.031, 2, 3,
    ])
    expect(samples.get('millrace_lag_max_seconds')).toBe(2.5)
  })
})
