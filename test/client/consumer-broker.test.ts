import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type Broker, startBroker } from '../../broker/broker.js'
import {
  type AnyTopic,
  type Client,
  type ConsumeOptions,
  connect,
  defineTopic,
  json,
  MillraceError,
  text,
} from '../../client/index.js'

let directory: string
let broker: Broker
let port = 0
let client: Client
const clients: Client[] = []
let topics = 0

async function start(): Promise<void> {
  broker = await startBroker({ dataDir: directory, port, log: pino({ level: 'silent' }) })
  port = broker.port
}

function newClient(): Client {
  const one = connect(broker.url, { backoffBaseMs: 1, backoffCapMs: 50 })
  clients.push(one)
  return one
}

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'millrace-consumer-'))
  await start()
})

beforeEach(() => {
  client = newClient()
})

afterEach(async () => {
  for (const one of clients.splice(0)) await one.close()
})

afterAll(async () => {
  await broker.close()
  await rm(directory, { recursive: true })
})

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))
const eventually = <T>(get: () => T) => expect.poll(get, { interval: 10 })
const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i)

async function newTopic({ partitions = 1, records = 0 } = {}) {
  const Numbers = defineTopic({ name: `numbers-${++topics}`, key: text(), value: json<number>() })
  await client.createTopic(Numbers, { partitions })
  await write(Numbers, records)
  return Numbers
}

async function write(topic: AnyTopic, count: number, from = 0): Promise<void> {
  const Numbers = defineTopic({ name: topic.name, key: text(), value: json<number>() })
  const producer = client.producer(Numbers, { batchBytes: 500 })
  await producer.sendBatch(range(count).map((i) => ({ key: `k${(from + i) % 50}`, value: from + i })))
  await producer.close()
}

const optionsOf = (topic: AnyTopic, more: Partial<ConsumeOptions> = {}): ConsumeOptions => ({
  group: `group-of-${topic.name}`,
  ifNoCursor: 'earliest',
  ...more,
})

const sorted = (numbers: readonly number[]): number[] => [...numbers].sort((a, b) => a - b)

describe('consumers of a real broker', () => {
  it('go on where the group was', async () => {
    const Numbers = await newTopic({ records: 100 })
    const first: number[] = []
    for await (const record of client.consume(Numbers, optionsOf(Numbers))) {
      first.push(record.value)
      record.ack()
      if (first.length === 60) break
    }
    const rest: number[] = []
    for await (const record of client.consume(Numbers, optionsOf(Numbers))) {
      rest.push(record.value)
      await record.acked()
      if (rest.length === 40) break
    }
    expect([...first, ...rest]).toEqual(range(100))
  })

  it('share the partitions, and hand them on without repeating what was acknowledged', async () => {
    const Numbers = await newTopic({ partitions: 6, records: 3_000 })
    const seen: number[] = []
    const consumers = range(3).map(() => newClient().consume(Numbers, optionsOf(Numbers)))
    const loops: Promise<void>[] = []
    for (const consumer of consumers) {
      loops.push(
        (async () => {
          for await (const record of consumer) {
            seen.push(record.value)
            record.ack()
            if (seen.length % 20 === 0) await sleep(1)
          }
        })(),
      )
      await sleep(40)
    }
    await eventually(() => consumers.map(({ assignment }) => assignment.length)).toEqual([2, 2, 2])
    await consumers[1]?.close()
    await eventually(() => seen.length).toBeGreaterThanOrEqual(3_000)
    await eventually(() => consumers.map(({ assignment }) => assignment.length)).toEqual([3, 0, 3])
    for (const consumer of consumers) await consumer.close()
    await Promise.all(loops)
    expect(sorted(seen)).toEqual(range(3_000))
  })

  it('keep their partitions over a restart of the broker, and repeat nothing', async () => {
    const Numbers = await newTopic({ partitions: 4, records: 1_000 })
    const seen: number[] = []
    const lost: unknown[] = []
    const consumer = client.consume(Numbers, optionsOf(Numbers, { prefetchBytes: 8_000 }))
    consumer.on('lost', ({ partitions }) => lost.push(partitions))
    consumer.on('revoked', ({ partitions }) => lost.push(partitions))
    const loop = (async () => {
      for await (const record of consumer) {
        seen.push(record.value)
        record.ack()
        if (seen.length % 10 === 0) await sleep(1)
      }
    })()
    await eventually(() => seen.length).toBeGreaterThan(100)
    await broker.close()
    await start()
    await write(Numbers, 100, 1_000)
    await eventually(() => seen.length).toBeGreaterThanOrEqual(1_100)
    await consumer.flush()
    await consumer.close()
    await loop
    expect(sorted(seen)).toEqual(range(1_100))
    expect(lost).toEqual([])
  })

  it('run handlers and move what fails to the dead letters', async () => {
    const Numbers = await newTopic({ partitions: 2, records: 200 })
    const options = optionsOf(Numbers)
    const handled: number[] = []
    const consumer = client.consume(Numbers, options)
    const done = consumer.run(
      async ({ value }) => {
        await sleep(value % 3)
        if (value % 50 === 7) throw new Error(`no ${value}`)
        handled.push(value)
      },
      { concurrency: 16, onError: 'deadLetter' },
    )
    await eventually(() => handled.length).toBe(196)
    const Dead = defineTopic({
      name: `${Numbers.name}.${options.group}.dlq`,
      key: text(),
      value: json<number>(),
    })
    await eventually(async () => (await client.listTopics()).some(({ name }) => name === Dead.name)).toBe(
      true,
    )
    const dead: { value: number; reason: unknown }[] = []
    for await (const { value, headers } of client.read(Dead, { from: 'earliest' })) {
      dead.push({ value, reason: headers['millrace-reason'] })
      if (dead.length === 4) break
    }
    expect(sorted(dead.map(({ value }) => value))).toEqual([7, 57, 107, 157])
    expect(dead.find(({ value }) => value === 57)?.reason).toBe('Error: no 57')
    await consumer.close()
    await done
    // Nothing is left for the next one.
    await write(Numbers, 1, 200)
    for await (const { value } of client.consume(Numbers, options)) {
      expect(value).toBe(200)
      break
    }
  })

  it('are given dead letters once more when these are replayed, and no other group is', async () => {
    const Numbers = await newTopic({ records: 10 })
    const options = optionsOf(Numbers)
    let isPoison = true
    const origins: unknown[] = []
    const seen: number[] = []
    const consumer = client.consume(Numbers, options)
    const done = consumer.run(
      ({ topic, value, origin }) => {
        expect(topic).toBe(Numbers.name)
        if (isPoison && value === 4) throw new Error('poison')
        seen.push(value)
        if (origin !== undefined) origins.push(origin)
      },
      { onError: 'deadLetter' },
    )
    const others: number[] = []
    const other = client.consume(Numbers, { ...options, group: `${options.group}-2` })
    const otherDone = other.run(({ value }) => others.push(value))
    await eventually(() => seen.length).toBe(9)
    await consumer.flush()
    isPoison = false
    await eventually(async () => (await client.deadLetters.replay(Numbers, options.group)).replayed).toBe(1)
    await eventually(() => seen.length).toBe(10)
    expect(origins).toEqual([{ topic: Numbers.name, partition: 0, offset: 4 }])
    for (const one of [consumer, other]) await one.close()
    await Promise.all([done, otherDone])
    expect(others).toEqual(range(10))
  })

  it('write what they made of a record exactly once, whatever order it is finished in and however often they start', async () => {
    const In = await newTopic({ partitions: 3, records: 300 })
    const Out = await newTopic({ partitions: 2 })
    let made = 0
    for (let life = 0; life < 3; life++) {
      const one = newClient()
      const consumer = one.consume(In, optionsOf(In))
      const done = consumer.run(
        async (record) => {
          await sleep(record.value % 4)
          if (made > 80 * (life + 1) && life < 2) throw new Error('this life is over')
          const { key, value } = record
          await one.atomic({ writes: [Out.record({ key, value })], acks: [record] })
          made++
        },
        { concurrency: 8 },
      )
      if (life < 2) await expect(done).rejects.toThrow('this life is over')
      else {
        await eventually(() => made).toBeGreaterThanOrEqual(300)
        await consumer.close()
        await done
      }
    }
    const out: number[] = []
    for await (const { value } of client.read(Out, { from: 'earliest', to: 'end' })) out.push(value)
    expect(sorted(out)).toEqual(range(300))
  })

  it('of different groups each get everything', async () => {
    const Numbers = await newTopic({ records: 20 })
    for (const group of ['one', 'two']) {
      const seen: number[] = []
      for await (const record of client.consume(Numbers, {
        ...optionsOf(Numbers),
        group: `${Numbers.name}-${group}`,
      })) {
        seen.push(record.value)
        record.ack()
        if (seen.length === 20) break
      }
      expect(seen).toEqual(range(20))
    }
  })

  it('end with UNKNOWN_TOPIC when their topic is deleted', async () => {
    const Numbers = await newTopic({ records: 5 })
    const loop = (async () => {
      for await (const record of client.consume(Numbers, optionsOf(Numbers))) {
        record.ack()
        if (record.value === 4) await client.deleteTopic(Numbers)
      }
    })()
    const error = await loop.catch((error: unknown) => error)
    expect(error).toBeInstanceOf(MillraceError)
    expect((error as MillraceError).code).toBe('UNKNOWN_TOPIC')
  })
})
