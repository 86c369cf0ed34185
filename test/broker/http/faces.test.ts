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
import { cli, FACES, type Place, type Value } from './face.js'
import { atEnd, startHttp } from './harness.js'

const DATE = '2026-01-31T12:00:00.000Z'
const BIG = 2n ** 53n + 1n
const NUL = '\0'
const EMOJI = '🧵'

const asJson = (own: unknown): Value => ({ own, inJson: JSON.stringify(own) })
const asText = (own: string): Value => ({ own, inJson: JSON.stringify(own), line: own })
const asBytes = (own: Uint8Array): Value => ({
  own,
  inJson: JSON.stringify({ base64: Buffer.from(own).toString('base64') }),
  line: own,
})
/** A line of text or bytes is a value, however empty. */
const NONE: Value = { own: null, inJson: 'null', line: null }

const VALUES = {
  json: [
    ...[7, 'hello', NUL, EMOJI, '', null, { nested: [1.5, null, { a: '\u2028' }] }].map(asJson),
    { own: new Date(DATE), ownRead: DATE, inJson: JSON.stringify(DATE) },
  ],
  text: [...['7', 'hello', NUL, EMOJI, '', BIG.toString(), DATE].map(asText), NONE],
  bytes: [
    asBytes(new Uint8Array([0, 255, 7])),
    asBytes(new Uint8Array(0)),
    asBytes(new Uint8Array(Buffer.from(EMOJI))),
    NONE,
  ],
  msgpack: [
    ...[7, 'hello', NUL, EMOJI, '', null, DATE].map(asJson),
    { own: BIG, inJson: `{"int64":"${BIG}"}` },
    { own: { b: new Uint8Array([1]) }, inJson: '{"b":{"base64":"AQ=="}}' },
    { own: Number.NaN, inJson: '{"float64":"NaN"}' },
  ],
} satisfies Record<string, readonly Value[]>

type Encoding = keyof typeof VALUES
const ENCODINGS = Object.keys(VALUES) as Encoding[]
const CODECS: Readonly<Record<Encoding, Codec<never, unknown>>> = {
  json: json<unknown>(),
  text: text(),
  bytes: bytes(),
  msgpack: msgpack<unknown>(),
}

/** A topic without records, and a client for it. */
async function topicOf(encoding: Encoding): Promise<Place> {
  const http = await startHttp()
  await http.createTopic('a', { valueEncoding: encoding })
  const client = connect(http.broker.url)
  atEnd(() => client.close())
  const topic = defineTopic({ name: 'a', key: nullable(text()), value: nullable(CODECS[encoding]) })
  return { http, client, topic }
}

describe('a value', () => {
  it.each(ENCODINGS)(
    'of a topic of %s is the same to all faces, whichever wrote it',
    async (encoding) => {
      const at = await topicOf(encoding)
      const written: Value[] = []
      for (const [name, { write }] of Object.entries(FACES)) {
        const values = (VALUES[encoding] as readonly Value[]).filter(
          ({ line }) => line !== null || name !== 'the command line',
        )
        await write(at, values)
        written.push(...values)
      }
      for (const [name, { read, says }] of Object.entries(FACES))
        expect(await read(at), name).toEqual(says(at, written))
    },
    60_000,
  )

  it('of JSON with a number that no double holds keeps its digits, or is a typed error', async () => {
    const at = await topicOf('json')
    const value = `{"n": ${BIG}}`
    await cli(at, ['produce', 'a'], `${value}\n`)
    await at.http.post('/v1/topics/a/records', value, { 'content-type': 'application/octet-stream' })
    for (const name of ['the command line', 'HTTP'] as const)
      expect(await FACES[name].read(at), name).toEqual([value, value])
    await expect(FACES['the client library'].read(at)).rejects.toMatchObject({ code: 'ENCODING_MISMATCH' })
  })

  it.each<[face: string, Encoding, value: unknown]>([
    ['the client library', 'json', BIG],
    ['the client library', 'json', Number.NaN],
    ['the client library', 'text', 7],
    ['the client library', 'text', new Date(DATE)],
    ['the client library', 'bytes', 'hello'],
    ['the client library', 'msgpack', new Date(DATE)],
    ['HTTP', 'json', BIG],
    ['HTTP', 'msgpack', BIG],
    ['HTTP', 'text', 7],
    ['HTTP', 'bytes', '"hello"'],
    ['the command line', 'msgpack', BIG],
    ['the command line', 'json', ''],
    ['the command line', 'text', new Uint8Array([0xff])],
  ])(
    'that %s gives to a topic of %s and that it cannot hold is refused: %s',
    async (face, encoding, value) => {
      const at = await topicOf(encoding)
      if (face === 'the client library') {
        const producer = at.client.producer(at.topic)
        const sent = producer.send({ key: null as never, value: value as never })
        await expect(sent).rejects.toMatchObject({ code: 'ENCODING_MISMATCH', outcome: 'notWritten' })
      } else if (face === 'HTTP') {
        const headers = { 'content-type': 'application/json' }
        const answer = await at.http.post('/v1/topics/a/records', `{"value":${value}}`, headers)
        expect([answer.status, answer.json.error.code]).toEqual([400, 'ENCODING_MISMATCH'])
      } else {
        const line = value instanceof Uint8Array ? value : Buffer.from(String(value))
        const { code, stderr } = await cli(at, ['produce', 'a'], Buffer.concat([line, Buffer.from('\n')]))
        expect(code).toBe(1)
        expect(stderr).toMatch(/^millrace: line 1 is /)
      }
      expect(await at.http.recordsIn('a')).toBe(0)
    },
  )

  it.each(['null', ' null\n'])('that is none is none in a raw body as well: %j', async (body) => {
    const { http } = await topicOf('json')
    const raw = { 'content-type': 'application/octet-stream' }
    expect((await http.post('/v1/topics/a/records', body, raw)).status).toBe(200)
    expect((await http.get('/v1/topics/a/partitions/0/records')).json.records).toMatchObject([
      { value: null },
    ])
  })

  it('that another client wrote with line breaks is read on one line, digit for digit', async () => {
    const { http } = await topicOf('json')
    const raw = { 'content-type': 'application/octet-stream' }
    await http.post('/v1/topics/a/records', '{"n": 9007199254740993,\n"x": 1.0}', raw)
    for (const accept of ['application/json', 'application/x-ndjson']) {
      const { text, json } = await http.get('/v1/topics/a/partitions/0/records', { headers: { accept } })
      expect(text).toContain('"value":{"n": 9007199254740993, "x": 1.0}')
      expect(json).toBeDefined()
    }
  })
})
