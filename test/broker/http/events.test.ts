import { request } from 'node:http'
import net from 'node:net'
import { describe, expect, it } from 'vitest'
import { connect, defineTopic, json, nullable, text } from '../../../client/index.js'
import { FakeShard } from '../../support/fake-shard.js'
import { until } from '../../support/until.js'
import { atEnd, type HttpBroker, startFace, startHttp } from './harness.js'

interface Event {
  readonly id: string
  readonly type: string
  // biome-ignore lint/suspicious/noExplicitAny: a test compares it with what it expects.
  readonly data: any
}

/** A client of server-sent events that reads what comes as the standard says. */
class Events {
  readonly events: Event[] = []
  isEnded = false
  status = 0
  text = ''
  readonly #request: ReturnType<typeof request>

  constructor(http: HttpBroker, path: string, lastEventId?: string) {
    const headers = {
      accept: 'text/event-stream',
      ...(lastEventId === undefined ? {} : { 'last-event-id': lastEventId }),
    }
    this.#request = request(`${http.url}${path}`, { headers, agent: false }, (response) => {
      this.status = response.statusCode ?? 0
      response.setEncoding('utf8')
      response.on('data', (data: string) => this.#take(data))
      response.on('close', () => {
        this.isEnded = true
      })
      response.on('error', () => {})
    })
    this.#request.on('error', () => {})
    this.#request.end()
    atEnd(async () => this.close())
  }

  get values(): unknown[] {
    return this.events.map(({ data }) => data.value)
  }

  close(): void {
    this.#request.destroy()
  }

  #take(data: string): void {
    const blocks = `${this.text}${data}`.split('\n\n')
    this.text = blocks.pop() ?? ''
    for (const block of blocks) {
      const fields = new Map(
        block.split('\n').map((line) => line.split(/: ?(.*)/s).slice(0, 2) as [string, string]),
      )
      const said = fields.get('data')
      if (said === undefined) continue
      this.events.push({
        id: fields.get('id') ?? '',
        type: fields.get('event') ?? 'message',
        data: JSON.parse(said),
      })
    }
  }
}

const append = (http: HttpBroker, values: unknown[], partition = 0) =>
  http.post(
    '/v1/topics/a/records',
    values.map((value) => ({ value, partition })),
  )

const isOpen = (http: HttpBroker) => async () => http.broker.metrics.read('httpRequestsOpen') === 1

describe('server-sent events', () => {
  it('of a partition begin where asked, and go on as records come', async () => {
    const http = await startHttp()
    await http.createTopic('a')
    await append(http, [1, 2])
    const all = new Events(http, '/v1/topics/a/partitions/0/events?offset=earliest')
    const some = new Events(http, '/v1/topics/a/partitions/0/events?offset=1')
    const fresh = new Events(http, '/v1/topics/a/partitions/0/events')
    await until(() => all.events.length === 2 && some.events.length === 1 && fresh.status === 200)
    await append(http, [3])
    await until(() => fresh.events.length === 1 && all.events.length === 3)
    expect(all.values).toEqual([1, 2, 3])
    const { topicId } = (await http.get('/v1/topics/a')).json
    expect(all.events.map(({ id }) => id)).toEqual([`${topicId}:1`, `${topicId}:2`, `${topicId}:3`])
    expect(all.events[2]?.data).toMatchObject({ topic: 'a', partition: 0, offset: 2, key: null, value: 3 })
    expect(fresh.events).toEqual([all.events[2]])
  })

  it('of a partition go on after the last one that a client has seen', async () => {
    const http = await startHttp()
    await http.createTopic('a')
    await append(
      http,
      Array.from({ length: 1_200 }, (_, i) => i),
    )
    const seen: unknown[] = []
    let last: string | undefined
    // The connection breaks again and again, wherever it happens to be.
    for (let tries = 0; seen.length < 1_200; tries++) {
      expect(tries).toBeLessThan(1_200)
      const events = new Events(http, '/v1/topics/a/partitions/0/events?offset=earliest', last)
      await until(() => events.events.length > 0, { everyMs: 1 })
      events.close()
      seen.push(...events.values)
      last = events.events.at(-1)?.id
    }
    expect(seen).toEqual(Array.from({ length: 1_200 }, (_, i) => i))
  })

  it('of a topic have all partitions in one connection, and go on in each of them', async () => {
    const http = await startHttp()
    await http.createTopic('a', { partitions: 3 })
    for (const partition of [0, 1, 2]) await append(http, [`${partition}/0`, `${partition}/1`], partition)
    const events = new Events(http, '/v1/topics/a/events?from=earliest')
    await until(() => events.events.length === 6)
    events.close()
    for (const [index, { id }] of events.events.entries()) {
      const again = new Events(http, '/v1/topics/a/events?from=earliest', id)
      await until(() => again.events.length === 5 - index)
      expect([...events.values.slice(0, index + 1), ...again.values].sort()).toEqual(
        [...events.values].sort(),
      )
      again.close()
    }
    const rest = new Events(http, '/v1/topics/a/events', events.events.at(-1)?.id)
    await until(() => rest.status === 200)
    await append(http, ['1/2'], 1)
    await until(() => rest.events.length === 1)
    expect(rest.values).toEqual(['1/2'])
  })

  it('say when what a client would go on with is gone', async () => {
    const http = await startHttp()
    await http.createTopic('a')
    await append(http, [1, 2, 3])
    await http.post('/v1/topics/a/partitions/0/delete-before', { offset: 2 })
    const headers = { 'last-event-id': '1' }
    for (const path of ['/v1/topics/a/partitions/0/events', '/v1/topics/a/events']) {
      const { status, json } = await http.get(path, { headers })
      expect([status, json.error.code]).toEqual([416, 'OFFSET_OUT_OF_RANGE'])
    }
    for (const id of ['x', '1-2', '-1', '01', `${'a'.repeat(31)}:1`, ':1', `${'a'.repeat(32)}:`]) {
      for (const path of ['/v1/topics/a/partitions/0/events', '/v1/topics/a/events']) {
        const { status, json } = await http.get(path, { headers: { 'last-event-id': id } })
        expect([status, json.error.code]).toEqual([400, 'BAD_REQUEST'])
      }
    }
  })

  it('go on in no other topic of the same name: one that was made anew has other records at these offsets', async () => {
    const http = await startHttp()
    await http.createTopic('a')
    await append(http, ['old', 'old'])
    const paths = ['/v1/topics/a/partitions/0/events?offset=earliest', '/v1/topics/a/events?from=earliest']
    const live = paths.map((path) => new Events(http, path))
    await until(() => live.every(({ events }) => events.length === 2))
    await http.ask('DELETE', '/v1/topics/a')
    await until(() => live.every(({ isEnded }) => isEnded))
    await http.createTopic('a')
    await append(http, ['new', 'new', 'new', 'new'])
    for (const [index, path] of paths.entries()) {
      const seen = live[index]?.events.filter(({ type }) => type === 'message') ?? []
      expect(seen.map(({ data }) => data.value)).toEqual(['old', 'old'])
      const { status, json } = await http.get(path, { headers: { 'last-event-id': seen[1]?.id ?? '' } })
      expect([status, json.error.code]).toEqual([416, 'OFFSET_OUT_OF_RANGE'])
    }
  })

  it('end with what is wrong: the topic is gone, or a record is not what it says', async () => {
    const http = await startHttp()
    await http.createTopic('a')
    const client = connect(http.broker.url)
    const careless = defineTopic({
      name: 'a',
      key: nullable(text()),
      value: { ...json<string>(), encode: (value: string) => value },
    })
    await append(http, [1])
    await client.producer(careless).send({ key: null, value: '{"no json' })
    await client.close()
    const stuck = new Events(http, '/v1/topics/a/partitions/0/events?offset=earliest')
    const waiting = new Events(http, '/v1/topics/a/partitions/0/events')
    await until(() => stuck.isEnded && waiting.status === 200)
    expect(stuck.values[0]).toBe(1)
    expect(stuck.events.at(-1)).toMatchObject({
      type: 'error',
      data: { error: { code: 'ENCODING_MISMATCH', details: { offset: 1 } } },
    })
    await http.ask('DELETE', '/v1/topics/a')
    await until(() => waiting.isEnded)
    expect(waiting.events).toMatchObject([{ type: 'error', data: { error: { code: 'UNKNOWN_TOPIC' } } }])
  })

  it('follow no partition any more when the client is gone', async () => {
    const shard = new FakeShard()
    shard.addTopic({ name: 'a', partitions: 3 })
    const { port } = await startFace(shard)
    const socket = net.connect(port, '127.0.0.1')
    socket.write('GET /v1/topics/a/events HTTP/1.1\r\nHost: x\r\n\r\n')
    await until(() => shard.followers === 3)
    socket.destroy()
    await until(() => shard.followers === 0)
  })

  it('let go of everything when the client is gone', async () => {
    const http = await startHttp({})
    await http.createTopic('a', { partitions: 2 })
    const events = new Events(http, '/v1/topics/a/events')
    await until(() => events.status === 200)
    expect(await isOpen(http)()).toBe(true)
    events.close()
    await until(() => http.broker.metrics.read('httpRequestsOpen') === 0)
  })

  it('end when the broker drains', async () => {
    const http = await startHttp({ drainMs: 300_000 })
    await http.createTopic('a')
    const events = new Events(http, '/v1/topics/a/events')
    await until(() => events.status === 200)
    // Else it would wait for all of drainMs.
    await http.broker.close()
    await until(() => events.isEnded)
  })

  it('wait for a client that does not take them, and hold little meanwhile', async () => {
    const http = await startHttp({})
    await http.createTopic('a')
    const record = 'x'.repeat(100_000)
    for (let i = 0; i < 100; i++) await append(http, [record, record])
    const socket = await http.connect()
    socket.pause()
    socket.write('GET /v1/topics/a/events?from=earliest HTTP/1.1\r\nHost: x\r\n\r\n')
    const delivered = () => http.broker.metrics.snapshot().counters.deliveredRecords
    await until(() => delivered() > 0)
    let before = -1
    await until(
      () => {
        const isStill = before === delivered()
        before = delivered()
        return isStill
      },
      { everyMs: 200 },
    )
    expect(delivered()).toBeLessThan(150)
    let bytes = 0
    socket.on('data', (data: Buffer) => {
      bytes += data.length
    })
    socket.resume()
    await until(() => bytes > 200 * 100_000)
    expect(delivered()).toBe(200)
  })
})
