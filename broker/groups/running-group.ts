import { MillraceError } from '../../protocol/error-codes.js'
import type { MemberId, TopicId } from '../../protocol/ids.js'
import { HARD_LIMITS } from '../../protocol/limits.js'
import type { AssignedPart as AssignedFields, IfNoCursor } from '../../protocol/messages/group.js'
import type { Clock, Timer } from '../platform/clock.js'
import type { Failpoints } from '../platform/failpoints.js'
import type { Metrics } from '../platform/metrics.js'
import type { GroupView } from '../shard/group-requests.js'
import type { ShardGroups } from '../shard/shard-groups.js'
import type { PartitionName } from '../shard/state.js'
import { AckGather, type AckResults, type MemberAck } from './ack-gather.js'
import type { AssignedPart, GroupEffect, GroupEvent, GroupTopics, Move } from './consumer-events.js'
import { ConsumerGroup } from './consumer-group.js'
import { existingTopics } from './existing-topics.js'
import { checkMembers } from './member-limit.js'
import type { MemberLink } from './member-link.js'
import { type Outgoing, outgoingTo } from './outgoing.js'
import { type Part, partOf, placeOf } from './part.js'
import type { PatientClock } from './patient-clock.js'

/** What consumer groups need of the shard. */
export type ConsumerStore = Pick<ShardGroups, 'state' | 'createGroup' | 'assign' | 'ack' | 'onTopicChange'>

export interface GroupEnvironment {
  readonly store: ConsumerStore
  readonly clock: Clock
  readonly patience: PatientClock
  readonly metrics: Metrics
  readonly failpoints: Failpoints
  /** Something is wrong that members are not told of. */
  readonly warn: (message: string, error: unknown) => void
}

/** A member as it asks to be taken in. */
export interface JoiningMember {
  readonly memberId: MemberId
  readonly attempt: number
  readonly topicIds: readonly TopicId[]
  readonly ifNoCursor: IfNoCursor
  /** As granted. */
  readonly sessionTimeoutMs: number
  /** What it still has from an earlier connection. */
  readonly held: readonly PartitionName[]
}

interface Linked {
  readonly link: MemberLink
  /** Clock time of the last sign of life. */
  heardAtMs: number
  /** How much of the silence since then is the broker's own fault. */
  excusedMs: number
}

/** What a write of moves came to. */
interface Assigned {
  readonly epoch: number
  readonly unwritten: readonly Move[]
  /** Why they were not written. */
  readonly noRoom: MillraceError | undefined
}

/** Of members that say nothing about it, and of those that owned something before the broker was started. */
export const SESSION_TIMEOUT_MS = 10_000

/** A consumer group that has members: its state machine, their links, and what it writes to the log. */
export class RunningGroup {
  readonly groupId: number
  readonly name: string
  readonly #environment: GroupEnvironment
  readonly #onOver: () => void
  readonly #group: ConsumerGroup
  readonly #acks: AckGather
  /** Of the members that are connected. */
  readonly #links = new Map<MemberId, Linked>()
  #timer: Timer | undefined
  #wakeAtMs: number | undefined
  #isStopped = false

  /** `onOver`: it has no members any more, and the log says so. */
  constructor(view: GroupView, environment: GroupEnvironment, onOver: () => void) {
    const { groupId, name, epoch } = view
    const { store, patience } = environment
    this.groupId = groupId
    this.name = name
    this.#environment = environment
    this.#onOver = onOver
    this.#acks = new AckGather((acks) => store.ack(groupId, acks))
    const owners = ownersOf(view)
    this.#group = new ConsumerGroup({
      durable: { epoch, owners },
      topics: this.#existing([...owners.keys()].map((part) => placeOf(part).topicId)),
      awayUntilMs: patience.nowMs() + SESSION_TIMEOUT_MS,
      sessionTimeoutMs: SESSION_TIMEOUT_MS,
    })
    this.#arm()
  }

  /** Who is in it and who has what. */
  get group(): Pick<ConsumerGroup, 'epoch' | 'members' | 'claims' | 'topics' | 'isRebalancing' | 'isOver'> {
    return this.#group
  }

  /** Of a connected member. */
  clientNameOf(memberId: MemberId): string | undefined {
    return this.#links.get(memberId)?.link.clientName
  }

  isConnected(memberId: MemberId): boolean {
    return this.#links.has(memberId)
  }

  /** Throws MEMBER_EXISTS for an id that is taken, FENCED for a member that stayed away for too long, LIMIT_REACHED. */
  join(joining: JoiningMember, link: MemberLink): void {
    const { memberId, attempt, topicIds: topics, ifNoCursor, sessionTimeoutMs, held } = joining
    const { clock, store } = this.#environment
    const known = this.#group.members.get(memberId)
    const before = this.#links.get(memberId)?.link
    if (before !== undefined && attempt <= (known?.attempt ?? 0)) throw new MillraceError('MEMBER_EXISTS')
    if (known === undefined && held.some(({ topicId }) => store.state.topics.has(topicId))) {
      throw new MillraceError('FENCED', {
        message: 'the member was away for too long: its partitions are taken',
      })
    }
    if (known === undefined) checkMembers(this.#group.members.size)
    this.#links.set(memberId, { link, heardAtMs: clock.monotonic(), excusedMs: 0 })
    const message = 'a newer connection of this member took its place'
    before?.end(new MillraceError('FENCED', { message }))
    const { partitions } = this.#group.topics
    if (topics.some((topicId) => !partitions.has(topicId))) {
      const all = this.#existing([...partitions.keys(), ...topics])
      this.#send(this.#do(this.#group.step({ type: 'topics', topics: all }, this.#nowMs)))
    }
    const member = { memberId, attempt, topics, ifNoCursor, sessionTimeoutMs }
    const named = new Set(held.map(({ topicId, partition }) => partOf(topicId, partition)))
    const outgoing = this.#do(this.#group.step({ type: 'joined', member, held: named }, this.#nowMs))
    for (const { topicId, partition } of held) {
      const claim = this.#group.claims.get(partOf(topicId, partition))
      if (claim?.memberId === memberId && claim.hold !== 'free') continue
      outgoingTo(outgoing, memberId).revoked.push({ topicId, partition })
    }
    this.#send(outgoing)
    this.#arm()
  }

  /** Resolves once the acks that came before are settled. */
  async leave(memberId: MemberId): Promise<void> {
    const settled = this.#acks.flush()
    this.#links.delete(memberId)
    this.#step({ type: 'left', memberId })
    await settled
  }

  /** The member's socket is gone; it may come back. Nothing happens if it has already, or is out. */
  disconnected(memberId: MemberId, link: MemberLink): void {
    if (this.#links.get(memberId)?.link !== link) return
    this.#links.delete(memberId)
    const sessionTimeoutMs = this.#group.members.get(memberId)?.sessionTimeoutMs ?? 0
    this.#step({ type: 'disconnected', memberId, awayUntilMs: this.#nowMs + sessionTimeoutMs })
  }

  revoked(memberId: MemberId, { epoch, parts }: { epoch: number; parts: readonly PartitionName[] }): void {
    const letGo = parts.map(({ topicId, partition }) => partOf(topicId, partition))
    this.#step({ type: 'revoked', memberId, epoch, parts: letGo })
  }

  ack(memberId: MemberId, acks: readonly MemberAck[]): Promise<AckResults> {
    return this.#acks.add(memberId, acks)
  }

  /** Whatever is submitted to the shard after this is decided after the acks that have come. */
  flushAcks(): void {
    void this.#acks.flush()
  }

  /** A topic was created or deleted. */
  topicsChanged(): void {
    const { partitions } = this.#group.topics
    const topics = this.#existing(partitions.keys())
    const isSame = topics.partitions.size === partitions.size
    if (!isSame || [...topics.partitions.keys()].some((topicId) => !partitions.has(topicId)))
      this.#step({ type: 'topics', topics })
  }

  /** Expels the members that show no sign of life. `heldUpMs`: for how long the broker itself did nothing. */
  checkSilence(heldUpMs: number): void {
    const nowMs = this.#environment.clock.monotonic()
    for (const [memberId, linked] of [...this.#links]) {
      const silentMs = linked.link.silentMs()
      // To the millisecond, because the two clocks are read one after the other.
      if (nowMs - silentMs > linked.heardAtMs + 1) {
        linked.heardAtMs = nowMs - silentMs
        linked.excusedMs = 0
      }
      linked.excusedMs = Math.min(linked.excusedMs + heldUpMs, silentMs)
      const sessionTimeoutMs = this.#group.members.get(memberId)?.sessionTimeoutMs ?? 0
      if (silentMs - linked.excusedMs <= sessionTimeoutMs) continue
      this.#environment.metrics.count('membersExpired')
      const message = `the member showed no sign of life for ${Math.round(silentMs)} ms`
      this.#expel(memberId, new MillraceError('FENCED', { message }))
    }
  }

  /** Does nothing any more; the log stays as it is, so that members find their partitions after a restart. */
  stop(): void {
    this.#isStopped = true
    this.#timer?.cancel()
  }

  #expel(memberId: MemberId, error: MillraceError): void {
    const linked = this.#links.get(memberId)
    this.#links.delete(memberId)
    // The write that takes its partitions is on its way before it hears of it.
    this.#step({ type: 'left', memberId })
    linked?.link.end(error)
  }

  #step(event: GroupEvent): void {
    if (this.#isStopped) return
    this.#send(this.#do(this.#group.step(event, this.#nowMs)))
    if (this.#group.isOver) {
      this.stop()
      this.#onOver()
    } else this.#arm()
  }

  /** Everything but what is for members: that is returned, so that each gets one message. */
  #do(effects: readonly GroupEffect[]): Map<MemberId, Outgoing> {
    const { metrics } = this.#environment
    const outgoing = new Map<MemberId, Outgoing>()
    for (const effect of effects) {
      switch (effect.type) {
        case 'write':
          void this.#write(effect.moves)
          break
        case 'assign':
          outgoingTo(outgoing, effect.memberId).assigned.push(...this.#describe(effect.parts))
          break
        case 'revoke':
          outgoingTo(outgoing, effect.memberId).revoked.push(...effect.parts.map(placeOf))
          break
        case 'expired':
          metrics.count('membersExpired')
          break
        case 'end': {
          const { memberId } = effect
          outgoing.delete(memberId)
          const linked = this.#links.get(memberId)
          this.#links.delete(memberId)
          linked?.link.end(new MillraceError('UNKNOWN_TOPIC'))
          break
        }
        case 'rebalanced':
          metrics.count('groupRebalances')
          metrics.count('partitionsMoved', effect.moved)
          metrics.observe('rebalanceMs', effect.ms)
      }
    }
    return outgoing
  }

  #send(outgoing: ReadonlyMap<MemberId, Outgoing>): void {
    const { partsPerFrameMax } = HARD_LIMITS
    const { epoch } = this.#group
    for (const [memberId, { assigned, revoked }] of outgoing) {
      const link = this.#links.get(memberId)?.link
      let from = 0
      // One message as a rule, an empty one too: who comes back hears that nothing is its own.
      do {
        const to = from + partsPerFrameMax
        link?.assign({ epoch, assigned: assigned.slice(from, to), revoked: revoked.slice(from, to) })
        from = to
      } while (from < Math.max(assigned.length, revoked.length))
    }
  }

  async #write(moves: readonly Move[]): Promise<void> {
    // What a member acknowledged before it let go still counts.
    this.flushAcks()
    let written: Assigned
    try {
      written = await this.#assign(moves)
    } catch (error) {
      this.#writeFailed(error, moves)
      return
    }
    const held = this.#environment.failpoints.hit('assignBeforeSend')
    if (held) await held
    this.#step({
      type: 'written',
      epoch: written.epoch,
      unwritten: written.unwritten.map(({ part }) => part),
    })
    if (written.noRoom !== undefined) this.#tellNoRoom(written.noRoom, written.unwritten)
  }

  /** Writes all of the moves, or those that need no cursor when there is no room for more. */
  async #assign(moves: readonly Move[]): Promise<Assigned> {
    const { store } = this.#environment
    const assign = async (some: readonly Move[]): Promise<number> => {
      const named = some.map(({ part, memberId, ifNoCursor }) => ({ ...placeOf(part), memberId, ifNoCursor }))
      return (await store.assign(this.groupId, named)).epoch
    }
    try {
      return { epoch: await assign(moves), unwritten: [], noRoom: undefined }
    } catch (error) {
      if (!(error instanceof MillraceError) || error.code !== 'LIMIT_REACHED') throw error
      const cursors = store.state.groups.get(this.groupId)?.cursors
      const written = moves.filter(({ part }) => cursors?.has(part))
      const unwritten = moves.filter(({ part }) => !cursors?.has(part))
      const epoch = written.length > 0 ? await assign(written) : this.#group.epoch
      return { epoch, unwritten, noRoom: error }
    }
  }

  /** Who would have nothing without these partitions is told that there is no room for their cursors; the others go on. */
  #tellNoRoom(error: MillraceError, unwritten: readonly Move[]): void {
    if (this.#isStopped) return
    const partitions = `${unwritten.length} partitions`
    this.#environment.warn(
      `group "${this.name}" has no room for its cursors in ${partitions}: nobody reads them`,
      error,
    )
    const owners = new Set([...this.#group.claims.values()].map(({ memberId }) => memberId))
    for (const memberId of new Set(unwritten.map(({ memberId }) => memberId)))
      if (memberId !== null && !owners.has(memberId)) this.#expel(memberId, error)
  }

  #writeFailed(error: unknown, moves: readonly Move[]): void {
    this.#step({ type: 'writeFailed' })
    const refusal = error instanceof MillraceError ? error : new MillraceError('INTERNAL')
    // The broker is on its way down, or somebody else took the last room: nobody is to blame.
    if (refusal.retriable || refusal.code === 'INTERNAL' || refusal.code === 'LIMIT_REACHED') return
    const isGone = refusal.code === 'UNKNOWN_GROUP'
    const refused = isGone ? this.#links.keys() : moves.map(({ memberId }) => memberId)
    for (const memberId of new Set(refused)) if (memberId !== null) this.#expel(memberId, refusal)
    if (!isGone || this.#isStopped) return
    this.stop()
    this.#onOver()
  }

  /** A part whose topic has just gone is left out: the machine is about to hear of it. */
  #describe(parts: readonly AssignedPart[]): AssignedFields[] {
    const { state } = this.#environment.store
    const cursors = state.groups.get(this.groupId)?.cursors
    return parts.flatMap(({ part, epoch }) => {
      const place = placeOf(part)
      const topic = state.topics.get(place.topicId)
      const partition = topic?.partitions[place.partition]
      const cursor = cursors?.get(part)
      if (topic === undefined || partition === undefined || cursor === undefined) return []
      const { name, keyEncoding, valueEncoding } = topic.row
      const { startOffset, endOffset: durableEnd } = partition
      const from = Math.max(cursor.offset, startOffset)
      const originTopicId = this.#group.topics.origins.get(place.topicId) ?? null
      const offsets = { cursor: from, startOffset, durableEnd, lost: from - cursor.offset }
      return [{ ...place, epoch, ...offsets, originTopicId, name, keyEncoding, valueEncoding }]
    })
  }

  #existing(topicIds: Iterable<TopicId>): GroupTopics {
    return existingTopics(this.#environment.store.state, { group: this.name, topicIds })
  }

  get #nowMs(): number {
    return this.#environment.patience.nowMs()
  }

  #arm(): void {
    const { wakeAtMs } = this.#group
    if (wakeAtMs === this.#wakeAtMs || this.#isStopped) return
    this.#timer?.cancel()
    this.#wakeAtMs = wakeAtMs
    if (wakeAtMs === undefined) return
    const wake = (): void => {
      this.#wakeAtMs = undefined
      this.#step({ type: 'time' })
    }
    this.#timer = this.#environment.clock.setTimer(wake, wakeAtMs - this.#nowMs, { unref: true })
  }
}

/** Who may ack what, as the log has it. */
export function ownersOf({ cursors }: GroupView): Map<Part, { memberId: MemberId; epoch: number }> {
  const owners = new Map<Part, { memberId: MemberId; epoch: number }>()
  for (const [part, { ownerMember, ownerEpoch }] of cursors)
    if (ownerMember !== null) owners.set(part, { memberId: ownerMember, epoch: ownerEpoch })
  return owners
}
