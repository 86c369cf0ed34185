import { randomBytes } from 'node:crypto'
import { gunzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { GzipPlaces } from '../../../../broker/http/gzip-places.js'
import { codedBody } from '../../../../broker/http/streams/coded-body.js'
import { type HttpBroker, startHttp } from '../harness.js'

const S = '/v1/stream/s'
const GZIP = { 'accept-encoding': 'gzip, deflate, br' }
const LONG = JSON.stringify(Array.from({ length: 200 }, (_, i) => ({ line: i, text: 'all the same' })))

const put = (http: HttpBroker, contentType: string, body: string | Uint8Array) =>
  http.ask('PUT', S, { headers: { 'content-type': contentType }, body })

describe('a page of a stream', () => {
  it('is compressed for whoever prefers that, under an entity tag of its own', async () => {
    const http = await startHttp()
    await put(http, 'application/json', LONG)
    const plain = await http.get(S)
    const packed = await http.get(S, { headers: GZIP })
    expect([plain.text, plain.headers['content-encoding']]).toEqual([LONG, undefined])
    expect(packed.headers['content-encoding']).toBe('gzip')
    expect(packed.bytes.length).toBeLessThan(plain.bytes.length / 2)
    expect(gunzipSync(packed.bytes).toString()).toBe(LONG)
    expect(packed.headers.etag).not.toBe(plain.headers.etag)
    for (const { headers } of [plain, packed])
      expect(headers).toMatchObject({
        vary: 'Accept-Encoding, Origin',
        'content-type': 'application/json',
        'stream-next-offset': plain.headers['stream-next-offset'],
        'stream-up-to-date': 'true',
        etag: expect.stringMatching(/^"[^"]+"$/),
      })
  })

  it('that a client has in either coding is not sent again, until more comes', async () => {
    const http = await startHttp()
    await put(http, 'application/json', LONG)
    const tags = [await http.get(S), await http.get(S, { headers: GZIP })].map(({ headers }) => headers.etag)
    for (const tag of tags) {
      const asked = { ...GZIP, 'if-none-match': `"other", ${tag}` }
      const { status, headers, bytes } = await http.get(S, { headers: asked })
      expect([status, bytes.length, headers.etag, headers.vary]).toEqual([
        304,
        0,
        tag,
        'Accept-Encoding, Origin',
      ])
    }
    await http.post(S, LONG, { 'content-type': 'application/json' })
    for (const tag of tags)
      expect((await http.get(S, { headers: { ...GZIP, 'if-none-match': `${tag}` } })).status).toBe(200)
  })

  it('is compressed where it comes by a long-poll, and not where it comes as an event', async () => {
    const http = await startHttp()
    await put(http, 'application/json', LONG)
    await http.post(S, undefined, { 'stream-closed': 'true' })
    const poll = await http.get(`${S}?offset=-1&live=long-poll`, { headers: GZIP })
    expect(gunzipSync(poll.bytes).toString()).toBe(LONG)
    const events = await http.get(`${S}?offset=-1&live=sse`, { headers: GZIP })
    expect(events.headers['content-encoding']).toBeUndefined()
    expect(events.text).toContain('all the same')
  })

  it.each<[why: string, contentType: string, body: string | Uint8Array, acceptEncoding: string]>([
    ['the client takes anything else', 'text/plain', 'a'.repeat(5_000), 'br, identity'],
    ['the client refuses gzip', 'text/plain', 'a'.repeat(5_000), 'gzip;q=0, *'],
    ['the client prefers it so', 'text/plain', 'a'.repeat(5_000), 'identity, gzip;q=0.5'],
    ['it is short', 'text/plain', 'a'.repeat(1_000), 'gzip'],
    ['it becomes no smaller', 'application/octet-stream', randomBytes(5_000), 'gzip'],
    ['its type is compressed by itself', 'image/png', 'a'.repeat(5_000), 'gzip'],
  ])('is sent as it is where %s', async (_why, contentType, body, acceptEncoding) => {
    const http = await startHttp()
    await put(http, contentType, body)
    const plain = await http.get(S)
    const { headers, bytes } = await http.get(S, { headers: { 'accept-encoding': acceptEncoding } })
    expect(bytes.equals(Buffer.from(body))).toBe(true)
    expect([headers['content-encoding'], headers.etag]).toEqual([undefined, plain.headers.etag])
    expect(headers.vary).toBe('Accept-Encoding, Origin')
  })

  it('is sent as it is while two others are being compressed', async () => {
    const gzip = new GzipPlaces()
    const page = Buffer.from(LONG)
    const code = () => codedBody(page, { contentType: 'text/plain', acceptEncoding: 'gzip', gzip })
    const codings = (await Promise.all([code(), code(), code()])).map(({ coding }) => coding)
    expect(codings).toEqual(['gzip', 'gzip', 'identity'])
    expect((await code()).coding).toBe('gzip')
  })
})
