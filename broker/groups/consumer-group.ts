import type { MemberId, TopicId } from '../../protocol/ids.js'
import { sticky } from './assignors/sticky.js'
import type {
  AssignedPart,
  Claim,
  DurableClaims,
  GroupEffect,
  GroupEvent,
  GroupTopics,
  Member,
  Move,
} from './consumer-events.js'
import { type Part, placeOf } from './part.js'

/** How long a member may take to let go of a partition; then it is taken, and its acks for that one are fenced. */
export const REVOKE_MS = 1500
/** Members that come within this time are taken in together. */
export const GATHER_MS = 20
/** Between a write that failed and the next. */
const RETRY_MS = 200
/** Until partitions are tried again that there was no room for. */
const NO_ROOM_RETRY_MS = 10_000

/**
 * A consumer group as a state machine: `step` takes an event and the time, changes the group, and returns what must
 * happen outside. It reads no clock and does no I/O.
 *
 * There is no barrier: each partition moves as soon as its old member let go, and whoever is not concerned reads on. The
 * order for a partition is always: asked back, let go (or REVOKE_MS over), written, assigned.
 */
export class ConsumerGroup {
  #epoch: number
  readonly #members = new Map<MemberId, Member>()
  readonly #claims = new Map<Part, Claim>()
  #topics: GroupTopics
  /** By partition: what is on its way to the log. */
  #writing: ReadonlyMap<Part, Move> | undefined
  /** Who should have what; undefined when it must be thought over. */
  #target: ReadonlyMap<Part, MemberId> | undefined
  #gatherUntilMs: number | undefined
  #retryAtMs: number | undefined
  /** There is no room for a cursor in these, until when they are left alone. */
  readonly #noRoom = new Map<Part, number>()
  #round: { readonly startedMs: number; moved: number } | undefined
  #effects: GroupEffect[] = []

  /**
   * Those who own something in the log are taken for members that are away until `awayUntilMs`: the broker has
   * restarted, and they will be back.
   */
  constructor(options: {
    durable: DurableClaims
    topics: GroupTopics
    awayUntilMs: number
    sessionTimeoutMs: number
  }) {
    const { durable, topics, awayUntilMs, sessionTimeoutMs } = options
    this.#epoch = durable.epoch
    this.#topics = topics
    for (const [part, { memberId, epoch }] of durable.owners) {
      const { topicId, partition } = placeOf(part)
      if (partition >= (topics.partitions.get(topicId) ?? 0)) continue
      this.#claims.set(part, { memberId, epoch, hold: 'held', revokeByMs: 0 })
      const read = this.#members.get(memberId)?.topics ?? []
      const member = {
        memberId,
        attempt: 0,
        topics: [...new Set([...read, topicId])],
        sessionTimeoutMs,
        awayUntilMs,
      }
      this.#members.set(memberId, { ...member, ifNoCursor: 'earliest' })
    }
  }

  get epoch(): number {
    return this.#epoch
  }

  get members(): ReadonlyMap<MemberId, Member> {
    return this.#members
  }

  get claims(): ReadonlyMap<Part, Claim> {
    return this.#claims
  }

  get topics(): GroupTopics {
    return this.#topics
  }

  /** Whether something is being handed over. */
  get isRebalancing(): boolean {
    return this.#round !== undefined || this.#gatherUntilMs !== undefined
  }

  /** Nobody is in it and nothing is on its way: it can be forgotten, the log has it all. */
  get isOver(): boolean {
    return this.#members.size === 0 && this.#writing === undefined && this.#claims.size === 0
  }

  /** When `step` wants a `time` event, if nothing else comes before. */
  get wakeAtMs(): number | undefined {
    let wakeAtMs = Math.min(this.#gatherUntilMs ?? Infinity, this.#retryAtMs ?? Infinity)
    for (const { awayUntilMs } of this.#members.values())
      wakeAtMs = Math.min(wakeAtMs, awayUntilMs ?? Infinity)
    for (const untilMs of this.#noRoom.values()) wakeAtMs = Math.min(wakeAtMs, untilMs)
    for (const { hold, revokeByMs } of this.#claims.values()) {
      if (hold === 'revoking') wakeAtMs = Math.min(wakeAtMs, revokeByMs)
    }
    return wakeAtMs === Infinity ? undefined : wakeAtMs
  }

  step(event: GroupEvent, nowMs: number): GroupEffect[] {
    this.#effects = []
    this.#take(event, nowMs)
    this.#expire(nowMs)
    if (this.#gatherUntilMs === undefined) {
      this.#rebalance(nowMs)
      this.#endRound(nowMs)
    }
    return this.#effects
  }

  #take(event: GroupEvent, nowMs: number): void {
    switch (event.type) {
      case 'joined':
        this.#joined({ ...event.member, awayUntilMs: undefined }, { held: event.held, nowMs })
        return
      case 'left':
        this.#remove(event.memberId)
        return
      case 'disconnected': {
        const member = this.#members.get(event.memberId)
        if (member === undefined) return
        this.#members.set(member.memberId, { ...member, awayUntilMs: event.awayUntilMs })
        this.#target = undefined
        return
      }
      case 'revoked':
        for (const part of event.parts) {
          const claim = this.#claims.get(part)
          if (claim?.memberId !== event.memberId || claim.hold !== 'revoking') continue
          if (claim.epoch <= event.epoch) this.#claims.set(part, { ...claim, hold: 'free' })
        }
        return
      case 'written':
        for (const part of event.unwritten ?? []) this.#noRoom.set(part, nowMs + NO_ROOM_RETRY_MS)
        this.#written(event.epoch, new Set(event.unwritten))
        return
      case 'writeFailed':
        this.#writing = undefined
        this.#retryAtMs = nowMs + RETRY_MS
        this.#target = undefined
        return
      case 'topics':
        this.#topicsChanged(event.topics)
        return
      case 'time':
        return
    }
  }

  #joined(member: Member, { held, nowMs }: { held: ReadonlySet<Part> | undefined; nowMs: number }): void {
    const isNew = !this.#members.has(member.memberId)
    this.#members.set(member.memberId, member)
    this.#target = undefined
    if (isNew) {
      this.#gatherUntilMs ??= nowMs + GATHER_MS
      return
    }
    for (const [part, claim] of this.#claims) {
      const isDropped = claim.memberId === member.memberId && held?.has(part) === false
      if (isDropped) this.#claims.set(part, { ...claim, hold: 'free' })
    }
    // It may have missed anything: it hears of all that it has, and again of what it is to give.
    const own = [...this.#claims].filter(
      ([, claim]) => claim.memberId === member.memberId && claim.hold !== 'free',
    )
    this.#assign(
      member.memberId,
      own.map(([part, { epoch }]) => ({ part, epoch })),
    )
    this.#revoke(
      member.memberId,
      own.filter(([, { hold }]) => hold === 'revoking').map(([part]) => part),
    )
  }

  #remove(memberId: MemberId): void {
    if (!this.#members.delete(memberId)) return
    this.#target = undefined
    for (const [part, claim] of this.#claims) {
      if (claim.memberId === memberId) this.#claims.set(part, { ...claim, hold: 'free' })
    }
  }

  #written(epoch: number, unwritten: ReadonlySet<Part>): void {
    const moves = this.#writing ?? new Map<Part, Move>()
    this.#writing = undefined
    this.#epoch = epoch
    const assigned = new Map<MemberId, AssignedPart[]>()
    for (const { part, memberId } of moves.values()) {
      if (unwritten.has(part)) continue
      const before = this.#claims.get(part)
      this.#claims.delete(part)
      if (memberId === null || !this.#exists(part)) continue
      if (before !== undefined && before.memberId !== memberId && this.#round) this.#round.moved++
      const member = this.#members.get(memberId)
      this.#claims.set(part, { memberId, epoch, hold: member === undefined ? 'free' : 'held', revokeByMs: 0 })
      const parts = assigned.get(memberId)
      if (parts === undefined) assigned.set(memberId, [{ part, epoch }])
      else parts.push({ part, epoch })
    }
    for (const [memberId, parts] of assigned) this.#assign(memberId, parts)
  }

  #topicsChanged(topics: GroupTopics): void {
    this.#topics = topics
    this.#target = undefined
    const lost = new Map<MemberId, Part[]>()
    for (const [part, { memberId }] of this.#claims) {
      if (this.#exists(part)) continue
      this.#claims.delete(part)
      lost.set(memberId, [...(lost.get(memberId) ?? []), part])
    }
    for (const [memberId, parts] of lost) this.#revoke(memberId, parts)
    for (const member of [...this.#members.values()]) {
      if (member.topics.some((topicId) => topics.partitions.has(topicId))) continue
      if (member.awayUntilMs === undefined) this.#effects.push({ type: 'end', memberId: member.memberId })
      this.#remove(member.memberId)
    }
  }

  /** What time has ended. */
  #expire(nowMs: number): void {
    if (this.#gatherUntilMs !== undefined && this.#gatherUntilMs <= nowMs) this.#gatherUntilMs = undefined
    if (this.#retryAtMs !== undefined && this.#retryAtMs <= nowMs) this.#retryAtMs = undefined
    for (const [part, untilMs] of this.#noRoom) if (untilMs <= nowMs) this.#noRoom.delete(part)
    for (const { memberId, awayUntilMs } of [...this.#members.values()]) {
      if (awayUntilMs === undefined || awayUntilMs > nowMs) continue
      this.#effects.push({ type: 'expired', memberId })
      this.#remove(memberId)
    }
    for (const [part, claim] of this.#claims) {
      if (claim.hold !== 'revoking' || claim.revokeByMs > nowMs) continue
      this.#claims.set(part, { ...claim, hold: 'free' })
      this.#target = undefined
    }
  }

  /** Asks back what should move, and writes what can. */
  #rebalance(nowMs: number): void {
    this.#target ??= this.#findTarget()
    const moves: Move[] = []
    const revoked = new Map<MemberId, Part[]>()
    for (const [part, claim] of this.#claims) {
      const to = this.#target.get(part)
      if (claim.hold === 'free') moves.push(this.#move(part, to))
      if (claim.hold !== 'held' || to === claim.memberId) continue
      // Who is away cannot be asked. It gives when it is back, or when its time is over.
      if (this.#members.get(claim.memberId)?.awayUntilMs !== undefined) continue
      this.#claims.set(part, { ...claim, hold: 'revoking', revokeByMs: nowMs + REVOKE_MS })
      revoked.set(claim.memberId, [...(revoked.get(claim.memberId) ?? []), part])
    }
    for (const [part, to] of this.#target) {
      if (!this.#claims.has(part) && !this.#noRoom.has(part)) moves.push(this.#move(part, to))
    }
    for (const [memberId, parts] of revoked) this.#revoke(memberId, parts)
    const canWrite = this.#writing === undefined && this.#retryAtMs === undefined && moves.length > 0
    if (revoked.size > 0 || canWrite) this.#round ??= { startedMs: nowMs, moved: 0 }
    if (!canWrite) return
    this.#writing = new Map(moves.map((move) => [move.part, move]))
    this.#effects.push({ type: 'write', moves })
  }

  #findTarget(): ReadonlyMap<Part, MemberId> {
    const { partitions, origins } = this.#topics
    const members = new Map<MemberId, TopicId[]>()
    const away = new Set<MemberId>()
    for (const { memberId, topics, awayUntilMs } of this.#members.values()) {
      const implied = [...origins].filter(([, origin]) => topics.includes(origin)).map(([topicId]) => topicId)
      members.set(memberId, [...topics, ...implied])
      if (awayUntilMs !== undefined) away.add(memberId)
    }
    const owners = new Map<Part, MemberId>()
    const loose = new Set<Part>()
    for (const [part, { memberId, hold }] of this.#claims) {
      if (hold !== 'held') loose.add(part)
      if (hold !== 'free' || !away.has(memberId)) owners.set(part, memberId)
    }
    for (const { part, memberId } of this.#writing?.values() ?? []) {
      loose.delete(part)
      if (memberId === null) owners.delete(part)
      else owners.set(part, memberId)
    }
    return sticky({ members, partitions, owners, loose, full: away })
  }

  #endRound(nowMs: number): void {
    if (this.#round === undefined || this.#writing !== undefined || this.#retryAtMs !== undefined) return
    for (const { hold } of this.#claims.values()) if (hold !== 'held') return
    const { startedMs, moved } = this.#round
    this.#round = undefined
    this.#effects.push({ type: 'rebalanced', moved, ms: nowMs - startedMs })
  }

  #move(part: Part, to: MemberId | undefined): Move {
    if (to === undefined) return { part, memberId: null, ifNoCursor: 'latest' }
    // What is replayed to the group must not be passed over.
    const isRetry = this.#topics.origins.has(placeOf(part).topicId)
    const ifNoCursor = isRetry ? 'earliest' : (this.#members.get(to)?.ifNoCursor ?? 'latest')
    return { part, memberId: to, ifNoCursor }
  }

  #assign(memberId: MemberId, parts: readonly AssignedPart[]): void {
    const member = this.#members.get(memberId)
    if (member !== undefined && member.awayUntilMs === undefined)
      this.#effects.push({ type: 'assign', memberId, parts })
  }

  #revoke(memberId: MemberId, parts: readonly Part[]): void {
    const member = this.#members.get(memberId)
    if (parts.length === 0 || member === undefined || member.awayUntilMs !== undefined) return
    this.#effects.push({ type: 'revoke', memberId, parts })
  }

  #exists(part: Part): boolean {
    const { topicId, partition } = placeOf(part)
    return partition < (this.#topics.partitions.get(topicId) ?? 0)
  }
}
