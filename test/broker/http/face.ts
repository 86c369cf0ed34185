import { expect } from 'vitest'
import type { AnyTopic, Client } from '../../../client/index.js'
import { millrace } from '../../support/cli.js'
import type { HttpBroker } from './harness.js'

/** A value as each face says it. */
export interface Value {
  /** What the client library takes. */
  readonly own: unknown
  /** What the client library gives, where that is another. */
  readonly ownRead?: unknown
  /** The JSON of HTTP, of `consume --json`, and of streams of JSON. */
  readonly inJson: string
  /** The line that `produce` takes, where that is not the JSON; null where no line says it. */
  readonly line?: string | Uint8Array | null
}

/** Where values are written and read: a topic "a", which may be a stream. */
export interface Place {
  readonly http: HttpBroker
  readonly client: Client
  readonly topic: AnyTopic
  /** Of the stream; undefined: the topic is none. */
  readonly contentType?: string
}

/** Something that reads and writes. */
export interface Face {
  readonly write: (at: Place, values: readonly Value[]) => Promise<void>
  /** What it reads where there are these values, in its own words. */
  readonly says: (at: Place, values: readonly Value[]) => unknown
  readonly read: (at: Place) => Promise<unknown>
}

/** One run of the command line against the place's broker. */
export const cli = ({ http }: Place, argv: readonly string[], input: string | Uint8Array = '') =>
  millrace(argv, { env: { MILLRACE_URL: http.broker.url }, input })

/** The values in lines of whole records, character by character. */
const valuesIn = (lines: string): string[] =>
  [...lines.matchAll(/"value":([^\n]*),"headers":\{\}\}\n/g)].map(([, value]) => value as string)

const inJson = (_at: Place, values: readonly Value[]): string[] => values.map((value) => value.inJson)

const CLIENT: Face = {
  async write({ client, topic }, values) {
    const producer = client.producer(topic)
    await producer.sendBatch(values.map(({ own }) => ({ key: null as never, value: own as never })))
  },
  says: (_at, values) => values.map(({ own, ownRead = own }) => ownRead),
  async read({ client, topic }) {
    const seen: unknown[] = []
    for await (const { value } of client.read(topic, { from: 'earliest', to: 'end' })) seen.push(value)
    return seen
  },
}

const COMMAND_LINE: Face = {
  async write(at, values) {
    const lines = values.flatMap(({ line, inJson }) => [Buffer.from(line ?? inJson), Buffer.from('\n')])
    expect(await cli(at, ['produce', 'a'], Buffer.concat(lines))).toMatchObject({ code: 0 })
  },
  says: inJson,
  async read(at) {
    const { code, stdout } = await cli(at, ['consume', 'a', '--json', '--exit-at-end'])
    expect(code).toBe(0)
    return valuesIn(stdout.toString())
  },
}

const HTTP: Face = {
  async write({ http }, values) {
    const body = `[${values.map(({ inJson }) => `{"value":${inJson}}`).join()}]`
    const headers = { 'content-type': 'application/json' }
    expect((await http.post('/v1/topics/a/records', body, headers)).status).toBe(200)
  },
  says: inJson,
  async read({ http }) {
    const headers = { accept: 'application/x-ndjson' }
    return valuesIn((await http.get('/v1/topics/a/partitions/0/records', { headers })).text)
  },
}

const isJson = ({ contentType }: Place): boolean => contentType === 'application/json'
const listOf = (values: readonly Value[]): string => `[${values.map(({ inJson }) => inJson).join(',')}]`

/** Of a stream of JSON a list of values, of any other its bytes: where one value ends is not told then. */
const DURABLE_STREAMS: Face = {
  async write(at, values) {
    const { http, contentType = '' } = at
    const headers = { 'content-type': contentType }
    const bodies = isJson(at) ? [listOf(values)] : values.map(({ own }) => own as Uint8Array)
    for (const body of bodies) expect((await http.post('/v1/stream/a', body, headers)).status).toBe(204)
  },
  says: (at, values) =>
    isJson(at)
      ? listOf(values)
      : Buffer.concat(values.flatMap(({ own }) => (own as Uint8Array | null) ?? [])).toString('base64'),
  async read(at) {
    const { text, bytes } = await at.http.get('/v1/stream/a')
    return isJson(at) ? text : bytes.toString('base64')
  },
}

/** Everything that reads and writes topics. Whoever adds a face adds it here. */
export const FACES = { 'the client library': CLIENT, 'the command line': COMMAND_LINE, HTTP }

/** Everything that reads and writes streams. */
export const STREAM_FACES = { ...FACES, 'Durable Streams': DURABLE_STREAMS }
