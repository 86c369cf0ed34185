import { connect } from 'node:net'
import { Packr } from 'msgpackr'
import { describe, expect, it } from 'vitest'
import { ArmedFailpoints } from '../../../broker/platform/failpoints.js'
import { FakeShard } from '../../support/fake-shard.js'
import { until } from '../../support/until.js'
import { type HttpBroker, startFace, startHttp } from './harness.js'

const RECORDS = '/v1/topics/a/records'

describe('any request', () => {
  it('has an id in its answer: its own, where that can stand in a log', async () => {
    const http = await startHttp()
    const idFor = async (own?: string) =>
      (await http.get('/v1/groups', own === undefined ? {} : { headers: { 'x-request-id': own } })).headers[
        'x-request-id'
      ]
    expect(await idFor('order-17.a_B')).toBe('order-17.a_B')
    for (const none of [undefined, '', 'a b', '{"level":50}', 'x'.repeat(65)])
      expect(await idFor(none), none).toMatch(/^[0-9a-f]{16}$/)
    expect(await idFor()).not.toBe(await idFor())
    const refused = await http.get('/v1/topics/none', { headers: { 'x-request-id': 'mine' } })
    expect(refused.json.error.requestId).toBe('mine')
  })

  it.each([
    ['GET', '/v1/topics'],
    ['GET', '/v1/stream/none'],
    ['GET', '/nowhere'],
    ['POST', '/v1/topics'],
  ])('%s %s has an answer that no page runs or takes in', async (method, path) => {
    const { headers } = await (await startHttp()).ask(method, path)
    expect(headers).toMatchObject({
      'x-content-type-options': 'nosniff',
      'cross-origin-resource-policy': 'same-origin',
    })
  })

  it('repeats another one only where method and path are the same too', async () => {
    const http = await startHttp()
    const key = { 'idempotency-key': 'k' }
    expect((await http.post('/v1/topics', { name: 'a' }, key)).status).toBe(201)
    expect((await http.ask('DELETE', '/v1/topics/a', { headers: key })).status).toBe(204)
    expect((await http.get('/v1/topics/a')).status).toBe(404)
    await http.createTopic('a')
    await http.createTopic('b')
    for (const topic of ['a', 'b']) await http.post(`/v1/topics/${topic}/records`, { value: topic }, key)
    expect([await http.recordsIn('a'), await http.recordsIn('b')]).toEqual([1, 1])
  })

  it('finds no room past the connections that there may be, and room when one goes', async () => {
    const { port } = await startFace(new FakeShard(), { limits: { connectionsMax: 2 } })
    const open = async () => {
      const socket = connect(port, '127.0.0.1')
      let isClosed = false
      socket.on('error', () => {})
      socket.on('close', () => {
        isClosed = true
      })
      let text = ''
      socket.on('data', (data: Buffer) => {
        text += data.toString()
      })
      socket.write('GET /livez HTTP/1.1\r\nHost: x\r\n\r\n')
      await until(() => isClosed || text.endsWith('ok\n'))
      return { socket, isAnswered: text !== '' }
    }
    const [first, second] = [await open(), await open()]
    expect([first.isAnswered, second.isAnswered]).toEqual([true, true])
    expect((await open()).isAnswered).toBe(false)
    first.socket.destroy()
    await until(async () => (await open()).isAnswered)
    second.socket.destroy()
  })

  it('has a time for its head alone, and a connection on which nothing moves another', async () => {
    const limits = { headersTimeoutMs: 200, requestTimeoutMs: 100_000, keepAliveMs: 100_000 }
    const { port } = await startFace(new FakeShard(), { limits: { ...limits, stallMsMax: 300 } })
    const untilClosed = (bytes: string) =>
      new Promise<string>((resolve) => {
        const socket = connect(port, '127.0.0.1')
        let text = ''
        socket.on('data', (data: Buffer) => {
          text += data.toString()
        })
        socket.on('error', () => {})
        socket.on('close', () => resolve(text))
        socket.write(bytes)
      })
    const slow = await startFace(new FakeShard(), { limits: { ...limits, stallMsMax: 100_000 } })
    const head = fetchHead(slow.port)
    expect(await head).toContain('HTTP/1.1 408')
    // The body is awaited for longer; but not one byte of it comes.
    const post = 'POST /v1/topics HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n'
    expect(await untilClosed(`${post}Content-Length: 10\r\n\r\n{`)).not.toContain('HTTP/1.1 2')
  })

  it('that changes something is refused while the broker drains, and any other is answered', async () => {
    const shard = new FakeShard()
    shard.addTopic({ name: 'a', valueEncoding: 'json' })
    const { face, port } = await startFace(shard)
    void face.drain.start()
    const ask = async (path: string, init?: RequestInit) => {
      const response = await fetch(`http://127.0.0.1:${port}${path}`, init)
      const { error } = (await response.json()) as { error?: { code: string } }
      return [response.status, error?.code, response.headers.get('connection')]
    }
    const headers = { 'content-type': 'application/json' }
    for (const method of ['POST', 'PUT'] as const)
      expect(await ask(`/v1/stream/s`, { method, headers, body: '1' })).toEqual([
        503,
        'SHUTTING_DOWN',
        'close',
      ])
    expect(await ask(RECORDS, { method: 'POST', headers, body: '{"value":1}' })).toEqual([
      503,
      'SHUTTING_DOWN',
      'close',
    ])
    expect(await ask('/v1/topics')).toEqual([200, undefined, 'close'])
  })
})

/** A head that never ends; what came when the server closed. */
const fetchHead = (port: number): Promise<string> =>
  new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    let text = ''
    socket.on('data', (data: Buffer) => {
      text += data.toString()
    })
    socket.on('close', () => resolve(text))
    socket.write('GET /v1/topics HTTP/1.1\r\nHost: x\r\n')
  })

const EVENT = { specversion: '1.0', id: '1', source: 's', type: 't' }
const pack = (value: unknown): Buffer => new Packr({ useRecords: false }).pack(value)

describe('an upload of records', () => {
  it.each<[type: string, body: Buffer, records: number]>([
    ['application/x-ndjson', Buffer.from('{"value":1}\n{"value":2}\n'), 2],
    ['application/json', Buffer.from('[{"value":1},{"value":2}]'), 2],
    ['application/msgpack', pack([{ value: 1 }, { value: 2 }]), 2],
    ['application/cloudevents-batch+json', Buffer.from(JSON.stringify([EVENT])), 1],
    ['text/plain', Buffer.from('[1]'), 1],
  ])('of %s that breaks off behind whole records appends none of them', async (type, body, records) => {
    const http = await startHttp()
    await http.createTopic('a')
    const head = `POST ${RECORDS} HTTP/1.1\r\nHost: x\r\nContent-Type: ${type}\r\n`
    const cut = [
      Buffer.concat([Buffer.from(`${head}Content-Length: ${body.length + 1}\r\n\r\n`), body]),
      // All bytes, but not the end.
      Buffer.concat([
        Buffer.from(`${head}Transfer-Encoding: chunked\r\n\r\n${body.length.toString(16)}\r\n`),
        body,
      ]),
    ]
    for (const bytes of cut) {
      const socket = await http.connect()
      socket.write(bytes)
      await until(() => http.broker.metrics.read('httpBodyBytes') === body.length)
      socket.destroy()
      await until(() => http.broker.metrics.read('httpRequestsOpen') === 0)
    }
    // Whatever would have been appended stands before these.
    expect((await http.post(RECORDS, body, { 'content-type': type })).status).toBe(200)
    expect(await http.recordsIn('a')).toBe(records)
  })
})

describe('an append', () => {
  it.each<[string, (http: HttpBroker) => Promise<{ status: number }>]>([
    ['of records', (http) => http.post(RECORDS, { value: 1 })],
    [
      'of records for several partitions',
      (http) =>
        http.post(
          RECORDS,
          [0, 1].map((partition) => ({ value: 1, partition })),
        ),
    ],
    ['to a stream', (http) => http.post('/v1/stream/s', '1', { 'content-type': 'application/json' })],
  ])('%s is answered when it is on disk, and not seen before', async (_what, append) => {
    const failpoints = new ArmedFailpoints()
    const http = await startHttp({}, { failpoints })
    await http.createTopic('a', { partitions: 2 })
    await http.ask('PUT', '/v1/stream/s', { headers: { 'content-type': 'application/json' } })
    let write = (): void => {}
    let isHeld = false
    const held = new Promise<void>((resolve) => {
      write = resolve
    })
    failpoints.arm('walBeforeWrite', () => {
      isHeld = true
      return held
    })
    let answer: { status: number } | undefined
    const appending = append(http).then((answered) => {
      answer = answered
    })
    await until(() => isHeld)
    try {
      // What is asked later is answered, and finds nothing.
      expect((await http.recordsIn('a')) + (await http.recordsIn('s'))).toBe(0)
      expect((await http.get('/v1/stream/s')).text).toBe('[]')
      expect(answer).toBeUndefined()
    } finally {
      write()
    }
    await appending
    expect([200, 204]).toContain(answer?.status)
    expect((await http.recordsIn('a')) + (await http.recordsIn('s'))).toBeGreaterThan(0)
  })
})
