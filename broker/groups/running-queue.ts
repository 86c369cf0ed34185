import { retryTopicName } from '../../protocol/dead-letters.js'
import { MillraceError } from '../../protocol/error-codes.js'
import type { MemberId, TopicId } from '../../protocol/ids.js'
import type { IfNoCursor } from '../../protocol/messages/group.js'
import type { GroupView, QueuePlace } from '../shard/group-requests.js'
import type { OffsetRange } from '../shard/queue-state.js'
import { checkMembers } from './member-limit.js'
import { type Part, partOf, placeOf } from './part.js'
import type { DeliveryFrame, DeliveryHead } from './queue-delivery.js'
import type { MemberDemand } from './queue-events.js'
import { QueueGroup } from './queue-group.js'
import { type PartitionOwner, type QueueEnvironment, QueuePartition } from './queue-partition.js'

/** A member's connection as its queue sees it: one for each membership and socket. Nothing here throws. */
export interface QueueLink {
  readonly clientName: string
  /** Since the peer was last heard, milliseconds; 0 while we ourselves do not read its socket. */
  silentMs(): number
  /** Sends jobs; `release` is called once, when the payloads are sent or will not be. */
  deliver(head: DeliveryHead, payloads: readonly Uint8Array[], release: () => void): void
  /** The member is out. Nothing follows. */
  end(reason: { code: string; message: string; retriable: boolean }): void
}

/** A member as it asks to be taken in. */
export interface JoiningWorker {
  readonly memberId: MemberId
  readonly attempt: number
  readonly topicIds: readonly TopicId[]
  readonly ifNoCursor: IfNoCursor
  /** As granted. */
  readonly sessionTimeoutMs: number
  /** Jobs that it has room for. */
  readonly prefetch: number
  /** Leases that it still has from an earlier connection, and what of them it has started. */
  readonly heldLeases: readonly {
    readonly topicId: TopicId
    readonly partition: number
    readonly leaseId: number
    readonly started: readonly OffsetRange[]
  }[]
}

interface Worker {
  readonly attempt: number
  readonly sessionTimeoutMs: number
  /** Those asked for; their retry topics come with them. */
  readonly topicIds: Set<TopicId>
  /** Undefined while it is away. */
  link: QueueLink | undefined
  /** When a member that is away is given up; patient time. */
  awayUntilMs: number
  /** Of the link's silence: what is the broker's fault, not the member's. */
  excusedMs: number
  lastSilentMs: number
  /** Sent to the link and not taken by its socket yet. */
  unsentBytes: number
}

/** Queues that one write makes. */
const OPENED_AT_ONCE_MAX = 1000
/** A member that holds back more than this is given nothing until its socket has taken some of it. */
const UNSENT_BYTES_MAX = 4 * 1024 * 1024

/** One work queue that has members: its partitions at work, and the credit of its members. */
export class RunningQueue implements PartitionOwner {
  readonly groupId: number
  readonly name: string
  readonly leaseMs: number
  readonly maxDeliveries: number
  readonly #environment: QueueEnvironment
  readonly #workers = new Map<MemberId, Worker>()
  readonly #group = new QueueGroup()
  readonly #partitions = new Map<Part, QueuePartition>()
  /** Topics of the partitions that are about to be at work. */
  readonly opening: TopicId[] = []
  #isAllotting = false
  #stopped: MillraceError | undefined
  /** Members that are about to be taken in. */
  joining = 0
  /** Those that are gone, and not all of what they said is done. */
  #leaving = 0

  constructor(view: Pick<GroupView, 'groupId' | 'name' | 'queue'>, environment: QueueEnvironment) {
    this.groupId = view.groupId
    this.name = view.name
    this.leaseMs = view.queue?.leaseMs ?? 0
    this.maxDeliveries = view.queue?.maxDeliveries ?? 1
    this.#environment = environment
  }

  /** Members that are connected or may come back. */
  get members(): ReadonlyMap<MemberId, { readonly link: QueueLink | undefined }> {
    return this.#workers
  }

  /** Whether it has members, or one is on the way in, or out: what that one said last is not done yet. */
  get isActive(): boolean {
    return this.#workers.size + this.joining + this.#leaving > 0
  }

  /** Whether somebody is on the way in, or something on its way to the log. */
  get isBusy(): boolean {
    return this.joining > 0 || [...this.#partitions.values()].some(({ isBusy }) => isBusy)
  }

  get partitions(): Iterable<QueuePartition> {
    return this.#partitions.values()
  }

  /** Whose queues are in use. */
  get topics(): Set<TopicId> {
    return new Set([...this.#partitions.keys()].map((part) => placeOf(part).topicId))
  }

  /** Throws MEMBER_EXISTS for an id that is taken by a connection as new as this one, LIMIT_REACHED. */
  checkJoin({ memberId, attempt }: Pick<JoiningWorker, 'memberId' | 'attempt'>): void {
    const known = this.#workers.get(memberId)
    if (known === undefined) checkMembers(this.#workers.size)
    if (known?.link !== undefined && attempt <= known.attempt) throw new MillraceError('MEMBER_EXISTS')
  }

  /**
   * Makes sure that all partitions of these topics are at work. Rejects with UNKNOWN_TOPIC, UNKNOWN_GROUP, LIMIT_REACHED,
   * SHUTTING_DOWN.
   */
  async open(topicIds: readonly TopicId[], ifNoCursor: IfNoCursor): Promise<void> {
    const places = [...new Set(topicIds)].flatMap((topicId) => {
      // Replayed dead letters are jobs like all others, and older than any member.
      const retry = this.#retryTopicOf(topicId)
      const retries = retry === undefined ? [] : this.#placesOf(retry, 'earliest')
      return [...this.#placesOf(topicId, ifNoCursor), ...retries]
    })
    await this.#open(places)
  }

  #placesOf(topicId: TopicId, ifNoCursor: IfNoCursor): QueuePlace[] {
    const topic = this.#environment.shard.topic(topicId)
    if (topic === undefined) throw new MillraceError('UNKNOWN_TOPIC')
    return Array.from({ length: topic.partitions }, (_, partition) => ({ topicId, partition, ifNoCursor }))
  }

  async #open(places: readonly QueuePlace[]): Promise<void> {
    const isIdle = ({ topicId, partition }: QueuePlace) => !this.#partitions.has(partOf(topicId, partition))
    const idle = places.filter(isIdle)
    const topics = new Set(idle.map(({ topicId }) => topicId))
    this.opening.push(...topics)
    try {
      for (let i = 0; i < idle.length; i += OPENED_AT_ONCE_MAX) {
        const some = idle.slice(i, i + OPENED_AT_ONCE_MAX)
        await this.#environment.shard.groups.openQueues(this.groupId, some)
      }
      if (this.#stopped?.code === 'SHUTTING_DOWN') throw this.#stopped
      // It was begun anew meanwhile.
      if (this.#stopped !== undefined) throw new MillraceError('UNKNOWN_GROUP', { retriable: true })
      // Another one may have opened some of them meanwhile.
      for (const { topicId, partition } of idle.filter(isIdle)) this.#start(partOf(topicId, partition))
    } finally {
      for (const topicId of topics) this.opening.splice(this.opening.indexOf(topicId), 1)
    }
  }

  #start(part: Part): void {
    const partition = new QueuePartition(part, this, this.#environment)
    this.#partitions.set(part, partition)
    try {
      partition.start()
    } catch (error) {
      this.#partitions.delete(part)
      throw error
    }
  }

  #retryTopicOf(topicId: TopicId): TopicId | undefined {
    const { shard } = this.#environment
    const topic = shard.topic(topicId)
    return topic === undefined ? undefined : shard.topicNamed(retryTopicName(topic.name, this.name))?.topicId
  }

  /** Takes a member in, all of whose partitions are open. Throws MEMBER_EXISTS, UNKNOWN_TOPIC for one that has just gone. */
  join(joining: JoiningWorker, link: QueueLink): void {
    this.checkJoin(joining)
    for (const topicId of joining.topicIds)
      if (!this.#serves(topicId)) throw new MillraceError('UNKNOWN_TOPIC')
    const { memberId, attempt, topicIds, sessionTimeoutMs, prefetch, heldLeases } = joining
    const before = this.#workers.get(memberId)
    before?.link?.end(FENCED_BY_ITSELF)
    this.#workers.set(memberId, {
      attempt,
      sessionTimeoutMs,
      topicIds: new Set(topicIds),
      link,
      awayUntilMs: 0,
      excusedMs: 0,
      lastSilentMs: 0,
      unsentBytes: 0,
    })
    const retries = topicIds.flatMap((topicId) => this.#retryTopicOf(topicId) ?? [])
    const leases = leasesByPart(heldLeases)
    for (const partition of this.#partitions.values()) {
      const held = leases.get(partition.part) ?? []
      if (before !== undefined || held.length > 0 || partition.hasLeaseOf(memberId)) {
        partition.step({ type: 'away', memberId })
        partition.step({ type: 'back', memberId, held })
      }
    }
    this.#group.join(memberId, { topics: [...topicIds, ...retries], credits: prefetch })
    this.#allot()
  }

  /** Resolves once what the member gives back is on its way to others. */
  async leave(memberId: MemberId): Promise<void> {
    this.#leaving++
    this.#remove(memberId, { left: true })
    await Promise.all([...this.#partitions.values()].map((partition) => partition.idle()))
    this.#leaving--
  }

  #remove(memberId: MemberId, { left }: { left: boolean }): void {
    if (!this.#workers.delete(memberId)) return
    this.#group.leave(memberId)
    for (const partition of this.#partitions.values()) partition.step({ type: 'gone', memberId, left })
  }

  /** A connection is gone: its members may come back within their session timeout. */
  closed(link: QueueLink, nowMs: number): void {
    for (const [memberId, worker] of this.#workers) {
      if (worker.link !== link) continue
      worker.link = undefined
      worker.awayUntilMs = nowMs + worker.sessionTimeoutMs
      this.#group.away(memberId)
      for (const partition of this.#partitions.values()) partition.step({ type: 'away', memberId })
    }
  }

  /** Expels members that have been away or silent for too long; the process itself was held up for `heldUpMs` of it. */
  tick(at: { nowMs: number; heldUpMs: number }): void {
    for (const partition of this.#partitions.values()) partition.look()
    for (const [memberId, worker] of this.#workers) {
      const { link } = worker
      if (link === undefined) {
        if (at.nowMs >= worker.awayUntilMs) this.#expel(memberId, worker)
        continue
      }
      const silentMs = link.silentMs()
      const isHeard = silentMs < worker.lastSilentMs
      worker.excusedMs = isHeard ? 0 : worker.excusedMs + at.heldUpMs
      worker.lastSilentMs = silentMs
      if (silentMs - worker.excusedMs > worker.sessionTimeoutMs) this.#expel(memberId, worker)
    }
  }

  #expel(memberId: MemberId, worker: Worker): void {
    this.#environment.metrics.count('membersExpired')
    this.#remove(memberId, { left: false })
    worker.link?.end({
      code: 'FENCED',
      message: 'nothing was heard of the member for too long: its jobs go to others',
      retriable: false,
    })
  }

  credit(memberId: MemberId, records: number): void {
    this.#group.credit(memberId, records)
    this.#allot()
  }

  partition(at: { topicId: TopicId; partition: number }): QueuePartition | undefined {
    return this.#partitions.get(partOf(at.topicId, at.partition))
  }

  /** A topic was made: it may be where dead letters of this queue are replayed. */
  topicCreated(topicId: TopicId): void {
    const name = this.#environment.shard.topic(topicId)?.name
    const takers = [...this.#workers].filter(([, worker]) =>
      [...worker.topicIds].some((of) => this.#retryTopicOf(of) === topicId),
    )
    if (name === undefined || takers.length === 0) return
    void this.#open(this.#placesOf(topicId, 'earliest')).then(
      () => {
        for (const [memberId] of takers) this.#group.addTopic(memberId, topicId)
        this.#allot()
      },
      (error: unknown) => this.#environment.warn(`topic "${name}" cannot be served`, error),
    )
  }

  topicDeleted(topicId: TopicId): void {
    for (const partition of this.#partitions.values()) {
      if (partition.part.startsWith(`${topicId}/`)) partition.step({ type: 'time' })
    }
  }

  stop(reason: MillraceError): void {
    this.#stopped = reason
    for (const partition of this.#partitions.values()) partition.stop(reason)
    this.#partitions.clear()
  }

  // What partitions say.

  hungry(part: Part): void {
    this.#group.hungry(part)
    this.#allot()
  }

  unused(members: readonly MemberDemand[]): void {
    for (const { memberId, credits } of members) this.#group.credit(memberId, credits)
    this.#allot()
  }

  attemptOf(memberId: MemberId): number | undefined {
    return this.#workers.get(memberId)?.attempt
  }

  deliver(
    { memberId, attempt }: { memberId: MemberId; attempt: number | undefined },
    { head, payloads, bytes, release }: DeliveryFrame,
  ): void {
    const worker = this.#workers.get(memberId)
    if (worker?.link === undefined || worker.attempt !== attempt) {
      release()
      return
    }
    worker.unsentBytes += bytes
    this.#group.hold(memberId, worker.unsentBytes > UNSENT_BYTES_MAX)
    worker.link.deliver(head, payloads, () => {
      release()
      worker.unsentBytes -= bytes
      if (this.#workers.get(memberId) !== worker) return
      this.#group.hold(memberId, worker.unsentBytes > UNSENT_BYTES_MAX)
      this.#allot()
    })
  }

  ended(part: Part, reason: MillraceError): void {
    this.#partitions.delete(part)
    this.#group.forget(part)
    for (const [memberId, worker] of this.#workers) {
      for (const topicId of worker.topicIds) if (!this.#serves(topicId)) worker.topicIds.delete(topicId)
      if (worker.topicIds.size > 0) continue
      const { code, message, retriable } = reason
      this.#remove(memberId, { left: true })
      worker.link?.end({ code, message, retriable })
    }
  }

  #serves(topicId: TopicId): boolean {
    for (const part of this.#partitions.keys()) if (part.startsWith(`${topicId}/`)) return true
    return false
  }

  /** At the end of this turn, once for all that came in it. */
  #allot(): void {
    if (this.#isAllotting) return
    this.#isAllotting = true
    queueMicrotask(() => {
      this.#isAllotting = false
      for (const { part, members } of this.#group.allot((of) => this.#partitions.get(of)?.claimable ?? 0)) {
        const partition = this.#partitions.get(part)
        if (partition === undefined) this.unused(members)
        else partition.step({ type: 'demand', members })
      }
    })
  }
}

type HeldLease = JoiningWorker['heldLeases'][number]

/** There may be thousands of both leases and partitions. */
function leasesByPart(heldLeases: readonly HeldLease[]): Map<Part, HeldLease[]> {
  const leases = new Map<Part, HeldLease[]>()
  for (const lease of heldLeases) {
    const part = partOf(lease.topicId, lease.partition)
    const others = leases.get(part)
    if (others === undefined) leases.set(part, [lease])
    else others.push(lease)
  }
  return leases
}

const FENCED_BY_ITSELF = {
  code: 'FENCED',
  message: 'a newer connection of this member took its place',
  retriable: false,
} as const
