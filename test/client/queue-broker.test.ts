import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { openSocket } from '#socket'
import { type Broker, startBroker } from '../../broker/broker.js'
import {
  type AnyTopic,
  type Client,
  connect,
  defineTopic,
  type MillraceError,
  type ReadRecordOf,
  text,
} from '../../client/index.js'

import type { OpenSocket } from '../../client/platform/socket.js'
import { SeededRandom } from '../support/seeded-random.js'
import { until } from '../support/until.js'

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
  directory = await mkdtemp(join(tmpdir(), 'millrace-queue-'))
  await start()
})

beforeEach(() => {
  client = newClient()
})

afterEach(async () => {
  for (const one of clients.splice(0)) await one.close({ drainMs: 100 })
})

afterAll(async () => {
  await broker.close()
  await rm(directory, { recursive: true })
})

const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i)
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))
const eventually = <T>(get: () => T) => expect.poll(get, { interval: 10 })

const failureOf = (promise: Promise<unknown>): Promise<MillraceError> =>
  promise.then(
    () => {
      throw new Error('it did not fail')
    },
    (error: MillraceError) => error,
  )

async function newTopic({ partitions = 1, records = 0 } = {}) {
  const Lines = defineTopic({ name: `lines-${++topics}`, key: text(), value: text() })
  await client.createTopic(Lines, { partitions })
  const producer = client.producer(Lines)
  await producer.sendBatch(range(records).map((i) => ({ key: `${i}`, value: `${i}` })))
  return Lines
}

async function valuesIn<T extends AnyTopic>(topic: T): Promise<unknown[]> {
  const values: unknown[] = []
  for await (const record of client.read(topic, { from: 'earliest', to: 'end' }))
    values.push((record as ReadRecordOf<T>).value)
  return values
}

describe('a work queue', () => {
  it('gives each record to one of its workers', async () => {
    const Lines = await newTopic({ partitions: 3, records: 300 })
    const seen: string[] = []
    const byWorker = [0, 0, 0]
    const queues = range(3).map(() => newClient().queue(Lines, { group: 'work', prefetch: 10 }))
    const running = queues.map((queue, worker) =>
      queue.run(
        async (job) => {
          await pause(1)
          byWorker[worker] = (byWorker[worker] ?? 0) + 1
          seen.push(job.value)
        },
        { concurrency: 4 },
      ),
    )
    await eventually(() => seen.length).toBe(300)
    await Promise.all(queues.map((queue) => queue.close()))
    await Promise.all(running)
    expect(new Set(seen).size).toBe(300)
    expect(byWorker.every((count) => count > 0)).toBe(true)
    const { partitions, kind, isActive } = await client.groups.describe('work')
    expect([kind, isActive]).toEqual(['queue', false])
    expect(partitions.map(({ lag }) => lag.records)).toEqual([0, 0, 0])
  })

  it('gives a poisoned job up after its deliveries, and replays it to the group alone', async () => {
    const Lines = await newTopic({ records: 5 })
    let isPoison = true
    const seen = { one: [] as string[], two: [] as string[] }
    const work = (group: 'one' | 'two') => (job: { value: string }) => {
      if (isPoison && job.value === '2') throw new Error('poison')
      seen[group].push(job.value)
    }
    const one = client.queue(Lines, { group: 'one', maxDeliveries: 1 })
    const two = newClient().queue(Lines, { group: 'two', maxDeliveries: 1 })
    const running = [one.run(work('one')), two.run(work('two'))]
    const lettersOf = async (group: string) => {
      const letters = []
      for await (const letter of client.deadLetters.list(Lines, group)) letters.push(letter)
      return letters
    }
    await eventually(async () => (await lettersOf('one')).length + (await lettersOf('two')).length).toBe(2)
    const [letter] = await lettersOf('one')
    expect(letter).toMatchObject({
      reason: 'poison',
      count: 1,
      group: 'one',
      origin: { topic: Lines.name, partition: 0, offset: 2 },
    })
    expect(letter?.record).toMatchObject({ key: '2', value: '2' })
    isPoison = false
    expect(await client.deadLetters.replay(Lines, 'one')).toEqual({ replayed: 1, left: 0 })
    await eventually(() => seen.one.includes('2')).toBe(true)
    expect(await client.deadLetters.purge(Lines, 'two')).toEqual({ records: 1 })
    await Promise.all([one.close(), two.close()])
    await Promise.all(running)
    expect(seen.one.sort()).toEqual(['0', '1', '2', '3', '4'])
    expect(seen.two.sort()).toEqual(['0', '1', '3', '4'])
    expect(await lettersOf('one')).toEqual([])
    expect(await lettersOf('two')).toEqual([])
  })

  it('gives a failed job again after its delay', async () => {
    const Lines = await newTopic({ records: 1 })
    const startedAt = Date.now()
    const counts: number[] = []
    for await (const job of client.queue(Lines, { group: 'again' })) {
      counts.push(job.deliveryCount)
      if (job.deliveryCount === 1) await job.nack({ delayMs: 150 })
      else {
        await job.ack()
        break
      }
    }
    expect(counts).toEqual([1, 2])
    expect(Date.now() - startedAt).toBeGreaterThanOrEqual(140)
  })

  it('lets others have at once what a broken loop had, long before its leases end', async () => {
    const Lines = await newTopic({ records: 60 })
    const group = { group: 'broken', prefetch: 100, leaseMs: 3_600_000 }
    for await (const job of client.queue(Lines, group)) if (job.offset === 3) break
    const counts = new Map<number, number>()
    for await (const job of newClient().queue(Lines, group)) {
      counts.set(job.offset, job.deliveryCount)
      void job.ack()
      if (counts.size === 60) break
    }
    expect([...counts.values()].filter((count) => count > 1)).toHaveLength(4)
  })

  it('keeps leases for as long as the work takes', async () => {
    const Lines = await newTopic({ records: 3 })
    const counts: number[] = []
    for await (const job of client.queue(Lines, { group: 'slow', leaseMs: 1_500 })) {
      // The others wait in the client meanwhile.
      if (counts.length === 0) await pause(3_000)
      expect(job.signal.aborted).toBe(false)
      await job.ack()
      if (counts.push(job.deliveryCount) === 3) break
    }
    expect(counts).toEqual([1, 1, 1])
  })

  it('goes on over a restart of the broker: nothing is lost, nothing acknowledged comes again', async () => {
    const Lines = await newTopic({ partitions: 2, records: 200 })
    const worker = newClient()
    const acked = new Set<string>()
    const unsure = new Set<string>()
    const seenAgain: string[] = []
    const queue = worker.queue(Lines, { group: 'restarted', prefetch: 16, leaseMs: 5_000 })
    const working = (async () => {
      for await (const job of queue) {
        if (acked.has(job.value)) seenAgain.push(job.value)
        // When the answer is lost it may be done or come again.
        await job.ack().then(
          () => acked.add(job.value),
          () => unsure.add(job.value),
        )
      }
    })()
    await eventually(() => acked.size).toBeGreaterThan(20)
    await broker.close()
    await start()
    await until(async () => {
      const { partitions } = await client.groups.describe('restarted')
      return partitions.length === 2 && partitions.every(({ lag }) => lag.records === 0)
    })
    await queue.close()
    await working
    expect(new Set([...acked, ...unsure]).size).toBe(200)
    expect(seenAgain).toEqual([])
  })

  it('cannot have the name of a consumer group', async () => {
    const Lines = await newTopic({ records: 1 })
    for await (const record of client.consume(Lines, { group: 'taken', ifNoCursor: 'earliest' })) {
      await record.acked()
      break
    }
    expect((await failureOf(client.queue(Lines, { group: 'taken' }).next())).code).toBe('GROUP_KIND_CONFLICT')
  })
})

describe('conditional records', () => {
  it('with a dedup id are written once, from whatever connection and partition', async () => {
    const Lines = await newTopic({ partitions: 2 })
    const sends = await Promise.all(
      range(8).map((i) =>
        newClient()
          .producer(Lines)
          .sendBatch(range(50).map((n) => ({ value: `${n}`, dedupId: `${n}`, partition: i % 2 }))),
      ),
    )
    const written = sends.flat().filter(({ duplicate }) => !duplicate)
    expect(written).toHaveLength(50)
    expect((await valuesIn(Lines)).sort()).toEqual(range(50).map(String).sort())
    for (const n of range(50)) {
      const places = new Set(sends.map((results) => `${results[n]?.partition}/${results[n]?.offset}`))
      expect(places.size).toBe(1)
    }
  })

  it('with an expected offset are written there or not at all', async () => {
    const Lines = await newTopic({ records: 3 })
    const producer = client.producer(Lines)
    const error = await failureOf(producer.send({ value: 'x' }, { expectedOffset: 2 }))
    expect(error.code).toBe('EXPECTED_OFFSET_CONFLICT')
    expect(error.details).toMatchObject({ expectedOffset: 2, actualOffset: 3 })
    await producer.send({ value: '3' }, { expectedOffset: Number(error.details?.actualOffset) })
    const racers = await Promise.allSettled(
      range(5).map((i) =>
        newClient()
          .producer(Lines)
          .send({ value: `racer ${i}`, expectedOffset: 4 }),
      ),
    )
    expect(racers.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
    expect(await valuesIn(Lines)).toHaveLength(5)
  })
})

describe('atomic writes', () => {
  it('make consume, transform and produce happen once for each job', async () => {
    const In = await newTopic({ partitions: 2, records: 100 })
    const Out = await newTopic({ partitions: 2 })
    const failures: unknown[] = []
    const queues = range(2).map(() => newClient().queue(In, { group: 'transform' }))
    const running = queues.map((queue, i) =>
      queue.run(
        async (job) => {
          await (clients.at(-1 - i) as Client).atomic({
            writes: [Out.record({ key: job.key, value: job.value })],
            acks: [job],
          })
        },
        { concurrency: 4, onFailed: (error) => failures.push(error) },
      ),
    )
    await eventually(async () => (await valuesIn(Out)).length).toBe(100)
    await Promise.all(queues.map((queue) => queue.close()))
    await Promise.all(running)
    expect(failures).toEqual([])
    expect((await valuesIn(Out)).sort()).toEqual(range(100).map(String).sort())
    const { partitions } = await client.groups.describe('transform')
    expect(partitions.map(({ lag }) => lag.records)).toEqual([0, 0])
  })

  it('carry the acks of a consumer group', async () => {
    const In = await newTopic({ records: 20 })
    const Out = await newTopic()
    let done = 0
    for await (const record of client.consume(In, { group: 'copy', ifNoCursor: 'earliest' })) {
      await client.atomic({ writes: [Out.record({ value: record.value })], acks: [record] })
      if (++done === 20) break
    }
    expect(await valuesIn(Out)).toEqual(range(20).map(String))
    const { partitions } = await client.groups.describe('copy')
    expect(partitions[0]?.position).toBe(20)
  })

  it('write nothing when one of their conditions does not hold', async () => {
    const In = await newTopic({ records: 2 })
    const Out = await newTopic()
    const queue = client.queue(In, { group: 'late', leaseMs: 60_000 })
    const { value: job } = await queue.next()
    if (job === undefined) throw new Error('no job')
    const conflict = client.atomic({ writes: [Out.record({ value: 'x', expectedOffset: 9 })], acks: [job] })
    expect(await failureOf(conflict)).toMatchObject({
      code: 'EXPECTED_OFFSET_CONFLICT',
      details: { actualOffset: 0 },
    })
    await client.atomic({ writes: [Out.record({ value: 'y' })], acks: [job] })
    await queue.return()
    expect(await valuesIn(Out)).toEqual(['y'])
    const { partitions } = await client.groups.describe('late')
    expect(partitions[0]).toMatchObject({ position: 1, lag: { records: 1 } })
  })
})

describe('over connections that break', () => {
  /** A client whose connections break now and then, in either direction; what was under way is lost. */
  let breaks = 0
  function brokenClient(seed: number, rate: number): Client {
    const random = new SeededRandom(seed)
    const cutting: OpenSocket = (options, listener) => {
      const socket = openSocket(options, {
        ...listener,
        onMessage: (message) => (random.fraction() < rate ? socket.terminate() : listener.onMessage(message)),
      })
      const send = (message: Uint8Array): void => {
        if (random.fraction() < rate) socket.terminate()
        else socket.send(message)
      }
      return {
        ...socket,
        send,
        close: (code, reason) => socket.close(code, reason),
        terminate: () => socket.terminate(),
      }
    }
    const one = connect(broker.url, { backoffBaseMs: 1, backoffCapMs: 10 }, { openSocket: cutting })
    one.on('disconnected', () => breaks++)
    clients.push(one)
    return one
  }

  beforeEach(() => {
    breaks = 0
  })

  it.each([1, 2, 3])('jobs are transformed exactly once (seed %i)', async (seed) => {
    const In = await newTopic({ partitions: 2, records: 150 })
    const Out = await newTopic({ partitions: 2 })
    const group = {
      group: `cut-${seed}`,
      leaseMs: 1_000,
      sessionTimeoutMs: 1_000,
      maxDeliveries: 1_000,
      prefetch: 8,
    }
    const workers = range(3).map((i) => brokenClient(10 * seed + i, 0.03))
    const queues = workers.map((worker) => worker.queue(In, group))
    const running = queues.map((queue, i) =>
      queue.run(
        async (job) => {
          const worker = workers[i] as Client
          await worker.atomic({ writes: [Out.record({ key: job.key, value: job.value })], acks: [job] })
        },
        { concurrency: 4 },
      ),
    )
    const left = async () => {
      const { partitions } = await client.groups.describe(group.group)
      return partitions.reduce((sum, { lag }) => sum + lag.records, 0) + (partitions.length === 2 ? 0 : 1)
    }
    await eventually(() => left().catch(() => 1)).toBe(0)
    for (const queue of queues) void queue.return()
    await Promise.all(running)
    expect(breaks).toBeGreaterThan(5)
    expect((await valuesIn(Out)).sort()).toEqual(range(150).map(String).sort())
  })

  it.each([4, 5])('records with dedup ids are written once (seed %i)', async (seed) => {
    const Lines = await newTopic({ partitions: 2 })
    const results = await Promise.all(
      range(3).map(async (i) => {
        const producer = brokenClient(10 * seed + i, 0.05).producer(Lines, { batchBytes: 200 })
        const sends = range(200).map((n) =>
          producer.send({ value: `${n}`, dedupId: `${n}`, partition: (n + i) % 2 }),
        )
        return await Promise.all(sends)
      }),
    )
    expect(breaks).toBeGreaterThan(2)
    expect((await valuesIn(Lines)).sort()).toEqual(range(200).map(String).sort())
    for (const n of range(200)) {
      const told = results.map((sends) => sends[n])
      expect(told.filter((one) => one?.duplicate === false)).toHaveLength(1)
      expect(new Set(told.map((one) => `${one?.partition}/${one?.offset}`)).size).toBe(1)
    }
  })
})

describe('administration', () => {
  it('lists, resets and deletes groups', async () => {
    const Lines = await newTopic({ records: 10 })
    for await (const job of client.queue(Lines, { group: 'admin' })) {
      await job.ack()
      if (job.offset === 9) break
    }
    expect((await client.groups.list()).find(({ name }) => name === 'admin')).toMatchObject({
      kind: 'queue',
      members: 0,
      topics: 1,
      lagRecords: 0,
    })
    const part = { topic: Lines.name, partition: 0, from: 10, to: 4 }
    const to = { offset: 4 }
    expect(await client.groups.reset('admin', { to, topic: Lines, dryRun: true })).toEqual([part])
    expect((await client.groups.describe('admin')).partitions[0]?.position).toBe(10)
    expect(await client.groups.reset('admin', { to, topic: Lines })).toEqual([part])
    expect((await client.groups.describe('admin')).partitions[0]).toMatchObject({
      position: 4,
      lag: { records: 6 },
    })
    await client.groups.delete('admin')
    expect((await failureOf(client.groups.describe('admin'))).code).toBe('UNKNOWN_GROUP')
  })

  it('refuses to reset a group that has a member', async () => {
    const Lines = await newTopic({ records: 1 })
    await client.queue(Lines, { group: 'busy' }).next()
    expect((await failureOf(client.groups.reset('busy', { to: 'earliest' }))).code).toBe('GROUP_ACTIVE')
    expect((await failureOf(client.groups.delete('busy'))).code).toBe('GROUP_ACTIVE')
  })

  it('sets what a topic keeps, and deletes by offset', async () => {
    const Kept = defineTopic({ name: 'kept', key: text(), value: text() })
    await client.createTopic(Kept, {
      retention: { maxAgeMs: 3_600_000, untilAcked: true },
      dedupWindowMs: 60_000,
    })
    expect(await client.describeTopic(Kept)).toMatchObject({
      retention: { maxAgeMs: 3_600_000, untilAcked: true, onLag: 'keep' },
      dedupWindowMs: 60_000,
      internal: false,
    })
    const altered = await client.alterTopic(Kept, { retention: { maxAgeMs: null, maxBytes: 1_000_000 } })
    expect(altered).toMatchObject({ retention: { maxAgeMs: null, maxBytes: 1_000_000, untilAcked: true } })
    await client.producer(Kept).sendBatch(range(10).map((i) => ({ value: `${i}` })))
    expect(await client.deleteBefore(Kept, 0, 4)).toMatchObject({ startOffset: 4, records: 4 })
    expect(await valuesIn(Kept)).toEqual(['4', '5', '6', '7', '8', '9'])
    expect((await failureOf(client.deleteBefore(Kept, 0, 11))).code).toBe('OFFSET_OUT_OF_RANGE')
    expect(await client.deleteBefore(Kept, 0, 'end')).toMatchObject({ startOffset: 10, records: 6 })
    expect((await failureOf(client.alterTopic('_millrace.changes', { dedupWindowMs: 5_000 }))).code).toBe(
      'TOPIC_READ_ONLY',
    )
  })
})
