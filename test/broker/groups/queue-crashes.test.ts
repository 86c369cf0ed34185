import { expect, test } from 'vitest'
import type { MemberId, TopicId } from '../../../protocol/ids.js'
import { SeededRandom } from '../../support/seeded-random.js'
import { append, createTopic, readAll, textBatch } from '../../support/test-shard.js'
import { QueueHarness, RecordingLink } from './queue-harness.js'
import { member } from './queue-world.js'

const MAX_DELIVERIES = 3
const PARTITIONS = 2

/** Every fifth job fails, or its worker is never heard of again. */
const isPoison = (value: string): boolean => Number(value.slice('job '.length)) % 5 === 0

interface Worker {
  readonly memberId: MemberId
  readonly link: RecordingLink
  attempt: number
  /** Jobs that it has and has neither settled nor given up. */
  seen: number
}

/** Workers, a broker and what befalls them, by one seed. */
class Workday {
  readonly random: SeededRandom
  readonly harness: QueueHarness
  readonly topicId: TopicId
  readonly workers: Worker[] = []
  readonly appended: string[] = []
  /** Jobs whose ack was answered. */
  readonly done = new Set<string>()
  /** Starts and nacks of each job: what may count as a delivery. */
  readonly tries = new Map<string, number>()
  groupId = 0
  #members = 0

  private constructor(random: SeededRandom, harness: QueueHarness, topicId: TopicId) {
    this.random = random
    this.harness = harness
    this.topicId = topicId
  }

  static async begin(seed: number): Promise<Workday> {
    const harness = await QueueHarness.open({ queueRangesMax: 50 })
    const topicId = await createTopic(harness.shard, 'mails', PARTITIONS)
    return new Workday(new SeededRandom(seed), harness, topicId)
  }

  async hire(): Promise<void> {
    const link = new RecordingLink()
    const memberId = member(1000 + this.#members++)
    const { topicId } = this
    const asked = {
      memberId,
      topicIds: [topicId],
      leaseMs: 2_000,
      maxDeliveries: MAX_DELIVERIES,
      prefetch: 8,
    }
    const { groupId } = await this.harness.join('mail', { ...asked, sessionTimeoutMs: 1_000 }, link)
    this.groupId = groupId
    this.workers.push({ memberId, link, attempt: 1, seen: 0 })
  }

  async produce(): Promise<void> {
    const values = Array.from(
      { length: 1 + this.random.below(6) },
      (_, i) => `job ${this.appended.length + i}`,
    )
    const partition = this.random.below(PARTITIONS)
    await append(this.harness.shard, textBatch(values, { topicId: this.topicId, partition }))
    this.appended.push(...values)
  }

  /** A worker takes its next job and does something with it. */
  async work(): Promise<void> {
    const { random, harness, groupId } = this
    if (this.workers.length === 0) return
    const worker = random.pick(this.workers)
    const job = worker.link.jobs[worker.seen]
    if (job === undefined) return
    worker.seen++
    const { topicId, partition, leaseId, offset, value } = job
    const { memberId } = worker
    const range = { from: offset, to: offset + 1 }
    // Every fifth is poison: it fails, or is never heard of again.
    const isPoison = Number(value.slice('job '.length)) % 5 === 0
    const kinds = isPoison
      ? (['nack', 'nack', 'forget'] as const)
      : (['ack', 'ack', 'ack', 'nack', 'release'] as const)
    const kind = random.pick(kinds)
    if (kind !== 'release') {
      harness.coordinator.queueStarted({ groupId, memberId, topicId, partition, leaseId, ranges: [range] })
      this.tries.set(value, (this.tries.get(value) ?? 0) + 1)
    }
    if (kind === 'forget') return
    const item = {
      kind,
      topicId,
      partition,
      leaseId,
      ...range,
      ms: kind === 'nack' ? 100 : null,
      reason: null,
    }
    const answered = harness.coordinator
      .queueSettle({ groupId, memberId, items: [item] })
      .then(({ results }) => {
        if (results.length > 0) return
        if (kind === 'ack') this.done.add(value)
      })
      // The broker died before it answered, or took the member for lost.
      .catch(() => {})
    if (random.chance(0.7)) await Promise.race([answered, harness.rest()])
    harness.coordinator.queueCredit({ groupId, memberId, records: 1 })
  }

  /** Ends a worker: it leaves, or its connection goes for good, or for a moment. */
  async end(): Promise<void> {
    const { random, harness, groupId, topicId } = this
    if (this.workers.length === 0) return
    const worker = random.pick(this.workers)
    const { memberId, link } = worker
    this.workers.splice(this.workers.indexOf(worker), 1)
    if (random.chance(0.4)) {
      await Promise.race([harness.coordinator.leave({ groupId, memberId }).catch(() => {}), harness.rest()])
      return
    }
    harness.coordinator.closed(link)
    if (random.chance(0.5)) return
    const again = new RecordingLink()
    const held = link.jobs.slice(worker.seen)
    const heldLeases = held.map((job) => ({
      topicId,
      partition: job.partition,
      leaseId: job.leaseId,
      started: [],
    }))
    const asked = { memberId, attempt: worker.attempt + 1, topicIds: [topicId], heldLeases, prefetch: 8 }
    await harness.join('mail', asked, again)
    this.workers.push({ memberId, link: again, attempt: worker.attempt + 1, seen: 0 })
  }

  async crash(): Promise<void> {
    this.workers.length = 0
    await this.harness.crash(this.random.pick(['kill', 'power cut']))
  }
}

test('whatever becomes of workers and broker, each job is done once it is answered, or a dead letter once', async () => {
  let crashes = 0
  let letters = 0
  for (let seed = 1; seed <= 25; seed++) {
    const day = await Workday.begin(seed)
    const { random, harness } = day
    for (let step = 0; step < 120; step++) {
      const doneBefore = new Set(day.done)
      const known = new Map(day.workers.map((worker) => [worker, worker.link.jobs.length]))
      const event = random.below(20)
      if (event < 3) await day.produce()
      else if (event < 5 && day.workers.length < 4) await day.hire()
      else if (event < 15) await day.work()
      else if (event < 17) await harness.pass(random.pick([150, 300, 1_100, 2_500]))
      else if (event < 18) await day.end()
      else if (event < 19 && random.chance(0.4)) {
        await day.crash()
        crashes++
      } else await harness.rest()
      for (const worker of day.workers) {
        for (const { value } of worker.link.jobs.slice(known.get(worker) ?? 0)) {
          expect(doneBefore.has(value), `seed ${seed}, step ${step}: ${value} came again after its ack`).toBe(
            false,
          )
        }
      }
    }
    // In the end somebody is left who does all that there is.
    await day.hire()
    const last = day.workers.at(-1) as Worker
    for (let round = 0; round < 200; round++) {
      for (const worker of day.workers.splice(0, day.workers.length - 1)) {
        harness.coordinator.closed(worker.link)
      }
      await harness.pass(1_500)
      const jobs = last.link.jobs.slice(last.seen)
      last.seen += jobs.length
      const { memberId } = last
      const items = jobs.map(({ topicId, partition, leaseId, offset, value }) => ({
        kind: isPoison(value) ? ('nack' as const) : ('ack' as const),
        topicId,
        partition,
        leaseId,
        from: offset,
        to: offset + 1,
        ms: 0,
        reason: null,
      }))
      await harness.coordinator.queueSettle({ groupId: day.groupId, memberId, items })
      harness.coordinator.queueCredit({ groupId: day.groupId, memberId, records: jobs.length })
      for (const { value } of jobs) {
        expect(day.done.has(value), `seed ${seed}: ${value} came again after its ack`).toBe(false)
        if (isPoison(value)) day.tries.set(value, (day.tries.get(value) ?? 0) + 1)
        else day.done.add(value)
      }
      if (jobs.length === 0 && round > 5) break
    }
    const { shard } = harness
    const queues = shard.groups.state.groups.get(day.groupId)?.queues
    for (let partition = 0; partition < PARTITIONS; partition++) {
      const { durableEnd } = shard.bounds(day.topicId, partition)
      const queue = queues?.get(`${day.topicId}/${partition}`)
      expect(queue, `seed ${seed}`).toMatchObject({ floor: durableEnd, frontier: durableEnd, ranges: [] })
    }
    const dlq = shard.topicNamed('mails.mail.dlq')
    const dead =
      dlq === undefined ? [] : (await readAll(shard, dlq.topicId)).records.map(({ value }) => value)
    letters += dead.length
    const expected = day.appended.filter((value) => !day.done.has(value))
    expect([...dead].sort(), `seed ${seed}`).toEqual(expected.sort())
    for (const value of dead) {
      expect(
        day.tries.get(value) ?? 0,
        `seed ${seed}: ${value} was never tried so often`,
      ).toBeGreaterThanOrEqual(MAX_DELIVERIES)
    }
    expect(harness.warnings, `seed ${seed}`).toEqual([])
    harness.coordinator.close()
    await shard.close()
  }
  expect(crashes).toBeGreaterThan(10)
  expect(letters).toBeGreaterThan(100)
})
