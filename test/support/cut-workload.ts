import { setTimeout as sleep } from 'node:timers/promises'
import {
  type Client,
  type Consumer,
  defineTopic,
  type GroupRecord,
  type Job,
  MillraceError,
  type Queue,
  type ReadRecord,
  type SendResult,
  text,
} from '../../client/index.js'
import type { SeededRandom } from './seeded-random.js'

export const In = defineTopic({ name: 'in', key: text(), value: text() })
export const Out = defineTopic({ name: 'out', key: text(), value: text() })
export const Left = defineTopic({ name: 'left', key: text(), value: text() })
export const Right = defineTopic({ name: 'right', key: text(), value: text() })
export const Jobs = defineTopic({ name: 'jobs', key: text(), value: text() })
export const PARTITIONS = 3
export const MAX_DELIVERIES = 4
/** Jobs that fail every time. */
export const isPoison = (value: string): boolean => Number(value) % 19 === 7

export const placeOf = ({ partition, offset }: { partition: number; offset: number }): string =>
  `${partition}/${offset}`

export interface Actor {
  readonly client: Client
  readonly random: SeededRandom
  /** Nothing new is begun, and everything that comes is finished. */
  readonly isOver: () => boolean
}

/** How loops may end: the member was away for too long, and the group has gone on. */
const ENDS = ['FENCED', 'UNKNOWN_MEMBER', 'ALREADY_ACKED', 'CONNECTION_LOST']

/** Everybody who writes and reads, and what they were told. Throws as soon as two answers contradict each other. */
export class CutWorkload {
  /** By dedup id, or by value where there is none: what the answers said. */
  readonly ids = new Map<string, SendResult[]>()
  readonly plain = new Map<string, SendResult[]>()
  readonly pairs: string[] = []
  readonly jobs: string[] = []
  /** Records that the group of readers was given. */
  readonly given = new Set<string>()
  /** Of these, those whose own ack was answered. */
  readonly acked = new Set<string>()
  readonly jobsAcked = new Set<string>()
  readonly jobsTried = new Set<string>()
  readonly ends = new Map<string, number>()
  readonly #answered = new Map<number, number>()
  givenAgain = 0
  #sentinels = 0
  /** Found where nobody waits for it. */
  #failure: unknown

  /** Every record in order; some with a dedup id that another sends too. */
  async produce(name: string, { client, random, isOver }: Actor): Promise<void> {
    const producer = client.producer(In, { deliveryTimeoutMs: 120_000, batchBytes: 2_000 })
    const open = new Set<Promise<unknown>>()
    const send = (into: Map<string, SendResult[]>, id: string, dedupId?: string): void => {
      const value = `${id} ${'x'.repeat(random.pick([0, 20, 500]))}`
      const record = {
        key: null,
        value: dedupId === undefined ? value : id,
        partition: random.below(PARTITIONS),
      }
      const sending = producer
        .send(dedupId === undefined ? record : { ...record, dedupId })
        .then((result) => into.set(id, [...(into.get(id) ?? []), result]))
        .finally(() => open.delete(sending))
      open.add(sending)
    }
    for (let n = 0; !isOver(); n++) {
      if (random.chance(0.5)) send(this.plain, `${name}-${n}`)
      const dedupId = `id-${n}`
      // The other one comes to the same ids, sooner or later.
      send(this.ids, dedupId, dedupId)
      if (random.chance(0.1)) send(this.ids, dedupId, dedupId)
      if (open.size > 40) await Promise.race(open)
      await sleep(random.below(10))
    }
    await Promise.all(open)
    await producer.close()
  }

  /** Two records in two topics, together. */
  async writePairs({ client, random, isOver }: Actor): Promise<void> {
    const open = new Set<Promise<unknown>>()
    for (let n = 0; !isOver(); n++) {
      const fields = { key: `${n}`, value: `${n}` }
      const writing = client
        .atomic({ writes: [Left.record(fields), Right.record(fields)] })
        .then(() => this.pairs.push(`${n}`))
        .finally(() => open.delete(writing))
      open.add(writing)
      if (open.size > 8) await Promise.race(open)
      await sleep(random.below(15))
    }
    await Promise.all(open)
  }

  async produceJobs({ client, random, isOver }: Actor): Promise<void> {
    const producer = client.producer(Jobs, { deliveryTimeoutMs: 120_000 })
    for (let n = 0; !isOver(); n++) {
      this.jobs.push(`${n}`)
      await producer.send({ key: null, value: `${n}`, partition: random.below(PARTITIONS) })
      await sleep(random.below(15))
    }
    await producer.close()
  }

  /** A reader acknowledges now so, now so, leaves, comes back, and is thrown out. */
  async read({ client, random, isOver }: Actor, stop: AbortSignal): Promise<void> {
    await this.#again(stop, async () => {
      const consumer = client.consume(In, { ...member('readers'), signal: stop })
      for await (const record of consumer) {
        const wasAcked = record.offset < (this.#answered.get(record.partition) ?? 0)
        if (this.given.has(placeOf(record))) this.givenAgain++
        this.given.add(placeOf(record))
        const acked = async (): Promise<void> => {
          await record.acked()
          // Who lags behind the group may be given what another acknowledged, but then it cannot acknowledge it too.
          if (wasAcked || this.acked.has(placeOf(record)))
            throw new Error(`${placeOf(record)} was acknowledged twice`)
          this.acked.add(placeOf(record))
          this.#raise(record)
        }
        if (random.chance(0.2)) await acked()
        else if (random.chance(0.4)) this.#watch(acked())
        else if (isOver() || random.chance(0.7)) record.ack()
        if (!isOver() && random.chance(0.005)) break
      }
    })
  }

  #raise({ partition, offset }: ReadRecord): void {
    this.#answered.set(partition, Math.max(this.#answered.get(partition) ?? 0, offset + 1))
  }

  /** Each record of `in` becomes one of `out`, in the write that acknowledges it. */
  async copy({ client, random, isOver }: Actor, stop: AbortSignal): Promise<void> {
    await this.#again(stop, async () => {
      const consumer: Consumer<ReadRecord> = client.consume(In, { ...member('copiers'), signal: stop })
      const one = (record: GroupRecord<ReadRecord>) =>
        client.atomic({ writes: [Out.record({ key: null, value: placeOf(record) })], acks: [record] })
      for await (const record of consumer) {
        await one(record)
        if (!isOver() && random.chance(0.005)) break
      }
    })
  }

  async work({ client, random, isOver }: Actor, stop: AbortSignal): Promise<void> {
    await this.#again(stop, async () => {
      const queue: Queue = client.queue(Jobs, {
        group: 'workers',
        leaseMs: 1_000,
        sessionTimeoutMs: 1_500,
        maxDeliveries: MAX_DELIVERIES,
        prefetch: 8,
        signal: stop,
      })
      for await (const job of queue) {
        await this.#workOn(job, random)
        if (!isOver() && random.chance(0.01)) break
      }
    })
  }

  async #workOn(job: Job, random: SeededRandom): Promise<void> {
    const place = placeOf(job)
    if (job.deliveryCount > MAX_DELIVERIES)
      throw new Error(`job ${place} is delivered for the ${job.deliveryCount}th time`)
    try {
      if (random.chance(0.1)) await job.extend(500)
      if (isPoison(String(job.value)) || random.chance(0.1)) {
        await job.nack({ delayMs: random.below(50), reason: 'drawn' })
      } else {
        this.jobsTried.add(place)
        await job.ack()
        if (this.jobsAcked.has(place)) throw new Error(`job ${place} was acknowledged twice`)
        this.jobsAcked.add(place)
      }
    } catch (error) {
      const code = error instanceof MillraceError ? error.code : ''
      // Another has it, or what was lost was the answer.
      if (code !== 'LEASE_LOST' && code !== 'ALREADY_ACKED') throw error
      this.#count(code)
    }
  }

  /** As a program would that is run again whenever it fails. */
  async #again(stop: AbortSignal, loop: () => Promise<void>): Promise<void> {
    while (!stop.aborted) {
      await loop().then(
        () => this.#count('left'),
        (error: unknown) => this.#ended(error, stop),
      )
      this.#throwFailure()
    }
  }

  #watch(acked: Promise<void>): void {
    acked.catch((error: unknown) => {
      const code = error instanceof MillraceError ? error.code : ''
      if (!ENDS.includes(code) && code !== 'CLOSED') this.#failure ??= error
    })
  }

  #throwFailure(): void {
    if (this.#failure !== undefined) throw this.#failure
  }

  #ended(error: unknown, stop: AbortSignal): void {
    if (stop.aborted) return
    const code = error instanceof MillraceError ? error.code : ''
    if (!ENDS.includes(code)) throw error
    this.#count(code)
  }

  #count(what: string): void {
    this.ends.set(what, (this.ends.get(what) ?? 0) + 1)
  }

  /** When the network is honest: a last record everywhere, after which nothing is left unacknowledged. */
  async finish(client: Client): Promise<void> {
    const producer = client.producer(In)
    for (let partition = 0; partition < PARTITIONS; partition++) {
      const id = `last-${this.#sentinels++}`
      this.plain.set(id, [await producer.send({ key: null, value: `${id} `, partition })])
    }
    await producer.close()
  }
}

/** Short, so that frozen connections cost their owners what they have. */
const member = (group: string) => ({ group, ifNoCursor: 'earliest' as const, sessionTimeoutMs: 1_500 })
