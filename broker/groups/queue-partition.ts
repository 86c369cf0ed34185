import { MillraceError, withOutcome } from '../../protocol/error-codes.js'
import type { MemberId, TopicId } from '../../protocol/ids.js'
import type { Clock, Timer } from '../platform/clock.js'
import type { Failpoints } from '../platform/failpoints.js'
import type { Metrics } from '../platform/metrics.js'
import { clip, type OffsetRange } from '../shard/offset-ranges.js'
import { type QueueClaim, type QueueState, RANGE } from '../shard/queue-state.js'
import type { Shard } from '../shard/shard.js'
import type { ShardGroups } from '../shard/shard-groups.js'
import { Burial } from './burial.js'
import type { DeadLetters, LetterShard } from './dead-letters.js'
import type { EntrySlicer } from './entry-slice.js'
import { type Part, placeOf } from './part.js'
import { type DeliveryFrame, deliveryFrames } from './queue-delivery.js'
import type { Delivery, MemberDemand, QueueEffect, QueueEvent, Settlement } from './queue-events.js'
import { isEnd, isOfReading, startOf } from './queue-failures.js'
import { QueueRead, type ReadExtent, releaseAll } from './queue-read.js'
import { WorkQueue } from './work-queue.js'

/** What work queues need of the shard. */
export type QueueShard = LetterShard &
  Pick<Shard, 'follow'> & {
    readonly groups: LetterShard['groups'] &
      Pick<ShardGroups, 'createGroup' | 'openQueues' | 'queue' | 'onTopicChange'>
  }

/** What all queues share. */
export interface QueueEnvironment {
  readonly shard: QueueShard
  readonly clock: Clock
  readonly metrics: Metrics
  readonly failpoints: Failpoints
  readonly slicer: EntrySlicer
  readonly letters: DeadLetters
  /** With so many ranges a partition's queue claims nothing new. */
  readonly rangesMax: number
  /** Something went wrong that the queue gets over by itself. */
  readonly warn: (message: string, error: unknown) => void
}

/** A settlement and who waits for its answer. */
export interface PendingSettlement extends Settlement {
  readonly done: (refusal: MillraceError | null, deadline?: number) => void
}

/** The group that a partition belongs to, as the partition sees it. */
export interface PartitionOwner {
  readonly groupId: number
  readonly name: string
  readonly leaseMs: number
  readonly maxDeliveries: number
  /** It has work, and wants demand. */
  hungry(part: Part): void
  unused(members: readonly MemberDemand[]): void
  /** Which of its connections the member has, as it counts them; undefined: it is gone. */
  attemptOf(memberId: MemberId): number | undefined
  /** Unless the member has come back with another connection since: what it did not name then was taken back. */
  deliver(to: { memberId: MemberId; attempt: number | undefined }, frame: DeliveryFrame): void
  /** Nothing goes on in the partition: its topic is gone, or the group, or the shard. */
  ended(part: Part, reason: MillraceError): void
}

const READ_BYTES_MIN = 16 * 1024
const READ_BYTES_MAX = 256 * 1024
/** What is read and not claimed. */
const HAND_BYTES_MAX = 1024 * 1024
const RETRY_MS = 1000
const WAKE_MS_MAX = 60_000

/** One partition of a work queue at work: does what its machine asks for, with the shard's log and the members' links. */
export class QueuePartition {
  readonly part: Part
  readonly #at: { readonly groupId: number; readonly topicId: TopicId; readonly partition: number }
  readonly #environment: QueueEnvironment
  readonly #owner: PartitionOwner
  readonly #machine: WorkQueue<PendingSettlement>
  readonly #burial: Burial
  #reads: QueueRead[] = []
  /** What the move that is being written delivers from. */
  #decidedReads: QueueRead[] = []
  /** Of the last read: how much the next one takes for what is wanted. */
  #bytesPerRecord = 1024
  #isWriting = false
  #isHungry = false
  /** Settlements that were not answered. */
  readonly #pending = new Set<PendingSettlement>()
  #timer: { readonly timer: Timer; readonly at: number } | undefined
  #unfollow: (() => void) | undefined
  #stopped: MillraceError | undefined
  #whenIdle: (() => void)[] = []

  constructor(part: Part, owner: PartitionOwner, environment: QueueEnvironment) {
    this.part = part
    this.#at = { groupId: owner.groupId, ...placeOf(part) }
    this.#owner = owner
    this.#environment = environment
    const { rangesMax } = environment
    const { leaseMs, maxDeliveries } = owner
    this.#machine = new WorkQueue({ leaseMs, maxDeliveries, rangesMax })
    this.#burial = new Burial({
      ...environment,
      at: this.#at,
      group: owner.name,
      buried: (offset) => this.step({ type: 'buried', offset }),
      isEnd: (error) => this.#isEnd(error) && !isOfReading(error),
    })
  }

  /** Begins to work; the log has the queue. Throws UNKNOWN_TOPIC. */
  start(): void {
    this.#unfollow = this.#environment.shard.follow(this.#at, () => this.#moved())
    this.step({ type: 'time' })
  }

  /** As the log has it; undefined when it is not there, or not any more. */
  get queue(): QueueState | undefined {
    const { groups } = this.#environment.shard.groups.state
    return groups.get(this.#at.groupId)?.queues.get(this.part)
  }

  /** Jobs that could be claimed, at most. */
  get claimable(): number {
    const { queue } = this
    return queue === undefined ? 0 : this.#endOffset - queue.frontier + queue.sizes().ready
  }

  /** The partition's durable end; 0 when it is gone. */
  get #endOffset(): number {
    const { topicId, partition } = this.#at
    return this.#environment.shard.groups.state.topics.get(topicId)?.partitions[partition]?.endOffset ?? 0
  }

  get isBusy(): boolean {
    return this.#isWriting || !this.#burial.isIdle
  }

  hasLeaseOf(memberId: MemberId): boolean {
    return this.queue?.ranges.some((range) => range.memberId === memberId) ?? false
  }

  settle(items: readonly PendingSettlement[]): void {
    if (this.#stopped !== undefined) {
      for (const item of items) item.done(this.#stopped)
      return
    }
    for (const item of items) this.#pending.add(item)
    this.step({ type: 'settle', items })
  }

  /** Resolves once everything that was said before is durable. */
  idle(): Promise<void> {
    if (!this.#isWriting || this.#stopped !== undefined) return Promise.resolve()
    return new Promise((resolve) => this.#whenIdle.push(resolve))
  }

  /** Tells the machine, and does what it asks for. */
  step(event: QueueEvent<PendingSettlement>): void {
    if (this.#stopped !== undefined) return
    const { queue } = this
    const { topicId, partition } = this.#at
    const { shard } = this.#environment
    const endOffset = shard.groups.state.topics.get(topicId)?.partitions[partition]?.endOffset
    if (queue === undefined || endOffset === undefined) {
      this.#end(new MillraceError(endOffset === undefined ? 'UNKNOWN_TOPIC' : 'UNKNOWN_GROUP'))
      return
    }
    if (event.type === 'demand') this.#isHungry = false
    const effects = this.#machine.step(event, { now: shard.time(), queue, endOffset })
    for (const effect of effects) this.#do(effect)
    if (!this.#isWriting) for (const resolve of this.#whenIdle.splice(0)) resolve()
  }

  /** Lets go of everything; who waits for an answer gets `reason`. */
  stop(reason: MillraceError): void {
    if (this.#stopped !== undefined) return
    // What is on its way to the log gets through without anybody who hears of it.
    const told = this.isBusy ? withOutcome(reason, 'unknown') : reason
    this.#stopped = reason
    this.#unfollow?.()
    this.#timer?.timer.cancel()
    this.#burial.stop()
    releaseAll(this.#reads.splice(0))
    for (const item of this.#pending) item.done(told)
    this.#pending.clear()
    for (const resolve of this.#whenIdle.splice(0)) resolve()
  }

  /** Atomic writes settle jobs without a word here: see whether they made room for more. */
  look(): void {
    if (!this.#isHungry && !this.#isWriting && (this.queue?.frontier ?? 0) < this.#endOffset) {
      this.step({ type: 'time' })
    }
  }

  /** The partition has moved on, or is gone. */
  #moved(): void {
    // Who waits for members, or for a write, looks for itself when that is over.
    if (this.queue !== undefined && (this.#isHungry || this.#isWriting)) return
    this.step({ type: 'time' })
  }

  #do(effect: QueueEffect<PendingSettlement>): void {
    switch (effect.type) {
      case 'write':
        void this.#write()
        return
      case 'read':
        void this.#read(effect)
        return
      case 'deliver':
        void this.#deliver(effect)
        return
      case 'bury':
        this.#burial.add(effect.jobs)
        return
      case 'answer':
        this.#answer(effect.item, effect.deadline)
        return
      case 'refuse':
        this.#pending.delete(effect.item)
        effect.item.done(new MillraceError(effect.code))
        return
      case 'hungry':
        this.#isHungry = true
        this.#owner.hungry(this.part)
        return
      case 'unused':
        this.#owner.unused(effect.members)
        return
      case 'wakeAt':
        this.#wakeAt(effect.time)
        return
    }
  }

  #answer(item: PendingSettlement, deadline: number | undefined): void {
    const { metrics } = this.#environment
    if (item.kind === 'ack') metrics.count('jobsAcked', item.to - item.from)
    if (item.kind === 'extend') metrics.count('leasesExtended')
    this.#pending.delete(item)
    item.done(null, deadline)
  }

  async #write(): Promise<void> {
    this.#isWriting = true
    const { shard, metrics, failpoints } = this.#environment
    let expired = 0
    /** Claims that the log does not hear of. */
    let unlogged: readonly QueueClaim[] = []
    try {
      await shard.groups.queue({ ...this.#at, ifNoCursor: 'earliest' }, (queue, time) => {
        this.#decidedReads = this.#reads.splice(0)
        expired = leasesOver(queue, time)
        const move = this.#machine.decide(queue, time)
        if (failpoints.planted !== 'leaseNotPersisted' || move === undefined)
          return { move, result: undefined }
        unlogged = move.claims
        return { move: { ...move, claims: [], nextLeaseId: queue.nextLeaseId }, result: undefined }
      })
    } catch (error) {
      releaseAll(this.#decidedReads.splice(0))
      // The error itself says whether it may be written.
      this.#isWriting = false
      this.#fail(error)
      return
    }
    for (const claim of unlogged) this.queue?.claim(claim)
    this.#isWriting = false
    if (expired > 0) metrics.count('leasesExpired', expired)
    const reads = this.#decidedReads
    this.step({ type: 'written' })
    // Whoever delivers from them has taken hold of them.
    releaseAll(reads)
  }

  async #read(extent: ReadExtent): Promise<void> {
    const { offset } = extent
    const { shard, warn } = this.#environment
    if (this.#reads.reduce((sum, { bytes }) => sum + bytes, 0) >= HAND_BYTES_MAX) {
      this.step({ type: 'full' })
      return
    }
    const found = await this.#find(extent).catch((error: unknown) => ({ error }))
    if (!('error' in found)) {
      const { read, records } = found
      if (this.#stopped !== undefined) {
        read.release()
        return
      }
      this.#reads.push(read)
      this.step({ type: 'records', from: offset, to: read.nextOffset, live: records })
      return
    }
    const { error } = found
    const startOffset = startOf(error)
    if (this.#isEnd(error) && !isOfReading(error)) {
      this.#fail(error)
    } else if (startOffset > offset) {
      // What was deleted is no job any more.
      this.step({ type: 'records', from: offset, to: startOffset, live: [] })
    } else {
      warn(`work queue "${this.#owner.name}": offset ${offset} cannot be read; it is tried again`, error)
      this.step({ type: 'unreadable', retryAt: shard.time() + RETRY_MS })
    }
  }

  async #find(extent: ReadExtent): Promise<{ read: QueueRead; records: OffsetRange[] }> {
    const { shard, failpoints, slicer } = this.#environment
    const held = failpoints.hit('queueBeforeRead')
    if (held) await held
    const { offset, records } = extent
    const maxBytes = Math.min(Math.max(READ_BYTES_MIN, records * this.#bytesPerRecord), READ_BYTES_MAX)
    const reading = shard.read({ ...this.#at, offset, maxBytes })
    const read = new QueueRead(reading instanceof Promise ? await reading : reading, extent)
    try {
      const within = { from: offset, to: read.nextOffset }
      this.#bytesPerRecord = read.bytes / Math.max(1, within.to - within.from)
      const live = await slicer.live(read.entries)
      return { read, records: live.map((range) => clip(range, within)).filter(({ from, to }) => from < to) }
    } catch (error) {
      read.release()
      throw error
    }
  }

  async #deliver(delivery: Delivery): Promise<void> {
    const { metrics, slicer, warn } = this.#environment
    const { memberId } = delivery
    const to = { memberId, attempt: this.#owner.attemptOf(memberId) }
    const jobs = delivery.ranges.reduce((sum, { from, to }) => sum + to - from, 0)
    metrics.count('jobsDelivered', jobs)
    metrics.count('jobsRedelivered', delivery.counts.filter(({ count }) => count > 0).length)
    try {
      const frames = await deliveryFrames(delivery, { reads: this.#decidedReads, slicer, ...this.#at })
      for (const frame of frames) this.#owner.deliver(to, frame)
    } catch (error) {
      // The lease stands: it runs out, and the jobs come again.
      warn(`work queue "${this.#owner.name}": jobs cannot be delivered`, error)
    }
  }

  #wakeAt(at: number): void {
    if (this.#timer !== undefined) {
      if (this.#timer.at <= at) return
      this.#timer.timer.cancel()
    }
    const { shard, clock } = this.#environment
    const waitMs = Math.min(Math.max(1, at - shard.time()), WAKE_MS_MAX)
    const wake = (): void => {
      this.#timer = undefined
      this.step({ type: 'time' })
    }
    this.#timer = { timer: clock.setTimer(wake, waitMs, { unref: true }), at }
  }

  /** Nothing goes on here: the topic or the group is gone, or the shard. */
  #fail(error: unknown): void {
    if (!this.#isEnd(error)) {
      this.#environment.warn(`work queue "${this.#owner.name}" failed in a way that nobody expected`, error)
    }
    this.#end(error instanceof MillraceError ? error : new MillraceError('INTERNAL', { cause: error }))
  }

  #end(reason: MillraceError): void {
    if (this.#stopped !== undefined) return
    this.stop(reason)
    this.#owner.ended(this.part, reason)
  }

  #isEnd(error: unknown): boolean {
    return this.#stopped !== undefined || isEnd(error)
  }
}

/** How many jobs' leases have run out. */
function leasesOver(queue: QueueState, now: number): number {
  let jobs = 0
  for (const { kind, from, to, time } of queue.ranges)
    if (kind === RANGE.leased && time <= now) jobs += to - from
  return jobs
}
