import { DurableStream, stream } from '@durable-streams/client'
import { describe, expect, it } from 'vitest'
import { readOffset, tokenIn } from '../../../../broker/http/streams/stream-offset.js'
import { topicIdFrom } from '../../../../protocol/ids.js'
import { until } from '../../../support/until.js'
import { type Answered, type HttpBroker, startHttp } from '../harness.js'

const S = '/v1/stream/s'
const F = '/v1/stream/f'
const BEGINNING = '0000000000000000_0000000000000000'
const text = { 'content-type': 'text/plain' }

const next = ({ headers }: Answered): string => String(headers['stream-next-offset'])

/** A stream of text with these records; the offset behind each. */
async function written(http: HttpBroker, path: string, records: readonly string[]): Promise<string[]> {
  expect((await http.ask('PUT', path, { headers: text })).status).toBe(201)
  return appended(http, path, records)
}

async function appended(http: HttpBroker, path: string, records: readonly string[]): Promise<string[]> {
  const offsets: string[] = []
  for (const record of records) offsets.push(next(await http.post(path, record, text)))
  return offsets
}

const fork = (http: HttpBroker, from: string, more: Record<string, string> = {}) =>
  http.ask('PUT', F, { headers: { 'stream-forked-from': from, ...more } })

const read = (http: HttpBroker, path: string, offset: string): Promise<Answered> =>
  http.get(`${path}?offset=${offset}`)

describe('the offset of a stream', () => {
  const [root, child] = ['f', '0'].map((digit) => topicIdFrom(digit.repeat(32))) as [never, never]

  it('sorts as text, in a fork of parts as well, and is read as it was written', () => {
    const segments = [
      { topicId: root, from: 0, to: 99, endBytes: 7 },
      { topicId: child, from: 99, to: Number.POSITIVE_INFINITY, endBytes: 0 },
    ]
    const offsets = [0, 1, 9, 10, 98, 99, 100, 2 ** 32, Number.MAX_SAFE_INTEGER]
    const tokens = offsets.map((offset) => tokenIn(segments, offset))
    expect(tokens[0]).toBe(BEGINNING)
    expect(tokens[5]).toBe(`0000000000000099_${root}-7`)
    expect([...tokens].sort()).toEqual(tokens)
    expect(tokens.map((token) => readOffset(token, 'offset').offset)).toEqual(offsets)
    for (const token of tokens) expect(token).toMatch(/^[\w-]{1,64}$/)
  })

  it.each([
    '0',
    '17',
    '-2',
    '9999999999999999_9999999999999999',
    '0000000000000000_0000000000000003',
    `9999999999999999_${'a'.repeat(32)}`,
    `1_${'a'.repeat(32)}`,
    `0000000000000001_${'A'.repeat(32)}`,
    `0000000000000001_${'a'.repeat(32)}-0`,
    `0000000000000001_${'a'.repeat(32)}-`,
  ])('is not %s', async (token) => {
    const http = await startHttp()
    await written(http, S, ['a'])
    const answer = await read(http, S, token)
    expect([answer.status, answer.json.error.code]).toEqual([400, 'BAD_REQUEST'])
    const forked = await fork(http, S, { 'stream-fork-offset': token })
    expect([forked.status, forked.json.error.code]).toEqual([400, 'BAD_REQUEST'])
  })
})

describe('a stream that is made anew', () => {
  it('answers 410 to whoever goes on where he was in the one before, and says where it begins', async () => {
    const http = await startHttp()
    const [, before = ''] = await written(http, S, ['a', 'b', 'c'])
    await http.ask('DELETE', S)
    const [, after = ''] = await written(http, S, ['A', 'B', 'C'])
    expect(after).not.toBe(before)
    for (const live of ['', '&live=long-poll', '&live=sse']) {
      const { status, json, headers } = await http.get(`${S}?offset=${before}${live}`)
      expect([status, json.error.code]).toEqual([410, 'OFFSET_GONE'])
      expect(headers['cache-control']).toBe('no-store')
      expect((await read(http, S, json.error.details.startOffset)).text).toBe('ABC')
    }
    expect((await read(http, S, after)).text).toBe('C')
    // Who had read nothing misses nothing.
    expect((await read(http, S, BEGINNING)).text).toBe('ABC')
    const forked = await fork(http, S, { 'stream-fork-offset': before })
    expect([forked.status, forked.json.error.code]).toEqual([400, 'ILLEGAL_ARGUMENT'])
    expect((await fork(http, S, { 'stream-fork-offset': after })).status).toBe(201)
  })

  it('is answered to a poll that has waited in the one before with an error, never with its records', async () => {
    const http = await startHttp()
    const [end = ''] = await written(http, S, ['a'])
    const waiting = http.get(`${S}?offset=${end}&live=long-poll`)
    await until(() => (http.broker.metrics.read('httpRequestsOpen') ?? 0) > 0)
    await http.ask('DELETE', S)
    await written(http, S, ['A', 'B'])
    const { status, json } = await waiting
    expect([404, 410]).toContain(status)
    expect(json.error.code).toMatch(/UNKNOWN_TOPIC|OFFSET_GONE/)
  })

  it('comes out of no cache: what a URL without its id names is asked for anew each time', async () => {
    const http = await startHttp({ tailCacheBytes: 4 * 1024 * 1024 + 1024 })
    const half = 'x'.repeat(600_000)
    const [first = ''] = await written(http, S, [half, half, half, half])
    const cached = async (path: string, offset: string) => {
      const { headers } = await read(http, path, offset)
      expect(headers['stream-up-to-date']).toBeUndefined()
      return headers['cache-control']
    }
    for (const offset of ['-1', BEGINNING]) expect(await cached(S, offset)).toBe('private, no-cache')
    expect(await cached(S, first)).toMatch(/^private, max-age=60/)
    // The offset is that of the source: another fork at this path would have it, too.
    await fork(http, S)
    expect(await cached(F, first)).toBe('private, no-cache')
  })

  it.each(['long-poll', 'sse'] as const)(
    'ends the %s of a client that has followed the one before with an error',
    async (live) => {
      const http = await startHttp({ streamPollMs: 100 })
      const url = `${http.url}${S}`
      const handle = await DurableStream.create({ url, contentType: 'text/plain' })
      await handle.append('old')
      const response = await stream({ url, live, offset: '-1' })
      const seen: string[] = []
      response.subscribeText(({ text }) => {
        seen.push(text)
      })
      const failed = response.closed.then(
        () => undefined,
        (error: unknown) => error,
      )
      await until(() => seen.join('') === 'old')
      await http.ask('DELETE', S)
      await written(http, S, ['A', 'B', 'C'])
      expect(await failed).toMatchObject({ status: expect.toBeOneOf([404, 410]) })
      const resumed = stream({ url, live, offset: response.offset })
      await expect(resumed).rejects.toMatchObject({
        status: 410,
        json: { error: { code: 'OFFSET_GONE' } },
      })
      expect(seen.join('')).toBe('old')
    },
  )
})

describe('the offsets of a fork', () => {
  it('are those of its source up to where it leaves it, and its own from there on', async () => {
    const http = await startHttp()
    const [one = '', two = '', three = ''] = await written(http, S, ['a', 'b', 'c'])
    expect(next(await fork(http, S, { 'stream-fork-offset': two }))).toBe(two)
    const [own = ''] = await appended(http, F, ['C'])
    expect([one, two, own].sort()).toEqual([one, two, own])
    expect(own.slice(0, 16)).toBe(three.slice(0, 16))
    expect((await read(http, F, BEGINNING)).text).toBe('abC')
    expect((await read(http, F, one)).text).toBe('bC')
    expect((await read(http, F, two)).text).toBe('C')
    expect(next(await http.ask('HEAD', F))).toBe(own)
    for (const [path, offset] of [
      [F, three],
      [S, own],
    ] as const) {
      const { status, json } = await read(http, path, offset)
      expect([status, json.error.code]).toEqual([410, 'OFFSET_GONE'])
    }
  })

  it('of a part of a record are no offsets of the whole', async () => {
    const http = await startHttp()
    const [one = '', two = ''] = await written(http, S, ['ab', 'cdef'])
    const cut = next(await fork(http, S, { 'stream-fork-offset': one, 'stream-fork-sub-offset': '3' }))
    const [own = ''] = await appended(http, F, ['!'])
    expect([one, cut, own].sort()).toEqual([one, cut, own])
    expect((await read(http, F, one)).text).toBe('cde!')
    expect((await read(http, F, cut)).text).toBe('!')
    // Who has read all of the record has read more than the fork has of it, and the reverse.
    expect((await read(http, F, two)).status).toBe(410)
    expect((await read(http, S, cut)).status).toBe(410)
    // A fork of the fork shares the place.
    const nested = { 'stream-forked-from': F, 'stream-fork-offset': cut }
    expect(next(await http.ask('PUT', '/v1/stream/n', { headers: nested }))).toBe(cut)
    await appended(http, '/v1/stream/n', ['?'])
    expect((await read(http, '/v1/stream/n', cut)).text).toBe('?')
  })

  it('stay what they are when its source is deleted, and name no fork that is made anew', async () => {
    const http = await startHttp()
    const [one = ''] = await written(http, S, ['a', 'b'])
    await fork(http, S)
    const [own = ''] = await appended(http, F, ['c', 'd'])
    await http.ask('DELETE', S)
    expect((await read(http, F, one)).text).toBe('bcd')
    expect((await read(http, F, own)).text).toBe('d')
    await http.ask('DELETE', F)
    await written(http, F, ['A', 'B', 'C', 'D'])
    for (const offset of [one, own]) expect((await read(http, F, offset)).status).toBe(410)
  })
})
