import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import {
  bodyOf,
  brokerOfFile,
  fillChunks,
  type ListedChunk,
  listed,
  offsetsIn,
  startWithSmallChunks,
  valueAt,
} from './chunk-topic.js'
import type { HttpBroker } from './harness.js'

const NATIVE = 'application/vnd.millrace.chunk'

const shared = brokerOfFile({ chunkMaxAgeMs: 1_000 })

/** A topic of its own with two chunks at least. */
async function withChunks(topic: string): Promise<{ http: HttpBroker; chunks: ListedChunk[] }> {
  const http = shared()
  await http.createTopic(topic, { valueEncoding: 'text' })
  return { http, chunks: await fillChunks(http, { topic, chunks: 2 }) }
}

const counters = ({ broker }: HttpBroker) => broker.metrics.snapshot().counters

describe('the chunks of a partition', () => {
  it('are listed with what they hold, one behind the other, from the one that holds an offset on', async () => {
    const { http, chunks } = await withChunks('listed')
    const [first, second] = chunks as [ListedChunk, ListedChunk]
    const { json, headers } = await http.get('/v1/topics/listed/partitions/0/chunks?limit=1')
    expect(headers['cache-control']).toBe('no-store')
    const { topicId } = (await http.get('/v1/topics/listed')).json
    expect(json).toMatchObject({
      topicId,
      partition: 0,
      startOffset: 0,
      chunks: [first],
      next: first.nextOffset,
    })
    expect(json.sealedEnd).toBeGreaterThanOrEqual(second.nextOffset)
    expect(first.baseOffset).toBe(0)
    expect(first.records).toBe(first.nextOffset)
    expect(second.baseOffset).toBe(first.nextOffset)
    expect(first.url).toBe(`/v1/chunks/${topicId}/0/${first.chunkId}-${first.digest}`)
    expect(Date.parse(first.minAppendTime)).toBeLessThanOrEqual(Date.parse(first.maxAppendTime))
    const inside = await http.get(`/v1/topics/listed/partitions/0/chunks?offset=${second.baseOffset + 1}`)
    expect(inside.json.chunks[0]).toEqual(second)
    const beyond = await http.get('/v1/topics/listed/partitions/0/chunks?offset=1000000')
    expect(beyond.json).toMatchObject({ chunks: [], next: null })
    expect((await http.get('/v1/topics/listed/partitions/7/chunks')).json.error.code).toBe(
      'UNKNOWN_PARTITION',
    )
  })

  it('are served as they are in their file, and may be kept for good, by the client alone', async () => {
    const http = shared()
    const [chunk] = (await listed(http, 'listed')) as [ListedChunk]
    const answer = await http.get(chunk.url)
    expect(answer.status).toBe(200)
    expect(answer.headers).toMatchObject({
      'content-type': NATIVE,
      'content-length': String(chunk.bytes),
      'cache-control': 'private, max-age=31536000, immutable',
      etag: `"${chunk.digest}"`,
      'accept-ranges': 'bytes',
      vary: 'Accept-Encoding, Origin',
      'millrace-base-offset': '0',
      'millrace-next-offset': String(chunk.nextOffset),
      'millrace-up-to-date': 'false',
    })
    expect(Date.parse(String(answer.headers['last-modified']))).toBe(
      Math.floor(Date.parse(chunk.maxAppendTime) / 1000) * 1000,
    )
    const file = await readFile(join(http.dataDir, 'chunks', `${chunk.chunkId}.chunk`))
    expect(answer.bytes.equals(file.subarray(64, 64 + chunk.bytes))).toBe(true)
    expect(offsetsIn(answer.bytes)).toEqual({ from: 0, to: chunk.nextOffset })
  })

  it('may be kept by everybody where the topic says so, and for as long as the broker is told', async () => {
    const http = await startWithSmallChunks({ httpChunkMaxAgeMs: 60_000 })
    await http.createTopic('a', { publicCache: true })
    const [chunk] = (await fillChunks(http, { topic: 'a', chunks: 1 })) as [ListedChunk]
    expect((await http.get(chunk.url)).headers['cache-control']).toBe('public, max-age=60, immutable')
    await http.ask('PATCH', '/v1/topics/a', { body: { publicCache: false } })
    expect((await http.get(chunk.url)).headers['cache-control']).toBe('private, max-age=60, immutable')
  })

  it('of several topics in one file do not show one another', async () => {
    const http = shared()
    for (const topic of ['left', 'right']) {
      await http.createTopic(topic, { valueEncoding: 'text' })
      await http.post(`/v1/topics/${topic}/records`, { value: `of ${topic}` })
    }
    let both: ListedChunk[] = []
    for (let tries = 0; both.length < 2 && tries < 500; tries++) {
      await new Promise((resolve) => setTimeout(resolve, 20))
      both = [...(await listed(http, 'left')), ...(await listed(http, 'right'))]
    }
    const [a, b] = both as [ListedChunk, ListedChunk]
    expect(a.chunkId).toBe(b.chunkId)
    expect((await http.get(a.url)).bytes.toString('latin1')).toContain('of left')
    expect((await http.get(a.url)).bytes.toString('latin1')).not.toContain('of right')
    // Nor with the digest of the other.
    const mixed = a.url.replace(a.digest, b.digest)
    expect((await http.get(mixed)).json.error.code).toBe('CHUNK_GONE')
  })
})

describe('a chunk', () => {
  let http: HttpBroker
  let chunk: ListedChunk
  let whole: Buffer

  beforeAll(async () => {
    http = shared()
    await http.createTopic('a', { valueEncoding: 'text' })
    chunk = (await fillChunks(http, { topic: 'a', chunks: 1 }))[0] as ListedChunk
    whole = (await http.get(chunk.url)).bytes
  })

  it('answers HEAD as GET without the bytes', async () => {
    const head = await http.askPlainly('HEAD', chunk.url)
    const { headers } = await http.get(chunk.url)
    expect(head.status).toBe(200)
    expect(head.bytes.length).toBe(0)
    for (const name of ['content-length', 'etag', 'cache-control', 'last-modified', 'vary', 'content-type'])
      expect(head.headers[name], name).toBe(headers[name])
    const text = await http.askPlainly('HEAD', `${chunk.url}?format=ndjson`)
    expect([text.status, text.headers['content-type'], text.bytes.length]).toEqual([
      200,
      'application/x-ndjson',
      0,
    ])
  })

  it('is not sent again to a cache that has it', async () => {
    const { etag, 'last-modified': modified } = (await http.get(chunk.url)).headers as Record<string, string>
    const ask = (headers: Record<string, string>) => http.get(chunk.url, { headers })
    for (const headers of [
      { 'if-none-match': etag as string },
      { 'if-none-match': `"x", W/${etag}` },
      { 'if-none-match': '*' },
      { 'if-modified-since': modified as string },
    ]) {
      const answer = await ask(headers as unknown as Record<string, string>)
      expect(answer.status, JSON.stringify(headers)).toBe(304)
      expect(answer.bytes.length).toBe(0)
      expect(answer.headers).toMatchObject({ etag, 'cache-control': 'private, max-age=31536000, immutable' })
    }
    // Another form of the chunk is not what the client has.
    const text = await http.get(`${chunk.url}?format=ndjson`, {
      headers: { 'if-none-match': etag as string },
    })
    expect(text.status).toBe(200)
    expect((await ask({ 'if-none-match': '"x"' })).status).toBe(200)
    // The tag decides where there are both.
    expect((await ask({ 'if-none-match': '"x"', 'if-modified-since': modified as string })).status).toBe(200)
    expect((await ask({ 'if-modified-since': 'yesterday' })).status).toBe(200)
  })

  it('gives any one range of its bytes', async () => {
    const bytes = whole.length
    for (const [range, start, end] of [
      ['bytes=0-0', 0, 1],
      ['bytes=10-1999', 10, 2000],
      ['bytes=50000-', 50_000, bytes],
      ['bytes=-300', bytes - 300, bytes],
      ['bytes=-99999999', 0, bytes],
      [`bytes=${bytes - 1}-99999999`, bytes - 1, bytes],
    ] as const) {
      const answer = await http.get(chunk.url, { headers: { range } })
      expect(answer.status, range).toBe(206)
      expect(answer.headers['content-range']).toBe(`bytes ${start}-${end - 1}/${bytes}`)
      expect(answer.headers['content-length']).toBe(String(end - start))
      expect(answer.bytes.equals(whole.subarray(start, end)), range).toBe(true)
    }
  })

  it('gives every range that a client may put together again, whatever entries the borders cut', async () => {
    const parts: Buffer[] = []
    for (let start = 0; start < whole.length; start += 7_919) {
      const range = `bytes=${start}-${start + 7_918}`
      parts.push((await http.get(chunk.url, { headers: { range } })).bytes)
    }
    expect(Buffer.concat(parts).equals(whole)).toBe(true)
  })

  it('answers a range that begins behind it with 416 and its size', async () => {
    for (const range of [`bytes=${whole.length}-`, 'bytes=-0', 'bytes=99999999-999999999']) {
      const { status, headers, json } = await http.get(chunk.url, { headers: { range } })
      expect([status, json.error.code], range).toEqual([416, 'RANGE_NOT_SATISFIABLE'])
      expect(headers['content-range']).toBe(`bytes */${whole.length}`)
      expect(headers['cache-control']).toBe('no-store')
    }
  })

  it.each([
    'bytes=0-10,20-30',
    `bytes=0-0${',2-2'.repeat(1_000)}`,
    'bytes=5-2',
    'bytes=a-b',
    'bytes=-',
    'bytes=--5',
    'bytes=0x10-',
    'bytes=1e3-2e3',
    'lines=0-3',
    'bytes=99999999999999999999-',
    '',
  ])('gives all of its bytes to a Range that is none, or several: %.30s', async (range) => {
    const { status, bytes, headers } = await http.get(chunk.url, { headers: { range } })
    expect(status).toBe(200)
    expect(headers['content-range']).toBeUndefined()
    expect(bytes.equals(whole)).toBe(true)
  })

  it('gives a range only of the bytes that If-Range means', async () => {
    const range = 'bytes=0-9'
    const { etag, 'last-modified': modified } = (await http.get(chunk.url)).headers as Record<string, string>
    for (const [condition, status] of [
      [etag, 206],
      [modified, 206],
      ['"x"', 200],
      [`W/${etag}`, 200],
    ] as const) {
      const answer = await http.get(chunk.url, { headers: { range, 'if-range': condition as string } })
      expect(answer.status, condition).toBe(status)
    }
  })

  it('is compressed for whoever likes that, under another tag', async () => {
    const answer = await http.get(chunk.url, { headers: { 'accept-encoding': 'br, gzip' } })
    expect(answer.headers).toMatchObject({ 'content-encoding': 'gzip', etag: `"${chunk.digest}-gzip"` })
    expect(answer.headers['content-length']).toBeUndefined()
    expect(answer.bytes.length).toBeLessThan(whole.length / 2)
    expect((await bodyOf(http, chunk.url, { headers: { 'accept-encoding': 'gzip' } })).equals(whole)).toBe(
      true,
    )
    const again = await http.get(chunk.url, {
      headers: { 'accept-encoding': 'gzip', 'if-none-match': `"${chunk.digest}-gzip"` },
    })
    expect([again.status, again.headers.etag]).toEqual([304, `"${chunk.digest}-gzip"`])
    for (const unwanted of ['gzip;q=0', 'identity', 'br', 'gzip;q=0.2, identity;q=0.9', '*;q=0']) {
      const plain = await http.get(chunk.url, { headers: { 'accept-encoding': unwanted } })
      expect(plain.headers['content-encoding'], unwanted).toBeUndefined()
    }
    // Ranges are of the bytes as they are.
    const part = await http.get(chunk.url, { headers: { 'accept-encoding': 'gzip', range: 'bytes=0-9' } })
    expect([part.status, part.headers['content-encoding']]).toEqual([206, undefined])
  })

  it('is served as JSON too: the records and nothing else', async () => {
    const lines = (await bodyOf(http, `${chunk.url}?format=ndjson`)).toString().trimEnd().split('\n')
    expect(lines.length).toBe(chunk.records)
    const records = lines.map((line) => JSON.parse(line))
    expect(records.map(({ offset }) => offset)).toEqual(Array.from({ length: chunk.records }, (_, i) => i))
    expect(records[3]).toMatchObject({
      topic: 'a',
      partition: 0,
      offset: 3,
      key: '3',
      value: valueAt(3),
      headers: {},
    })
    const answer = await http.get(`${chunk.url}?format=json`)
    expect(answer.headers).toMatchObject({
      'content-type': 'application/json',
      etag: `"${chunk.digest}-json1"`,
    })
    expect(answer.json).toEqual(records)
    // Ranges are of the native form alone.
    const ranged = await http.get(`${chunk.url}?format=json`, { headers: { range: 'bytes=0-9' } })
    expect([ranged.status, ranged.headers['accept-ranges'], ranged.json]).toEqual([200, undefined, records])
    const page = await http.get('/v1/topics/a/partitions/0/records?limit=2')
    expect(page.json.records).toEqual(records.slice(0, 2))
    const packed = await bodyOf(http, `${chunk.url}?format=json`, { headers: { 'accept-encoding': 'gzip' } })
    expect(JSON.parse(packed.toString())).toEqual(records)
  })

  it.each([
    '/v1/chunks/x/0/y',
    '/v1/chunks/..%2f..%2fetc/0/passwd',
    '/v1/chunks/%2e%2e/0/%2e%2e%2f%2e%2e%2fmanifest',
    `/v1/chunks/${'0'.repeat(32)}/0/..%2f..%2fwal%2f0`,
    `/v1/chunks/${'0'.repeat(32)}/-1/${'0'.repeat(16)}-${'0'.repeat(32)}`,
    `/v1/chunks/${'0'.repeat(32)}/0/${'f'.repeat(16)}-${'0'.repeat(32)}`,
    `/v1/chunks/${'0'.repeat(32)}/0/${'0'.repeat(16)}-${'0'.repeat(32)}%00.chunk`,
    `/v1/chunks/${'F'.repeat(32)}/0/${'0'.repeat(16)}-${'0'.repeat(32)}`,
    '/v1/topics/a/partitions/0/chunks?offset=-1',
    '/v1/topics/a/partitions/0/chunks?limit=1001',
    '/v1/topics/a/partitions/0/chunks?ofset=1',
  ])('is not had by a path that is none: %s', async (path) => {
    const { status, json } = await http.get(path)
    expect([status, json.error.code]).toEqual([400, 'BAD_REQUEST'])
  })

  it('is not had under another format, by another method, or from above', async () => {
    expect((await http.get(`${chunk.url}?format=xml`)).status).toBe(400)
    expect((await http.post(chunk.url, 'x')).json.error.code).toBe('METHOD_NOT_ALLOWED')
    expect((await http.ask('DELETE', chunk.url)).json.error.code).toBe('METHOD_NOT_ALLOWED')
    const above = await http.exchange(
      `GET /v1/chunks/../../../../../../etc/passwd HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n`,
    )
    expect(above).toMatch(/^HTTP\/1.1 40[04]/)
    expect(above).not.toContain('root:')
  })

  it('of no topic, no partition, no number is not there, and says where the records begin', async () => {
    const none = `${'0'.repeat(16)}-${'0'.repeat(32)}`
    const { topicId } = (await http.get('/v1/topics/a')).json
    const codeOf = async (path: string) => (await http.get(path)).json.error.code
    expect(await codeOf(`/v1/chunks/${'0'.repeat(32)}/0/${none}`)).toBe('UNKNOWN_TOPIC')
    expect(await codeOf(`/v1/chunks/${topicId}/9/${none}`)).toBe('UNKNOWN_PARTITION')
    expect(await codeOf(chunk.url.replace(chunk.digest, '0'.repeat(32)))).toBe('CHUNK_GONE')
    const gone = await http.get(`/v1/chunks/${topicId}/0/${none}`)
    expect([gone.status, gone.headers['millrace-start-offset']]).toEqual([410, '0'])
    expect(gone.json.error.details.startOffset).toBe(0)
    expect(gone.headers['cache-control']).toBe('no-store')
  })
})

describe('a read that would rather have whole chunks', () => {
  it('is sent to the chunk that begins there, and otherwise gets a page, counted by the reason', async () => {
    const { http, chunks } = await withChunks('reads')
    const [first, second] = chunks as [ListedChunk, ListedChunk]
    const read = (query: string) => http.get(`/v1/topics/reads/partitions/0/records?chunks=true&${query}`)
    const aligned = await read(`offset=${second.baseOffset}`)
    expect([aligned.status, aligned.headers.location]).toEqual([307, `${second.url}?format=json`])
    expect(aligned.headers).toMatchObject({
      'cache-control': 'no-store',
      'millrace-next-offset': String(second.nextOffset),
    })
    expect((await read('offset=earliest')).headers.location).toBe(`${first.url}?format=json`)
    const before = counters(http)
    const inside = await read(`offset=${first.baseOffset + 1}`)
    expect([inside.status, inside.json.records[0].offset]).toEqual([200, 1])
    expect((await read('offset=latest')).status).toBe(200)
    expect((await read('offset=0&limit=3')).json.records.length).toBe(3)
    const { json } = await http.post('/v1/topics/reads/partitions/0/delete-before', { offset: 1 })
    expect(json.startOffset).toBe(1)
    expect((await read('offset=1')).json.records[0].offset).toBe(1)
    const after = counters(http)
    const added = (name: keyof typeof after) => after[name] - before[name]
    expect([
      added('chunkFallbacksUnaligned'),
      added('chunkFallbacksUnsealed'),
      added('chunkFallbacksBounded'),
      added('chunkFallbacksTruncated'),
    ]).toEqual([1, 1, 1, 1])
  })
})
