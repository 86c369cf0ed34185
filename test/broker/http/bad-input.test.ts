import { readdir } from 'node:fs/promises'
import { describe, expect, it } from 'vitest'
import { routesOf } from '../../../broker/http/routes/index.js'
import type { ErrorCode } from '../../../protocol/error-codes.js'
import { until } from '../../support/until.js'
import { type HttpBroker, startHttp } from './harness.js'

/** A topic with one record, to see that nothing comes to it. */
async function withTopic(options?: Parameters<typeof startHttp>[0]): Promise<HttpBroker> {
  const http = await startHttp(options)
  await http.createTopic('a')
  await http.post('/v1/topics/a/records', { value: 1 })
  return http
}

const outcome = ({ status, json }: { status: number; json: { error: { code: string } } }) => [
  status,
  json.error.code,
]

const TRAVERSALS = [
  '..%2f..%2fetc%2fpasswd',
  '%2e%2e',
  '%2e',
  '..%5c..%5cx',
  '%2fetc%2fpasswd',
  'a%00',
  '%252e%252e%252f',
  'a%20b',
  'caf%C3%A9',
  'x'.repeat(250),
]

interface ParameterKind {
  /** What a value that cannot be is answered with. */
  readonly code: ErrorCode
  readonly good: string
  /** Beside what climbs out. */
  readonly wrong?: readonly string[]
}

/** Every parameter of a path. One that is not here fails the tests below: say what is wrong for it. */
const PARAMETER_KINDS: Readonly<Record<string, ParameterKind>> = {
  topic: { code: 'ILLEGAL_TOPIC_NAME', good: 'a' },
  group: { code: 'ILLEGAL_GROUP_NAME', good: 'g', wrong: ['a.b'] },
  partition: {
    code: 'BAD_REQUEST',
    good: '0',
    wrong: ['-1', '0x0', '00', '1e0', '99999999999999999999'],
  },
  topicId: { code: 'BAD_REQUEST', good: '0'.repeat(32), wrong: ['a', 'A'.repeat(32)] },
  chunk: {
    code: 'BAD_REQUEST',
    good: `${'0'.repeat(16)}-${'0'.repeat(32)}`,
    wrong: ['0', `${'0'.repeat(16)}-`],
  },
}

/** All that is served; a stream's path is any text, and has tests of its own. */
const ROUTES = routesOf({ version: '0', measured: undefined }).filter(
  ({ path }) => !path.startsWith('/v1/stream/'),
)
const PARAMETERS = ROUTES.flatMap(({ method, path, params = {} }) =>
  Object.keys(params).map((name) => [method, path, name] as const),
)

/** The path with these parameters, and good ones for the others. */
const pathWith = (path: string, values: Readonly<Record<string, string>>): string =>
  path.replace(/:(\w+)/g, (_, name: string) => values[name] ?? PARAMETER_KINDS[name]?.good ?? '')

/** Requests that have a body, and one that each takes. */
const BODIES: readonly [method: string, path: string, body: object][] = [
  ['POST', '/v1/topics', { name: 'b' }],
  ['PATCH', '/v1/topics/a', { dedupWindowMs: 5000 }],
  ['POST', '/v1/topics/a/records', { value: 2 }],
  ['POST', '/v1/topics/a/partitions/0/delete-before', { offset: 1 }],
  ['POST', '/v1/groups/g/reset', { to: 'earliest', topic: 'a', create: true }],
  ['POST', '/v1/groups/g/topics/a/dead-letters/replay', { max: 1 }],
  ['POST', '/v1/groups/g/jobs/claim', { topic: 'a' }],
  ['POST', '/v1/groups/g/jobs/ack', { tokens: [] }],
  ['POST', '/v1/groups/g/jobs/nack', { tokens: [] }],
  ['POST', '/v1/groups/g/jobs/extend', { tokens: [], ms: 1000 }],
]

describe('a request whose body is wrong', () => {
  it('has every body of what is served tried', () => {
    const taking = ROUTES.filter(({ body }) => body !== undefined).map(
      ({ method, path }) => `${method} ${pathWith(path, {})}`,
    )
    expect(BODIES.map(([method, path]) => `${method} ${path}`).sort()).toEqual(taking.sort())
  })

  it.each(BODIES)('%s %s: too large, by its length', async (method, path) => {
    const http = await withTopic()
    const bytesMax = 8 * 1024 * 1024
    const asked = { body: Buffer.alloc(bytesMax + 1, 0x20), headers: { 'content-type': 'application/json' } }
    const answer = await http.ask(method, path, asked)
    expect(outcome(answer)).toEqual([413, 'BODY_TOO_LARGE'])
    expect(answer.json.error.details).toEqual({ bytesMax })
    await expectUntouched(http)
  })

  it.each(BODIES)('%s %s: no JSON', async (method, path) => {
    const http = await withTopic()
    for (const body of ['{"name":', '', 'undefined', '{"a":1}x', Buffer.from([0x22, 0xff, 0x22])]) {
      const answer = await http.ask(method, path, { body, headers: { 'content-type': 'application/json' } })
      expect(outcome(answer)).toEqual([400, 'BAD_REQUEST'])
    }
    await expectUntouched(http)
  })

  it.each(BODIES)('%s %s: of a type that is not taken', async (method, path, body) => {
    const http = await withTopic()
    const bytes = JSON.stringify(body)
    for (const type of [
      'text/html',
      'multipart/form-data; boundary=x',
      'application/x-www-form-urlencoded',
    ]) {
      const answer = await http.ask(method, path, { body: bytes, headers: { 'content-type': type } })
      expect(outcome(answer)).toEqual([415, 'UNSUPPORTED_MEDIA_TYPE'])
    }
    for (const type of ['json', 'a/b/c', '/', 'text plain']) {
      const answer = await http.ask(method, path, { body: bytes, headers: { 'content-type': type } })
      expect(outcome(answer)).toEqual([415, 'UNSUPPORTED_MEDIA_TYPE'])
    }
    expect(outcome(await http.ask(method, path, { body: bytes, headers: {} }))).toEqual([
      415,
      'UNSUPPORTED_MEDIA_TYPE',
    ])
    const zipped = { 'content-type': 'application/json', 'content-encoding': 'gzip' }
    expect(outcome(await http.ask(method, path, { body: bytes, headers: zipped }))).toEqual([
      415,
      'UNSUPPORTED_MEDIA_TYPE',
    ])
    await expectUntouched(http)
  })

  it.each(BODIES)('%s %s: with a field that is not known', async (method, path, body) => {
    const http = await withTopic()
    const answer = await http.ask(method, path, { body: { ...body, extra: 1 } })
    expect(outcome(answer)).toEqual([400, 'BAD_REQUEST'])
    expect(answer.json.error.message).toContain('extra')
    await expectUntouched(http)
  })

  it.each(BODIES)('%s %s: broken off', async (method, path, body) => {
    const http = await withTopic()
    const text = JSON.stringify(body)
    const head = `${method} ${path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n`
    for (const half of [
      `${head}Content-Length: ${text.length}\r\n\r\n${text.slice(0, -1)}`,
      `${head}Transfer-Encoding: chunked\r\n\r\n${text.length.toString(16)}\r\n${text}\r\n`,
    ]) {
      const socket = await http.connect()
      socket.write(half)
      await until(() => (http.broker.metrics.read('httpRequestsOpen') ?? 0) > 0)
      socket.destroy()
      await until(() => http.broker.metrics.read('httpRequestsOpen') === 0)
      expect(http.broker.metrics.read('httpBodyBytes')).toBe(0)
    }
    await expectUntouched(http)
  })

  it('is refused as soon as it is too large, where its length was not said', async () => {
    const http = await withTopic({ httpBodyBytesMax: 2048, httpBodyBytes: 16 * 1024 })
    const head = 'POST /v1/topics/a/records HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n'
    const chunk = `400\r\n${'x'.repeat(0x400)}\r\n`
    const answer = await http.exchange(
      `${head}Transfer-Encoding: chunked\r\n\r\n${chunk.repeat(3)}`,
      (text) => text.includes('BODY_TOO_LARGE'),
    )
    expect(answer).toContain('HTTP/1.1 413')
    expect(http.broker.metrics.read('httpBodyBytes')).toBe(0)
    await expectUntouched(http)
  })

  it('is refused for now while others fill the memory for bodies', async () => {
    const http = await withTopic({ httpBodyBytesMax: 16 * 1024, httpBodyBytes: 16 * 1024 })
    const slow = await http.connect()
    const head = 'POST /v1/topics/a/records HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n'
    slow.write(`${head}Content-Length: 16000\r\n\r\n${'x'.repeat(15_000)}`)
    await until(() => http.broker.metrics.read('httpBodyBytes') === 15_000)
    const refused = await http.post('/v1/topics/a/records', { value: 'y'.repeat(2000) })
    expect(outcome(refused)).toEqual([503, 'BACKPRESSURE'])
    expect(refused.json.error).toMatchObject({ retriable: true, retryAfterMs: 1000, outcome: 'notWritten' })
    expect(refused.headers['retry-after']).toBe('1')
    slow.destroy()
    await until(() => http.broker.metrics.read('httpBodyBytes') === 0)
    expect((await http.post('/v1/topics/a/records', { value: 'y'.repeat(2000) })).status).toBe(200)
  })
})

describe('a request whose path is wrong', () => {
  it('has every parameter of what is served tried', () => {
    expect(PARAMETERS.length).toBeGreaterThan(25)
    for (const [method, path, name] of PARAMETERS)
      expect(Object.keys(PARAMETER_KINDS), `${method} ${path}`).toContain(name)
    const inPaths = ROUTES.flatMap(({ path }) => path.match(/:\w+|\*/g) ?? [])
    expect(PARAMETERS.map(([, , name]) => `:${name}`).sort()).toEqual(inPaths.sort())
  })

  it.each(PARAMETERS)('%s %s: a %s that cannot be', async (method, path, name) => {
    const http = await withTopic()
    const files = await readdir(http.dataDir)
    const { code, wrong = [] } = PARAMETER_KINDS[name] as ParameterKind
    const body = method === 'GET' || method === 'DELETE' ? {} : { body: {} }
    for (const value of [...TRAVERSALS, ...wrong])
      expect(outcome(await http.ask(method, pathWith(path, { [name]: value }), body)), value).toEqual([
        400,
        code,
      ])
    expect(await readdir(http.dataDir)).toEqual(files)
    await expectUntouched(http)
  })

  it.each(['GET', 'DELETE'])('%s of a group: a topic in the query that cannot be', async (method) => {
    const http = await withTopic()
    for (const name of TRAVERSALS)
      expect(outcome(await http.ask(method, `/v1/groups/g?topic=${name}`))).toEqual([
        400,
        'ILLEGAL_TOPIC_NAME',
      ])
    await expectUntouched(http)
  })

  it.each(ROUTES.filter(({ params = {} }) => 'partition' in params && 'topic' in params))(
    '$method $path: a partition that is not there',
    async ({ method, path }) => {
      const http = await withTopic()
      const query = path.endsWith('/offset') ? '?time=0' : ''
      const body = method === 'GET' ? {} : { body: { offset: 0 } }
      const answer = await http.ask(method, `${pathWith(path, { partition: '1' })}${query}`, body)
      expect(outcome(answer)).toEqual([404, 'UNKNOWN_PARTITION'])
      await expectUntouched(http)
    },
  )

  it('that climbs out of what is served leads nowhere', async () => {
    const http = await withTopic()
    for (const path of [
      '/v1/topics/../../etc/passwd',
      '/../x',
      '//etc/passwd',
      '/v1/topics/a/..',
      '/v1',
      '/',
    ]) {
      expect(outcome(await http.ask('GET', path))).toEqual([404, 'UNKNOWN_ROUTE'])
    }
    for (const path of ['/v1/topics/%', '/v1/topics/%zz', '/v1/topics/%ff'])
      expect(outcome(await http.ask('GET', path))).toEqual([400, 'BAD_REQUEST'])
  })

  it('is told the methods that it takes', async () => {
    const http = await withTopic()
    const answer = await http.ask('PUT', '/v1/topics/a')
    expect(outcome(answer)).toEqual([405, 'METHOD_NOT_ALLOWED'])
    expect(answer.headers.allow).toBe('GET, PATCH, DELETE, OPTIONS')
    const options = await http.ask('OPTIONS', '/v1/topics/a')
    expect([options.status, options.headers.allow]).toEqual([204, 'GET, PATCH, DELETE, OPTIONS'])
  })
})

describe('a request whose query is wrong', () => {
  it.each([
    '/v1/topics',
    '/v1/topics/a',
    '/v1/topics/a/partitions',
    '/v1/topics/a/partitions/0/records',
    '/v1/groups',
    '/livez',
    '/readyz',
    '/metrics',
    '/openapi.json',
  ])('GET %s: a parameter that is not known', async (path) => {
    const http = await withTopic()
    const answer = await http.get(`${path}?ofset=1`)
    expect(outcome(answer)).toEqual([400, 'BAD_REQUEST'])
    expect(answer.json.error.message).toContain('ofset')
  })

  it.each([
    'offset=-1',
    'offset=1.5',
    'offset=newest',
    'offset=',
    'offset',
    'limit=0',
    'limit=10001',
    'maxBytes=0',
    'wait=60001',
    'wait=-1',
    'limit=1&limit=2',
    'limit=%zz',
    '__proto__=1',
    'constructor=1',
  ])('GET records with %s', async (query) => {
    const http = await withTopic()
    const { json, status } = await http.get(`/v1/topics/a/partitions/0/records?${query}`)
    expect([status, json.error.code]).toEqual([400, 'BAD_REQUEST'])
  })

  it('an offset beyond 2^53 is out of range', async () => {
    const http = await withTopic()
    const answer = await http.get('/v1/topics/a/partitions/0/records?offset=9999999999999999')
    expect(outcome(answer)).toEqual([416, 'OFFSET_OUT_OF_RANGE'])
  })

  it('of a POST of records: what only a body of one value takes', async () => {
    const http = await withTopic()
    expect(outcome(await http.post('/v1/topics/a/records?key=k', { value: 1 }))).toEqual([400, 'BAD_REQUEST'])
    expect(outcome(await http.post('/v1/topics/a/records?sync=no', { value: 1 }))).toEqual([
      400,
      'BAD_REQUEST',
    ])
    await expectUntouched(http)
  })
})

describe('a request whose headers are wrong', () => {
  it('too many of them', async () => {
    const http = await withTopic()
    const headers = Object.fromEntries(Array.from({ length: 120 }, (_, i) => [`x-${i}`, '1']))
    const answer = await http.post('/v1/topics/a/records', { value: 1 }, headers)
    expect(outcome(answer)).toEqual([431, 'HEADERS_TOO_LARGE'])
    await expectUntouched(http)
  })

  it('too many bytes of them', async () => {
    const http = await withTopic()
    const answer = await http.exchange(
      `GET /v1/topics HTTP/1.1\r\nHost: x\r\nX: ${'y'.repeat(20_000)}\r\n\r\n`,
    )
    expect(answer).toContain('HTTP/1.1 431')
    expect(JSON.parse(answer.slice(answer.indexOf('\r\n\r\n'))).error).toMatchObject({
      code: 'HEADERS_TOO_LARGE',
      requestId: /X-Request-Id: (\w+)/.exec(answer)?.[1],
    })
  })

  it('an Idempotency-Key that is too long', async () => {
    const http = await withTopic()
    const headers = { 'idempotency-key': 'k'.repeat(257) }
    expect(outcome(await http.post('/v1/topics/a/records', { value: 1 }, headers))).toEqual([
      400,
      'BAD_REQUEST',
    ])
    await expectUntouched(http)
  })

  it('bytes that are no HTTP', async () => {
    const http = await withTopic()
    for (const bytes of [
      '\x16\x03\x01\x00\xa5',
      'GET / HTTP/9.9\r\n\r\n',
      'POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n',
    ]) {
      const answer = await http.exchange(`${bytes}\r\n\r\n`)
      expect(answer).toContain('HTTP/1.1 400')
    }
  })

  it('two lengths that contradict each other', async () => {
    const http = await withTopic()
    const head = 'POST /v1/topics/a/records HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n'
    for (const lengths of [
      'Content-Length: 2\r\nContent-Length: 3\r\n',
      'Content-Length: 2\r\nTransfer-Encoding: chunked\r\n',
    ])
      expect(await http.exchange(`${head}${lengths}\r\n"x"`)).toContain('HTTP/1.1 400')
    await expectUntouched(http)
  })

  it('that do not end in time, or a body that does not', async () => {
    const http = await withTopic({ httpRequestTimeoutMs: 1000 })
    const head = 'POST /v1/topics/a/records HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n'
    const [early, late] = await Promise.all([
      http.exchange(head),
      http.exchange(`${head}Content-Length: 100\r\n\r\nhalf`),
    ])
    expect(early).toContain('HTTP/1.1 408')
    expect(early).toContain('REQUEST_TIMEOUT')
    expect(late).toContain('HTTP/1.1 408')
    await expectUntouched(http)
  })
})

/** Nothing was written, made, changed or deleted. */
async function expectUntouched(http: HttpBroker): Promise<void> {
  const { json } = await http.get('/v1/topics')
  expect(json.topics).toMatchObject([{ name: 'a', dedupWindowMs: 600_000, partitions: 1 }])
  const { records } = (await http.get('/v1/topics/a/partitions/0/records')).json
  expect(records).toMatchObject([{ offset: 0, value: 1 }])
  expect((await http.get('/v1/groups')).json.groups).toEqual([])
}
