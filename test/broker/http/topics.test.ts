import { describe, expect, it } from 'vitest'
import { startHttp } from './harness.js'

describe('topics over HTTP', () => {
  it('are created with what was asked for, and described', async () => {
    const http = await startHttp()
    const created = await http.post('/v1/topics', {
      name: 'orders',
      partitions: 3,
      keyEncoding: 'bytes',
      valueEncoding: 'msgpack',
      retention: { maxAgeMs: 60_000, untilAcked: true },
      dedupWindowMs: 5_000,
      publicCache: true,
    })
    expect(created.status).toBe(201)
    expect(created.headers.location).toBe('/v1/topics/orders')
    const { json } = await http.get('/v1/topics/orders')
    expect(json).toEqual(created.json)
    expect(json).toMatchObject({
      name: 'orders',
      keyEncoding: 'bytes',
      valueEncoding: 'msgpack',
      internal: false,
      retention: { maxAgeMs: 60_000, maxBytes: null, untilAcked: true, onLag: 'keep' },
      dedupWindowMs: 5_000,
      publicCache: true,
    })
    expect(json.topicId).toMatch(/^[0-9a-f]{32}$/)
    expect(Math.abs(Date.parse(json.createdAt) - Date.now())).toBeLessThan(60_000)
    expect(json.partitions).toEqual(
      [0, 1, 2].map((partition) => ({
        partition,
        startOffset: 0,
        endOffset: 0,
        bytes: 0,
        sealedBytes: 0,
        chunks: 0,
        lastAppendTime: null,
      })),
    )
  })

  it('that exist are refused, or with ifMissing taken as they are, but not as something else', async () => {
    const http = await startHttp()
    await http.createTopic('a', { partitions: 2 })
    expect((await http.post('/v1/topics', { name: 'a' })).json.error.code).toBe('TOPIC_EXISTS')
    const again = await http.post('/v1/topics', { name: 'a', partitions: 2, ifMissing: true })
    expect(again.status).toBe(200)
    const other = await http.post('/v1/topics', { name: 'a', partitions: 5, ifMissing: true })
    expect(other.json.error.code).toBe('TOPIC_MISMATCH')
  })

  it('are created once by requests of one Idempotency-Key', async () => {
    const http = await startHttp()
    const key = { 'idempotency-key': 'make a' }
    const first = await http.post('/v1/topics', { name: 'a' }, key)
    const second = await http.post('/v1/topics', { name: 'a' }, key)
    expect([first.status, second.status]).toEqual([201, 201])
    expect(second.json.topicId).toBe(first.json.topicId)
  })

  it('are listed by name in pages, the own ones of the broker on demand', async () => {
    const http = await startHttp()
    for (const name of ['c', 'a', 'b']) await http.createTopic(name)
    const first = (await http.get('/v1/topics?limit=2')).json
    expect(first.topics.map(({ name }: { name: string }) => name)).toEqual(['a', 'b'])
    expect(first.next).toBe('b')
    const second = (await http.get(`/v1/topics?limit=2&after=${first.next}`)).json
    expect(second.topics.map(({ name }: { name: string }) => name)).toEqual(['c'])
    expect(second.next).toBeNull()
    const all = (await http.get('/v1/topics?internal=true')).json
    expect(all.topics.map(({ name }: { name: string }) => name)).toEqual(['a', 'b', 'c', '_millrace.changes'])
  })

  it('change their settings, and go back to defaults', async () => {
    const http = await startHttp()
    await http.createTopic('a', { retention: { maxBytes: 1000 } })
    const altered = await http.ask('PATCH', '/v1/topics/a', {
      body: { retention: { maxBytes: null, maxAgeMs: 5000 }, dedupWindowMs: 2000 },
    })
    expect(altered.json).toMatchObject({ retention: { maxBytes: null, maxAgeMs: 5000 }, dedupWindowMs: 2000 })
    expect((await http.get('/v1/topics/a')).json).toMatchObject(altered.json)
    const refused = await http.ask('PATCH', '/v1/topics/a', { body: { retention: { maxAgeMs: 0 } } })
    expect(refused.json.error.code).toBe('ILLEGAL_ARGUMENT')
  })

  it('are deleted, and are unknown afterwards', async () => {
    const http = await startHttp()
    await http.createTopic('a')
    expect((await http.ask('DELETE', '/v1/topics/a')).status).toBe(204)
    expect((await http.get('/v1/topics/a')).json.error.code).toBe('UNKNOWN_TOPIC')
    expect((await http.ask('DELETE', '/v1/topics/a')).json.error.code).toBe('UNKNOWN_TOPIC')
  })

  it("that are the broker's own are neither written, altered nor deleted", async () => {
    const http = await startHttp()
    const path = '/v1/topics/_millrace.changes'
    expect((await http.get(path)).json.internal).toBe(true)
    expect((await http.ask('DELETE', path)).json.error.code).toBe('TOPIC_READ_ONLY')
    expect((await http.ask('PATCH', path, { body: { dedupWindowMs: 2000 } })).json.error.code).toBe(
      'TOPIC_READ_ONLY',
    )
    expect((await http.post(`${path}/records`, { value: {} })).json.error.code).toBe('TOPIC_READ_ONLY')
  })

  it('tell the offsets and sizes of their partitions', async () => {
    const http = await startHttp()
    await http.createTopic('a', { partitions: 2 })
    await http.post('/v1/topics/a/records', [
      { value: 1, partition: 1 },
      { value: 2, partition: 1 },
    ])
    const [none, some] = (await http.get('/v1/topics/a/partitions')).json.partitions
    expect(none).toMatchObject({ partition: 0, endOffset: 0, bytes: 0 })
    expect(some).toMatchObject({ partition: 1, startOffset: 0, endOffset: 2, sealedBytes: 0, chunks: 0 })
    expect(some.bytes).toBeGreaterThan(100)
    expect(Date.parse(some.lastAppendTime)).toBeGreaterThan(0)
  })

  it('find an offset by its time, and delete what is before an offset', async () => {
    const http = await startHttp()
    await http.createTopic('a')
    const first = await http.post('/v1/topics/a/records', { value: 'old' })
    await new Promise((resolve) => setTimeout(resolve, 5))
    await http.post('/v1/topics/a/records', { value: 'new' })
    const partition = '/v1/topics/a/partitions/0'
    const after = new Date(Date.parse(first.json.appendTime) + 1).toISOString()
    expect((await http.get(`${partition}/offset?time=${after}`)).json).toMatchObject({
      offset: 1,
      startOffset: 0,
      endOffset: 2,
    })
    expect((await http.get(`${partition}/offset?time=0`)).json.offset).toBe(0)
    const deleted = await http.post(`${partition}/delete-before`, { offset: 1 })
    expect(deleted.json).toMatchObject({ startOffset: 1, records: 1 })
    expect((await http.post(`${partition}/delete-before`, { offset: 7 })).json.error).toMatchObject({
      code: 'OFFSET_OUT_OF_RANGE',
      details: { startOffset: 1, endOffset: 2 },
    })
    expect((await http.post(`${partition}/delete-before`, { to: 'end' })).json).toMatchObject({
      startOffset: 2,
    })
    expect((await http.post(`${partition}/delete-before`, {})).json.error.code).toBe('BAD_REQUEST')
  })
})
