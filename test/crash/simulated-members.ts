import type { Coordinator } from '../../broker/groups/coordinator.js'
import type { MemberLink } from '../../broker/groups/member-link.js'
import type { Shard } from '../../broker/shard/shard.js'
import type { WriteUnit } from '../../broker/shard/write-unit.js'
import type { ErrorCode, MillraceError } from '../../protocol/error-codes.js'
import type { MemberId, TopicId } from '../../protocol/ids.js'
import { appendUnit } from '../support/checked-writes.js'
import { FakeMemberLink } from '../support/fake-member-link.js'
import type { SeededRandom } from '../support/seeded-random.js'
import { joining, type LeasedJob, testMemberId, WorkerLink } from '../support/test-groups.js'
import { type ReadRecord, readAll, someRequestId, textBatch } from '../support/test-shard.js'

/** One life of the broker, as members see it. */
export interface Life {
  readonly shard: Shard
  readonly groups: Coordinator
  readonly topics: { readonly inputs: TopicId; readonly outputs: TopicId; readonly jobs: TopicId }
  readonly isOver: boolean
  /** Settles as the promise does, and never if the life ends before or by it. */
  alive<T>(promise: Promise<T>): Promise<T>
}

/** What all that happened says of one partition of a group: where its cursor is, at least and at most. */
export interface Bounds {
  /** Acknowledged, and the answer came. */
  durable: number
  /** Acknowledged, answered or not. */
  asked: number
}

interface Held {
  readonly epoch: number
  /** The next offset to read. */
  next: number
}

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
/** For those who have nothing to do: whoever spins takes the time of all others. */
const soon = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 1))
const codeOf = (error: unknown): ErrorCode | undefined => (error as MillraceError).code
let members = 0

type Assigned = Parameters<MemberLink['assign']>[0]['assigned']

/** A consumer's connection that shows what is assigned before anything else happens. */
class ConsumerLink extends FakeMemberLink {
  readonly #onAssigned: (assigned: Assigned) => void

  constructor(onAssigned: (assigned: Assigned) => void) {
    super()
    this.#onAssigned = onAssigned
  }

  override assign(message: Parameters<MemberLink['assign']>[0]): void {
    this.#onAssigned(message.assigned)
    super.assign(message)
  }
}

/** A member of a consumer group. It outlives the broker, comes and goes, and takes up its requests where they were lost. */
abstract class GroupMember {
  protected readonly random: SeededRandom
  protected readonly bounds: readonly Bounds[]
  protected memberId: MemberId = testMemberId(++members)
  protected groupId = 0
  protected readonly held = new Map<number, Held>()
  readonly #group: string
  #attempt = 0
  #link = new FakeMemberLink()
  #fault: string | undefined

  constructor(group: string, bounds: readonly Bounds[], random: SeededRandom) {
    this.#group = group
    this.bounds = bounds
    this.random = random
  }

  async live(life: Life): Promise<never> {
    await this.#join(life)
    for (;;) {
      this.#takeAssignments(life)
      if (this.#fault !== undefined) throw new Error(this.#fault)
      if (this.#link.ended !== undefined) {
        this.#becomeAnother()
        await this.#join(life)
      } else if (this.held.size === 0) {
        await life.alive(soon())
      } else if (this.random.chance(0.005)) {
        await life.alive(life.groups.leave({ groupId: this.groupId, memberId: this.memberId }))
        this.#link.close()
        this.#becomeAnother()
        await this.#join(life)
      } else if (this.random.chance(0.02)) {
        this.#link.close()
        await this.#join(life)
      } else {
        const [partition, held] = this.random.pick([...this.held])
        await this.work(life, partition, held)
      }
      await life.alive(nextTurn())
    }
  }

  protected abstract work(life: Life, partition: number, held: Held): Promise<void>
  /** What was under way in a partition is nothing to come back to. */
  protected abstract forget(partition?: number): void

  async #join(life: Life): Promise<void> {
    const topicId = life.topics.inputs
    for (;;) {
      this.#link = new ConsumerLink((assigned) => this.#check(assigned))
      const held = [...this.held].map(([partition, { epoch }]) => ({ topicId, partition, epoch }))
      const asked = joining({
        group: this.#group,
        kind: 'consumer',
        memberId: this.memberId,
        attempt: ++this.#attempt,
        topicIds: [topicId],
        held,
      })
      try {
        this.groupId = (await life.alive(life.groups.join(asked, this.#link))).groupId
        return
      } catch (error) {
        if (codeOf(error) !== 'FENCED') throw error
        this.#becomeAnother()
      }
    }
  }

  /** When it is sent: by the time it is read, another member may be further on. */
  #check(assigned: Assigned): void {
    for (const { partition, cursor } of assigned) {
      const { durable, asked } = this.bounds[partition] as Bounds
      if (cursor < durable || cursor > asked)
        this.#fault = `${partition}: the cursor is ${cursor}, of ${durable} to ${asked} acknowledged`
    }
  }

  #becomeAnother(): void {
    this.memberId = testMemberId(++members)
    this.#attempt = 0
    this.held.clear()
    this.forget()
  }

  #takeAssignments({ groups, topics }: Life): void {
    for (const { epoch, assigned, revoked } of this.#link.assignments.splice(0)) {
      for (const { partition } of revoked) this.lose(partition)
      const { groupId, memberId } = this
      if (revoked.length > 0) groups.revoked({ groupId, memberId, epoch, parts: revoked })
      for (const { topicId, partition, epoch, cursor } of assigned) {
        if (topicId !== topics.inputs) throw new Error('a partition of a topic that was not asked for')
        // It never lost it, and may be further on.
        if (this.held.get(partition)?.epoch === epoch) continue
        this.forget(partition)
        this.held.set(partition, { epoch, next: cursor })
      }
    }
  }

  protected lose(partition: number): void {
    this.forget(partition)
    this.held.delete(partition)
  }

  protected async read(
    { shard, topics, alive }: Life,
    partition: number,
    from: number,
  ): Promise<ReadRecord[]> {
    const reading = readAll(shard, topics.inputs, { partition, from, maxBytes: 2_000 })
    const { records } = await alive(reading)
    const some = records.slice(0, 1 + this.random.below(6))
    for (const [i, { offset }] of some.entries())
      if (offset !== from + i) throw new Error(`${partition}: ${offset} was read where ${from + i} was due`)
    return some
  }
}

/** Writes what it reads to two partitions of the outputs, together with its ack. */
export class Copier extends GroupMember {
  readonly #open = new Map<number, { unit: WriteUnit; readonly to: number }>()
  /** Requests that were answered with their first answer. */
  retried = 0
  /** Requests of a member that had forgotten that it made them before. */
  doubled = 0

  override async live(life: Life): Promise<never> {
    for (const open of this.#open.values()) this.#forgetSome(open)
    return await super.live(life)
  }

  protected override forget(partition?: number): void {
    if (partition === undefined) this.#open.clear()
    else this.#open.delete(partition)
  }

  protected override async work(life: Life, partition: number, held: Held): Promise<void> {
    const bounds = this.bounds[partition] as Bounds
    const open = this.#open.get(partition) ?? (await this.#begin(life, partition, held))
    if (open === undefined) return await life.alive(soon())
    this.#open.set(partition, open)
    bounds.asked = Math.max(bounds.asked, open.to)
    const answer = appendUnit(life.shard, open.unit)
    if (this.random.chance(0.1)) {
      // It is lost on the way, and the request is sent again.
      answer.catch(() => {})
      this.#forgetSome(open)
      return
    }
    try {
      const { retried } = await life.alive(answer)
      if (retried) this.retried++
      bounds.durable = Math.max(bounds.durable, open.to)
      held.next = open.to
    } catch (error) {
      const code = codeOf(error)
      if (code === 'FENCED') this.held.delete(partition)
      else if (code === 'ALREADY_ACKED') {
        this.doubled++
        held.next = open.to
      } else throw error
    }
    this.#open.delete(partition)
  }

  /** Some programs do the same again and do not know that they have done it. */
  #forgetSome(open: { unit: WriteUnit }): void {
    if (this.random.chance(0.3)) open.unit = { ...open.unit, requestId: someRequestId() }
  }

  async #begin(life: Life, partition: number, { epoch, next }: Held) {
    const records = await this.read(life, partition, next)
    if (records.length === 0) return undefined
    const { inputs, outputs } = life.topics
    const values = records.map(({ offset }) => `${partition}/${offset}`)
    const to = next + records.length
    const unit = {
      requestId: someRequestId(),
      writes: [partition, partition + this.bounds.length].map((into) =>
        textBatch(values, { topicId: outputs, partition: 1 + into }),
      ),
      acks: [
        { groupId: this.groupId, memberId: this.memberId, epoch, topicId: inputs, partition, offset: to },
      ],
    }
    return { unit, to }
  }
}

/** Reads and acknowledges. */
export class Acknowledger extends GroupMember {
  protected override forget(): void {}

  protected override async work(life: Life, partition: number, held: Held): Promise<void> {
    const bounds = this.bounds[partition] as Bounds
    const records = await this.read(life, partition, held.next)
    const first = records[0]?.offset ?? bounds.durable
    if (first < bounds.durable) {
      // Unless the partition is another's by now, and what was read came too late.
      const fenced = await this.#ack(life, partition, held)
      if (fenced !== 'FENCED') throw new Error(`${partition}/${first} was given after its ack`)
      return
    }
    held.next += records.length
    if (records.length === 0 && held.next === bounds.durable) await life.alive(soon())
    else if (this.random.chance(0.5)) await this.#ack(life, partition, held)
  }

  async #ack(life: Life, partition: number, { epoch, next: offset }: Held): Promise<string | undefined> {
    const bounds = this.bounds[partition] as Bounds
    bounds.asked = Math.max(bounds.asked, offset)
    const { groupId, memberId } = this
    const acks = [{ topicId: life.topics.inputs, partition, epoch, offset }]
    const refused = await life.alive(life.groups.ack({ groupId, memberId, acks }))
    const code = refused[0]?.code
    if (code === 'FENCED') this.lose(partition)
    else if (code !== undefined) throw new Error(`an ack of ${partition}/${offset} was refused: ${code}`)
    else bounds.durable = Math.max(bounds.durable, offset)
    return code
  }
}

export const placeOf = ({ partition, offset }: { partition: number; offset: number }): string =>
  `${partition}/${offset}`

/** A worker of a queue: acknowledges, fails, gives back, or lets a lease run out. */
export class Worker {
  readonly #random: SeededRandom
  readonly #done: Set<string>
  readonly #isPoison: (value: string) => boolean
  #memberId = testMemberId(++members)
  #attempt = 0
  #groupId = 0
  #jobs: LeasedJob[] = []
  #link: WorkerLink | undefined
  #fault: string | undefined

  /** `done`: jobs whose ack was answered, by whatever worker. */
  constructor(options: { random: SeededRandom; done: Set<string>; isPoison: (value: string) => boolean }) {
    this.#random = options.random
    this.#done = options.done
    this.#isPoison = options.isPoison
  }

  async live(life: Life): Promise<never> {
    if (this.#random.chance(0.4)) this.#becomeAnother()
    await this.#join(life)
    for (;;) {
      if (this.#fault !== undefined) throw new Error(this.#fault)
      const job = this.#jobs.shift()
      if (this.#link?.ended !== undefined || (job !== undefined && this.#random.chance(0.005))) {
        this.#link?.close()
        this.#becomeAnother()
        await this.#join(life)
      } else if (job !== undefined) await this.#work(life, job)
      await life.alive(job === undefined ? soon() : nextTurn())
    }
  }

  #becomeAnother(): void {
    this.#memberId = testMemberId(++members)
    this.#attempt = 0
    this.#jobs = []
  }

  async #join(life: Life): Promise<void> {
    const topicId = life.topics.jobs
    const link = new WorkerLink((job) => {
      if (this.#link !== link) return
      if (this.#done.has(placeOf(job))) this.#fault = `job ${placeOf(job)} was given after its ack`
      this.#jobs.push(job)
    })
    this.#link = link
    const leases = new Map(this.#jobs.map((job) => [`${job.partition}/${job.leaseId}`, job]))
    const asked = joining({
      group: 'workers',
      kind: 'queue',
      memberId: this.#memberId,
      attempt: ++this.#attempt,
      topicIds: [topicId],
      leaseMs: 2_000,
      maxDeliveries: 3,
      heldLeases: [...leases.values()].map(({ partition, leaseId }) => ({
        topicId,
        partition,
        leaseId,
        started: [],
      })),
    })
    this.#groupId = (await life.alive(life.groups.join(asked, link))).groupId
  }

  async #work(life: Life, job: LeasedJob): Promise<void> {
    const { topicId, partition, offset, leaseId, value } = job
    const membership = { groupId: this.#groupId, memberId: this.#memberId }
    const ranges = [{ from: offset, to: offset + 1 }]
    life.groups.queueCredit({ ...membership, records: 1 })
    // Its lease runs out.
    if (this.#random.chance(0.03)) return
    const isReleased = this.#random.chance(0.05)
    if (!isReleased) life.groups.queueStarted({ ...membership, topicId, partition, leaseId, ranges })
    const kind = isReleased ? 'release' : this.#isPoison(value) || this.#random.chance(0.02) ? 'nack' : 'ack'
    try {
      if (kind === 'ack' && this.#random.chance(0.3)) {
        const acks = [{ ...membership, topicId, partition, leaseId, ranges }]
        const writes = [
          textBatch([placeOf(job)], { topicId: life.topics.outputs, partition: MADE_FROM_JOBS }),
        ]
        await life.alive(appendUnit(life.shard, { writes, acks }))
      } else {
        const item = {
          kind,
          topicId,
          partition,
          leaseId,
          from: offset,
          to: offset + 1,
          ms: 0,
          reason: null,
        } as const
        const { results } = await life.alive(life.groups.queueSettle({ ...membership, items: [item] }))
        if (results[0]?.code === 'LEASE_LOST') return
        if (results.length > 0) throw new Error(`${kind} of ${placeOf(job)} was refused: ${results[0]?.code}`)
      }
      if (kind === 'ack') this.#done.add(placeOf(job))
    } catch (error) {
      const code = codeOf(error)
      if (code !== 'LEASE_LOST' && code !== 'UNKNOWN_MEMBER') throw error
    }
  }
}

/** The partition of the outputs that holds what came of jobs. */
export const MADE_FROM_JOBS = 0
