import { describe, expect, it } from 'vitest'
import { ManualClock } from '../../../../testing/manual-clock.js'
import { type HttpBroker, newDirectory, startHttp } from '../harness.js'

const text = { 'content-type': 'text/plain' }
const json = { 'content-type': 'application/json' }
const S = '/v1/stream/s'

const put = (http: HttpBroker, headers: Record<string, string>, body = '') =>
  http.ask('PUT', S, { headers, ...(body === '' ? {} : { body }) })

describe('a stream and its topic', () => {
  it('keep the digits of numbers that no double holds', async () => {
    const http = await startHttp()
    await put(http, json, '[9007199254740993, 0.10]')
    expect((await http.get(S)).text).toBe('[9007199254740993,0.10]')
    expect((await http.get('/v1/topics/s/partitions/0/records')).text).toContain('"value":9007199254740993')
  })

  it('are closed together, and deleted together', async () => {
    const http = await startHttp()
    await put(http, text, 'a')
    expect((await http.post(S, undefined, { 'stream-closed': 'true' })).status).toBe(204)
    const refused = await http.post('/v1/topics/s/records', { value: { base64: 'AA==' } })
    expect([refused.status, refused.json.error.code]).toEqual([409, 'STREAM_CLOSED'])
    expect((await http.ask('DELETE', '/v1/topics/s')).status).toBe(204)
    expect((await http.get(S)).status).toBe(404)
  })

  it('keep what forks read of it, whoever wants it gone', async () => {
    const http = await startHttp()
    await put(http, text, 'kept')
    await http.post(S, ' too', text)
    const fork = { 'stream-forked-from': S }
    expect((await http.ask('PUT', '/v1/stream/f', { headers: fork })).status).toBe(201)
    const path = '/v1/topics/s/partitions/0/delete-before'
    const kept = await http.post(path, { offset: 1 })
    expect([kept.status, kept.json.error.code]).toEqual([403, 'TOPIC_READ_ONLY'])
    expect((await http.ask('DELETE', '/v1/topics/s')).status).toBe(204)
    expect((await http.get(S)).status).toBe(410)
    const again = await http.ask('DELETE', '/v1/topics/s')
    expect([again.status, again.json.error.code]).toEqual([410, 'STREAM_DELETED'])
    const written = await http.post('/v1/topics/s/records', { value: { base64: 'AA==' } })
    expect(written.json.error.code).toBe('STREAM_DELETED')
    expect((await http.get('/v1/stream/f')).text).toBe('kept too')
    // The fork's topic begins where the fork does: it holds none of the source's records.
    const [{ startOffset, endOffset }] = (await http.get('/v1/topics/f')).json.partitions
    expect([startOffset, endOffset]).toEqual([2, 2])
    expect((await http.ask('DELETE', '/v1/stream/f')).status).toBe(204)
    expect((await http.get('/v1/topics/s')).status).toBe(404)
  })

  it('tell of what was deleted before an offset: never a silent jump', async () => {
    const http = await startHttp()
    await put(http, text, 'a')
    await http.post(S, 'b', text)
    await http.post('/v1/topics/s/partitions/0/delete-before', { offset: 1 })
    expect((await http.get(S)).text).toBe('b')
    const gone = await http.get(`${S}?offset=0000000000000000_0000000000000000`)
    expect([gone.status, gone.json.error.code]).toEqual([410, 'OFFSET_GONE'])
    expect((await http.get(`${S}?offset=${gone.json.error.details.startOffset}`)).text).toBe('b')
    const end = String((await http.ask('HEAD', S)).headers['stream-next-offset'])
    const beyond = await http.get(`${S}?offset=${end.replace('2', '3')}`)
    expect([beyond.status, beyond.json.error]).toEqual([
      416,
      expect.objectContaining({ code: 'OFFSET_OUT_OF_RANGE', details: { endOffset: end } }),
    ])
  })

  it('are not mixed up with a topic that is no stream', async () => {
    const http = await startHttp()
    await http.createTopic('s')
    expect((await http.get(S)).json.error.code).toBe('UNKNOWN_TOPIC')
    const taken = await put(http, text)
    expect([taken.status, taken.json.error.code]).toEqual([409, 'TOPIC_EXISTS'])
  })

  it('have bytes as they came, in as many records as they need', async () => {
    const http = await startHttp({ recordBytesMax: 1_024 })
    const bytes = Buffer.alloc(10_000, 0).map((_, i) => i * 7)
    const type = { 'content-type': 'application/x-thing; v=1' }
    expect((await http.ask('PUT', S, { headers: type, body: bytes })).status).toBe(201)
    const read = await http.get(S)
    expect(read.bytes.equals(bytes)).toBe(true)
    expect(read.headers['content-type']).toBe(type['content-type'])
    const fork = {
      'stream-forked-from': S,
      'stream-fork-offset': '0000000000000000_0000000000000000',
      'stream-fork-sub-offset': '2500',
    }
    expect((await http.ask('PUT', '/v1/stream/f', { headers: fork })).status).toBe(201)
    expect((await http.get('/v1/stream/f')).bytes.equals(bytes.subarray(0, 2_500))).toBe(true)
  })
})

describe('the end of a stream’s life', () => {
  it('is put off by what was read before a restart', async () => {
    const dataDir = await newDirectory()
    const clock = new ManualClock()
    const first = await startHttp({ dataDir }, { clock })
    await first.ask('PUT', S, { headers: { ...text, 'stream-ttl': '600' }, body: 'a' })
    for (let i = 0; i < 4; i++) {
      await clock.advance(200_000)
      expect((await first.get(S)).status).toBe(200)
    }
    await first.broker.close()
    const second = await startHttp({ dataDir }, { clock })
    expect((await second.ask('HEAD', S)).status).toBe(200)
    await clock.advance(700_000)
    expect((await second.askPlainly('HEAD', S)).status).toBe(404)
  })
})

describe('what is no request to a stream', () => {
  const CASES: readonly [string, string, Record<string, string>, string | undefined, number, string][] = [
    ['POST', S, { 'stream-closed': 'false' }, undefined, 400, 'BAD_REQUEST'],
    ['POST', S, {}, 'x', 400, 'BAD_REQUEST'],
    ['POST', S, { 'content-type': 'nonsense' }, 'x', 415, 'UNSUPPORTED_MEDIA_TYPE'],
    ['POST', S, json, '[]', 409, 'TOPIC_MISMATCH'],
    ['POST', S, { ...text, 'producer-id': 'p' }, 'x', 400, 'BAD_REQUEST'],
    [
      'POST',
      S,
      { ...text, 'producer-id': '', 'producer-epoch': '0', 'producer-seq': '0' },
      'x',
      400,
      'BAD_REQUEST',
    ],
    [
      'POST',
      S,
      { ...text, 'producer-id': 'p', 'producer-epoch': '1e3', 'producer-seq': '0' },
      'x',
      400,
      'BAD_REQUEST',
    ],
    [
      'POST',
      S,
      { ...text, 'producer-id': 'p', 'producer-epoch': '0', 'producer-seq': '9007199254740992' },
      'x',
      400,
      'BAD_REQUEST',
    ],
    [
      'POST',
      S,
      { ...text, 'producer-id': 'p'.repeat(256), 'producer-epoch': '0', 'producer-seq': '0' },
      'x',
      400,
      'BAD_REQUEST',
    ],
    [
      'POST',
      S,
      { ...text, 'producer-id': 'p', 'producer-epoch': '0', 'producer-seq': '1' },
      'x',
      409,
      'SEQUENCE_GAP',
    ],
    ['POST', S, { ...text, 'stream-seq': 'x'.repeat(1_025) }, 'x', 400, 'BAD_REQUEST'],
    ['POST', S, { ...text, 'content-encoding': 'gzip' }, 'x', 415, 'UNSUPPORTED_MEDIA_TYPE'],
    ['POST', S, text, 'x'.repeat(40_000), 413, 'BODY_TOO_LARGE'],
    ['GET', `${S}?offset=`, {}, undefined, 400, 'BAD_REQUEST'],
    ['GET', `${S}?offset=0&offset=0`, {}, undefined, 400, 'BAD_REQUEST'],
    ['GET', `${S}?offset=../../etc`, {}, undefined, 400, 'BAD_REQUEST'],
    ['GET', `${S}?live=sse`, {}, undefined, 400, 'BAD_REQUEST'],
    [
      'PUT',
      '/v1/stream/new',
      { 'stream-ttl': '1', 'stream-expires-at': '2030-01-01T00:00:00Z' },
      'x',
      400,
      'BAD_REQUEST',
    ],
    ['PUT', '/v1/stream/new', { 'stream-ttl': '01' }, 'x', 400, 'BAD_REQUEST'],
    ['PUT', '/v1/stream/new', { 'stream-expires-at': 'tomorrow' }, 'x', 400, 'BAD_REQUEST'],
    ['PUT', '/v1/stream/new', { 'stream-forked-from': '/v1/topics/s' }, 'x', 400, 'BAD_REQUEST'],
    ['PUT', '/v1/stream/new', { 'stream-forked-from': '/v1/stream/..%2Fs' }, 'x', 400, 'ILLEGAL_TOPIC_NAME'],
    ['PUT', '/v1/stream/new', { 'stream-fork-offset': '-1' }, 'x', 400, 'BAD_REQUEST'],
    ['PUT', '/v1/stream/new', json, '{"a":', 400, 'BAD_REQUEST'],
    ['PUT', '/v1/stream/new', { 'content-type': `text/${'x'.repeat(300)}` }, 'x', 400, 'BAD_REQUEST'],
    ['PUT', '/v1/stream/_millrace.changes', text, 'x', 400, 'ILLEGAL_TOPIC_NAME'],
    ['PUT', `/v1/stream/${'x'.repeat(250)}`, text, 'x', 400, 'ILLEGAL_TOPIC_NAME'],
  ]

  it.each(CASES)(
    '%s %s %j is refused, and nothing is written',
    async (method, path, headers, body, status, code) => {
      const http = await startHttp({ httpBodyBytesMax: 32_768 })
      await put(http, text, 'as it was')
      const answer = await http.ask(method, path, { headers, ...(body === undefined ? {} : { body }) })
      expect([answer.status, answer.json?.error.code]).toEqual([status, code])
      expect((await http.get(S)).text).toBe('as it was')
      expect((await http.get('/v1/topics')).json.topics).toHaveLength(1)
    },
  )

  it.each([
    '/v1/stream/../s',
    '/v1/stream/%2e%2e/s',
    '/v1/stream/a//b',
    '/v1/stream/',
    '/v1/stream/a%00b',
    '/v1/stream/a/..',
  ])('a path that leads elsewhere, %s, is refused', async (path) => {
    const http = await startHttp()
    const { status } = await http.askPlainly('PUT', path, { headers: text })
    expect([400, 404]).toContain(status)
    expect((await http.get('/v1/topics')).json.topics).toEqual([])
  })

  it('an upload that breaks off appends nothing, and makes no stream', async () => {
    const http = await startHttp()
    await put(http, text, 'whole')
    for (const start of [`POST ${S}`, 'PUT /v1/stream/new']) {
      const socket = await http.connect()
      socket.write(
        `${start} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/plain\r\nContent-Length: 10\r\n\r\nhalf`,
      )
      await new Promise((resolve) => setTimeout(resolve, 50))
      socket.destroy()
    }
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect((await http.get(S)).text).toBe('whole')
    expect((await http.get('/v1/topics')).json.topics).toHaveLength(1)
  })
})
