import { type Client, connect, defineTopic, type Job, json, type ReadRecordOf, text } from 'millrace'
import { ManualClock, type TestBroker, testBroker } from 'millrace/testing'
import { describe, expect, it } from 'vitest'
import { openSocket } from '#socket'
import { connect as connectIn } from '../../client/connect.js'
import type { OpenSocket, Socket } from '../../client/platform/socket.js'

const Numbers = defineTopic({ name: 'numbers', key: text(), value: json<number>() })

const SECOND = 1_000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i)

type NumberJob = Job<ReadRecordOf<typeof Numbers>>

async function nextOf(queue: { next(): Promise<IteratorResult<NumberJob, undefined>> }): Promise<NumberJob> {
  const { value } = await queue.next()
  if (value === undefined) throw new Error('the queue ended')
  return value
}

/** A client whose process may seem to be killed: it says nothing any more and does not come back. */
function mortalClient({ url, clock }: TestBroker): { client: Client; vanish: () => void } {
  const sockets: Socket[] = []
  let isGone = false
  const open: OpenSocket = (options, listener) => {
    if (isGone) throw new Error('this process is gone')
    const socket = openSocket(options, listener)
    sockets.push(socket)
    return socket
  }
  const client = connectIn(url, {}, { clock, openSocket: open })
  const vanish = (): void => {
    isGone = true
    for (const socket of sockets) socket.terminate()
  }
  return { client, vanish }
}

describe('the time of a test broker, moved on', () => {
  it('leaves connections, workers and their leases alone: nobody was silent', async () => {
    await using broker = await testBroker()
    const client = broker.client()
    await client.createTopic(Numbers)
    await client.producer(Numbers).send({ key: 'a', value: 1 })
    const lost: unknown[] = []
    client.on('disconnected', (event) => lost.push(event))
    const job = await nextOf(client.queue(Numbers, { group: 'work', leaseMs: 30 * SECOND }))
    const consumer = client.consume(Numbers, { group: 'read', ifNoCursor: 'earliest' })
    const record = await consumer[Symbol.asyncIterator]().next()
    await broker.advance(10 * MINUTE)
    await job.ack()
    await record.value?.acked()
    expect(lost).toEqual([])
    expect(job.signal.aborted).toBe(false)
  })

  it('ends the lease of a worker that hangs: the job goes to another, and only its ack counts', async () => {
    await using broker = await testBroker()
    const client = broker.client()
    await client.createTopic(Numbers)
    await client.producer(Numbers).send({ key: 'a', value: 1 })
    // On the machine's clock, which does not move on: a worker that does nothing for half a minute.
    const hanging = connect(broker.url)
    const options = { group: 'work', leaseMs: 30 * SECOND }
    const stale = await nextOf(hanging.queue(Numbers, options))
    const queue = client.queue(Numbers, options)
    const next = nextOf(queue)

    // The clock goes on by itself meanwhile: on a slow machine by seconds.
    await broker.advance(15 * SECOND)
    const early = await Promise.race([next, 'nothing'])
    expect(early).toBe('nothing')
    await broker.advance(17 * SECOND)
    const job = await next
    expect(job).toMatchObject({ value: 1, deliveryCount: 2 })
    await expect(stale.ack()).rejects.toMatchObject({ code: 'LEASE_LOST' })
    await job.ack()
    await hanging.close()
  })

  it('passes for a broker that has crashed, too: leases that ran out meanwhile go to others at its start', async () => {
    await using broker = await testBroker()
    const client = broker.client()
    await client.createTopic(Numbers)
    await client.producer(Numbers).send({ key: 'a', value: 1 })
    const hanging = connect(broker.url)
    const options = { group: 'work', leaseMs: 10 * MINUTE }
    await nextOf(hanging.queue(Numbers, options))
    await broker.crash()
    await hanging.close({ drainMs: 0 })
    await broker.advance(2 * MINUTE)
    await broker.restart()
    const next = nextOf(client.queue(Numbers, options))
    await broker.advance(2 * MINUTE)
    expect(await Promise.race([next, 'nothing'])).toBe('nothing')

    await broker.crash()
    await broker.advance(7 * MINUTE)
    await broker.restart()
    expect((await next).value).toBe(1)
  })

  it('ends the session of a consumer that is gone: its partitions go to others', async () => {
    await using broker = await testBroker()
    const client = broker.client()
    await client.createTopic(Numbers, { partitions: 2 })
    await client.producer(Numbers).sendBatch(range(20).map((value) => ({ key: `${value}`, value })))
    const options = { group: 'read', ifNoCursor: 'earliest', sessionTimeoutMs: MINUTE } as const
    const { client: gone, vanish } = mortalClient(broker)
    await gone.consume(Numbers, options)[Symbol.asyncIterator]().next()
    vanish()

    const seen: number[] = []
    const reading = (async () => {
      for await (const { value } of client.consume(Numbers, options)) {
        seen.push(value)
        if (seen.length === 20) break
      }
    })()
    await broker.advance(40 * SECOND)
    expect(seen).toEqual([])
    await broker.advance(30 * SECOND)
    await reading
    expect(seen.sort((a, b) => a - b)).toEqual(range(20))
    await gone.close({ drainMs: 0 })
  })

  it('ends the window of dedup ids', async () => {
    await using broker = await testBroker()
    const client = broker.client()
    await client.createTopic(Numbers, { dedupWindowMs: 10 * MINUTE })
    const producer = client.producer(Numbers)
    const send = () => producer.send({ key: 'a', value: 1, dedupId: 'order-1' })
    const first = await send()
    await broker.advance(9 * MINUTE)
    expect(await send()).toMatchObject({ duplicate: true, offset: first.offset })
    await broker.advance(20 * MINUTE)
    expect(await send()).toMatchObject({ duplicate: false })
  })

  it('makes records old: retention deletes them', async () => {
    await using broker = await testBroker({ settings: { chunkMaxAgeMs: MINUTE } })
    const client = broker.client()
    await client.createTopic(Numbers, { retention: { maxAgeMs: HOUR } })
    const producer = client.producer(Numbers)
    await producer.send({ key: 'a', value: 1 })
    await broker.advance(30 * MINUTE)
    await producer.send({ key: 'a', value: 2 })
    const left = async (): Promise<number[]> => {
      const values: number[] = []
      for await (const { value } of client.read(Numbers, { from: 'earliest', to: 'end' })) values.push(value)
      return values
    }
    expect(await left()).toEqual([1, 2])
    await broker.advance(35 * MINUTE)
    expect(await left()).toEqual([2])
    await broker.advance(35 * MINUTE)
    expect(await left()).toEqual([])
  })

  it('moves the clients’ own deadlines', async () => {
    await using broker = await testBroker()
    const client = broker.client({ requestTimeoutMs: 30 * SECOND })
    await client.listTopics()
    await broker.crash()
    const listing = client.listTopics()
    const ended = Promise.race([
      listing.then(
        () => 'answered',
        (error: { code: string }) => error.code,
      ),
      new Promise((resolve) => setTimeout(resolve, 100, 'waits')),
    ])
    expect(await ended).toBe('waits')
    await broker.advance(31 * SECOND)
    await expect(listing).rejects.toMatchObject({ code: 'TIMEOUT' })
  })

  it('dates records', async () => {
    const clock = new ManualClock({ now: Date.UTC(2030, 0, 1, 23) })
    await using broker = await testBroker({ clock })
    const client = broker.client()
    await client.createTopic(Numbers)
    const producer = client.producer(Numbers)
    await producer.send({ key: 'a', value: 1 })
    await broker.advance(2 * HOUR)
    await producer.send({ key: 'a', value: 2 })
    const dates: string[] = []
    for await (const { timestamp } of client.read(Numbers, { from: 'earliest', to: 'end' }))
      dates.push(new Date(timestamp).toISOString().slice(0, 10))
    expect(dates).toEqual(['2030-01-01', '2030-01-02'])
  })

  it('is the same for all brokers that share a clock', async () => {
    const clock = new ManualClock()
    await using one = await testBroker({ clock })
    await using other = await testBroker({ clock })
    const sends = []
    for (const broker of [one, other]) {
      const client = broker.client()
      await client.createTopic(Numbers, { dedupWindowMs: MINUTE })
      const producer = client.producer(Numbers)
      const send = () => producer.send({ key: 'a', value: 1, dedupId: 'x' })
      await send()
      sends.push(send)
    }
    await one.advance(5 * MINUTE)
    for (const send of sends) expect(await send()).toMatchObject({ duplicate: false })
  })
})
