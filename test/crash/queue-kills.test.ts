import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type AnyTopic, type Client, connect, defineTopic, type Queue, text } from '../../client/index.js'
import { BrokerProcess } from '../support/broker-process.js'
import { ChildScript } from '../support/child-script.js'
import {
  MEMBER_SCRIPT,
  type MemberEvent,
  MemberProcess,
  type MemberSettings,
} from '../support/member-process.js'
import { SeededRandom } from '../support/seeded-random.js'
import { until } from '../support/until.js'

const isLong = process.env.MILLRACE_LONG === '1'
const seed = Number(process.env.MILLRACE_SEED ?? Date.now() % 1_000_000)
const random = new SeededRandom(seed)
const SESSION_TIMEOUT_MS = 1_000

let script: ChildScript

beforeAll(async () => {
  console.log(`seed ${seed}`)
  script = await ChildScript.compile(MEMBER_SCRIPT)
})

afterAll(() => script.remove())

/** A broker of its own for each test, so that none is killed under another. */
async function withBroker(use: (broker: BrokerProcess, client: Client) => Promise<void>): Promise<void> {
  const dataDir = await mkdtemp(join(tmpdir(), 'millrace-queue-kills-'))
  const broker = new BrokerProcess({ dataDir, flags: { 'wal-segment-bytes': '6MiB' } })
  await broker.start()
  const client = connectTo(broker)
  try {
    await use(broker, client)
  } finally {
    await client.close({ drainMs: 0 })
    await broker.kill()
    await rm(dataDir, { recursive: true })
  }
}

const connectTo = (broker: BrokerProcess): Client =>
  connect(broker.url, { backoffCapMs: 100, requestTimeoutMs: 60_000 })

async function jobs(client: Client, { count, partitions = 1 }: { count: number; partitions?: number }) {
  const Jobs = defineTopic({ name: 'jobs', key: text(), value: text() })
  await client.createTopic(Jobs, { partitions })
  const producer = client.producer(Jobs)
  await producer.sendBatch(
    Array.from({ length: count }, (_, i) => ({ value: `${i}`, partition: i % partitions })),
  )
  await producer.close()
  return Jobs
}

const placeOf = ({ partition, offset }: { partition?: number; offset?: number }): string =>
  `${partition}/${offset}`

function worker(broker: BrokerProcess, topic: AnyTopic, more: Partial<MemberSettings>) {
  const { url } = broker
  return new MemberProcess(script, {
    kind: 'work',
    url,
    topic: topic.name,
    group: 'workers',
    sessionTimeoutMs: SESSION_TIMEOUT_MS,
    ...more,
  })
}

async function leased(client: Client): Promise<number> {
  const { partitions } = await client.groups.describe('workers')
  return partitions.reduce((sum, { leased }) => sum + leased, 0)
}

const acked = ({ events }: MemberProcess): MemberEvent[] => events.filter(({ type }) => type === 'acked')

async function deadLetters(client: Client, topic: AnyTopic): Promise<string[]> {
  const dead: string[] = []
  for await (const { origin } of client.deadLetters.list(topic, 'workers')) dead.push(placeOf(origin))
  return dead.sort()
}

describe.concurrent('a work queue', { timeout: 300_000 }, () => {
  test('whose worker holds 100 prefetched jobs and is killed six times gives up none that was never started', () =>
    withBroker(async (broker, client) => {
      const maxDeliveries = 3
      const Jobs = await jobs(client, { count: 101 })
      const started = new Map<string, number>()
      const over = () => [...started].filter(([, times]) => times >= maxDeliveries).map(([place]) => place)
      const began = async (member: MemberProcess): Promise<MemberEvent> => {
        const job = await member.next('given')
        const { count = 0 } = job
        const times = started.get(placeOf(job)) ?? 0
        // A kill can be faster than the word that the job was started, which then does not count.
        expect([Math.max(1, times), times + 1]).toContain(count)
        started.set(placeOf(job), count - 1)
        return job
      }
      // Long enough for a machine that stands still: no worker loses its jobs while it lives.
      const options = { maxDeliveries, prefetch: 100, sessionTimeoutMs: 5_000 }
      let lives = 0
      let last = worker(broker, Jobs, options)
      for (let job = await began(last); over().length < 2; job = await began(last)) {
        // Some kills may be too fast; not half of them.
        expect(++lives).toBeLessThan(12)
        // One in hand, the rest waits in the client.
        await until(async () => (await leased(client)) === 101 - over().length)
        await sleep(300)
        await last.kill()
        started.set(placeOf(job), job.count ?? 0)
        last = worker(broker, Jobs, options)
      }
      last.tell('all')
      await until(() => acked(last).length === 101 - over().length)
      // One started job for each kill: so many are dead as had all their deliveries, and no other.
      expect(await deadLetters(client, Jobs)).toEqual(over().sort())
      for (const { type, count } of last.events) if (type === 'given') expect(count).toBe(1)
      await last.kill()
    }))

  test('gives the rest of a worker that breaks out of its loop to others long before its leases end', () =>
    withBroker(async (broker, client) => {
      const Jobs = await jobs(client, { count: 200, partitions: 2 })
      const other = connectTo(broker)
      const options = { group: 'workers', prefetch: 100, leaseMs: 3_600_000 }
      const first = new Set<string>()
      for await (const job of client.queue(Jobs, options)) {
        first.add(placeOf(job))
        await job.ack()
        if (first.size === 5) break
      }
      const rest = new Set<string>()
      for await (const job of other.queue(Jobs, options)) {
        expect(job.deliveryCount).toBe(1)
        rest.add(placeOf(job))
        void job.ack()
        if (rest.size === 195) break
      }
      expect(new Set([...first, ...rest]).size).toBe(200)
      await other.close()
    }))

  test('loses, strands and repeats nothing that is acknowledged when its broker is killed', () =>
    withBroker(async (broker, client) => {
      const count = isLong ? 20_000 : 4_000
      const kills = isLong ? 20 : 3
      const Jobs = await jobs(client, { count, partitions: 4 })
      const clients = [0, 1, 2].map(() => connectTo(broker))
      const done = new Set<string>()
      const deliveries = new Set<number>()
      let seen = 0
      const queues: Queue[] = clients.map((one) =>
        // What kills and a busy machine cost a job is no failure of its own.
        one.queue(Jobs, { group: 'workers', prefetch: 50, leaseMs: 2_000, maxDeliveries: 1_000 }),
      )
      const runs = queues.map((queue) =>
        queue.run(
          async (job) => {
            seen++
            deliveries.add(job.deliveryCount)
            if (done.has(placeOf(job))) throw new Error(`${placeOf(job)} was given again`)
            await sleep(random.below(isLong ? 60 : 12))
            await job.ack().then(
              () => done.add(placeOf(job)),
              // Another will have it, or it was done already: the answer was lost.
              (error: { code: string }) => expect(['LEASE_LOST', 'ALREADY_ACKED']).toContain(error.code),
            )
          },
          { concurrency: 8, onFailed: (error) => void failures.push(error) },
        ),
      )
      const failures: unknown[] = []
      for (let n = 0; n < kills; n++) {
        await sleep(300 + random.below(400))
        await broker.kill()
        await sleep(random.below(200))
        await broker.start()
      }
      await until(async () => isDone(client), { timeoutMs: 100_000 })
      for (const queue of queues) await queue.close()
      await Promise.all(runs)
      console.log(
        `${kills} kills of the broker: ${count} jobs, given ${seen} times, ${done.size} acknowledged for sure`,
      )
      expect(failures).toEqual([])
      expect(await deadLetters(client, Jobs)).toEqual([])
      expect(seen).toBeGreaterThanOrEqual(count)
      for (const one of clients) await one.close()
    }))

  test('gives out again at the start of its broker what was leased when it died', () =>
    withBroker(async (broker, client) => {
      const Jobs = await jobs(client, { count: 60 })
      const leaseMs = 400
      const member = worker(broker, Jobs, { prefetch: 20, leaseMs, sessionTimeoutMs: 60_000 })
      await member.next('given')
      await until(async () => (await leased(client)) >= 20)
      await broker.kill()
      await member.kill()
      // The leases run out while nobody is there to see it.
      await sleep(2 * leaseMs)
      await broker.start()
      // Long before the member that never comes back is given up.
      const places = new Set<string>()
      const given = client.queue(Jobs, { group: 'workers', prefetch: 100 })
      const taking = (async () => {
        for await (const job of given) {
          places.add(placeOf(job))
          // On a busy machine a lease may run out first: then it comes again.
          void job.ack().catch(() => {})
        }
      })()
      await until(() => isDone(client))
      await given.close()
      await taking
      expect(places.size).toBe(60)
    }))
})

describe('a work queue with a poisonous job', { timeout: 300_000 }, () => {
  test('gives up a job that kills each worker at once, and none that waited behind it', () =>
    withBroker(async (broker, client) => {
      const maxDeliveries = 2
      const poison = 3
      const Jobs = await jobs(client, { count: 40 })
      const isAllDone = () => isDone(client).catch(() => false)
      let deaths = 0
      while (!(await isAllDone())) {
        const member = worker(broker, Jobs, { maxDeliveries, prefetch: 100, poison, sessionTimeoutMs: 2_000 })
        member.tell('all')
        let isGone = false
        void member.gone.then(() => {
          isGone = true
        })
        await until(async () => isGone || (await isAllDone()))
        if (isGone) deaths++
        else await member.kill()
        // The word of the first delivery dies with the worker, those of the later ones are sent before; but on a busy machine one may be
        // expelled before it dies, or the whole machine stand still.
        expect(deaths).toBeLessThanOrEqual(maxDeliveries + 8)
      }
      expect(deaths).toBeGreaterThanOrEqual(maxDeliveries)
      expect(await deadLetters(client, Jobs)).toEqual([`0/${poison}`])
    }))
})

/** Whether all jobs of the queue are done. */
async function isDone(client: Client): Promise<boolean> {
  const { partitions } = await client.groups.describe('workers')
  return partitions.length > 0 && partitions.every(({ lag }) => lag.records === 0)
}
