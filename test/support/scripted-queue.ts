import { entryPayload, readEntryHeader } from '../../protocol/entry.js'
import { MillraceError } from '../../protocol/error-codes.js'
import type { MemberId } from '../../protocol/ids.js'
import {
  groupEnded,
  groupJoined,
  groupLeft,
  type JoinGroup,
  type LeaveGroup,
  type QueueCredit,
  type QueueSettle,
  type QueueStarted,
  queueDeliver,
  queueSettled,
  type SettleItem,
} from '../../protocol/messages/index.js'
import { decodeRecords, RecordBatchBuilder, type WireRecord } from '../../protocol/records.js'
import type { ScriptedBroker, ScriptedTopic } from './scripted-broker.js'
import type { ScriptedSession } from './scripted-session.js'

export interface ScriptedJob {
  readonly partition: number
  readonly offset: number
  readonly wire: WireRecord
  readonly baseTimestamp: number
  readonly appendTime: number
  state: 'ready' | 'leased' | 'done' | 'dead'
  count: number
  /** Whoever had it was lost. */
  isSuspect: boolean
  isStarted: boolean
  memberId: MemberId | undefined
  leaseId: number
  deadline: number
  visibleAt: number
  reason: string | null
}

interface Member {
  session: ScriptedSession
  attempt: number
  credits: number
}

const GROUP_ID = 7
const TICK_MS = 5

/** Teaches a scripted broker one work queue over one topic, with leases by the wall clock. */
export class ScriptedQueue {
  readonly #topic: ScriptedTopic
  readonly members = new Map<MemberId, Member>()
  readonly jobs: ScriptedJob[] = []
  readonly joins: JoinGroup[] = []
  readonly settled: SettleItem[] = []
  readonly started: number[] = []
  leaseMs = 0
  maxDeliveries = 0
  #leaseId = 0
  readonly #tick: NodeJS.Timeout

  constructor(broker: ScriptedBroker, topicName: string) {
    this.#topic = broker.topics.get(topicName) as ScriptedTopic
    broker.handlers.set('JOIN_GROUP', (fields, session) =>
      this.#join(fields as unknown as JoinGroup, session),
    )
    broker.handlers.set('LEAVE_GROUP', (fields) => this.#leave(fields as unknown as LeaveGroup))
    broker.handlers.set('QUEUE_CREDIT', (fields) => this.#credit(fields as unknown as QueueCredit))
    broker.handlers.set('QUEUE_STARTED', (fields) => this.#start(fields as unknown as QueueStarted))
    broker.handlers.set('QUEUE_SETTLE', (fields) => this.#settle(fields as unknown as QueueSettle))
    this.#tick = setInterval(() => this.pump(), TICK_MS)
  }

  stop(): void {
    clearInterval(this.#tick)
  }

  job(offset: number): ScriptedJob {
    const job = this.jobs.find((one) => one.offset === offset)
    if (job === undefined) throw new Error(`no job ${offset}`)
    return job
  }

  offsetsIn(state: ScriptedJob['state']): number[] {
    return this.jobs.filter((job) => job.state === state).map(({ offset }) => offset)
  }

  /** Expels whoever is a member. */
  expelAll(): void {
    for (const [memberId, { session }] of this.members) {
      session.send(
        groupEnded.write({
          groupId: GROUP_ID,
          memberId,
          code: 'FENCED',
          message: 'silent',
          retriable: false,
        }),
      )
      this.#giveBack(memberId, { isLost: true })
      this.members.delete(memberId)
    }
  }

  #join(fields: JoinGroup, session: ScriptedSession): unknown[] {
    this.joins.push(fields)
    this.leaseMs ||= fields.leaseMs
    this.maxDeliveries ||= fields.maxDeliveries
    const { memberId, attempt, prefetch } = fields
    const known = this.members.get(memberId)
    if (known !== undefined && known.attempt >= attempt) throw new MillraceError('MEMBER_EXISTS')
    for (const job of this.jobs) {
      if (job.memberId !== memberId || job.state !== 'leased') continue
      const held = fields.heldLeases.find(({ leaseId }) => leaseId === job.leaseId)
      if (held === undefined) this.#return(job, { counts: false, delayMs: 0 })
      else if (held.started.some(({ from, to }) => from <= job.offset && job.offset < to))
        job.isStarted = true
    }
    this.members.set(memberId, { session, attempt, credits: prefetch })
    setImmediate(() => this.pump())
    const { correlationId } = fields
    return groupJoined.write({
      correlationId,
      groupId: GROUP_ID,
      epoch: 1,
      sessionTimeoutMs: fields.sessionTimeoutMs,
      leaseMs: this.leaseMs,
      maxDeliveries: this.maxDeliveries,
      time: Date.now(),
    })
  }

  #leave({ correlationId, memberId }: LeaveGroup): unknown[] {
    if (!this.members.delete(memberId)) throw new MillraceError('UNKNOWN_MEMBER')
    this.#giveBack(memberId)
    return groupLeft.write({ correlationId })
  }

  #giveBack(memberId: MemberId, { isLost = false } = {}): void {
    for (const job of this.jobs) {
      if (job.memberId === memberId && job.state === 'leased')
        this.#return(job, { counts: false, delayMs: 0, isLost })
    }
  }

  #credit({ memberId, records }: QueueCredit): undefined {
    const member = this.members.get(memberId)
    if (member !== undefined) member.credits += records
    this.pump()
  }

  #start({ memberId, leaseId, ranges }: QueueStarted): undefined {
    for (const { from, to } of ranges) {
      for (const job of this.#leased({ memberId, leaseId, from, to })) {
        job.isStarted = true
        this.started.push(job.offset)
      }
    }
  }

  #leased(of: { memberId: MemberId; leaseId: number; from: number; to: number }): ScriptedJob[] {
    return this.jobs.filter(
      (job) =>
        job.state === 'leased' &&
        job.memberId === of.memberId &&
        job.leaseId === of.leaseId &&
        job.offset >= of.from &&
        job.offset < of.to,
    )
  }

  #settle({ correlationId, memberId, items }: QueueSettle): unknown[] {
    this.#expire()
    const results: { index: number; code: string }[] = []
    const deadlines: { index: number; deadline: number }[] = []
    for (const [index, item] of items.entries()) {
      const jobs = this.#leased({ memberId, ...item })
      if (jobs.length !== item.to - item.from) {
        results.push({ index, code: 'LEASE_LOST' })
        continue
      }
      this.settled.push(item)
      for (const job of jobs) {
        if (item.kind === 'ack') job.state = 'done'
        else if (item.kind === 'extend') job.deadline = Date.now() + (item.ms ?? 0)
        else {
          job.reason = item.reason
          this.#return(job, { counts: item.kind === 'nack', delayMs: item.ms ?? 20 })
        }
      }
      if (item.kind === 'extend') deadlines.push({ index, deadline: Date.now() + (item.ms ?? 0) })
    }
    setImmediate(() => this.pump())
    return queueSettled.write({ correlationId, results, deadlines })
  }

  #return(
    job: ScriptedJob,
    { counts, delayMs, isLost = false }: { counts: boolean; delayMs: number; isLost?: boolean },
  ): void {
    if (counts) job.count++
    job.isSuspect = isLost
    job.state = job.count >= this.maxDeliveries ? 'dead' : 'ready'
    job.isStarted = false
    job.memberId = undefined
    job.visibleAt = Date.now() + delayMs
  }

  #expire(): void {
    for (const job of this.jobs) {
      if (job.state === 'leased' && job.deadline <= Date.now()) {
        this.#return(job, { counts: job.isStarted, delayMs: 0, isLost: true })
      }
    }
  }

  /** Takes new records in, takes back what ran out and delivers what is due. */
  pump(): void {
    this.#takeIn()
    this.#expire()
    for (const [memberId, member] of this.members) {
      const due = this.jobs.filter(({ state, visibleAt }) => state === 'ready' && visibleAt <= Date.now())
      const first = due[0]
      if (first === undefined || member.credits === 0) continue
      const claimed = due.filter(({ partition }) => partition === first.partition).slice(0, member.credits)
      member.credits -= claimed.length
      this.#deliver(memberId, member.session, claimed)
    }
  }

  #takeIn(): void {
    for (const [partition, log] of this.#topic.logs.entries()) {
      const known = this.jobs.filter((job) => job.partition === partition).length
      if (known >= log.end) continue
      for (const { bytes } of log.entries) {
        const header = readEntryHeader(bytes, 0)
        if (header.baseOffset < known) continue
        for (const wire of decodeRecords(entryPayload(bytes, header, 0), header.recordCount)) {
          this.jobs.push({
            partition,
            offset: header.baseOffset + wire.offsetDelta,
            wire,
            baseTimestamp: header.baseTimestamp,
            appendTime: header.appendTime,
            state: 'ready',
            count: 0,
            isSuspect: false,
            isStarted: false,
            memberId: undefined,
            leaseId: 0,
            deadline: 0,
            visibleAt: 0,
            reason: null,
          })
        }
      }
    }
  }

  #deliver(memberId: MemberId, session: ScriptedSession, jobs: ScriptedJob[]): void {
    const leaseId = ++this.#leaseId
    const deadline = Date.now() + this.leaseMs
    const payloads: Uint8Array[] = []
    const batches = jobs.map((job) => {
      Object.assign(job, { state: 'leased', memberId, leaseId, deadline, isStarted: false })
      const builder = new RecordBatchBuilder()
      builder.append({ ...job.wire, timestamp: job.baseTimestamp + job.wire.timestampDelta })
      const { payload, baseTimestamp } = builder.finish()
      payloads.push(payload)
      const { offset: baseOffset, appendTime } = job
      return { baseOffset, appendTime, baseTimestamp, recordCount: 1, payloadBytes: payload.length }
    })
    session.send(
      queueDeliver.write({
        groupId: GROUP_ID,
        memberId,
        topicId: this.#topic.topicId,
        partition: (jobs[0] as ScriptedJob).partition,
        leaseId,
        deadline,
        ranges: jobs.map(({ offset }) => ({ from: offset, to: offset + 1 })),
        counts: jobs.flatMap(({ offset, count, isSuspect }) =>
          isSuspect || count > 0 ? [{ offset, count }] : [],
        ),
        batches,
        payloads: new Uint8Array(Buffer.concat(payloads)),
      }),
    )
  }
}
