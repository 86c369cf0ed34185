import type { Job, ReadRecordOf } from '../../../client/index.js'
import type { JobAck } from '../../checker/history.js'
import type { ClientProcess } from '../client-process.js'
import type { Lab } from '../lab.js'
import { attemptOf, nameOf, payloadOf } from './payload.js'
import { assertPossible, placesOf, recorded } from './recorded-writes.js'
import { thinkMs } from './think.js'
import { ensureTopic, heldIn, isPassing, type WorkTopic } from './topics.js'

export interface QueueWork {
  readonly group: string
  readonly from: WorkTopic
  /** Where what is made of jobs goes. */
  readonly to: WorkTopic
  readonly leaseMs: number
  readonly maxDeliveries: number
  /** Done by a worker that has left, before it joins again: what it was given may then come again. */
  readonly between?: (() => Promise<void>) | undefined
}

type WorkJob = Job<ReadRecordOf<WorkTopic['topic']>>

/** What may become of a job without anything being wrong. */
const LOST = new Set(['LEASE_LOST', 'ALREADY_ACKED', 'CONNECTION_LOST'])

/** Is a worker of a queue, leaves it, joins again, for as long as the run lasts. */
export async function work(lab: Lab, process: ClientProcess, queue: QueueWork): Promise<void> {
  await ensureTopic(process, [queue.from, queue.to])
  const leave = (): void => away(lab, process, queue)
  process.client.on('disconnected', leave)
  process.ending.addEventListener('abort', leave)
  process.onDeath(leave)
  while (!process.isEnding) {
    try {
      await new Shift(lab, process, queue).run()
    } catch (error) {
      if (process.isEnding) return
      if (!isPassing(error) && !LOST.has((error as { code?: string }).code ?? '')) {
        assertPossible(error)
        throw error
      }
    }
    leave()
    await process.sleep(1 + process.random.below(30))
    if (!process.isEnding) await queue.between?.()
  }
}

function away({ history }: Lab, { tap }: ClientProcess, { group }: QueueWork): void {
  history.record({ type: 'memberAway', group, member: tap.memberOf(group) })
}

/** From joining to leaving. */
class Shift {
  readonly #lab: Lab
  readonly #process: ClientProcess
  readonly #queue: QueueWork
  readonly #open = new Set<Promise<void>>()

  constructor(lab: Lab, process: ClientProcess, queue: QueueWork) {
    this.#lab = lab
    this.#process = process
    this.#queue = queue
  }

  async run(): Promise<void> {
    const { client, random, ending } = this.#process
    const { from, group, leaseMs, maxDeliveries } = this.#queue
    const leaveOdds = random.pick(this.#queue.between === undefined ? [0, 0.01, 0.1] : [0.1, 0.3])
    const jobs = client.queue(from.topic, {
      group,
      leaseMs,
      maxDeliveries,
      prefetch: random.pick([1, 4, 32]),
      sessionTimeoutMs: random.pick([1_000, 3_000]),
      signal: ending,
    })
    for await (const job of jobs) {
      const settling = this.#handle(job).then(() => void this.#open.delete(settling))
      this.#open.add(settling)
      if (this.#open.size >= 4) await Promise.race(this.#open)
      await this.#process.sleep(thinkMs(this.#lab, random) / 4)
      if (random.chance(leaveOdds) && !this.#lab.isEnding) {
        // Others may have its jobs before the loop is over.
        away(this.#lab, this.#process, this.#queue)
        break
      }
    }
    await Promise.all(this.#open)
  }

  async #handle(job: WorkJob): Promise<void> {
    const { random } = this.#process
    const at = this.#leased(job)
    const { history, isEnding } = this.#lab
    // In the end no job is left to its lease.
    const draw = random.fraction() * (isEnding ? 0.88 : 1)
    if (draw < 0.55) await this.#settled(at, 'ack', () => job.ack())
    else if (draw < 0.75 && this.#queue.between === undefined) await this.#madeFrom(job, at)
    else if (draw < 0.88)
      await this.#settled(at, 'nack', () => job.nack({ delayMs: random.pick([0, 10, 500]) }))
    else if (draw < 0.94) {
      await this.#settled(at, 'extend', () => job.extend(random.pick([1_000, 5_000])))
      await this.#settled(at, 'ack', () => job.ack())
    } else if (draw < 0.97) {
      // It answers later than anybody expects.
      await this.#process.sleep(random.pick([100, 2 * this.#queue.leaseMs]))
      await this.#settled(at, 'ack', () => job.ack())
    } else {
      // Not awaited, and what comes of it nobody knows.
      history.record({ type: 'settle', op: history.op(), ...at, kind: 'ack' })
      void job.ack()
    }
  }

  #leased(job: WorkJob): Omit<JobAck, 'kind'> {
    const { tap } = this.#process
    const { group, leaseMs } = this.#queue
    const { partition, offset } = job
    const topic = heldIn(job, this.#queue)
    const member = tap.memberOf(group)
    const lease = tap.leaseOf(member, topic, partition, offset)
    const at = { group, member, topicId: topic, partition, offset, leaseId: lease?.leaseId }
    // What it believes to be lost it does not name when it joins again.
    job.signal.addEventListener('abort', () => away(this.#lab, this.#process, this.#queue))
    this.#lab.history.record({
      type: 'leased',
      ...at,
      value: nameOf(job.value),
      count: job.deliveryCount,
      grantedMs: lease && lease.deadlineMs - leaseMs,
      // A worker that is stopped or cut off silently loses its jobs before it knows of it.
      untilMs: this.#lab.isOpenlyBroken ? lease?.deadlineMs : undefined,
    })
    return at
  }

  async #settled(
    at: Omit<JobAck, 'kind'>,
    kind: 'ack' | 'nack' | 'extend',
    settle: () => Promise<void>,
  ): Promise<void> {
    const outcome = await recorded(this.#lab.history, { type: 'settle', ...at, kind }, settle)
    if ('error' in outcome) this.#lost(outcome.error)
  }

  async #madeFrom(job: WorkJob, at: Omit<JobAck, 'kind'>): Promise<void> {
    const { to } = this.#queue
    const { client, random, name } = this.#process
    const attempt = `${name}/${this.#lab.history.next}`
    const value = attemptOf(`made/${at.topicId}/${at.partition}/${at.offset}`, attempt)
    const partition = random.below(to.partitions)
    const outcome = await recorded(
      this.#lab.history,
      {
        type: 'write',
        process: name,
        atomic: true,
        records: [{ topicId: to.name, partition, value }],
        acks: [{ kind: 'job', ...at }],
      },
      () =>
        client.atomic({ writes: [to.topic.record({ partition, value: payloadOf(value, 5) })], acks: [job] }),
      placesOf,
    )
    if ('error' in outcome) this.#lost(outcome.error)
  }

  #lost(error: unknown): void {
    assertPossible(error)
    // Nor does it name this one when it joins again.
    away(this.#lab, this.#process, this.#queue)
    if (isPassing(error) || this.#process.isEnding || LOST.has((error as { code?: string }).code ?? ''))
      return
    throw error
  }
}
