import { MillraceError } from '../protocol/error-codes.js'
import type { JoinGroup } from '../protocol/messages/group.js'
import type { QueueDeliver } from '../protocol/messages/queue.js'
import { decodeRecords } from '../protocol/records.js'
import { HeldJob, type JobState, type Lease } from './held-job.js'
import type { AnyTopic } from './topic.js'

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

  /** Takes a delivery in; returns how many jobs that are. Throws CORRUPT_DATA. */
  add(delivery: QueueDeliver, deadlineMs: number): number {
    const { topicId, partition, leaseId } = delivery
    const lease: Lease = { topicId, partition, leaseId, jobs: [], held: 0 }
    try {
      this.#fill(lease, delivery, deadlineMs)
    } catch (cause) {
      const message = `a delivery of topic ${topicId}, partition ${partition}, lease ${leaseId} cannot be read`
      throw new MillraceError('CORRUPT_DATA', { message, cause })
    }
    // Only now, so that a delivery counts whole or not at all.
    const count = lease.jobs.length
    for (const job of lease.jobs as HeldJob[]) {
      this.#waiting.push(job)
      this.#waitingBytes += job.bytes
    }
    if (count > 0) this.#leases.add(lease)
    lease.held = count
    this.#waitingCount += count
    this.#count += count
    return count
  }

  #fill(lease: Lease, delivery: QueueDeliver, deadlineMs: number): void {
    const counts = new Map(delivery.counts.map(({ offset, count }) => [offset, count]))
    let start = 0
    for (const { recordCount, payloadBytes, ...batch } of delivery.batches) {
      const payload = delivery.payloads.subarray(start, start + payloadBytes)
      start += payloadBytes
      const bytes = Math.ceil(payloadBytes / Math.max(1, recordCount))
      const place = { ...batch, topic: this.#topic, partition: lease.partition }
      for (const wire of decodeRecords(payload, recordCount)) {
        const count = counts.size === 0 ? undefined : counts.get(batch.baseOffset + wire.offsetDelta)
        lease.jobs.push(new HeldJob(lease, place, wire, { count, bytes, deadlineMs }))
      }
    }
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
    const { lease } = job
    lease.jobs[job.index] = undefined
    if (--lease.held === 0) this.#leases.delete(lease)
  }

  /** All jobs in these states, by lease and offset. */
  jobsIn(...states: readonly JobState[]): HeldJob[] {
    const jobs: HeldJob[] = []
    for (const lease of this.#leases) {
      for (const job of lease.jobs) if (job !== undefined && states.includes(job.state)) jobs.push(job)
    }
    return jobs
  }

  /** What a membership that joins again says it has. */
  held(): HeldLease[] {
    return [...this.#leases].map(({ topicId, partition, leaseId, jobs }) => {
      const started: Range[] = []
      for (const job of jobs) {
        if (job === undefined || job.state === 'waiting') continue
        const { offset } = job
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
      for (const job of jobs) if (job !== undefined) first = Math.min(first, job.deadlineMs)
    }
    return first
  }
}
