import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { startBroker } from '../../broker/broker.js'
import { type Client, connect, defineTopic, json, MillraceError, text } from '../../client/index.js'
import { type Fetch, fetched } from '../../protocol/messages/fetch.js'
import { ScriptedBroker } from '../support/scripted-broker.js'

const Wide = defineTopic({ name: 'wide', key: text(), value: text() })
const eventually = <T>(get: () => T) => expect.poll(get, { interval: 10 })
const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i)
const sorted = (numbers: Iterable<number>): number[] => [...numbers].sort((a, b) => a - b)

describe('partitions for which the broker has no subscription left', () => {
  const PARTITIONS = 6
  const SUBSCRIPTIONS_MAX = 2
  let broker: ScriptedBroker
  let client: Client
  let subscriptions = 0
  let fetches: Fetch[] = []

  beforeEach(async () => {
    broker = await ScriptedBroker.start()
    broker.createTopic({
      name: 'wide',
      partitions: PARTITIONS,
      keyEncoding: 'text',
      valueEncoding: 'text',
    })
    subscriptions = 0
    fetches = []
    broker.script = ({ name }) => {
      if (name === 'HELLO') subscriptions = 0
      if (name === 'UNSUBSCRIBE') subscriptions--
      if (name !== 'SUBSCRIBE') return undefined
      if (subscriptions >= SUBSCRIPTIONS_MAX) return new MillraceError('LIMIT_REACHED')
      subscriptions++
      return undefined
    }
    broker.handlers.set('FETCH', (fields) => {
      const asked = fields as unknown as Fetch
      fetches.push(asked)
      const log = broker.log('wide', asked.partition)
      log.assertInRange(asked.offset)
      const { correlationId, offset, maxBytes } = asked
      const entries = offset < log.end ? log.read(offset, maxBytes).entries : new Uint8Array()
      return fetched.write({ correlationId, startOffset: log.startOffset, durableEnd: log.end, entries })
    })
    client = connect(broker.url, { backoffBaseMs: 1, backoffCapMs: 20 })
  })

  afterEach(async () => {
    await client.close({ drainMs: 0 })
    await broker.stop()
  })

  async function write(perPartition: number, from = 0): Promise<void> {
    const producer = client.producer(Wide, { batchBytes: 100 })
    const records = range(perPartition).flatMap((i) =>
      range(PARTITIONS).map((partition) => ({ partition, value: `${partition}/${from + i}` })),
    )
    await producer.sendBatch(records)
    await producer.close()
  }

  const expected = (perPartition: number): string[] =>
    range(PARTITIONS).flatMap((partition) => range(perPartition).map((i) => `${partition}/${i}`))

  /** As they came within each partition. */
  const byPartition = (values: readonly string[]): string[] =>
    range(PARTITIONS).flatMap((partition) => values.filter((value) => value.startsWith(`${partition}/`)))

  it('are read to the end all the same, each in order', async () => {
    await write(20)
    const values: string[] = []
    for await (const { value } of client.read(Wide, { from: 'earliest', to: 'end' })) values.push(value)
    expect(byPartition(values)).toEqual(expected(20))
    expect(new Set(fetches.map(({ partition }) => partition)).size).toBe(PARTITIONS - SUBSCRIPTIONS_MAX)
  })

  it('give what is written later, over a lost connection too, and nothing twice', async () => {
    const values: string[] = []
    const stream = client.read(Wide, { from: 'earliest' })
    const reading = (async () => {
      for await (const { value } of stream) values.push(value)
    })()
    await stream.caughtUp
    await write(5)
    await eventually(() => values.length).toBe(5 * PARTITIONS)
    broker.cutAll()
    await write(5, 5)
    await eventually(() => values.length).toBe(10 * PARTITIONS)
    expect(byPartition(values)).toEqual(expected(10))
    await stream.return()
    await reading
  })

  it('are held to what the reader may hold ahead', async () => {
    await write(100)
    const stream = client.read(Wide, { from: 'earliest', to: 'end', bufferBytes: 600 * PARTITIONS })
    await stream.next()
    await new Promise((resolve) => setTimeout(resolve, 300))
    const before = fetches.length
    expect(before).toBeGreaterThan(0)
    expect(before).toBeLessThan(30)
    await new Promise((resolve) => setTimeout(resolve, 300))
    expect(fetches.length).toBe(before)
    let count = 1
    for await (const _ of stream) count++
    expect(count).toBe(100 * PARTITIONS)
  })

  it('cost one request for all while nothing comes, and none once the reader has stopped', async () => {
    await write(1)
    const stream = client.read(Wide, { from: 'earliest' })
    for (let i = 0; i < PARTITIONS; i++) await stream.next()
    const more = stream.next()
    await stream.caughtUp
    const before = { looks: broker.countOf('LIST_OFFSETS'), fetches: fetches.length }
    await new Promise((resolve) => setTimeout(resolve, 450))
    const looks = broker.countOf('LIST_OFFSETS') - before.looks
    expect(looks).toBeGreaterThanOrEqual(2)
    expect(looks).toBeLessThanOrEqual(5)
    expect(fetches.length).toBe(before.fetches)
    await stream.return()
    await more
    const stopped = broker.countOf('LIST_OFFSETS')
    await new Promise((resolve) => setTimeout(resolve, 250))
    expect(broker.countOf('LIST_OFFSETS')).toBeLessThanOrEqual(stopped + 1)
  })

  it('follow the start of the log when records are deleted', async () => {
    await write(10)
    for (const partition of range(PARTITIONS)) broker.log('wide', partition).deleteBefore(5)
    const values: string[] = []
    const options = {
      from: Object.fromEntries(range(PARTITIONS).map((i) => [i, 0])),
      to: 'end',
      onOutOfRange: 'earliest',
    } as const
    for await (const { value } of client.read(Wide, options)) values.push(value)
    const kept = range(PARTITIONS).flatMap((partition) => range(5).map((i) => `${partition}/${i + 5}`))
    expect(byPartition(values)).toEqual(kept)
    expect(fetches.length).toBeGreaterThan(0)
  })

  it('end the reading when their topic is deleted', async () => {
    const stream = client.read(Wide, { from: 'earliest' })
    const next = stream.next()
    await stream.caughtUp
    broker.deleteTopic('wide')
    await expect(next).rejects.toMatchObject({ code: 'UNKNOWN_TOPIC' })
  })

  it('are consumed by a group', async () => {
    await write(10)
    const values: string[] = []
    const options = { group: 'g', ifNoCursor: 'earliest', ackIntervalMs: 1 } as const
    for await (const record of client.consume(Wide, options)) {
      values.push(record.value)
      record.ack()
      if (values.length === 10 * PARTITIONS) break
    }
    expect(byPartition(values)).toEqual(expected(10))
    for (const partition of range(PARTITIONS)) {
      expect(broker.groups.named('g').cursor('wide', partition)).toBe(10)
    }
  })
})

it('a topic of 2,500 partitions is read, and consumed by a group, on one connection', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'millrace-wide-'))
  const broker = await startBroker({ dataDir: directory, port: 0, log: pino({ level: 'silent' }) })
  const client = connect(broker.url)
  try {
    const Many = defineTopic({ name: 'many', key: text(), value: json<number>() })
    const partitions = 2_500
    await client.createTopic(Many, { partitions })
    const send = async (from: number): Promise<void> => {
      const producer = client.producer(Many)
      await producer.sendBatch(range(partitions).map((partition) => ({ partition, value: from + partition })))
      await producer.close()
    }
    await send(0)
    const read: number[] = []
    for await (const { value } of client.read(Many, { from: 'earliest', to: 'end' })) read.push(value)
    expect(sorted(read)).toEqual(range(partitions))
    const consumed: number[] = []
    for await (const record of client.consume(Many, { group: 'g', ifNoCursor: 'earliest' })) {
      consumed.push(record.value)
      record.ack()
      // What is written while it reads comes too.
      if (consumed.length === partitions) await send(partitions)
      if (consumed.length === 2 * partitions) break
    }
    expect(sorted(consumed)).toEqual(range(2 * partitions))
    const { partitions: parts } = await client.groups.describe('g')
    expect(parts.every(({ lag }) => lag.records === 0)).toBe(true)
  } finally {
    await client.close()
    await broker.close()
    await rm(directory, { recursive: true })
  }
}, 120_000)
