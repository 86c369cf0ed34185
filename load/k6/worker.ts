import type { MemberId } from '../../protocol/ids.js'
import {
  groupAssignment,
  groupEnded,
  groupJoined,
  joinGroup,
  leaveGroup,
  type QueueDeliver,
  queueCredit,
  queueDeliver,
  queueSettle,
  queueSettled,
  queueStarted,
  type SettleItem,
} from '../../protocol/messages/index.js'
import type { LoadClock } from './clock.js'
import { randomId } from './ids.js'
import type { LoadTopic } from './load-topic.js'
import type { Measures } from './measures.js'
import type { Session } from './session.js'

export interface WorkerOptions {
  readonly session: Session
  readonly topic: LoadTopic
  readonly measures: Measures
  readonly clock: LoadClock
  readonly group: string
  /** Where a group begins that is new. */
  readonly from: 'earliest' | 'latest'
  readonly prefetch: number
  /** Every so manieth offset fails at its first delivery; 0: none does. */
  readonly failEvery: number
}

const FAILED_AGAIN_AFTER_MS = 100
/** How many done jobs a worker remembers, to notice one that comes back. */
const DONE_MAX = 100_000
const LEASE_MS = 30_000
const SESSION_TIMEOUT_MS = 10_000
const DRAIN_MS_MAX = 10_000

/** A member of a work queue that does every job at once, and lets some fail the first time. */
export class LoadWorker {
  readonly #options: WorkerOptions
  readonly #memberId = randomId<MemberId>()
  readonly #done = new Set<string>()
  #groupId = 0
  #unsettled = 0
  #isStopping = false
  #drained: () => void = () => {}

  constructor(options: WorkerOptions) {
    this.#options = options
  }

  start(): void {
    const { session, topic, group, prefetch, measures, from } = this.#options
    session.on(groupAssignment, () => {})
    session.on(queueDeliver, (frame) => this.#take(queueDeliver.read(frame)))
    session.on(groupEnded, (frame) => {
      const { code, message } = groupEnded.read(frame)
      measures.wrong('refused', `the worker is out: ${code}: ${message}`)
    })
    session.ask(
      (correlationId) =>
        joinGroup.write({
          correlationId,
          group,
          kind: 'queue',
          memberId: this.#memberId,
          attempt: 1,
          topicIds: [topic.topicId],
          ifNoCursor: from,
          sessionTimeoutMs: SESSION_TIMEOUT_MS,
          leaseMs: LEASE_MS,
          maxDeliveries: 5,
          prefetch,
          held: [],
          heldLeases: [],
        }),
      (frame) => {
        this.#groupId = groupJoined.read(frame).groupId
      },
    )
  }

  /** Takes no more jobs, waits for the answers under way and leaves. */
  stop(done: () => void): void {
    const { session, clock, measures } = this.#options
    this.#isStopping = true
    const stopWaiting = clock.after(DRAIN_MS_MAX, () => {
      measures.wrong('unanswered', 'the worker could not leave its group')
      done()
    })
    const left = (): void => {
      stopWaiting()
      done()
    }
    this.#drained = () =>
      session.ask((correlationId) => leaveGroup.write({ correlationId, ...this.#membership }), left, left)
    if (this.#unsettled === 0) this.#drained()
  }

  get #membership(): { groupId: number; memberId: MemberId } {
    return { groupId: this.#groupId, memberId: this.#memberId }
  }

  #take(delivery: QueueDeliver): void {
    // Not started, so it does not count as a delivery: leaving gives the jobs back.
    if (this.#isStopping) return
    const { session, measures, failEvery } = this.#options
    // A group's first jobs may come in the same tick as the answer to the join, and then behind it.
    this.#groupId = delivery.groupId
    const { topicId, partition, leaseId, ranges } = delivery
    session.tell(queueStarted.write({ ...this.#membership, topicId, partition, leaseId, ranges }))
    const counts = new Map(delivery.counts.map(({ offset, count }) => [offset, count]))
    let again = 0
    for (const count of counts.values()) if (count > 0) again++
    measures.redelivered(again)

    const base = { topicId, partition, leaseId, ms: null, reason: null }
    const items: SettleItem[] = []
    for (const { from, to } of ranges) {
      let start = from
      for (let offset = from; offset < to; offset++) {
        this.#checkNotDone(partition, offset)
        if (failEvery === 0 || offset % failEvery !== 0 || (counts.get(offset) ?? 0) > 0) continue
        if (start < offset) items.push({ ...base, kind: 'ack', from: start, to: offset })
        items.push({
          ...base,
          kind: 'nack',
          from: offset,
          to: offset + 1,
          ms: FAILED_AGAIN_AFTER_MS,
          reason: 'fails at first',
        })
        start = offset + 1
      }
      if (start < to) items.push({ ...base, kind: 'ack', from: start, to })
    }
    this.#settle(items)
  }

  #settle(items: SettleItem[]): void {
    const { session, measures, clock } = this.#options
    const sentAt = clock.now()
    this.#unsettled++
    session.ask(
      (correlationId) => queueSettle.write({ correlationId, ...this.#membership, items }),
      (frame) => {
        measures.settled(clock.now() - sentAt)
        const { results } = queueSettled.read(frame)
        for (const { index, code } of results) {
          const { partition, from, to } = items[index] ?? { partition: -1, from: -1, to: -1 }
          measures.wrong('refused', `settling ${partition}@${from}-${to}: ${code}`)
        }
        const refused = new Set(results.map(({ index }) => index))
        this.#settled(items, refused)
      },
      () => this.#oneSettled(),
    )
  }

  #settled(items: readonly SettleItem[], refused: ReadonlySet<number>): void {
    const { session, measures } = this.#options
    let jobs = 0
    for (const [index, { kind, partition, from, to }] of items.entries()) {
      jobs += to - from
      if (kind !== 'ack' || refused.has(index)) continue
      measures.done(to - from)
      for (let offset = from; offset < to; offset++) this.#remember(`${partition}@${offset}`)
    }
    if (!this.#isStopping) session.tell(queueCredit.write({ ...this.#membership, records: jobs }))
    this.#oneSettled()
  }

  #oneSettled(): void {
    this.#unsettled--
    if (this.#isStopping && this.#unsettled === 0) this.#drained()
  }

  #checkNotDone(partition: number, offset: number): void {
    const job = `${partition}@${offset}`
    if (this.#done.has(job)) this.#options.measures.wrong('repeat', `job ${job} was done, and came again`)
  }

  #remember(job: string): void {
    this.#done.add(job)
    if (this.#done.size <= DONE_MAX) return
    const oldest = this.#done.values().next()
    if (!oldest.done) this.#done.delete(oldest.value)
  }
}
