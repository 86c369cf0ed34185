import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { type Part, partOf } from '../../broker/groups/part.js'
import {
  type Client,
  type Consumer,
  connect,
  defineTopic,
  json,
  type ReadRecord,
  text,
} from '../../client/index.js'
import type { MemberId, TopicId } from '../../protocol/ids.js'
import { BrokerProcess } from '../support/broker-process.js'
import { ChurnMeter } from '../support/churn-meter.js'
import { SeededRandom } from '../support/seeded-random.js'
import { until } from '../support/until.js'

const CHANGES = process.env.MILLRACE_LONG === '1' ? 200 : 24
const seed = Number(process.env.MILLRACE_SEED ?? Date.now() % 1_000_000)
const MEMBERS = 16
const MEMBERS_MIN = 4
const PARTITIONS = 64
/** Changes come in the middle of others. */
const GAP_MS_MAX = 300
/** Records a second, over all partitions. */
const RATE = 1_000
/**
 * Whoever is asked back a partition has 1.5 s to answer. Where this process, in which all members are, stood still for longer than
 * this, some are fenced rightly: then all is done again, once.
 */
const STALL_MS_MAX = 600
const ROUNDS_MAX = 2

const Work = defineTopic({ name: 'work', key: text(), value: json<number>() })
const partNamed = (partition: number): Part => partOf(Work.name as TopicId, partition)

/** A group whose members come and go, each on a connection of its own. */
class Crowd {
  readonly meter = new ChurnMeter(PARTITIONS)
  readonly processed = new Map<number, number>()
  readonly lost: number[] = []
  readonly failures: unknown[] = []
  readonly #clients: Client[]
  readonly #members = new Map<
    MemberId,
    { client: Client; consumer: Consumer<ReadRecord>; done: Promise<void> }
  >()
  #count = 0

  constructor(url: string) {
    this.#clients = Array.from({ length: MEMBERS }, () => connect(url))
  }

  get size(): number {
    return this.#members.size
  }

  get ids(): MemberId[] {
    return [...this.#members.keys()]
  }

  join(): void {
    const memberId = `member ${++this.#count}` as MemberId
    const client = this.#clients.shift() as Client
    const { meter } = this
    meter.joined(memberId)
    const consumer = client.consume(Work, {
      group: 'crowd',
      ifNoCursor: 'earliest',
      onRebalance: ({ type, partitions }) => {
        for (const { partition } of partitions) {
          if (type === 'assigned') meter.started(partNamed(partition), memberId, performance.now())
          else meter.stopped(partNamed(partition), memberId, performance.now())
          if (type === 'lost') this.lost.push(partition)
        }
      },
    })
    const done = this.#process(consumer).catch((error: unknown) => {
      this.failures.push(error)
      // It has left, whether it was to or not.
      if (!this.#members.delete(memberId)) return
      meter.left(memberId, performance.now())
      this.#clients.push(client)
    })
    this.#members.set(memberId, { client, consumer, done })
  }

  async #process(consumer: Consumer<ReadRecord>): Promise<void> {
    for await (const record of consumer) {
      const value = record.value as number
      this.processed.set(value, (this.processed.get(value) ?? 0) + 1)
      if (value % 10 > 0) record.ack()
      // Nobody is asked back a partition without time to say what is done.
      else record.acked().catch((error: unknown) => this.failures.push(error))
    }
  }

  async leave(memberId: MemberId): Promise<void> {
    const member = this.#members.get(memberId)
    if (member === undefined) return
    this.#members.delete(memberId)
    this.meter.left(memberId, performance.now())
    await member.consumer.close()
    await member.done
    this.#clients.push(member.client)
  }

  async close(): Promise<void> {
    const clients = [...this.#clients, ...[...this.#members.values()].map(({ client }) => client)]
    await Promise.all(clients.map((client) => client.close()))
  }
}

async function produce(client: Client, isOver: () => boolean): Promise<number> {
  const producer = client.producer(Work)
  const sent: Promise<unknown>[] = []
  let value = 0
  while (!isOver()) {
    for (let i = 0; i < RATE / 20; i++) sent.push(producer.send({ value, partition: value++ % PARTITIONS }))
    await sleep(50)
  }
  await Promise.all(sent)
  await producer.close()
  return value
}

interface Round {
  /** Of partitions, from one member to another, and what no assignor can do better than. */
  readonly moved: number
  readonly fewest: number
  readonly lost: readonly number[]
  readonly failures: readonly unknown[]
  readonly stallMsMax: number
}

test(`${MEMBERS} members that join and leave ${CHANGES} times move few partitions, and are fenced never`, {
  timeout: 600_000,
}, async () => {
  const random = new SeededRandom(seed)
  for (let rounds = 1; ; rounds++) {
    console.log(`seed ${seed}`)
    const { moved, fewest, lost, failures, stallMsMax } = await churn(random)
    expect(moved).toBeGreaterThan(CHANGES)
    const isKept = failures.length + lost.length === 0 && moved <= 1.2 * fewest
    if (!isKept && stallMsMax > STALL_MS_MAX) {
      console.log(
        `this process stood still for ${stallMsMax.toFixed(0)} ms, and lost ${lost.length} partitions`,
      )
      const codes = failures.map((failure) => (failure as { code?: string }).code)
      for (const code of codes) expect(['FENCED', 'UNKNOWN_MEMBER', 'ALREADY_ACKED']).toContain(code)
      if (rounds < ROUNDS_MAX) continue
      return
    }
    expect(failures).toEqual([])
    expect(lost).toEqual([])
    expect(moved).toBeLessThanOrEqual(1.2 * fewest)
    return
  }
})

async function churn(random: SeededRandom): Promise<Round> {
  const delay = monitorEventLoopDelay({ resolution: 10 })
  const dataDir = await mkdtemp(join(tmpdir(), 'millrace-churn-'))
  const broker = new BrokerProcess({ dataDir })
  await broker.start()
  const client = connect(broker.url)
  const crowd = new Crowd(broker.url)
  const { meter } = crowd
  try {
    await client.createTopic(Work, { partitions: PARTITIONS })
    delay.enable()
    for (let n = 0; n < MEMBERS; n++) crowd.join()
    const isEven = (): boolean =>
      meter.unread === 0 && Math.max(...meter.loads()) - Math.min(...meter.loads()) <= 1
    await until(isEven)
    const before = { moved: meter.moved, fewest: meter.fewest }
    let isOver = false
    const producing = produce(client, () => isOver)
    const leaving: Promise<void>[] = []
    for (let change = 0; change < CHANGES; change++) {
      const isFull = (): boolean => crowd.size === MEMBERS - leaving.length
      // Where nobody gets an answer for a while, all the others are still on their way out.
      while (isFull() && crowd.size <= MEMBERS_MIN) await Promise.race(leaving)
      if (!isFull() && (crowd.size <= MEMBERS_MIN || random.chance(0.5))) crowd.join()
      else {
        const left = crowd
          .leave(random.pick(crowd.ids))
          .finally(() => leaving.splice(leaving.indexOf(left), 1))
        leaving.push(left)
      }
      await sleep(random.below(GAP_MS_MAX))
    }
    await Promise.all(leaving)
    await until(isEven)
    isOver = true
    const records = await producing
    await until(() => crowd.processed.size === records)
    const moved = meter.moved - before.moved
    const fewest = meter.fewest - before.fewest
    const again = [...crowd.processed.values()].filter((times) => times > 1).length
    console.log(
      `${CHANGES} changes: ${moved} partitions moved, ${fewest} at least; longest pause ${meter.pausedMsMax.toFixed(0)} ms; ${records} records, ${again} twice`,
    )
    // What comes of its end is no failure.
    return { moved, fewest, lost: crowd.lost, failures: [...crowd.failures], stallMsMax: delay.max / 1e6 }
  } finally {
    delay.disable()
    await crowd.close()
    await client.close({ drainMs: 0 })
    await broker.kill()
    await rm(dataDir, { recursive: true })
  }
}
