import { describe, expect, it } from 'vitest'
import { bytes, connect, defineTopic, json, nullable, text } from '../../../../client/index.js'
import { cli, type Face, type Place, STREAM_FACES, type Value } from '../face.js'
import { atEnd, startHttp } from '../harness.js'

type FaceName = keyof typeof STREAM_FACES
const NAMES = Object.keys(STREAM_FACES) as FaceName[]
const PAIRS = Object.entries(STREAM_FACES) as [FaceName, Face][]

const JSON_TYPE = 'application/json'
const BYTES_TYPE = 'application/octet-stream'
const DATE = new Date('2026-01-31T12:00:00.000Z')
const BIG = 2n ** 53n + 1n
const NUL = '\0'
const EMOJI = '🧵'

const inJson = (own: unknown): Value => ({ own, inJson: JSON.stringify(own) })
/** Its letters, where bytes alone are held. */
function inBytes(own: unknown): Value {
  const letters = Buffer.from(own instanceof Date ? own.toISOString() : String(own))
  return {
    own: new Uint8Array(letters),
    inJson: `{"base64":"${letters.toString('base64')}"}`,
    line: letters,
  }
}
const NONE: Value = { own: null, inJson: 'null', line: null }

/** What a stream of JSON holds for everybody; `BIG` has tests of its own. */
const JSON_VALUES: readonly Value[] = [
  ...[7, 'hello', NUL, EMOJI, '', null].map(inJson),
  { ...inJson(DATE), ownRead: DATE.toISOString() },
]
const BYTES_VALUES: readonly Value[] = [...[7, 'hello', NUL, EMOJI, '', BIG, DATE].map(inBytes), NONE]

/** A stream without records, and a client for its topic. */
async function streamOf(contentType: string): Promise<Place> {
  const http = await startHttp()
  const headers = { 'content-type': contentType }
  expect((await http.ask('PUT', '/v1/stream/a', { headers })).status).toBe(201)
  const client = connect(http.broker.url)
  atEnd(() => client.close())
  const value = nullable(contentType === JSON_TYPE ? json<unknown>() : bytes())
  return { http, client, topic: defineTopic({ name: 'a', key: nullable(text()), value }), contentType }
}

/** What each face has no way to say, in a stream of bytes: nothing, and for the protocol of streams not even an empty piece. */
const canSay = (name: FaceName, { own, line }: Value): boolean =>
  !(name === 'the command line' && line === null) &&
  !(name === 'Durable Streams' && (own === null || (own instanceof Uint8Array && own.length === 0)))

/** What became of a value of just this text that somebody tried to write: the typed error. */
type Refusal = (at: Place, value: unknown) => Promise<unknown>
const REFUSALS: Readonly<Record<FaceName, Refusal>> = {
  'the client library': async ({ client, topic }, value) => {
    const sent = client.producer(topic).send({ key: null as never, value: value as never })
    return sent.then(
      () => 'written',
      ({ code, outcome }) => [code, outcome],
    )
  },
  'the command line': async (at, value) => {
    const { code, stderr } = await cli(at, ['produce', 'a'], `${value}\n`)
    return [code, stderr.split(':', 2).join(':')]
  },
  HTTP: async ({ http }, value) => {
    const headers = { 'content-type': JSON_TYPE }
    const { status, json } = await http.post('/v1/topics/a/records', `{"value":${value}}`, headers)
    return [status, json.error?.code]
  },
  'Durable Streams': async ({ http, contentType = '' }, value) => {
    const headers = { 'content-type': contentType }
    const { status, json } = await http.post('/v1/stream/a', String(value), headers)
    return [status, json?.error.code]
  },
}

describe('a value in a stream', () => {
  it.each([
    ['JSON', JSON_TYPE, JSON_VALUES],
    ['bytes', BYTES_TYPE, BYTES_VALUES],
  ])(
    'of %s is the same to all faces, whichever wrote it',
    async (_name, contentType, values) => {
      const at = await streamOf(contentType)
      const written: Value[] = []
      for (const [name, { write }] of PAIRS) {
        const said = contentType === JSON_TYPE ? values : values.filter((value) => canSay(name, value))
        await write(at, said)
        written.push(...said)
      }
      expect(written.length).toBeGreaterThan(NAMES.length * (values.length - 2))
      for (const [name, { read, says }] of PAIRS) expect(await read(at), name).toEqual(says(at, written))
    },
    60_000,
  )

  it('of JSON with a number that no double holds keeps its digits, or is a typed error', async () => {
    const at = await streamOf(JSON_TYPE)
    const value: Value = { own: BIG, inJson: String(BIG) }
    await STREAM_FACES['the command line'].write(at, [value])
    await STREAM_FACES['Durable Streams'].write(at, [value])
    // As JSON it is refused there: below.
    await at.http.post('/v1/topics/a/records', String(BIG), { 'content-type': BYTES_TYPE })
    for (const name of ['the command line', 'HTTP', 'Durable Streams'] as const) {
      const { read, says } = STREAM_FACES[name]
      expect(await read(at), name).toEqual(says(at, [value, value, value]))
    }
    const read = STREAM_FACES['the client library'].read(at)
    await expect(read).rejects.toMatchObject({ code: 'ENCODING_MISMATCH' })
  })

  const mismatch = ['ENCODING_MISMATCH', 'notWritten']
  it.each<[face: FaceName, contentType: string, value: unknown, refused: unknown]>([
    ['the client library', JSON_TYPE, BIG, mismatch],
    ['the client library', BYTES_TYPE, 7, mismatch],
    ['the client library', BYTES_TYPE, 'hello', mismatch],
    ['the client library', BYTES_TYPE, BIG, mismatch],
    ['the client library', BYTES_TYPE, DATE, mismatch],
    ['the command line', JSON_TYPE, '', [1, 'millrace: line 1 is refused']],
    ['HTTP', JSON_TYPE, BIG, [400, 'ENCODING_MISMATCH']],
    ['HTTP', BYTES_TYPE, 7, [400, 'ENCODING_MISMATCH']],
    ['HTTP', BYTES_TYPE, '"hello"', [400, 'ENCODING_MISMATCH']],
    ['HTTP', BYTES_TYPE, BIG, [400, 'ENCODING_MISMATCH']],
    ['Durable Streams', JSON_TYPE, 'hello', [400, 'BAD_REQUEST']],
    ['Durable Streams', JSON_TYPE, '', [400, 'BAD_REQUEST']],
    ['Durable Streams', BYTES_TYPE, '', [400, 'BAD_REQUEST']],
  ])(
    'that %s gives to one of %s and that it cannot hold is refused: %s',
    async (face, type, value, refused) => {
      const at = await streamOf(type)
      expect(await REFUSALS[face](at, value)).toEqual(refused)
      expect(await at.http.recordsIn('a')).toBe(0)
    },
  )
})

it.each(['text', 'msgpack', 'json', 'bytes'])(
  'a topic of %s that nobody made a stream is none: it is a typed error to read, write or make it as one',
  async (valueEncoding) => {
    const http = await startHttp()
    await http.createTopic('a', { valueEncoding })
    const headers = { 'content-type': valueEncoding === 'json' ? JSON_TYPE : BYTES_TYPE }
    const answers = [
      await http.get('/v1/stream/a'),
      await http.post('/v1/stream/a', '7', headers),
      await http.ask('PUT', '/v1/stream/a', { headers }),
    ]
    expect(answers.map(({ status, json }) => [status, json.error.code])).toEqual([
      [404, 'UNKNOWN_TOPIC'],
      [404, 'UNKNOWN_TOPIC'],
      [409, 'TOPIC_EXISTS'],
    ])
    expect(await http.recordsIn('a')).toBe(0)
  },
)
