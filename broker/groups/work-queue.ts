/**
 * The machine of one work queue in one partition: who gets which record, what becomes of it, and what that means for
 * the log. Pure: it reads no clock and does no I/O. Events go in, effects come out; the caller reads, writes and
 * sends. What is true is the shard's QueueState alone: the machine holds only what is on its way to it.
 */

import type { MemberId } from '../../protocol/ids.js'
import { clip, joined, type OffsetRange, OffsetRanges, split } from '../shard/offset-ranges.js'
import { QUEUE_REASON, type QueueMove, type QueueState, RANGE } from '../shard/queue-state.js'
import { BACKOFF_MS_MIN, backoffMs } from './backoff.js'
import { BuriedJobs } from './queue-burials.js'
import { type HandBack, type Outcome, QueueDraft } from './queue-draft.js'
import { dueTimes, hasReady } from './queue-due.js'
import type { MemberDemand, QueueEffect, QueueEvent, QueueView, Settlement } from './queue-events.js'
import { QueueHand, readyRanges } from './queue-hand.js'
import { countsOf, demandOf, shareOut } from './queue-share.js'

export interface WorkQueueOptions {
  readonly leaseMs: number
  readonly maxDeliveries: number
  /** With so many ranges nothing is claimed at the frontier; what was given back still goes out. */
  readonly rangesMax: number
}

/** Jobs that may be out at a time, as a multiple of the cap of ranges. */
const LEASED_PER_RANGE = 10
/** One read reaches over so many offsets to find more that was given back. */
const SCATTERED_RECORDS = 1000
/** Ranges that the settlements of one move go through, about: what else was asked waits for the next move. */
const MOVE_WORK_MAX = 10_000

const ALL_LEASES = { below: Number.POSITIVE_INFINITY, keep: new Set<number>() } as const
const REASON_EXPIRED = 'the lease ran out'
const REASON_LOST = 'the worker was lost'

/** Not re-entrant. */
export class WorkQueue<Item extends Settlement> {
  readonly #options: WorkQueueOptions
  readonly #hand = new QueueHand()
  readonly #started = new OffsetRanges()
  /** What lost members had and did not say to have started: it may be what ended them. */
  readonly #suspects = new OffsetRanges()
  #settlements: Item[] = []
  #handBacks: HandBack[] = []
  #demand: MemberDemand[] = []
  readonly #buried = new BuriedJobs<Item>()
  #isReading = false
  /** Nothing more is read before the next claim. */
  #isFull = false
  #readAt = 0
  #isWriting = false
  /** It has said so, and got no demand since. */
  #isHungry = false
  /** What the move that is being written will make of the queue's; 0 when it is not known. */
  #frontier = 0
  #outcome: Outcome<Item> | undefined
  #endOffset = 0

  constructor(options: WorkQueueOptions) {
    this.#options = options
  }

  step(event: QueueEvent<Item>, view: QueueView): QueueEffect<Item>[] {
    const effects: QueueEffect<Item>[] = []
    this.#endOffset = view.endOffset
    switch (event.type) {
      case 'demand':
        this.#isHungry = false
        this.#demand = event.members.filter(({ credits }) => credits > 0)
        break
      case 'records':
        this.#isReading = false
        // A read that brings nothing says nothing: ask again, but not at once.
        if (event.to > event.from) this.#hand.add(event)
        else this.#readAt = view.now + BACKOFF_MS_MIN
        break
      case 'full':
        this.#isReading = false
        this.#isFull = true
        break
      case 'unreadable':
        this.#isReading = false
        this.#readAt = event.retryAt
        break
      case 'settle':
        this.#settlements.push(...event.items)
        break
      case 'started':
        this.#start(event, view.queue)
        return effects
      case 'away':
        this.#withdraw(event.memberId)
        break
      case 'gone':
        this.#withdraw(event.memberId)
        this.#handBacks.push({ memberId: event.memberId, ...ALL_LEASES, counts: !event.left })
        break
      case 'back':
        for (const { leaseId, started } of event.held) {
          this.#start({ memberId: event.memberId, leaseId, ranges: started }, view.queue)
        }
        this.#handBacks.push({
          memberId: event.memberId,
          below: view.queue.nextLeaseId,
          keep: new Set(event.held.map(({ leaseId }) => leaseId)),
          counts: false,
        })
        break
      case 'written':
        this.#tell(effects)
        break
      case 'buried':
        for (const item of this.#buried.done(event.offset)) effects.push({ type: 'answer', item })
        break
      case 'time':
        break
    }
    this.#plan(view, effects)
    return effects
  }

  /**
   * What the next group is to say of the queue, decided against its state as it is then; undefined when that is
   * nothing. Called once after each `write`. `written` tells the outcome, in both cases.
   */
  decide(queue: QueueState, time: number): QueueMove | undefined {
    const outcome: Outcome<Item> = { answers: [], refusals: [], deliveries: [], dead: [] }
    const draft = new QueueDraft(queue, time)
    this.#outcome = outcome
    let settled = 0
    for (const item of this.#settlements) {
      if (draft.work >= MOVE_WORK_MAX) break
      this.#settle(item, draft, outcome)
      settled++
    }
    this.#settlements.splice(0, settled)
    // What a member said before it went comes first.
    if (this.#settlements.length === 0)
      for (const handBack of this.#handBacks.splice(0)) this.#takeBack(handBack, draft, outcome)
    this.#expire(draft, outcome)
    this.#claim(draft, outcome)
    this.#frontier = draft.frontier
    this.#hand.clear()
    this.#isFull = false
    for (const offsets of [this.#started, this.#suspects]) offsets.delete({ from: 0, to: queue.floor })
    return draft.move()
  }

  #start(
    event: { memberId: MemberId; leaseId: number; ranges: readonly OffsetRange[] },
    queue: QueueState,
  ): void {
    for (const { from, to } of event.ranges) {
      for (const held of queue.overlapping({ from, to })) {
        if (held.leaseId !== event.leaseId || held.memberId !== event.memberId) continue
        this.#started.add({ from: Math.max(from, held.from), to: Math.min(to, held.to) })
      }
    }
  }

  #withdraw(gone: MemberId): void {
    this.#demand = this.#demand.filter(({ memberId }) => memberId !== gone)
  }

  #tell(effects: QueueEffect<Item>[]): void {
    this.#isWriting = false
    this.#frontier = 0
    const outcome = this.#outcome
    this.#outcome = undefined
    if (outcome === undefined) return
    for (const { item, code } of outcome.refusals) effects.push({ type: 'refuse', item, code })
    for (const answer of outcome.answers) effects.push({ type: 'answer', ...answer })
    for (const delivery of outcome.deliveries) effects.push({ type: 'deliver', ...delivery })
    if (outcome.dead.length > 0) effects.push({ type: 'bury', jobs: outcome.dead })
    // Who else has work, and who takes what it is sent, may look different by now.
    if (this.#demand.length > 0) effects.push({ type: 'unused', members: this.#demand.splice(0) })
  }

  /** Says what is to happen next, of itself. */
  #plan(view: QueueView, effects: QueueEffect<Item>[]): void {
    if (this.#isWriting) {
      this.#prepare(view, effects)
      return
    }
    const hasSettlements = this.#settlements.length + this.#handBacks.length > 0
    const due = hasSettlements ? undefined : dueTimes(view, this.#buried.offsets)
    if (due === undefined || due.isExpired) {
      this.#write(effects)
      this.#prepare(view, effects)
      return
    }
    const isReadable = view.now >= this.#readAt
    const read = isReadable && !this.#isFull ? this.#nextRead(view) : undefined
    if (this.#isReading) {
      // Its answer comes back here.
    } else if (read !== undefined) {
      this.#read(read, effects)
    } else if (!this.#hand.isEmpty) {
      this.#write(effects)
    } else if (this.#demand.length > 0) {
      effects.push({ type: 'unused', members: this.#demand.splice(0) })
    } else if (isReadable && this.#hasWork(view)) {
      this.#sayHungry(effects)
    }
    const wakeAt = isReadable ? due.next : Math.min(due.next, this.#readAt)
    if (wakeAt < Number.POSITIVE_INFINITY) effects.push({ type: 'wakeAt', time: wakeAt })
  }

  /** Reads ahead for the next move while one is being written, but not among what was given back: that may just be claimed. */
  #prepare(view: QueueView, effects: QueueEffect<Item>[]): void {
    if (this.#isReading || this.#isFull || view.now < this.#readAt || hasReady(view)) return
    if (this.#demand.length === 0) {
      if (!this.#isHungry && this.#hasWork(view)) this.#sayHungry(effects)
      return
    }
    const read = this.#nextRead(view)
    if (read !== undefined) this.#read(read, effects)
  }

  #sayHungry(effects: QueueEffect<Item>[]): void {
    this.#isHungry = true
    effects.push({ type: 'hungry' })
  }

  #read(extent: { offset: number; records: number }, effects: QueueEffect<Item>[]): void {
    this.#isReading = true
    effects.push({ type: 'read', ...extent })
  }

  #write(effects: QueueEffect<Item>[]): void {
    this.#isWriting = true
    effects.push({ type: 'write' })
  }

  #mayClaimAtFrontier(queue: QueueState): boolean {
    const { rangesMax } = this.#options
    if (queue.ranges.length >= rangesMax) return false
    // Whoever settles every second job of all that are out makes as many ranges as there are jobs.
    return queue.sizes().leased < LEASED_PER_RANGE * rangesMax
  }

  #hasWork(view: QueueView): boolean {
    const { queue, endOffset } = view
    return (this.#frontierOf(queue) < endOffset && this.#mayClaimAtFrontier(queue)) || hasReady(view)
  }

  /** With what is being written. */
  #frontierOf(queue: QueueState): number {
    return Math.max(this.#frontier, queue.frontier)
  }

  /** Where to read more for the demand; undefined when what is at hand is enough, or all that there is. */
  #nextRead({ queue, now, endOffset }: QueueView): { offset: number; records: number } | undefined {
    let wanted = demandOf(this.#demand)
    if (wanted === 0) return undefined
    for (const ready of readyRanges(queue, now)) {
      const offset = this.#hand.firstUnread(ready)
      // What was given back lies here and there.
      if (offset !== undefined) return { offset, records: Math.max(wanted, SCATTERED_RECORDS) }
      wanted -= this.#hand.liveIn(ready)
      if (wanted <= 0) return undefined
    }
    if (!this.#mayClaimAtFrontier(queue)) return undefined
    const frontier = this.#frontierOf(queue)
    const offset = this.#hand.firstUnread({ from: frontier, to: endOffset })
    if (offset === undefined) return undefined
    const records = wanted - this.#hand.liveIn({ from: frontier, to: offset })
    return records > 0 ? { offset, records } : undefined
  }

  #settle(item: Item, draft: QueueDraft, outcome: Outcome<Item>): void {
    const { queue, time } = draft
    if (item.to > this.#endOffset) {
      outcome.refusals.push({ item, code: 'ACK_OUT_OF_RANGE' })
    } else if (item.kind === 'extend') {
      this.#extend(item, draft, outcome)
    } else if (
      draft.taken.overlaps(item) ||
      this.#buried.offsets.overlaps(item) ||
      !queue.isLeased(item, time)
    ) {
      outcome.refusals.push({ item, code: 'LEASE_LOST' })
    } else if (item.kind === 'ack') {
      draft.ack(item)
      outcome.answers.push({ item })
    } else {
      // Who nacks a job has started it, and who has started it cannot say that it never did.
      const isCounted = (part: OffsetRange) => item.kind === 'nack' || this.#started.overlaps(part)
      const delayMs = (count: number) => (item.kind === 'nack' ? (item.ms ?? backoffMs(count)) : 0)
      const dead = this.#giveBack(item, { draft, outcome, isCounted, delayMs, reason: item.reason ?? 'nack' })
      if (dead.length === 0) outcome.answers.push({ item })
      else this.#buried.answerLater(item, dead)
    }
  }

  /** Extends what the member still has of the range: it may have settled some of it a moment ago. */
  #extend(item: Item, draft: QueueDraft, outcome: Outcome<Item>): void {
    const { queue, time } = draft
    let deadline = Number.POSITIVE_INFINITY
    for (const range of queue.overlapping(item)) {
      draft.work++
      const part = clip(range, item)
      const isTheirs = range.leaseId === item.leaseId && range.memberId === item.memberId && range.time > time
      if (!isTheirs || range.kind !== RANGE.leased) continue
      for (const rest of this.#buried.untouched(part, draft.taken)) {
        // An extension never shortens.
        const until = Math.max(range.time, time + (item.ms ?? this.#options.leaseMs))
        draft.extended.push({ ...rest, deadline: until })
        deadline = Math.min(deadline, until)
      }
    }
    if (deadline === Number.POSITIVE_INFINITY) outcome.refusals.push({ item, code: 'LEASE_LOST' })
    else outcome.answers.push({ item, deadline })
  }

  #takeBack({ memberId, below, keep, counts }: HandBack, draft: QueueDraft, outcome: Outcome<Item>): void {
    draft.reason = QUEUE_REASON.gone
    for (const range of draft.queue.ranges) {
      if (range.kind !== RANGE.leased || range.memberId !== memberId) continue
      if (range.leaseId >= below || keep.has(range.leaseId)) continue
      this.#takeAway(range, { draft, outcome, reason: REASON_LOST, isLost: counts })
    }
  }

  #expire(draft: QueueDraft, outcome: Outcome<Item>): void {
    for (const range of draft.queue.ranges) {
      if (range.kind !== RANGE.leased || range.time > draft.time) continue
      draft.reason = QUEUE_REASON.expired
      this.#takeAway(range, { draft, outcome, reason: REASON_EXPIRED, isLost: true })
    }
  }

  #takeAway(
    range: OffsetRange,
    how: { draft: QueueDraft; outcome: Outcome<Item>; reason: string; isLost: boolean },
  ): void {
    const isCounted = (part: OffsetRange) => how.isLost && this.#started.overlaps(part)
    this.#giveBack(range, { ...how, isCounted, delayMs: () => 0 })
  }

  /** Gives jobs back, or up when they were delivered too often; returns the offsets of the latter. */
  #giveBack(
    within: OffsetRange,
    how: {
      draft: QueueDraft
      outcome: Outcome<Item>
      isCounted: (part: OffsetRange) => boolean
      delayMs: (count: number) => number
      reason: string
      /** The member was: nobody knows what it did with them. */
      isLost?: boolean
    },
  ): number[] {
    const { draft, outcome, reason } = how
    const dead: number[] = []
    for (const range of draft.queue.overlapping(within)) {
      draft.work++
      for (const rest of this.#buried.untouched(clip(range, within), draft.taken)) {
        for (const part of split(rest, this.#started)) {
          const counted = how.isCounted(part)
          const count = range.count + (counted ? 1 : 0)
          if (!counted || count < this.#options.maxDeliveries) {
            draft.giveBack({ ...part, visibleAt: draft.time + how.delayMs(range.count), counted })
            if (how.isLost && !counted) this.#suspects.add(part)
            continue
          }
          this.#buried.offsets.add(part)
          for (let offset = part.from; offset < part.to; offset++) {
            outcome.dead.push({ offset, leaseId: range.leaseId, count, reason })
            dead.push(offset)
          }
        }
      }
    }
    return dead
  }

  #claim(draft: QueueDraft, outcome: Outcome<Item>): void {
    const { queue, time } = draft
    const wanted = demandOf(this.#demand)
    if (this.#hand.isEmpty || wanted === 0) return
    const atFrontier = this.#mayClaimAtFrontier(queue)
    const { jobs, gaps, frontier } = this.#hand.pick(queue, { time, countMax: wanted, atFrontier })
    draft.frontier = frontier
    for (const gap of gaps) draft.ack(gap)
    const deadline = time + this.#options.leaseMs
    const members = [...this.#demand]
    this.#demand = []
    for (const { memberId, credits, jobs: theirs } of shareOut(jobs, members)) {
      const taken = theirs.reduce((sum, { from, to }) => sum + to - from, 0)
      if (credits > taken) this.#demand.push({ memberId, credits: credits - taken })
      if (taken === 0) continue
      const claim = { memberId, leaseId: draft.nextLeaseId++, deadline, ranges: joined(theirs) }
      draft.claims.push(claim)
      outcome.deliveries.push({ ...claim, counts: countsOf(theirs, this.#suspects) })
      // What is known of an earlier lease is not true of this one.
      for (const range of claim.ranges) this.#started.delete(range)
    }
  }
}
