import type { TopicId } from '../protocol/ids.js'
import type { JoinGroup } from '../protocol/messages/group.js'
import type { QueueDeliver } from '../protocol/messages/queue.js'
import { decodeRecords, type WireRecord } from '../protocol/records.js'
import type { BatchPlace } from './record-decoder.js'
import type { AnyTopic } from './topic.js'

/**
 * waiting: delivered, the program has not seen it. started: in the program's hands. settling: what became of it is on its way
 * to the broker. carried: an atomic write has its ack. gone: settled, or another member's.
 */
export type JobState = 'waiting' | 'started' | 'settling' | 'carried' | 'gone'

/** A record that is leased to this member. */
export interface HeldJob {
  readonly lease: Lease
  readonly offset: number
  /** Deliveries before this one that counted. */
  readonly count: number
  readonly place: BatchPlace
  readonly wire: WireRecord
  readonly bytes: number
  state: JobState
  /** On the monotonic clock: from here on the job is surely not ours any more, unless the lease is extended. */
  deadlineMs: number
  /** An extension is on its way. */
  isExtending: boolean
  /** The program's hands are told that the job is lost. */
  onLost: ((error: unknown) => void) | undefined
}

/** What one QUEUE_DELIVER brought. */
export interface Lease {
  readonly topicId: TopicId
  readonly partition: number
  readonly leaseId: number
  /** By offset, in their order; those that are gone have left. */
  readonly jobs: Map<number, HeldJob>
}

type HeldLease = JoinGroup['heldLeases'][number]
type Range = HeldLease['started'][number]

/** The jobs of one membership: those that wait for the program, in the order they came, and those it has in hand. */
export class QueueLeases {
  readonly #topic: AnyTopic
  readonly #leases = new Set<Lease>()
  #waiting: HeldJob[] = []
  #next = 0
  #waitingCount = 0
  #waitingBytes = 0
  #count = 0

  constructor(topic: AnyTopic) {
    this.#topic = topic
  }

  /** Jobs that the program has not seen. */
  get waiting(): number {
    return this.#waitingCount
  }

  get waitingBytes(): number {
    return this.#waitingBytes
  }

  /** Jobs that the program has, settled or not, until the broker has answered. */
  get inHand(): number {
    return this.#count - this.#waitingCount
  }

  get isEmpty(): boolean {
    return this.#count === 0
  }

  /** Takes a delivery in; returns how many jobs that are. Throws BAD_BATCH. */
  add(delivery: QueueDeliver, deadlineMs: number): number {
    const { topicId, partition, leaseId } = delivery
    const lease: Lease = { topicId, partition, leaseId, jobs: new Map() }
    const counts = new Map(delivery.counts.map(({ offset, count }) => [offset, count]))
    let start = 0
    for (const { recordCount, payloadBytes, ...batch } of delivery.batches) {
      const payload = delivery.payloads.subarray(start, start + payloadBytes)
      start += payloadBytes
      const bytes = Math.ceil(payloadBytes / Math.max(1, recordCount))
      const place = { ...batch, topic: this.#topic, partition }
      for (const wire of decodeRecords(payload, recordCount)) {
        const offset = batch.baseOffset + wire.offsetDelta
        const count = counts.get(offset) ?? 0
        const job = { lease, offset, count, place, wire, bytes, deadlineMs }
        lease.jobs.set(offset, { ...job, state: 'waiting', isExtending: false, onLost: undefined })
      }
    }
    // Only now, so that a delivery counts whole or not at all.
    for (const job of lease.jobs.values()) {
      this.#waiting.push(job)
      this.#waitingBytes += job.bytes
    }
    if (lease.jobs.size > 0) this.#leases.add(lease)
    this.#waitingCount += lease.jobs.size
    this.#count += lease.jobs.size
    return lease.jobs.size
  }

  /** The next job for the program: it is started. */
  start(): HeldJob | undefined {
    while (this.#next < this.#waiting.length) {
      const job = this.#waiting[this.#next++] as HeldJob
      if (this.#next >= 1_024 || this.#next === this.#waiting.length) {
        this.#waiting = this.#waiting.slice(this.#next)
        this.#next = 0
      }
      if (job.state !== 'waiting') continue
      this.#waitingCount--
      this.#waitingBytes -= job.bytes
      job.state = 'started'
      return job
    }
    return undefined
  }

  /** The job is settled or lost. */
  remove(job: HeldJob): void {
    if (job.state === 'gone') return
    if (job.state === 'waiting') {
      this.#waitingCount--
      this.#waitingBytes -= job.bytes
    }
    job.state = 'gone'
    this.#count--
    job.lease.jobs.delete(job.offset)
    if (job.lease.jobs.size === 0) this.#leases.delete(job.lease)
  }

  /** All jobs in these states, by lease and offset. */
  jobsIn(...states: readonly JobState[]): HeldJob[] {
    const jobs: HeldJob[] = []
    for (const lease of this.#leases) {
      for (const job of lease.jobs.values()) if (states.includes(job.state)) jobs.push(job)
    }
    return jobs
  }

  /** What a membership that joins again says it has. */
  held(): HeldLease[] {
    return [...this.#leases].map(({ topicId, partition, leaseId, jobs }) => {
      const started: Range[] = []
      for (const { offset, state } of jobs.values()) {
        if (state === 'waiting') continue
        const last = started.at(-1)
        if (last?.to === offset) last.to++
        else started.push({ from: offset, to: offset + 1 })
      }
      return { topicId, partition, leaseId, started }
    })
  }

  /** The first of all deadlines, on the monotonic clock. */
  get firstDeadlineMs(): number {
    let first = Number.POSITIVE_INFINITY
    for (const { jobs } of this.#leases) {
      for (const { deadlineMs } of jobs.values()) first = Math.min(first, deadlineMs)
    }
    return first
  }
}
