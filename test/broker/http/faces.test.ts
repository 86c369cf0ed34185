import { describe, expect, it } from 'vitest'
import {
  bytes,
  type Codec,
  connect,
  defineTopic,
  json,
  msgpack,
  nullable,
  text,
} from '../../../client/index.js'
import { atEnd, startHttp } from './harness.js'

const DATE = '2026-01-31T12:00:00.000Z'
const BIG = 2n ** 53n + 1n

/** Values by what they are to the client library, and in the JSON of HTTP; undefined: a typed error there. */
const VALUES: readonly [encoding: string, codec: Codec<never, unknown>, own: unknown, inJson: unknown][] = [
  ['json', json<unknown>(), 7, 7],
  ['json', json<unknown>(), 'hello', 'hello'],
  ['json', json<unknown>(), '\0', '\0'],
  ['json', json<unknown>(), '🧵', '🧵'],
  ['json', json<unknown>(), '', ''],
  ['json', json<unknown>(), DATE, DATE],
  [
    'json',
    json<unknown>(),
    { nested: [1.5, null, { a: '\u2028' }] },
    { nested: [1.5, null, { a: '\u2028' }] },
  ],
  ['text', text(), 'hello', 'hello'],
  ['text', text(), '\0', '\0'],
  ['text', text(), '🧵', '🧵'],
  ['text', text(), '', ''],
  ['bytes', bytes(), new Uint8Array([0, 255, 7]), { base64: 'AP8H' }],
  ['bytes', bytes(), new Uint8Array(0), { base64: '' }],
  ['msgpack', msgpack<unknown>(), 7, 7],
  ['msgpack', msgpack<unknown>(), '\0', '\0'],
  ['msgpack', msgpack<unknown>(), '🧵', '🧵'],
  ['msgpack', msgpack<unknown>(), BIG, { int64: BIG.toString() }],
  ['msgpack', msgpack<unknown>(), { b: new Uint8Array([1]) }, { b: { base64: 'AQ==' } }],
  ['msgpack', msgpack<unknown>(), Number.NaN, { float64: 'NaN' }],
] as never

describe('a value', () => {
  it.each(VALUES)(
    'of a topic of %s is the same to the client library and to HTTP, whoever wrote it',
    async (encoding, codec, own, inJson) => {
      const http = await startHttp()
      await http.createTopic('a', { valueEncoding: encoding })
      const client = connect(http.broker.url)
      atEnd(() => client.close())
      const topic = defineTopic({ name: 'a', key: nullable(text()), value: nullable(codec) })
      const producer = client.producer(topic)
      await producer.send({ key: null, value: own as never })
      expect((await http.post('/v1/topics/a/records', { value: inJson })).status).toBe(200)
      await producer.send({ key: null, value: null as never })
      expect((await http.post('/v1/topics/a/records', { value: null })).status).toBe(200)
      const { records } = (await http.get('/v1/topics/a/partitions/0/records')).json
      expect(records.map(({ value }: { value: unknown }) => value)).toEqual([inJson, inJson, null, null])
      const seen: unknown[] = []
      for await (const { value } of client.read(topic, { from: 'earliest', to: 'end' })) seen.push(value)
      expect(seen).toEqual([own, own, null, null])
    },
  )

  it.each([
    ['json', '{"value":9007199254740993}'],
    ['msgpack', '{"value":9007199254740993}'],
    ['text', '{"value":7}'],
    ['bytes', '{"value":"hello"}'],
  ])('of a topic of %s that would become another is a typed error: %s', async (valueEncoding, body) => {
    const http = await startHttp()
    await http.createTopic('a', { valueEncoding })
    const { json } = await http.post('/v1/topics/a/records', body, { 'content-type': 'application/json' })
    expect(json.error.code).toBe('ENCODING_MISMATCH')
    expect(await http.recordsIn('a')).toBe(0)
  })

  it('that another client wrote with more digits than a double has is read digit for digit', async () => {
    const http = await startHttp()
    await http.createTopic('a')
    const raw = { 'content-type': 'application/octet-stream' }
    await http.post('/v1/topics/a/records', '{"n": 9007199254740993,\n"x": 1.0}', raw)
    for (const accept of ['application/json', 'application/x-ndjson']) {
      const { text, json } = await http.get('/v1/topics/a/partitions/0/records', { headers: { accept } })
      expect(text).toContain('"value":{"n": 9007199254740993, "x": 1.0}')
      expect(json).toBeDefined()
    }
  })
})
