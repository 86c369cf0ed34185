import { type Client, defineTopic, json, type MillraceError, text } from 'millrace'
import { type TestBroker, testBroker, type WriteName } from 'millrace/testing'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'

const Numbers = defineTopic({ name: 'numbers', key: text(), value: json<number>() })

let broker: TestBroker
let client: Client

beforeEach(async () => {
  broker = await testBroker()
  client = broker.client()
  await client.createTopic(Numbers)
})

afterEach(() => broker.close())

async function numbers(): Promise<number[]> {
  const values: number[] = []
  for await (const { value } of client.read(Numbers, { from: 'earliest', to: 'end' })) values.push(value)
  return values
}

const isSettled = (promise: Promise<unknown>): Promise<boolean> =>
  Promise.race([
    promise.then(
      () => true,
      () => true,
    ),
    new Promise<boolean>((resolve) => setTimeout(resolve, 100, false)),
  ])

describe('a crash after a request', () => {
  it('comes when its record is on disk and its sender has not been told', async () => {
    const crashed = broker.crashAfter('produce')
    const hasty = client.producer(Numbers, { deliveryTimeoutMs: 60_000 })
    const sent = hasty.send({ key: 'a', value: 1 })
    sent.catch(() => {})
    await crashed
    // It never hears of it: the client is gone before the broker is back.
    expect(await isSettled(sent)).toBe(false)
    await broker.advance(61_000)
    await expect(sent).rejects.toMatchObject({ code: 'TIMEOUT', outcome: 'unknown' })
    await broker.restart()
    expect(await numbers()).toEqual([1])
  })

  it.each([
    ['plain', undefined],
    ['with a dedup id', 'x'],
  ])('leaves one record when its sender tries again: %s', async (_, dedupId) => {
    const crashed = broker.crashAfter('produce')
    const sent = client
      .producer(Numbers)
      .send({ key: 'a', value: 1, ...(dedupId === undefined ? {} : { dedupId }) })
    await crashed
    await broker.restart()
    expect(await sent).toMatchObject({ offset: 0 })
    expect(await numbers()).toEqual([1])
  })

  it('leaves an atomic write whole, and gives its retry the first answer', async () => {
    const crashed = broker.crashAfter('atomic')
    const writes = [1, 2, 3].map((value) => Numbers.record({ key: 'a', value }))
    const written = client.atomic({ writes })
    await crashed
    await broker.restart()
    await written
    expect(await numbers()).toEqual([1, 2, 3])
  })

  it('leaves a job done whose acknowledgement was on disk, though its worker cannot know', async () => {
    await client.producer(Numbers).send({ key: 'a', value: 1 })
    const queue = client.queue(Numbers, { group: 'work' })
    const { value: job } = await queue.next()
    const crashed = broker.crashAfter('queueSettle')
    const acked = job?.ack()
    await crashed
    await broker.restart()
    const outcome = await acked?.then(
      () => 'acknowledged',
      ({ code, outcome }: MillraceError) => `${code}, ${outcome}`,
    )
    expect(['acknowledged', 'LEASE_LOST, unknown']).toContain(outcome)
    await broker.advance(120_000)
    const [partition] = (await client.groups.describe('work')).partitions
    expect(partition?.lag.records).toBe(0)
  })

  it('waits for the request that it names, and comes once', async () => {
    const crashed = broker.crashAfter('atomic')
    const producer = client.producer(Numbers)
    await producer.send({ key: 'a', value: 1 })
    expect(await isSettled(crashed)).toBe(false)
    const written = client.atomic({ writes: [Numbers.record({ key: 'a', value: 2 })] })
    await crashed
    await broker.restart()
    await written
    await client.atomic({ writes: [Numbers.record({ key: 'a', value: 3 })] })
    expect(await numbers()).toEqual([1, 2, 3])
  })

  it('does not come for a request that is made to fail', async () => {
    const crashed = broker.crashAfter('produce')
    broker.failNext('produce', 'RECORD_TOO_LARGE')
    const producer = client.producer(Numbers)
    await expect(producer.send({ key: 'a', value: 1 })).rejects.toMatchObject({ code: 'RECORD_TOO_LARGE' })
    expect(await isSettled(crashed)).toBe(false)
    const sent = producer.send({ key: 'a', value: 2 })
    await crashed
    await broker.restart()
    await sent
    expect(await numbers()).toEqual([2])
  })

  it('may be restarted from before it is waited for', async () => {
    const crashed = broker.crashAfter('produce')
    const sent = client.producer(Numbers).send({ key: 'a', value: 1 })
    await expect
      .poll(
        () =>
          broker.restart().then(
            () => true,
            () => false,
          ),
        { interval: 1 },
      )
      .toBe(true)
    await crashed
    await sent
    expect(await numbers()).toEqual([1])
  })

  it('is over when the broker crashes or is closed otherwise', async () => {
    const first = broker.crashAfter('atomic')
    await broker.crash()
    await first
    await broker.restart()
    const second = broker.crashAfter('atomic')
    const written = client.atomic({ writes: [Numbers.record({ key: 'a', value: 1 })] })
    await second
    await broker.restart()
    await written
    const third = broker.crashAfter('atomic')
    await broker.close()
    await third
  })

  it('is refused for what writes nothing, and without a broker that runs', async () => {
    expect(() => broker.crashAfter('fetch' as WriteName)).toThrow('there is no request "fetch" that writes')
    expect(() => broker.crashAfter('gone' as WriteName)).toThrow(
      expect.objectContaining({ code: 'ILLEGAL_ARGUMENT' }),
    )
    await broker.crash()
    expect(() => broker.crashAfter('produce')).toThrow(expect.objectContaining({ code: 'CRASHED' }))
    await broker.close()
    expect(() => broker.crashAfter('produce')).toThrow(expect.objectContaining({ code: 'CLOSED' }))
  })
})
