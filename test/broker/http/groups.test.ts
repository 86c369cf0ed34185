import { beforeEach, describe, expect, it } from 'vitest'
import { connect, defineTopic, json, nullable, text } from '../../../client/index.js'
import { atEnd, type HttpBroker, startHttp } from './harness.js'

const Orders = defineTopic({ name: 'orders', key: nullable(text()), value: json<unknown>() })

let http: HttpBroker

/** A broker with groups of its own. */
beforeEach(async () => {
  http = await startHttp({})
  await http.createTopic('orders')
})

function client() {
  const client = connect(http.broker.url)
  atEnd(() => client.close())
  return client
}

const append = (...values: unknown[]) =>
  http.post(
    '/v1/topics/orders/records',
    values.map((value) => ({ value })),
  )

/** A work queue gives all its jobs up at once. */
async function giveUp(count: number): Promise<void> {
  const worker = client()
  let left = count
  for await (const job of worker.queue(Orders, { group: 'billing', maxDeliveries: 1 })) {
    await job.nack({ reason: `not ${JSON.stringify(job.value)}` })
    if (--left === 0) break
  }
  await worker.close()
}

const letters = '/v1/groups/billing/topics/orders/dead-letters'

describe('groups over HTTP', () => {
  it('are made with cursors, listed in pages, described with their lag, and deleted', async () => {
    await append(1, 2, 3)
    for (const group of ['a', 'b', 'c']) {
      const made = await http.post(`/v1/groups/${group}/reset`, {
        to: 'earliest',
        topic: 'orders',
        create: true,
      })
      expect(made.json).toEqual({ partitions: [{ topic: 'orders', partition: 0, from: null, to: 0 }] })
    }
    const page = (await http.get('/v1/groups?limit=2')).json
    expect(page).toEqual({
      groups: [
        { name: 'a', kind: 'consumer', members: 0, topics: 1, lagRecords: 3 },
        { name: 'b', kind: 'consumer', members: 0, topics: 1, lagRecords: 3 },
      ],
      next: 'b',
    })
    expect((await http.get('/v1/groups?after=b')).json).toMatchObject({ groups: [{ name: 'c' }], next: null })
    const { json: a } = await http.get('/v1/groups/a?topic=orders')
    expect(a).toMatchObject({ name: 'a', kind: 'consumer', isActive: false, members: [], partitionsLeft: 0 })
    expect(a.partitions).toMatchObject([
      { topic: 'orders', partition: 0, hasCursor: true, position: 0, endOffset: 3, lag: { records: 3 } },
    ])
    expect(a.partitions[0].lag.bytes).toBeGreaterThan(0)
    expect(Date.parse(a.partitions[0].movedAt)).toBeGreaterThan(0)
    expect((await http.ask('DELETE', '/v1/groups/a')).status).toBe(204)
    expect((await http.get('/v1/groups/a')).json.error.code).toBe('UNKNOWN_GROUP')
    expect((await http.ask('DELETE', '/v1/groups/a')).json.error.code).toBe('UNKNOWN_GROUP')
  })

  it('are reset to an offset, a time and an end, or only told what that would do', async () => {
    const first = await append(1)
    await new Promise((resolve) => setTimeout(resolve, 5))
    await append(2, 3)
    const reset = async (body: object) => (await http.post('/v1/groups/a/reset', body)).json.partitions?.[0]
    await reset({ to: 'latest', topic: 'orders', create: true })
    expect(await reset({ to: 'offset', offset: 2, topic: 'orders' })).toMatchObject({ from: 3, to: 2 })
    const after = new Date(Date.parse(first.json.appendTime) + 1).toISOString()
    expect(await reset({ to: after })).toMatchObject({ from: 2, to: 1 })
    expect(await reset({ to: 'earliest', dryRun: true })).toMatchObject({ from: 1, to: 0 })
    expect(await reset({ to: 'latest', topic: 'orders', partitions: [0] })).toMatchObject({ from: 1, to: 3 })
  })

  it.each([
    ['an offset without its number', { to: 'offset', topic: 'orders' }],
    ['a number without an offset', { to: 'latest', offset: 1, topic: 'orders' }],
    ['an offset of no topic', { to: 'offset', offset: 1 }],
    ['no place at all', { topic: 'orders' }],
    ['a place that nobody knows', { to: 'yesterday', topic: 'orders' }],
  ])('are not reset to %s', async (_what, body) => {
    const { status, json } = await http.post('/v1/groups/a/reset', body)
    expect([status, json.error.code]).toEqual([400, 'BAD_REQUEST'])
    expect((await http.get('/v1/groups')).json.groups).toEqual([])
  })

  it('that have members are neither reset nor deleted', async () => {
    const member = client().consume(Orders, { group: 'a', ifNoCursor: 'earliest' })
    const reading = member[Symbol.asyncIterator]().next()
    await append(1)
    await reading
    const { json } = await http.get('/v1/groups/a')
    expect(json).toMatchObject({ isActive: true, members: [{ connected: true, partitions: 1 }] })
    expect((await http.post('/v1/groups/a/reset', { to: 'earliest' })).json.error.code).toBe('GROUP_ACTIVE')
    expect((await http.ask('DELETE', '/v1/groups/a')).json.error.code).toBe('GROUP_ACTIVE')
  })
})

describe('dead letters over HTTP', () => {
  it('are listed in pages as they were, with why they are there', async () => {
    await append('x', { y: 1 })
    await giveUp(2)
    const page = (await http.get(`${letters}?limit=1`)).json
    expect(page.deadLetters).toMatchObject([
      {
        topic: 'orders.billing.dlq',
        offset: 0,
        value: 'x',
        reason: 'not "x"',
        count: 1,
        origin: { topic: 'orders', partition: 0, offset: 0 },
        group: 'billing',
      },
    ])
    expect(page.deadLetters[0].headers).toEqual({})
    expect(Date.parse(page.deadLetters[0].time)).toBeGreaterThan(0)
    expect(page.next).toBe(1)
    const rest = (await http.get(`${letters}?from=${page.next}`)).json
    expect(rest).toMatchObject({ deadLetters: [{ value: { y: 1 } }], next: null })
    expect((await http.get('/v1/groups/billing')).json.deadLetters).toEqual([
      { topic: 'orders', dlqTopic: 'orders.billing.dlq', records: 2 },
    ])
  })

  it('are replayed, so many at most, and purged', async () => {
    await append(1, 2, 3)
    await giveUp(3)
    expect((await http.post(`${letters}/replay`, { max: 1 })).json).toEqual({ replayed: 1, left: 2 })
    expect((await http.ask('POST', `${letters}/replay`)).json).toEqual({ replayed: 2, left: 0 })
    await giveUp(3)
    expect((await http.get(letters)).json.deadLetters).toMatchObject([
      { count: 2 },
      { count: 2 },
      { count: 2 },
    ])
    expect((await http.ask('DELETE', letters)).json).toEqual({ records: 3 })
    expect((await http.get(letters)).json).toEqual({ deadLetters: [], next: null })
  })

  it('of a group that never gave anything up are none, of one that is not there an error', async () => {
    await http.post('/v1/groups/billing/reset', { to: 'latest', topic: 'orders', create: true })
    expect((await http.get(letters)).json).toEqual({ deadLetters: [], next: null })
    expect((await http.get('/v1/groups/nobody/topics/orders/dead-letters')).json.error.code).toBe(
      'UNKNOWN_GROUP',
    )
    expect((await http.get('/v1/groups/billing/topics/nothing/dead-letters')).json.error.code).toBe(
      'UNKNOWN_TOPIC',
    )
    expect((await http.ask('DELETE', '/v1/groups/nobody/topics/orders/dead-letters')).json.error.code).toBe(
      'UNKNOWN_GROUP',
    )
  })

  it('that cannot be read have their values as they are stored, and say why', async () => {
    const careless = {
      ...Orders,
      value: {
        encoding: 'json' as const,
        hasSchema: false,
        encode: (value: string) => value,
        decode: String,
      },
    }
    const worker = client()
    await worker.producer(careless).send({ key: null, value: '{"no json' })
    for await (const job of worker.queue(careless, { group: 'billing', maxDeliveries: 1 })) {
      await job.nack()
      break
    }
    const { json } = await http.get(letters)
    expect(json.deadLetters).toMatchObject([{ value: '{"no json', error: { code: 'ENCODING_MISMATCH' } }])
  })
})
