import type { ModelPartition } from './model-partition.js'
import type { ModelWorld } from './model-world.js'

interface Job {
  readonly offset: number
  readonly value: string
  readonly member: string
  readonly leaseId: number
  readonly count: number
  untilMs: number
  isDone: boolean
}

const GROUP = 'workers'
const LEASE_MS = 200
const AWAY_MS = 60

/** A work queue whose workers settle, forget, and go away for a while. */
export class ModelQueue {
  readonly #world: ModelWorld
  readonly #log: ModelPartition
  readonly #jobs = new Map<number, Job>()
  readonly #open = new Map<number, Job>()
  readonly #away = new Map<string, number>()
  #leaseId = 0
  #floor = 0

  constructor(world: ModelWorld) {
    this.#world = world
    this.#log = world.partitions.jobs[0] as ModelPartition
  }

  /** The first job that is not done. */
  get floor(): number {
    const isOver = (offset: number): boolean =>
      this.#jobs.get(offset)?.isDone ?? this.#log.read(offset, offset + 1).length === 0
    while (this.#floor < this.#log.end && isOver(this.#floor)) this.#floor++
    return this.#floor
  }

  lease(): void {
    const { random, recorder, nowMs } = this.#world
    const member = random.pick(['w1', 'w2', 'w3'])
    let offset = this.floor
    while (offset < this.#log.end && !this.#isFree(offset)) offset++
    const [free] = this.#log.read(offset, offset + 1)
    if (free === undefined || this.#away.has(member)) return
    const [, value] = free
    const count = (this.#jobs.get(offset)?.count ?? 0) + 1
    const leaseId = ++this.#leaseId
    const untilMs = nowMs + LEASE_MS
    const job = { offset, value, member, leaseId, count, untilMs, isDone: false }
    this.#jobs.set(offset, job)
    this.#open.set(offset, job)
    recorder.record({
      type: 'leased',
      ...this.#of(member),
      offset,
      value,
      leaseId,
      count,
      grantedMs: nowMs,
      untilMs,
    })
  }

  settle(): void {
    const { random, recorder, nowMs } = this.#world
    const held = [...this.#open.values()]
    if (held.length === 0) return
    const job = random.pick(held)
    const { offset, leaseId, member } = job
    const kind = random.pick(['ack', 'ack', 'ack', 'nack', 'extend'] as const)
    const op = recorder.op()
    const untilMs = kind === 'extend' ? nowMs + LEASE_MS : undefined
    recorder.record({ type: 'settle', op, kind, ...this.#of(member), offset, leaseId, untilMs })
    if (nowMs >= job.untilMs || this.#isFree(offset)) {
      recorder.record({ type: 'refused', op, code: 'LEASE_LOST' })
      return
    }
    const isLost = random.chance(0.1)
    if (isLost) recorder.record({ type: 'unknown', op })
    if (isLost && random.chance(0.5)) return
    if (kind === 'ack') this.#finish(job)
    else if (kind === 'nack') job.untilMs = 0
    else job.untilMs = untilMs ?? 0
    if (!isLost) recorder.record({ type: 'done', op })
  }

  comeOrGo(): void {
    const { random, recorder, nowMs } = this.#world
    const member = random.pick(['w1', 'w2', 'w3'])
    if (this.#away.delete(member)) recorder.record({ type: 'memberBack', group: GROUP, member })
    else {
      this.#away.set(member, nowMs + AWAY_MS)
      recorder.record({ type: 'memberAway', group: GROUP, member, untilMs: nowMs + AWAY_MS })
    }
  }

  truncate(): void {
    if (this.#jobs.size > 0) this.#log.start = this.#world.random.pick([this.#log.start, this.floor])
  }

  observe(): void {
    if (this.#jobs.size === 0) return
    this.#world.recorder.record({ type: 'cursor', group: GROUP, ...this.#log.place, offset: this.floor })
  }

  #finish(job: Job): void {
    job.isDone = true
    this.#open.delete(job.offset)
  }

  #isFree(offset: number): boolean {
    const job = this.#jobs.get(offset)
    if (job === undefined) return this.#log.read(offset, offset + 1).length > 0
    if (job.isDone) return false
    const awayMs = this.#away.get(job.member) ?? Number.POSITIVE_INFINITY
    return this.#world.nowMs >= Math.min(job.untilMs, awayMs)
  }

  #of(member: string) {
    return { group: GROUP, member, ...this.#log.place }
  }
}
