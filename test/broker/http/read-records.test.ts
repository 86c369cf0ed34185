import { describe, expect, it } from 'vitest'
import type { BrokerOptions } from '../../../broker/config/schema.js'
import { connect, defineTopic, json, text } from '../../../client/index.js'
import { until } from '../../support/until.js'
import { atEnd, type HttpBroker, startHttp } from './harness.js'

const path = (query = '') => `/v1/topics/a/partitions/0/records${query}`

async function withRecords(count: number, options?: BrokerOptions): Promise<HttpBroker> {
  const http = await startHttp(options)
  await http.createTopic('a')
  if (count > 0)
    await http.post(
      '/v1/topics/a/records',
      Array.from({ length: count }, (_, i) => ({ value: i })),
    )
  return http
}

const offsets = (records: { offset: number }[]) => records.map(({ offset }) => offset)

describe('reading over HTTP', () => {
  it('returns a page, and in the body and the headers where to go on', async () => {
    const http = await withRecords(5)
    const page = await http.get(path('?offset=1&limit=2'))
    expect(offsets(page.json.records)).toEqual([1, 2])
    expect(page.json).toMatchObject({ nextOffset: 3, startOffset: 0, endOffset: 5, upToDate: false })
    expect(page.headers).toMatchObject({
      'content-type': 'application/json',
      'millrace-next-offset': '3',
      'millrace-start-offset': '0',
      'millrace-end-offset': '5',
      'millrace-up-to-date': 'false',
      'cache-control': 'no-store',
    })
    const rest = await http.get(path('?offset=3'))
    expect(offsets(rest.json.records)).toEqual([3, 4])
    expect(rest.json).toMatchObject({ nextOffset: 5, upToDate: true })
  })

  it('gives NDJSON to those who ask for it', async () => {
    const http = await withRecords(3)
    const { text, headers } = await http.get(path(), { headers: { accept: 'application/x-ndjson' } })
    expect(headers['content-type']).toBe('application/x-ndjson')
    expect(
      offsets(
        text
          .trimEnd()
          .split('\n')
          .map((line) => JSON.parse(line)),
      ),
    ).toEqual([0, 1, 2])
    expect(headers['millrace-next-offset']).toBe('3')
    const refused = await http.get(path(), { headers: { accept: 'text/html' } })
    expect(refused.status).toBe(406)
    for (const accept of ['*/*', 'application/*', 'text/html, application/json;q=0.5'])
      expect((await http.get(path(), { headers: { accept } })).json.records).toHaveLength(3)
  })

  it('walks page by page over all records, once each, whatever the batches', async () => {
    const http = await withRecords(0)
    let sent = 0
    for (const count of [1, 200, 7, 90]) {
      const records = Array.from({ length: count }, () => ({ value: sent++ }))
      await http.post('/v1/topics/a/records', records)
    }
    for (const query of ['limit=7', 'limit=64', 'maxBytes=1', 'limit=1000']) {
      const seen: number[] = []
      for (let offset = 0; ; ) {
        const { json } = await http.get(path(`?offset=${offset}&${query}`))
        seen.push(...json.records.map(({ value }: { value: number }) => value))
        if (json.upToDate) break
        offset = json.nextOffset
      }
      expect(seen).toEqual(Array.from({ length: sent }, (_, i) => i))
    }
  })

  it('reads about as many bytes as asked for, and one batch at least', async () => {
    const http = await withRecords(0)
    const batch = Array.from({ length: 10 }, () => ({ value: 'x'.repeat(1_000) }))
    for (let i = 0; i < 6; i++) await http.post('/v1/topics/a/records', batch)
    const countOf = async (query: string) => (await http.get(path(query))).json.records.length
    expect(await countOf('?maxBytes=1')).toBe(10)
    expect(await countOf('?maxBytes=25000')).toBeOneOf([20, 30])
    expect(await countOf('?maxBytes=9007199254740991')).toBe(60)
  })

  it('finds all records where some were left out, however small the pages', async () => {
    const http = await withRecords(0)
    for (let batch = 0; batch < 3; batch++) {
      // Every second record of each batch is there already from the second batch on.
      const records = Array.from({ length: 40 }, (_, i) => ({
        value: `${batch}/${i}`,
        ...(i % 2 === 0 ? { dedupId: `id ${i}` } : {}),
      }))
      await http.post('/v1/topics/a/records', records)
    }
    const all = (await http.get(path())).json.records.map(({ value }: { value: string }) => value)
    expect(all).toHaveLength(40 + 20 + 20)
    for (const limit of [1, 7, 19]) {
      const seen: string[] = []
      for (let offset = 0, isDone = false; !isDone; ) {
        const { json } = await http.get(path(`?offset=${offset}&limit=${limit}`))
        expect(json.records.length).toBeLessThanOrEqual(limit)
        seen.push(...json.records.map(({ value }: { value: string }) => value))
        offset = json.nextOffset
        isDone = json.upToDate
      }
      expect(seen).toEqual(all)
    }
  })

  it('starts at the end on demand, and knows no offset outside', async () => {
    const http = await withRecords(3)
    expect((await http.get(path('?offset=latest'))).json).toMatchObject({
      records: [],
      nextOffset: 3,
      upToDate: true,
    })
    const outside = await http.get(path('?offset=4'))
    expect(outside.status).toBe(416)
    expect(outside.json.error).toMatchObject({
      code: 'OFFSET_OUT_OF_RANGE',
      details: { startOffset: 0, endOffset: 3 },
    })
    await http.post('/v1/topics/a/partitions/0/delete-before', { offset: 2 })
    expect((await http.get(path('?offset=1'))).json.error.details).toEqual({ startOffset: 2, endOffset: 3 })
    expect(offsets((await http.get(path('?offset=earliest'))).json.records)).toEqual([2])
  })

  it('reads what the client library wrote, compressed too, from memory and from chunks', async () => {
    const http = await withRecords(0, { chunkBytes: 16 * 1024, tailCacheBytes: 4 * 1024 * 1024 + 1024 })
    const client = connect(http.broker.url)
    atEnd(() => client.close())
    const topic = defineTopic({ name: 'a', key: text(), value: json<{ i: number; pad: string }>() })
    for (const compression of ['none', 'gzip'] as const) {
      const producer = client.producer(topic, { compression })
      const sends = Array.from({ length: 300 }, (_, i) =>
        producer.send({ key: `k${i}`, value: { i, pad: 'x'.repeat(200) } }),
      )
      await Promise.all(sends)
      await producer.close()
    }
    await until(async () => (await http.get('/v1/topics/a/partitions')).json.partitions[0].chunks > 0)
    const seen: string[] = []
    for (let offset = 0; ; ) {
      const { json: page } = await http.get(path(`?offset=${offset}&limit=11`))
      seen.push(...page.records.map(({ key }: { key: string }) => key))
      offset = page.nextOffset
      if (page.upToDate) break
    }
    const keys = Array.from({ length: 300 }, (_, i) => `k${i}`)
    expect(seen).toEqual([...keys, ...keys])
  })

  it('waits for a record, and answers as soon as there is one', async () => {
    const http = await withRecords(1)
    const waiting = http.get(path('?offset=1&wait=20000'))
    await until(() => (http.broker.metrics.read('httpRequestsOpen') ?? 0) > 0)
    await http.post('/v1/topics/a/records', { value: 'late' })
    expect((await waiting).json.records).toMatchObject([{ offset: 1, value: 'late' }])
  })

  it('waits no longer than asked for', async () => {
    const http = await withRecords(1)
    const startedMs = performance.now()
    const { json: page } = await http.get(path('?offset=1&wait=300'))
    expect(page).toMatchObject({ records: [], nextOffset: 1, upToDate: true })
    expect(performance.now() - startedMs).toBeGreaterThan(290)
  })

  it('stops to wait when the topic goes, and when the broker drains', async () => {
    const http = await withRecords(1, {})
    const gone = http.get(path('?offset=1&wait=20000'))
    await until(() => (http.broker.metrics.read('httpRequestsOpen') ?? 0) > 0)
    await http.ask('DELETE', '/v1/topics/a')
    expect((await gone).json.error.code).toBe('UNKNOWN_TOPIC')
    await http.createTopic('a')
    const waiting = http.askPlainly('GET', path('?wait=20000'))
    await until(() => (http.broker.metrics.read('httpRequestsOpen') ?? 0) > 0)
    const closed = http.broker.close()
    expect((await waiting).json).toMatchObject({ records: [], upToDate: true })
    await closed
  })

  it('ends a page before a record that is not what its topic says, and tells where it is', async () => {
    const http = await withRecords(1)
    const client = connect(http.broker.url)
    atEnd(() => client.close())
    const careless = {
      name: 'a',
      key: text(),
      value: {
        encoding: 'json' as const,
        hasSchema: false,
        encode: (value: string) => value,
        decode: String,
      },
    }
    await client.producer(careless).send({ key: 'k', value: '{"no json' })
    await http.post('/v1/topics/a/records', { value: 'after' })
    const page = await http.get(path())
    expect(page.json).toMatchObject({ nextOffset: 1, upToDate: false })
    expect(offsets(page.json.records)).toEqual([0])
    const stuck = await http.get(path('?offset=1'))
    expect(stuck.json.error).toMatchObject({
      code: 'ENCODING_MISMATCH',
      details: { partition: 0, offset: 1 },
    })
    expect(offsets((await http.get(path('?offset=2'))).json.records)).toEqual([2])
  })
})

describe('a topic that is made anew', () => {
  it('is not read by whoever means the one before; who names no id reads what is there', async () => {
    const http = await withRecords(3)
    const page = await http.get(path('?limit=2'))
    const { topicId, nextOffset } = page.json
    expect(page.headers['millrace-topic-id']).toBe(topicId)
    const goOn = (query = '') => path(`?offset=${nextOffset}&topicId=${topicId}${query}`)
    expect(offsets((await http.get(goOn())).json.records)).toEqual([2])
    await http.ask('DELETE', '/v1/topics/a')
    await http.createTopic('a')
    await http.post('/v1/topics/a/records', [{ value: 'A' }, { value: 'B' }, { value: 'C' }])
    for (const query of ['', '&wait=20000', '&chunks=true']) {
      const { status, json } = await http.get(goOn(query))
      expect([status, json.error.code]).toEqual([404, 'UNKNOWN_TOPIC'])
    }
    const list = await http.get(`/v1/topics/a/partitions/0/chunks?topicId=${topicId}`)
    expect([list.status, list.json.error.code]).toEqual([404, 'UNKNOWN_TOPIC'])
    const unnamed = await http.get(path(`?offset=${nextOffset}`), {
      headers: { accept: 'application/x-ndjson' },
    })
    expect(JSON.parse(unnamed.text).value).toBe('C')
    expect(unnamed.headers['millrace-topic-id']).not.toBe(topicId)
    expect((await http.get('/v1/topics/a')).json.topicId).toBe(unnamed.headers['millrace-topic-id'])
  })

  it('is told from the one before by an offset that was found by time, and by a page that is a chunk', async () => {
    const http = await withRecords(0, { chunkBytes: 16 * 1024 })
    await http.post('/v1/topics/a/records', [{ value: 'x'.repeat(20_000) }])
    const chunk = () => http.get(path('?chunks=true'))
    await until(async () => (await chunk()).status === 307)
    const { topicId } = (await http.get('/v1/topics/a')).json
    expect((await chunk()).headers['millrace-topic-id']).toBe(topicId)
    const found = await http.get('/v1/topics/a/partitions/0/offset?time=0')
    expect(found.json).toEqual({ topicId, offset: 0, startOffset: 0, endOffset: 1 })
  })

  it.each(['a', '0', `${'A'.repeat(32)}`, `${'a'.repeat(31)}`])('has no id %s', async (topicId) => {
    const http = await withRecords(1)
    const { status, json } = await http.get(path(`?topicId=${topicId}`))
    expect([status, json.error.code]).toEqual([400, 'BAD_REQUEST'])
  })
})

describe('a page that its client does not take', () => {
  it('counts until the client is gone', async () => {
    const http = await withRecords(0, {})
    for (let i = 0; i < 4; i++) await http.post('/v1/topics/a/records', { value: 'x'.repeat(1_000_000) })
    const unsent = () => http.broker.metrics.read('httpUnsentBytes') ?? 0
    const socket = await http.connect()
    socket.pause()
    // More than what the kernel's buffers hold.
    socket.write(`GET ${path('?maxBytes=4194304')} HTTP/1.1\r\nHost: x\r\n\r\n`.repeat(6))
    await until(() => unsent() > 4_000_000)
    socket.destroy()
    await until(() => unsent() === 0)
  })
})
