import { expect } from 'vitest'
import { backoffMs } from '../../../broker/groups/backoff.js'
import type {
  DeadJob,
  Delivery,
  MemberDemand,
  QueueEffect,
  QueueEvent,
  Settlement,
} from '../../../broker/groups/queue-events.js'
import { WorkQueue, type WorkQueueOptions } from '../../../broker/groups/work-queue.js'
import { type OffsetRange, type QueueMove, QueueState } from '../../../broker/shard/queue-state.js'
import { type MemberId, memberIdFrom } from '../../../protocol/ids.js'
import { someTopicId } from '../../support/entries.js'

export const member = (index: number): MemberId => memberIdFrom(index.toString(16).padStart(32, '0'))

export interface Settled extends Settlement {
  /** Once it is answered. */
  outcome?: 'done' | 'LEASE_LOST' | 'ACK_OUT_OF_RANGE'
  deadline?: number
}

/** What a user of the queue may believe of one record, from what was answered and delivered alone. */
interface Job {
  state: 'waiting' | 'out' | 'burying' | 'done' | 'dead'
  memberId?: MemberId
  leaseId: number
  deadline: number
  started: boolean
  /** Deliveries that counted. */
  count: number
  notBefore: number
  /** How often it was put into a worker's hands. */
  deliveries: number
}

/** What members said that the next move is to decide. */
interface Said {
  items: Settled[]
  handBacks: { memberId: MemberId; counts: boolean; keep: ReadonlySet<number>; below: number }[]
  /** Jobs that had started by then: what a worker says later comes too late for the move. */
  started: ReadonlySet<Job>
}

const nothingSaid = (): Said => ({ items: [], handBacks: [], started: new Set() })

/** A partition, its queue, the machine and its members, with every step of the way in the test's hands. */
export class QueueWorld {
  time = 1_000_000
  endOffset = 0
  queue: QueueState
  machine: WorkQueue<Settled>
  readonly options: WorkQueueOptions
  readonly isLive: (offset: number) => boolean
  readonly credits = new Map<MemberId, number>()
  readonly jobs = new Map<number, Job>()
  isHungry = false
  reading: number | undefined
  isWriting = false
  readonly burying: DeadJob[] = []
  readonly deliveries: Delivery[] = []
  readonly moves: QueueMove[] = []
  readonly settled: Settled[] = []
  wakeAt: number | undefined
  /** For the message of a failure. */
  context = ''
  #decided: { move: QueueMove | undefined; time: number } | undefined
  #waiting: Said = nothingSaid()
  #deciding: Said = nothingSaid()

  constructor(options: Partial<WorkQueueOptions> = {}, isLive: (offset: number) => boolean = () => true) {
    this.options = { leaseMs: 30_000, maxDeliveries: 3, rangesMax: 10_000, ...options }
    this.isLive = isLive
    this.queue = new QueueState({ groupId: 1, topicId: someTopicId, partition: 0, floor: 0 })
    this.machine = new WorkQueue(this.options)
  }

  append(records: number): void {
    this.endOffset += records
    this.step({ type: 'time' })
  }

  pass(ms: number): void {
    this.time += ms
    this.step({ type: 'time' })
  }

  credit(memberId: MemberId, credits: number): void {
    this.credits.set(memberId, (this.credits.get(memberId) ?? 0) + credits)
  }

  settle(fields: Partial<Settlement> & OffsetRange & { memberId: MemberId; leaseId: number }): Settled {
    const item: Settled = { kind: 'ack', ms: null, reason: null, ...fields }
    this.#waiting.items.push(item)
    this.step({ type: 'settle', items: [item] })
    return item
  }

  started(delivery: Pick<Delivery, 'memberId' | 'leaseId'>, ranges: readonly OffsetRange[]): void {
    for (const offset of offsetsOf(ranges)) {
      const job = this.jobs.get(offset)
      // A lease that ran out and whose end is not logged yet is still the worker's to start.
      if (job?.state === 'out' && job.leaseId === delivery.leaseId) job.started = true
    }
    const { memberId, leaseId } = delivery
    this.step({ type: 'started', memberId, leaseId, ranges })
  }

  gone(memberId: MemberId, { left = false } = {}): void {
    this.credits.delete(memberId)
    const below = Number.POSITIVE_INFINITY
    this.#waiting.handBacks.push({ memberId, counts: !left, keep: new Set(), below })
    this.step({ type: 'gone', memberId, left })
  }

  back(memberId: MemberId, held: readonly { leaseId: number; started: readonly OffsetRange[] }[]): void {
    const keep = new Set(held.map(({ leaseId }) => leaseId))
    for (const { leaseId, started } of held) {
      for (const offset of offsetsOf(started)) {
        const job = this.jobs.get(offset)
        if (job?.state === 'out' && job.leaseId === leaseId && job.memberId === memberId) job.started = true
      }
    }
    this.#waiting.handBacks.push({ memberId, counts: false, keep, below: this.queue.nextLeaseId })
    this.step({ type: 'back', memberId, held })
  }

  /** Gives the machine all the credit that there is. */
  feed(): void {
    this.isHungry = false
    const members = [...this.credits].map(([memberId, credits]) => ({ memberId, credits }))
    for (const { memberId } of members) this.credits.set(memberId, 0)
    this.step({ type: 'demand', members })
  }

  /** Reads a stretch of up to `records`. */
  read(records = 100): void {
    const from = this.reading as number
    this.reading = undefined
    const to = Math.min(this.endOffset, from + records)
    const live: OffsetRange[] = []
    for (let offset = from; offset < to; offset++) {
      if (this.isLive(offset)) live.push({ from: offset, to: offset + 1 })
    }
    this.step({ type: 'records', from, to, live })
  }

  decide(): void {
    const started = new Set([...this.jobs.values()].filter((job) => job.started))
    this.#deciding = { ...this.#waiting, started }
    this.#waiting = nothingSaid()
    const wasFull = this.queue.ranges.length >= this.options.rangesMax
    const move = this.machine.decide(this.queue, this.time)
    this.#decided = { move, time: this.time }
    if (wasFull) expect(move?.frontier ?? this.queue.frontier, this.context).toBe(this.queue.frontier)
  }

  get isDecided(): boolean {
    return this.#decided !== undefined
  }

  /** The decided move has become durable. */
  written(): void {
    const { move, time } = this.#decided as { move: QueueMove | undefined; time: number }
    this.#decided = undefined
    this.isWriting = false
    if (move !== undefined) {
      this.moves.push(move)
      this.queue.apply(move, time)
    }
    this.step({ type: 'written' }, time)
  }

  bury(): void {
    const { offset, leaseId, count } = this.burying.shift() as DeadJob
    const range = this.queue.at(offset)
    expect(range?.leaseId, `${this.context}: a buried job stays leased`).toBe(leaseId)
    const job = this.jobs.get(offset) as Job
    expect(job.state, this.context).toBe('burying')
    expect(count, this.context).toBe(this.options.maxDeliveries)
    job.state = 'dead'
    this.queue.ack({ from: offset, to: offset + 1 })
    this.step({ type: 'buried', offset })
  }

  /** The broker dies and starts again. What was decided is lost; what was applied is not. */
  crash(): void {
    this.#decided = undefined
    this.#waiting = nothingSaid()
    this.#deciding = nothingSaid()
    this.isWriting = false
    this.isHungry = false
    this.reading = undefined
    this.burying.length = 0
    this.queue = QueueState.fromRow(structuredClone(this.queue.row))
    this.machine = new WorkQueue(this.options)
    this.credits.clear()
    for (const job of this.jobs.values()) {
      job.started = false
      if (job.state === 'burying') job.state = 'out'
    }
    this.step({ type: 'time' })
  }

  /** Everything that the machine asked for, until it asks for nothing more. */
  run(): void {
    for (let round = 0; round < 10_000; round++) {
      if (this.reading !== undefined) this.read()
      else if (this.isWriting && !this.isDecided) this.decide()
      else if (this.isDecided) this.written()
      else if (this.burying.length > 0) this.bury()
      else if (this.isHungry && [...this.credits.values()].some((credits) => credits > 0)) this.feed()
      else return
    }
    throw new Error(`${this.context}: the machine never comes to rest`)
  }

  step(event: QueueEvent<Settled>, decidedAt = this.time): void {
    const view = { now: this.time, queue: this.queue, endOffset: this.endOffset }
    const effects = this.machine.step(event, view)
    if (event.type === 'written') this.#mirror(effects, decidedAt)
    for (const effect of effects) this.#take(effect)
  }

  #take(effect: QueueEffect<Settled>): void {
    switch (effect.type) {
      case 'write':
        expect(this.isWriting, `${this.context}: one write at a time`).toBe(false)
        this.isWriting = true
        break
      case 'read':
        expect(this.reading, `${this.context}: one read at a time`).toBeUndefined()
        this.reading = effect.offset
        break
      case 'hungry':
        this.isHungry = true
        break
      case 'unused':
        for (const { memberId, credits } of effect.members as MemberDemand[]) this.credit(memberId, credits)
        break
      case 'deliver':
        this.deliveries.push(effect)
        break
      case 'bury':
        this.burying.push(...effect.jobs)
        break
      case 'answer':
        effect.item.outcome = 'done'
        if (effect.deadline !== undefined) effect.item.deadline = effect.deadline
        this.settled.push(effect.item)
        break
      case 'refuse':
        effect.item.outcome = effect.code
        this.settled.push(effect.item)
        break
      case 'wakeAt':
        this.wakeAt = effect.time
        break
    }
  }

  /** Does to the records what was told, in the order in which a move is decided, and checks that it could be told. */
  #mirror(effects: readonly QueueEffect<Settled>[], time: number): void {
    const { context } = this
    const dead = new Set(
      effects.flatMap((e) => (e.type === 'bury' ? e.jobs : [])).map(({ offset }) => offset),
    )
    const answered = new Set(effects.flatMap((e) => (e.type === 'answer' ? [e.item] : [])))
    const refused = new Set(effects.flatMap((e) => (e.type === 'refuse' ? [e.item] : [])))
    const giveBack = (offset: number, job: Job, back: { counts: boolean; notBefore: number }): void => {
      const count = job.count + (back.counts ? 1 : 0)
      if (back.counts && count >= this.options.maxDeliveries) {
        expect(dead.delete(offset), `${context}: offset ${offset} is a dead letter`).toBe(true)
        // Its count is not logged: should the broker die now, it is as if the worker had said nothing.
        job.state = 'burying'
      } else {
        Object.assign(job, { state: 'waiting', started: false, count, notBefore: back.notBefore })
      }
    }
    const { items, handBacks, started } = this.#deciding
    this.#deciding = nothingSaid()
    for (const item of items) {
      const isHeld = (offset: number): boolean => {
        const job = this.jobs.get(offset)
        const isTheirs = job?.leaseId === item.leaseId && job.memberId === item.memberId
        return job?.state === 'out' && isTheirs && job.deadline > time
      }
      const held = [...offsetsOf([item])].filter(isHeld)
      const needed = item.kind === 'extend' ? Math.min(1, item.to - item.from) : item.to - item.from
      const isRight = item.from < item.to && item.to <= this.endOffset && held.length >= needed
      expect(refused.has(item), `${context}: ${item.kind} of ${item.from}`).toBe(!isRight)
      if (!isRight) continue
      for (const offset of held) {
        const job = this.jobs.get(offset) as Job
        if (item.kind === 'ack') job.state = 'done'
        else if (item.kind === 'extend') job.deadline = Math.max(job.deadline, time + (item.ms as number))
        else {
          const delayMs = item.kind === 'nack' ? (item.ms ?? backoffMs(job.count)) : 0
          giveBack(offset, job, {
            counts: item.kind === 'nack' || started.has(job),
            notBefore: time + delayMs,
          })
        }
      }
      const isBurying = held.some((offset) => this.jobs.get(offset)?.state === 'burying')
      expect(answered.has(item), `${context}: ${item.kind} of ${item.from} is answered`).toBe(!isBurying)
    }
    for (const { memberId, counts, keep, below } of handBacks) {
      for (const [offset, job] of this.jobs) {
        const isTheirs = job.state === 'out' && job.memberId === memberId
        if (!isTheirs || keep.has(job.leaseId) || job.leaseId >= below) continue
        giveBack(offset, job, { counts: counts && started.has(job), notBefore: time })
      }
    }
    for (const [offset, job] of this.jobs) {
      if (job.state !== 'out' || job.deadline > time) continue
      giveBack(offset, job, { counts: started.has(job), notBefore: time })
    }
    expect([...dead], `${context}: dead letters of jobs that were not delivered too often`).toEqual([])
    for (const effect of effects) if (effect.type === 'deliver') this.#deliver(effect, time)
  }

  #deliver({ memberId, leaseId, deadline, ranges, counts }: Delivery, time: number): void {
    const { context } = this
    expect(deadline, context).toBe(time + this.options.leaseMs)
    const countOf = new Map(counts.map(({ offset, count }) => [offset, count]))
    for (const offset of offsetsOf(ranges)) {
      expect(offset, context).toBeLessThan(this.endOffset)
      expect(this.isLive(offset), `${context}: no record at ${offset}`).toBe(true)
      const job = this.jobs.get(offset) ?? {
        state: 'waiting' as const,
        leaseId: 0,
        deadline: 0,
        started: false,
        count: 0,
        notBefore: 0,
        deliveries: 0,
      }
      expect(job.state, `${context}: offset ${offset} was delivered`).toBe('waiting')
      expect(time, `${context}: offset ${offset} was delivered too soon`).toBeGreaterThanOrEqual(
        job.notBefore,
      )
      expect(countOf.get(offset) ?? 0, `${context}: count of offset ${offset}`).toBe(job.count)
      Object.assign(job, { state: 'out', memberId, leaseId, deadline, started: false })
      job.deliveries++
      this.jobs.set(offset, job)
    }
  }
}

export function* offsetsOf(ranges: Iterable<OffsetRange>): Generator<number> {
  for (const { from, to } of ranges) for (let offset = from; offset < to; offset++) yield offset
}
