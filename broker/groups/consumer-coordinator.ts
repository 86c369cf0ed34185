import { illegalDeadLetterTopic } from '../../protocol/dead-letters.js'
import { MillraceError } from '../../protocol/error-codes.js'
import type { MemberId, TopicId } from '../../protocol/ids.js'
import { HARD_LIMITS, illegalGroupName } from '../../protocol/limits.js'
import type { GroupJoined, JoinGroup } from '../../protocol/messages/group.js'
import type { GroupView } from '../shard/group-requests.js'
import type { PartitionName } from '../shard/state.js'
import type { AckResults, MemberAck } from './ack-gather.js'
import type { GroupSide, MemberInfo } from './group-side.js'
import type { MemberLink, Membership } from './member-link.js'
import { type GroupEnvironment, ownersOf, RunningGroup, SESSION_TIMEOUT_MS } from './running-group.js'

export type Join = Omit<JoinGroup, 'correlationId'>
export type Joined = Omit<GroupJoined, 'correlationId' | 'time'>

/** All consumer groups that have members. Groups without any are only in the log. */
export class ConsumerCoordinator implements GroupSide {
  readonly #environment: GroupEnvironment
  readonly #running = new Map<number, RunningGroup>()
  readonly #unfollowTopics: () => void
  #isClosed = false

  /** The groups of the log that have owners begin to run: their members have some time to come back. */
  constructor(options: GroupEnvironment) {
    const { store } = options
    this.#environment = options
    for (const view of store.state.groups.values()) if (ownersOf(view).size > 0) this.#run(view)
    this.#unfollowTopics = store.onTopicChange(() => {
      for (const group of [...this.#running.values()]) group.topicsChanged()
    })
  }

  /** Whether a group has members, those included that are away and may come back. */
  isActive(groupId: number): boolean {
    return (this.#running.get(groupId)?.group.members.size ?? 0) > 0
  }

  members(groupId: number): MemberInfo[] {
    const running = this.#running.get(groupId)
    if (running === undefined) return []
    const partitions = new Map<MemberId, number>()
    for (const { memberId } of running.group.claims.values())
      partitions.set(memberId, (partitions.get(memberId) ?? 0) + 1)
    return [...running.group.members.values()].map(({ memberId, awayUntilMs }) => ({
      memberId,
      clientName: running.clientNameOf(memberId) ?? '',
      connected: awayUntilMs === undefined,
      partitions: partitions.get(memberId) ?? 0,
    }))
  }

  topics(groupId: number): Set<TopicId> {
    const { members, topics } = this.#running.get(groupId)?.group ?? {}
    const read = new Set([...(members?.values() ?? [])].flatMap((member) => member.topics))
    for (const [topicId, origin] of topics?.origins ?? []) if (read.has(origin)) read.add(topicId)
    return read
  }

  uses(groupId: number, topicId: TopicId): boolean {
    return this.topics(groupId).has(topicId)
  }

  /**
   * Takes a member in; its assignments follow over `link`. Throws ILLEGAL_GROUP_NAME, ILLEGAL_ARGUMENT, UNKNOWN_TOPIC,
   * GROUP_KIND_CONFLICT, LIMIT_REACHED, MEMBER_EXISTS for an id that is taken, FENCED for a member that comes back too
   * late.
   */
  async join(join: Join, link: MemberLink): Promise<Joined> {
    this.#check(join)
    const groupId = await this.#groupIdOf(join.group)
    if (this.#isClosed) throw new MillraceError('SHUTTING_DOWN')
    // A topic may have gone meanwhile.
    this.#check(join)
    const view = this.#environment.store.state.groups.get(groupId)
    if (view === undefined) throw new MillraceError('UNKNOWN_GROUP', { retriable: true })
    const sessionTimeoutMs = sessionTimeoutOf(join)
    const running = this.#running.get(groupId) ?? this.#run(view)
    try {
      running.join({ ...join, sessionTimeoutMs }, link)
    } catch (error) {
      if (running.group.isOver) this.#over(running)
      throw error
    }
    const { memberId } = join
    link.whenClosed(() => this.#running.get(groupId)?.disconnected(memberId, link))
    return { groupId, epoch: running.group.epoch, sessionTimeoutMs, leaseMs: 0, maxDeliveries: 0 }
  }

  /** Hands everything back at once; resolves when the acks before it are settled. Who is no member has nothing to leave. */
  async leave(membership: Membership): Promise<void> {
    await this.#find(membership)?.leave(membership.memberId)
  }

  revoked(revoked: Membership & { readonly epoch: number; readonly parts: readonly PartitionName[] }): void {
    this.#find(revoked)?.revoked(revoked.memberId, revoked)
  }

  /** For each ack null, or why it was refused. The acks of who is no member any more are FENCED. */
  async ack({
    acks,
    ...membership
  }: Membership & { readonly acks: readonly MemberAck[] }): Promise<AckResults> {
    const { clock, metrics } = this.#environment
    const running = this.#find(membership)
    if (running === undefined) {
      metrics.count('acksFenced', acks.length)
      return acks.map(() => 'FENCED')
    }
    const startedMs = clock.monotonic()
    const results = await running.ack(membership.memberId, acks)
    metrics.observe('ackMs', clock.monotonic() - startedMs)
    return results
  }

  /**
   * Throws FENCED for who is no member. What is submitted to the shard next is decided after the acks that have come.
   */
  checkMember(membership: Membership): void {
    const running = this.#find(membership)
    if (running === undefined) throw new MillraceError('FENCED')
    running.flushAcks()
  }

  /** To be called often: members that show no sign of life are expelled. `heldUpMs`: as PatientClock has it. */
  tick(heldUpMs: number): void {
    for (const running of [...this.#running.values()]) running.checkSilence(heldUpMs)
  }

  /** Stops everything without a write: after a restart the members find their partitions. */
  close(): void {
    this.#isClosed = true
    this.#unfollowTopics()
    for (const running of this.#running.values()) running.stop()
  }

  #check({ group, topicIds }: Join): void {
    const { topics } = this.#environment.store.state
    const fault = illegalGroupName(group)
    if (fault !== undefined) throw new MillraceError('ILLEGAL_GROUP_NAME', { message: fault })
    if (topicIds.length === 0)
      throw new MillraceError('ILLEGAL_ARGUMENT', { message: 'a member reads a topic or more' })
    for (const topicId of topicIds) {
      const name = topics.get(topicId)?.row.name
      if (name === undefined) throw new MillraceError('UNKNOWN_TOPIC')
      const isOwn = name.endsWith(`.${group}.dlq`) || name.endsWith(`.${group}.retry`)
      const refusal = isOwn
        ? `topic "${name}" holds what group "${group}" gave up`
        : illegalDeadLetterTopic(name, group)
      if (refusal !== undefined) throw new MillraceError('ILLEGAL_ARGUMENT', { message: refusal })
    }
  }

  async #groupIdOf(name: string): Promise<number> {
    const { store } = this.#environment
    const known = store.state.groupsByName.get(name)
    // Only a group with members is not just being deleted.
    if (known?.kind === 'consumer' && this.isActive(known.groupId)) return known.groupId
    return (await store.createGroup({ name, kind: 'consumer', queue: null, requestId: null })).groupId
  }

  #run(view: GroupView): RunningGroup {
    const running: RunningGroup = new RunningGroup(view, this.#environment, () => this.#over(running))
    this.#running.set(view.groupId, running)
    return running
  }

  #over(running: RunningGroup): void {
    running.stop()
    if (this.#running.get(running.groupId) === running) this.#running.delete(running.groupId)
  }

  /** Undefined for a member that was expelled, has left, or is not connected. */
  #find({ groupId, memberId }: Membership): RunningGroup | undefined {
    const running = this.#running.get(groupId)
    return running?.isConnected(memberId) ? running : undefined
  }
}

function sessionTimeoutOf({ sessionTimeoutMs }: Join): number {
  const { sessionTimeoutMsMin, sessionTimeoutMsMax } = HARD_LIMITS
  if (sessionTimeoutMs === 0) return SESSION_TIMEOUT_MS
  return Math.min(Math.max(sessionTimeoutMs, sessionTimeoutMsMin), sessionTimeoutMsMax)
}
