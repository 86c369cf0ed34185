import { MillraceError } from '../../protocol/error-codes.js'
import type { MemberId, TopicId } from '../../protocol/ids.js'
import { HARD_LIMITS } from '../../protocol/limits.js'
import type { GroupJoined, JoinGroup } from '../../protocol/messages/group.js'
import type {
  QueueCredit,
  QueueSettle,
  QueueSettled,
  QueueStarted,
  SettleItem,
} from '../../protocol/messages/queue.js'
import type { QueueState } from '../shard/queue-state.js'
import { illegalQueueTopic } from './letter.js'
import type { PatientClock } from './patient-clock.js'
import type { PendingSettlement, QueueEnvironment } from './queue-partition.js'
import { type QueueLink, RunningQueue } from './running-queue.js'

type Body<Message> = Omit<Message, 'correlationId'>

export interface QueueCoordinatorOptions extends QueueEnvironment {
  readonly patience: Pick<PatientClock, 'nowMs'>
}

/** The work queues that have members: what sessions ask of them, and the time that passes. */
export class QueueCoordinator {
  readonly #options: QueueCoordinatorOptions
  readonly #queues = new Map<number, RunningQueue>()
  #isClosed = false
  readonly #closedLinks = new WeakSet<QueueLink>()
  readonly #unsubscribe: () => void

  constructor(options: QueueCoordinatorOptions) {
    this.#options = options
    this.#unsubscribe = options.shard.groups.onTopicChange(({ type, topicId }) => {
      for (const queue of this.#queues.values()) {
        if (type === 'created') queue.topicCreated(topicId)
        else queue.topicDeleted(topicId)
      }
    })
    options.metrics.gauge('leasesOut', () => this.#sum((queue) => queue.sizes().leased))
    options.metrics.gauge('queueRanges', () => this.#sum((queue) => queue.ranges.length))
  }

  /** The queue of this group, while it has members. */
  queue(groupId: number): RunningQueue | undefined {
    return this.#queues.get(groupId)
  }

  get queues(): Iterable<RunningQueue> {
    return this.#queues.values()
  }

  /**
   * Rejects with UNKNOWN_TOPIC, ILLEGAL_ARGUMENT, ILLEGAL_GROUP_NAME, GROUP_KIND_CONFLICT, MEMBER_EXISTS,
   * LIMIT_REACHED. Call `closed` when the link's connection is gone.
   */
  async join(args: Body<JoinGroup>, link: QueueLink): Promise<Body<GroupJoined>> {
    const { shard } = this.#options
    const { group: name, topicIds, ifNoCursor, leaseMs, maxDeliveries } = args
    this.#checkArguments(args)
    const queueOptions = { leaseMs, maxDeliveries }
    const created = await shard.groups.createGroup({
      name,
      kind: 'queue',
      queue: queueOptions,
      requestId: null,
    })
    if (this.#isClosed) throw new MillraceError('SHUTTING_DOWN')
    const { groupId } = created
    const queue = this.#running(groupId)
    const sessionTimeoutMs = Math.min(
      Math.max(args.sessionTimeoutMs, HARD_LIMITS.sessionTimeoutMsMin),
      HARD_LIMITS.sessionTimeoutMsMax,
    )
    queue.joining++
    try {
      queue.checkJoin(args)
      await queue.open(topicIds, ifNoCursor)
      if (this.#closedLinks.has(link)) throw new MillraceError('CONNECTION_LOST')
      queue.join({ ...args, sessionTimeoutMs }, link)
    } finally {
      queue.joining--
      this.#stopIfEmpty(queue)
    }
    const { epoch } = shard.groups.state.groups.get(groupId) ?? { epoch: 0 }
    return {
      groupId,
      epoch,
      sessionTimeoutMs,
      leaseMs: queue.leaseMs,
      maxDeliveries: queue.maxDeliveries,
      time: shard.time(),
    }
  }

  #checkArguments({ group, topicIds, leaseMs, maxDeliveries }: Body<JoinGroup>): void {
    const { shard } = this.#options
    if (topicIds.length === 0) throw illegal('a member of a work queue names at least one topic')
    if (leaseMs < LEASE_MS_MIN) throw illegal(`leaseMs is ${leaseMs}, at least ${LEASE_MS_MIN} is allowed`)
    if (maxDeliveries < 1) throw illegal('maxDeliveries is at least 1')
    for (const topicId of topicIds) {
      const topic = shard.topic(topicId)
      if (topic === undefined) throw new MillraceError('UNKNOWN_TOPIC')
      const fault = illegalQueueTopic(topic.name, group)
      if (fault !== undefined) throw illegal(fault)
    }
  }

  #running(groupId: number): RunningQueue {
    const known = this.#queues.get(groupId)
    if (known !== undefined) return known
    const view = this.#options.shard.groups.state.groups.get(groupId)
    if (view === undefined) throw new MillraceError('UNKNOWN_GROUP', { retriable: true })
    const queue = new RunningQueue(view, this.#options)
    this.#queues.set(groupId, queue)
    return queue
  }

  /** Resolves once others may have what the member gives back. Throws UNKNOWN_GROUP, UNKNOWN_MEMBER. */
  async leave({ groupId, memberId }: { groupId: number; memberId: MemberId }): Promise<void> {
    const queue = this.#queueOf({ groupId, memberId })
    await queue.leave(memberId)
    this.#stopIfEmpty(queue)
  }

  /** The connection is gone. */
  closed(link: QueueLink): void {
    this.#closedLinks.add(link)
    for (const queue of this.#queues.values()) queue.closed(link, this.#options.patience.nowMs())
  }

  /**
   * The queue was begun anew while nobody was in it: what still goes on, as dead letters that could not be written, is of
   * the queue as it was.
   */
  wasReset(groupId: number): void {
    const queue = this.#queues.get(groupId)
    if (queue === undefined || queue.members.size > 0) return
    // What an expelled member had said may be written.
    queue.stop(new MillraceError('UNKNOWN_MEMBER', { outcome: 'unknown' }))
    this.#queues.delete(groupId)
  }

  /** To be called often: members that are away or silent for too long are expelled. */
  tick(heldUpMs: number): void {
    const nowMs = this.#options.patience.nowMs()
    for (const queue of this.#queues.values()) {
      queue.tick({ nowMs, heldUpMs })
      this.#stopIfEmpty(queue)
    }
  }

  queueCredit({ groupId, memberId, records }: QueueCredit): void {
    this.#queues.get(groupId)?.credit(memberId, records)
  }

  queueStarted({ groupId, memberId, topicId, partition, leaseId, ranges }: QueueStarted): void {
    const at = this.#queues.get(groupId)?.partition({ topicId, partition })
    at?.step({ type: 'started', memberId, leaseId, ranges })
  }

  /** Resolves once every item is durable or refused. Rejects with UNKNOWN_GROUP, UNKNOWN_MEMBER, and when the shard fails. */
  async queueSettle(args: Body<QueueSettle>): Promise<Body<QueueSettled>> {
    const { memberId, items } = args
    const queue = this.#queueOf(args)
    const results: { index: number; code: string }[] = []
    const deadlines: { index: number; deadline: number }[] = []
    const settled = [...itemsByPart(items)].map(([, group]) => {
      const partition = queue.partition(group.at)
      return new Promise<void>((resolve, reject) => {
        let left = group.items.length
        const settlements = group.items.map(({ item, index }): PendingSettlement => {
          const { kind, leaseId, from, to, ms, reason } = item
          const done = (refusal: MillraceError | null, deadline?: number): void => {
            if (refusal !== null && !ITEM_REFUSALS.has(refusal.code)) reject(refusal)
            if (refusal !== null) results.push({ index, code: refusal.code })
            if (deadline !== undefined) deadlines.push({ index, deadline })
            if (--left === 0) resolve()
          }
          return { kind, memberId, leaseId, from, to, ms, reason, done }
        })
        if (partition !== undefined) partition.settle(settlements)
        else for (const { done } of settlements) done(new MillraceError('LEASE_LOST'))
      })
    })
    await Promise.all(settled)
    results.sort((a, b) => a.index - b.index)
    return { results, deadlines }
  }

  /** Throws UNKNOWN_GROUP, UNKNOWN_MEMBER. */
  #queueOf({ groupId, memberId }: { groupId: number; memberId: MemberId }): RunningQueue {
    const queue = this.#queues.get(groupId)
    if (queue?.members.has(memberId)) return queue
    const isKnown = this.#options.shard.groups.state.groups.has(groupId)
    throw new MillraceError(isKnown ? 'UNKNOWN_MEMBER' : 'UNKNOWN_GROUP')
  }

  /** A queue without members holds nothing: what it knows is in the log. */
  #stopIfEmpty(queue: RunningQueue): void {
    if (queue.members.size > 0 || queue.isBusy) return
    queue.stop(new MillraceError('UNKNOWN_MEMBER'))
    if (this.#queues.get(queue.groupId) === queue) this.#queues.delete(queue.groupId)
  }

  #sum(of: (queue: QueueState) => number): number {
    let sum = 0
    for (const running of this.#queues.values()) {
      for (const { queue } of running.partitions) if (queue !== undefined) sum += of(queue)
    }
    return sum
  }

  close(): void {
    this.#isClosed = true
    this.#unsubscribe()
    for (const queue of this.#queues.values()) queue.stop(new MillraceError('SHUTTING_DOWN'))
    this.#queues.clear()
  }
}

const LEASE_MS_MIN = 100

/** What is said of one item; anything else is said of the whole request. */
const ITEM_REFUSALS: ReadonlySet<string> = new Set(['LEASE_LOST', 'ACK_OUT_OF_RANGE', 'UNKNOWN_TOPIC'])

const illegal = (message: string): MillraceError => new MillraceError('ILLEGAL_ARGUMENT', { message })

interface PartItems {
  readonly at: { topicId: TopicId; partition: number }
  readonly items: { item: SettleItem; index: number }[]
}

function itemsByPart(items: readonly SettleItem[]): Map<string, PartItems> {
  const byPart = new Map<string, PartItems>()
  for (const [index, item] of items.entries()) {
    const { topicId, partition } = item
    const key = `${topicId}/${partition}`
    const group = byPart.get(key) ?? { at: { topicId, partition }, items: [] }
    group.items.push({ item, index })
    byPart.set(key, group)
  }
  return byPart
}
