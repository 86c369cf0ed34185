import { MillraceError } from '../protocol/error-codes.js'
import { type MemberId, memberIdFrom, type TopicId } from '../protocol/ids.js'
import {
  type GroupJoined,
  groupJoined,
  groupLeft,
  joinGroup,
  leaveGroup,
} from '../protocol/messages/group.js'
import { type QueueDeliver, queueCredit, queueStarted } from '../protocol/messages/queue.js'
import type { CarriedAck } from './acknowledgement.js'
import { Backoff } from './backoff.js'
import type { Timer } from './clock.js'
import type { Connection, LinkWatcher } from './connection.js'
import { asMillraceError } from './errors.js'
import type { HeldJob, SettlementCaller } from './held-job.js'
import type { Link, MemberTarget } from './link.js'
import type { Metadata } from './metadata.js'
import { QueueCredit } from './queue-credit.js'
import type { QueueMembershipHost } from './queue-host.js'
import { LeaseKeeper } from './queue-lease-keeper.js'
import { QueueLeases } from './queue-leases.js'
import { NOBODY, QueueSettlements, type Settlement, settlementOf, type Verdict } from './queue-settlements.js'
import { QueueStarts } from './queue-starts.js'
import { newRequestId } from './random.js'
import { askLink } from './request.js'
import type { AnyTopic } from './topic.js'

export interface QueueMembershipOptions {
  readonly connection: Connection
  readonly metadata: Metadata
  readonly topic: AnyTopic
  readonly group: string
  readonly leaseMs: number
  readonly maxDeliveries: number
  readonly prefetch: number | undefined
  readonly prefetchBytes: number
  readonly sessionTimeoutMs: number
}

const RETRY_BASE_MS = 50
const RETRY_CAP_MS = 2_000

/**
 * A worker's membership of a work queue, from its first link to its end. Over reconnects it keeps its jobs: it joins again and
 * names them. When it was expelled it joins anew, without them.
 */
export class QueueMembership implements LinkWatcher, MemberTarget {
  readonly #options: QueueMembershipOptions
  readonly #host: QueueMembershipHost
  readonly #backoff: Backoff
  readonly #leases: QueueLeases
  readonly #settlements: QueueSettlements
  readonly #credit: QueueCredit
  readonly #keeper: LeaseKeeper
  readonly #starts: QueueStarts
  #topicId: TopicId | undefined
  #mayAskAgain = true
  #memberId: MemberId
  #attempt = 0
  #link: Link | undefined
  #isJoined = false
  /** JOIN_GROUP has no answer yet. */
  #isJoining = false
  #groupId = 0
  #joinTimer: Timer | undefined
  /** Takes no more jobs; those in hand may be finished. */
  #isClosing = false
  #isOver = false
  #leaving: Promise<void> | undefined
  /** The membership is up, or is not going to be soon. */
  #onChange: (() => void) | undefined

  constructor(options: QueueMembershipOptions, host: QueueMembershipHost) {
    this.#options = options
    this.#host = host
    const { settings } = options.connection
    this.#backoff = new Backoff({ random: settings.random, baseMs: RETRY_BASE_MS, capMs: RETRY_CAP_MS })
    this.#leases = new QueueLeases(options.topic)
    this.#settlements = new QueueSettlements(settings, (job) => this.#gone(job))
    this.#credit = new QueueCredit({ ...options, nowMs: () => settings.clock.monotonic() })
    this.#starts = new QueueStarts(() => this.tellStarted())
    this.#keeper = new LeaseKeeper({
      clock: settings.clock,
      leases: this.#leases,
      settlements: this.#settlements,
      leaseMs: options.leaseMs,
      lost: (job, error) => this.#lose(job, error),
    })
    this.#memberId = this.#newMemberId()
  }

  #newMemberId(): MemberId {
    return memberIdFrom(newRequestId(this.#options.connection.settings.random))
  }

  /** Jobs that the program has, or that the broker has not answered for. */
  get inHand(): number {
    return this.#leases.inHand
  }

  /** Joins, and stays in until `leave`. */
  start(): void {
    void this.#resolve(true)
  }

  async #resolve(isFirst: boolean): Promise<void> {
    const { metadata, topic, connection } = this.#options
    for (;;) {
      try {
        const { topicId } = await metadata.resolve(topic)
        if (this.#isOver) return
        this.#topicId = topicId
        if (isFirst) connection.watch(this)
        else if (this.#link !== undefined) this.#join(this.#link)
        return
      } catch (cause) {
        const error = asMillraceError(cause)
        if (this.#isOver) return
        if (!error.retriable) return this.#host.failed(error)
      }
    }
  }

  // What the connection tells.

  linkUp(link: Link): void {
    this.#link = link
    this.#join(link)
  }

  linkDown(): void {
    this.#link?.memberFramesNoMore(this.#memberId)
    this.#link = undefined
    this.#isJoined = false
    this.#isJoining = false
    this.#joinTimer?.cancel()
    this.#settlements.pause()
    this.#keeper.linkDown()
    this.#onChange?.()
  }

  refused(error: MillraceError): void {
    this.#host.failed(error)
  }

  #join(link: Link): void {
    const { group, leaseMs, maxDeliveries, sessionTimeoutMs } = this.#options
    const memberId = this.#memberId
    link.memberFramesTo(memberId, this)
    const fields = {
      group,
      kind: 'queue' as const,
      memberId,
      attempt: ++this.#attempt,
      topicIds: [this.#topicId as TopicId],
      ifNoCursor: 'earliest' as const,
      sessionTimeoutMs,
      leaseMs,
      maxDeliveries,
      prefetch: this.#isClosing ? 0 : this.#credit.begin(this.#leases),
      held: [],
      heldLeases: this.#leases.held(),
    }
    const isStale = (): boolean => this.#link !== link || this.#memberId !== memberId || this.#isOver
    this.#isJoining = true
    askLink(link, [joinGroup, groupJoined], fields, {
      answered: (joined) => {
        if (isStale()) return
        this.#isJoining = false
        this.#begin(link, joined)
      },
      failed: (error) => {
        // A client that is closed hears of no link that goes down.
        if (!link.isOpen) this.#onChange?.()
        if (isStale() || !link.isOpen) return
        this.#isJoining = false
        this.#onChange?.()
        if (this.#leaving === undefined) this.#joinFailed(link, error)
      },
    })
  }

  #begin(link: Link, { groupId, leaseMs }: GroupJoined): void {
    this.#backoff.reset()
    this.#isJoined = true
    this.#groupId = groupId
    this.#settlements.begin({ link, groupId, memberId: this.#memberId })
    this.#keeper.joined(leaseMs)
    this.tellStarted()
    this.#onChange?.()
  }

  #joinFailed(link: Link, error: MillraceError): void {
    if (error.code === 'UNKNOWN_TOPIC' && this.#mayAskAgain) {
      // What was known of the topic may be out of date: it was made anew.
      this.#mayAskAgain = false
      this.#options.metadata.forget(this.#options.topic.name)
      void this.#resolve(false)
    } else if (error.retriable) {
      const delayMs = error.retryAfterMs ?? this.#backoff.nextDelayMs()
      this.#joinTimer = this.#options.connection.settings.clock.setTimer(() => this.#join(link), delayMs)
    } else {
      this.#host.failed(error)
    }
  }

  // What the broker tells.

  assigned(): void {}

  delivered(delivery: QueueDeliver): void {
    if (!this.#isJoined || this.#leaving !== undefined) return
    try {
      const before = this.#leases.waitingBytes
      const count = this.#leases.add(delivery, this.#keeper.deadlineOfNew())
      this.#credit.delivered(count, this.#leases.waitingBytes - before)
    } catch (error) {
      this.#host.failed(error)
      return
    }
    if (this.#isClosing) this.#release()
    else this.#giveCredit()
    this.#keeper.watch()
    this.#host.arrived()
  }

  /** The member is out: silent for too long, or the topic or group is gone. */
  ended(error: MillraceError): void {
    const link = this.#link
    this.#isJoined = false
    this.#settlements.pause()
    this.#loseAll(error)
    this.#onChange?.()
    if (this.#leaving !== undefined) return
    if (error.code !== 'FENCED' && !error.retriable) {
      this.#host.failed(error)
      return
    }
    this.#memberId = this.#newMemberId()
    this.#attempt = 0
    if (link === undefined) return
    const delayMs = this.#backoff.nextDelayMs()
    this.#joinTimer = this.#options.connection.settings.clock.setTimer(() => this.#join(link), delayMs)
  }

  // What the program does.

  /** The next job, started; undefined while there is none. */
  take(): HeldJob | undefined {
    const job = this.#isClosing ? undefined : this.#leases.start()
    if (job !== undefined) {
      this.#starts.add(job)
      this.#credit.started()
    }
    return job
  }

  /** Says which jobs were started, and what there is room for now. */
  tellStarted(): void {
    // What was started since the leases were named is told once the member is in.
    if (this.#isJoining) return
    for (const started of this.#starts.take()) {
      // Who is to join again will name it with its lease.
      if (this.#isJoined) this.#link?.send(queueStarted.write({ ...this.#membership, ...started }))
    }
    this.#giveCredit()
  }

  get #membership(): { groupId: number; memberId: MemberId } {
    return { groupId: this.#groupId, memberId: this.#memberId }
  }

  #giveCredit(): void {
    if (!this.#isJoined || this.#isClosing) return
    const records = this.#credit.due(this.#leases)
    if (records > 0) this.#link?.send(queueCredit.write({ ...this.#membership, records }))
  }

  /** What the program says of a job; it is no longer in hand once that is durable. */
  settle(job: HeldJob, verdict: Verdict): void {
    job.settledAs = verdict.kind
    this.#settle(settlementOf(job, verdict))
  }

  #settle(settlement: Settlement): void {
    settlement.job.state = 'settling'
    this.#settlements.add(settlement)
  }

  #gone(job: HeldJob): void {
    this.#leases.remove(job)
    this.#host.settled()
  }

  extend(job: HeldJob, ms: number, caller: SettlementCaller): void {
    this.#keeper.extend(job, ms, caller)
  }

  /** An atomic write carries the ack. */
  carry(job: HeldJob): CarriedAck {
    const { topicId, partition, leaseId } = job.lease
    job.state = 'carried'
    return {
      ack: { kind: 'job', ...this.#membership, topicId, partition, leaseId, offset: job.offset },
      done: () => this.#gone(job),
      failed: () => {
        if (job.state !== 'carried') return
        job.state = 'started'
        // The broker has taken back what was held when the queue was left.
        if (this.#leaving !== undefined) this.#lose(job, leftError())
      },
    }
  }

  #lose(job: HeldJob, reason: unknown): void {
    const wasWaiting = job.state === 'waiting'
    this.#leases.remove(job)
    job.lose(reason)
    if (wasWaiting) this.#giveCredit()
    else this.#host.settled()
  }

  #loseAll(error: MillraceError): void {
    for (const job of this.#leases.jobsIn('waiting', 'started')) this.#lose(job, error)
    const lost = new MillraceError('LEASE_LOST', { message: error.message, cause: error })
    this.#settlements.refuse(() => true, lost)
  }

  // The end.

  /** Takes no more jobs, and gives those back that the program has not seen. What it has in hand it may finish. */
  stop(): void {
    this.#isClosing = true
    this.#release()
  }

  #release(): void {
    for (let job = this.#leases.start(); job !== undefined; job = this.#leases.start()) {
      this.#settle({ kind: 'release', job, ms: null, reason: null, caller: NOBODY })
    }
  }

  /** Gives everything back at once; resolves when the broker has it, or cannot be reached. */
  leave(reason: unknown): Promise<void> {
    this.#leaving ??= this.#leave(reason).finally(() => this.#end())
    return this.#leaving
  }

  async #leave(reason: unknown): Promise<void> {
    this.#isClosing = true
    this.#keeper.stop()
    for (const job of this.#leases.jobsIn('started')) {
      job.lose(reason)
      this.#settle({ kind: 'nack', job, ms: 0, reason: LEFT_TEXT, caller: NOBODY })
    }
    if (this.#isJoining) await this.#changed()
    const link = this.#link
    if (!this.#isJoined || link === undefined) return
    this.#settlements.flush()
    const left = new Promise<void>((resolve) => {
      const failed = (): void => {
        // A client that is closed hears of no link that goes down.
        if (!link.isOpen) this.#onChange?.()
        resolve()
      }
      askLink(link, [leaveGroup, groupLeft], this.#membership, { answered: () => resolve(), failed })
    })
    await Promise.race([this.#changed(), Promise.all([left, this.#settlements.idle()])])
  }

  #changed(): Promise<void> {
    return new Promise((resolve) => {
      this.#onChange = resolve
    })
  }

  #end(): void {
    this.#isOver = true
    this.#options.connection.unwatch(this)
    this.#link?.memberFramesNoMore(this.#memberId)
    this.#joinTimer?.cancel()
    this.#keeper.stop()
    const error = new MillraceError('CONNECTION_LOST', {
      message: 'the queue was left before the broker had answered',
    })
    this.#settlements.refuse(() => true, error)
    this.#settlements.pause()
  }
}

const LEFT_TEXT = 'the worker left the queue'

const leftError = (): MillraceError => new MillraceError('LEASE_LOST', { message: LEFT_TEXT })
