import type { GroupEffect, GroupEvent } from '../../broker/groups/consumer-events.js'
import { ConsumerGroup, REVOKE_MS } from '../../broker/groups/consumer-group.js'
import { type Part, partOf, placeOf } from '../../broker/groups/part.js'
import type { MemberId, TopicId } from '../../protocol/ids.js'
import type { ChurnMeter } from './churn-meter.js'
import { SeededRandom } from './seeded-random.js'

/** A member as it sees itself. */
interface SimulatedMember {
  readonly memberId: MemberId
  readonly topics: readonly TopicId[]
  /** Changes with every connection; what was sent on an older one is lost. */
  attempt: number
  isConnected: boolean
  /** What it reads, at which epoch. */
  readonly reading: Map<Part, number>
  /** Of the member's link: frames do not overtake each other. */
  lastArrivalMs: number
}

export interface SimulationOptions {
  readonly seed: number
  readonly partitions: ReadonlyMap<TopicId, number>
  readonly sessionTimeoutMs?: number
  /** Probability that a write fails. */
  readonly writeFails?: number
  /** Probability that a member takes longer than REVOKE_MS to let go. */
  readonly isSlow?: number
  /** Probability that the broker restarts when a write is durable and before anybody heard of it. */
  readonly restarts?: number
  readonly meter?: ChurnMeter
}

/**
 * A consumer group, the log it writes to, and members at the end of links that take time: the machine under test is real,
 * the rest is events in the order of their times. Throws where the machine breaks a promise.
 */
export class SimulatedGroup {
  nowMs = 0
  group: ConsumerGroup
  /** The log: who may ack each partition, at which epoch. */
  readonly rows = new Map<Part, { memberId: MemberId; epoch: number }>()
  readonly members = new Map<MemberId, SimulatedMember>()
  readonly rebalances: { moved: number; ms: number }[] = []
  acks = 0
  fenced = 0
  readonly random: SeededRandom
  readonly #options: SimulationOptions
  /** In the order of their times. */
  readonly #events: { readonly atMs: number; readonly run: () => void }[] = []
  #epoch = 0
  #partitions: ReadonlyMap<TopicId, number>
  #memberCount = 0
  #wakeAtMs: number | undefined
  /** The machine's life: what a broker that is gone has begun comes to nothing. */
  #broker = 0
  /** When the machine asked a partition back from its present owner. */
  readonly #askedAtMs = new Map<Part, number>()
  /** Claims that the owner has given up by a message that arrived. */
  readonly #letGo = new Set<Part>()

  constructor(options: SimulationOptions) {
    this.#options = options
    this.random = new SeededRandom(options.seed)
    this.#partitions = options.partitions
    this.group = this.#restored()
  }

  get #sessionTimeoutMs(): number {
    return this.#options.sessionTimeoutMs ?? 10_000
  }

  join(topics: readonly TopicId[] = [...this.#partitions.keys()]): MemberId {
    const memberId = `${++this.#memberCount}`.padStart(32, '0') as MemberId
    const member = { memberId, topics, attempt: 0, isConnected: false, reading: new Map(), lastArrivalMs: 0 }
    this.members.set(memberId, member)
    this.#options.meter?.joined(memberId)
    this.connect(memberId)
    return memberId
  }

  connect(memberId: MemberId): void {
    const member = this.#member(memberId)
    member.isConnected = true
    const attempt = ++member.attempt
    const { topics } = member
    const before = this.group.members.get(memberId)
    const readBefore = this.#readBy(memberId)
    const sessionTimeoutMs = this.#sessionTimeoutMs
    this.#step({
      type: 'joined',
      member: { memberId, attempt, topics, ifNoCursor: 'earliest', sessionTimeoutMs },
    })
    if (before === undefined) {
      // It was away for too long, or had nothing when the broker restarted.
      for (const part of [...member.reading.keys()]) this.#stop(member, part)
      for (const [part, row] of this.rows) if (row.memberId === memberId) this.#letGo.add(part)
      return
    }
    const readNow = new Map(this.#readBy(memberId))
    for (const [part, epoch] of readBefore) {
      if (readNow.get(part) !== epoch) throw new Error(`${part} was lost by coming back in time`)
    }
    // The first assignment names everything: what is not in it is gone.
    for (const part of [...member.reading.keys()]) if (!readNow.has(part)) this.#stop(member, part)
  }

  /** The socket breaks; the member goes on as if nothing was. */
  disconnect(memberId: MemberId): void {
    const member = this.#member(memberId)
    member.isConnected = false
    this.#step({ type: 'disconnected', memberId, awayUntilMs: this.nowMs + this.#sessionTimeoutMs })
  }

  /** Leaves, having let go of everything. */
  leave(memberId: MemberId): void {
    this.members.delete(memberId)
    this.#options.meter?.left(memberId, this.nowMs)
    this.#step({ type: 'left', memberId })
  }

  /** The broker dies and another one starts from the log. A write under way may or may not have got there. */
  restart(): void {
    this.#broker++
    for (const member of this.members.values()) member.isConnected = false
    this.#askedAtMs.clear()
    this.#letGo.clear()
    this.group = this.#restored()
    this.#step({ type: 'time' })
  }

  setPartitions(partitions: ReadonlyMap<TopicId, number>): void {
    this.#partitions = partitions
    for (const part of this.rows.keys()) if (!partitions.has(placeOf(part).topicId)) this.rows.delete(part)
    this.#step({ type: 'topics', topics: { partitions, origins: new Map() } })
  }

  /** A random member acks something that it believes to hold. */
  ack(): void {
    const member = this.members.size === 0 ? undefined : this.random.pick([...this.members.values()])
    const held = [...(member?.reading ?? [])]
    if (member === undefined || held.length === 0 || !member.isConnected) return
    const [part, epoch] = this.random.pick(held)
    const row = this.rows.get(part)
    this.acks++
    if (row?.memberId !== member.memberId || row.epoch !== epoch) this.fenced++
  }

  /** Lets events happen until `ms` from now. */
  run(ms: number): void {
    const untilMs = this.nowMs + ms
    for (let next = this.#events[0]; next !== undefined && next.atMs <= untilMs; next = this.#events[0]) {
      this.#events.shift()
      this.nowMs = next.atMs
      next.run()
    }
    this.nowMs = untilMs
  }

  /** What must hold once nothing is on its way. */
  checkSettled(): void {
    if (this.group.isRebalancing) throw new Error('still rebalancing')
    const read = new Set([...this.members.values()].flatMap(({ topics }) => topics))
    for (const [topicId, count] of this.#partitions) {
      for (let partition = 0; partition < count; partition++) {
        const part = partOf(topicId, partition)
        const row = this.rows.get(part)
        const owner = row && this.members.get(row.memberId)
        if (!read.has(topicId)) {
          if (row !== undefined) throw new Error(`${part} is owned though nobody reads its topic`)
        } else if (!owner?.isConnected || owner.reading.get(part) !== row?.epoch) {
          throw new Error(`${part} is not read by its owner ${row?.memberId}`)
        }
      }
    }
    for (const { memberId, reading } of this.members.values()) {
      for (const [part, epoch] of reading) {
        const row = this.rows.get(part)
        if (row?.memberId !== memberId || row.epoch !== epoch)
          throw new Error(`${memberId} reads ${part}, not its own`)
      }
    }
  }

  #restored(): ConsumerGroup {
    return new ConsumerGroup({
      durable: { epoch: this.#epoch, owners: this.rows },
      topics: { partitions: this.#partitions, origins: new Map() },
      awayUntilMs: this.nowMs + this.#sessionTimeoutMs,
      sessionTimeoutMs: this.#sessionTimeoutMs,
    })
  }

  #step(event: GroupEvent): void {
    for (const effect of this.group.step(event, this.nowMs)) this.#do(effect)
    const { wakeAtMs } = this.group
    if (wakeAtMs === undefined || wakeAtMs === this.#wakeAtMs) return
    if (wakeAtMs <= this.nowMs) throw new Error('the machine asks to be woken in the past')
    this.#wakeAtMs = wakeAtMs
    this.#at(wakeAtMs, () => {
      if (this.#wakeAtMs === wakeAtMs) this.#wakeAtMs = undefined
      if (this.group.wakeAtMs === wakeAtMs) this.#step({ type: 'time' })
    })
  }

  #do(effect: GroupEffect): void {
    switch (effect.type) {
      case 'write':
        this.#write(effect)
        return
      case 'assign': {
        const { memberId, parts } = effect
        for (const { part, epoch } of parts) {
          const row = this.rows.get(part)
          if (row?.memberId !== memberId || row.epoch !== epoch)
            throw new Error(`${part} assigned before it is durable`)
        }
        this.#deliver(memberId, (member) => {
          for (const { part, epoch } of parts) {
            if (member.reading.get(part) !== epoch) this.#options.meter?.started(part, memberId, this.nowMs)
            member.reading.set(part, epoch)
          }
        })
        return
      }
      case 'revoke': {
        const { memberId, parts } = effect
        const { epoch } = this.group
        for (const part of parts)
          this.#askedAtMs.set(part, Math.min(this.#askedAtMs.get(part) ?? Infinity, this.nowMs))
        this.#deliver(memberId, (member) => this.#letGoOf(member, parts, epoch))
        return
      }
      case 'expired':
        return
      case 'end':
        this.members.delete(effect.memberId)
        return
      case 'rebalanced':
        this.rebalances.push(effect)
        return
    }
  }

  /** Stops reading at once; the handlers at work take their time. */
  #letGoOf(member: SimulatedMember, parts: readonly Part[], epoch: number): void {
    const { attempt } = member
    const isSlow = this.random.chance(this.#options.isSlow ?? 0)
    const handlersMs = isSlow ? REVOKE_MS + 1 + this.random.below(2000) : this.random.below(200)
    const { nowMs } = this
    this.#at(nowMs + handlersMs, () => {
      if (member.attempt !== attempt || !member.isConnected) return
      for (const part of parts) if ((member.reading.get(part) ?? 0) <= epoch) this.#stop(member, part)
      this.#toBroker(member, () => {
        for (const part of parts) if (this.#owns(member.memberId, part, epoch)) this.#letGo.add(part)
        this.#step({ type: 'revoked', memberId: member.memberId, epoch, parts })
      })
    })
  }

  #owns(memberId: MemberId, part: Part, epoch: number): boolean {
    const row = this.rows.get(part)
    return row?.memberId === memberId && row.epoch <= epoch
  }

  #stop(member: SimulatedMember, part: Part): void {
    if (member.reading.delete(part)) this.#options.meter?.stopped(part, member.memberId, this.nowMs)
  }

  #write({ moves }: Extract<GroupEffect, { type: 'write' }>): void {
    for (const { part } of moves) this.#checkMayBeTaken(part)
    const broker = this.#broker
    const fails = this.random.chance(this.#options.writeFails ?? 0)
    this.#at(this.nowMs + 1 + this.random.below(5), () => {
      // A broker that died in between: the bytes may have got to the disk all the same.
      if (broker !== this.#broker) return
      if (fails || moves.some(({ part }) => !this.#partitions.has(placeOf(part).topicId))) {
        return this.#step({ type: 'writeFailed' })
      }
      const epoch = ++this.#epoch
      for (const { part, memberId } of moves) {
        if (memberId === null) this.rows.delete(part)
        else this.rows.set(part, { memberId, epoch })
        this.#askedAtMs.delete(part)
        this.#letGo.delete(part)
      }
      if (this.random.chance(this.#options.restarts ?? 0)) return this.restart()
      this.#step({ type: 'written', epoch })
    })
  }

  /** Nobody is fenced who is not stale: let go, out of the group, or asked long enough ago. */
  #checkMayBeTaken(part: Part): void {
    const row = this.rows.get(part)
    if (row === undefined || !this.group.members.has(row.memberId) || this.#letGo.has(part)) return
    const askedAtMs = this.#askedAtMs.get(part)
    if (askedAtMs === undefined || this.nowMs < askedAtMs + REVOKE_MS)
      throw new Error(`${part} was taken too early`)
  }

  #readBy(memberId: MemberId): [Part, number][] {
    return [...this.group.claims]
      .filter(([, claim]) => claim.memberId === memberId && claim.hold !== 'free')
      .map(([part, { epoch }]) => [part, epoch])
  }

  #member(memberId: MemberId): SimulatedMember {
    const member = this.members.get(memberId)
    if (member === undefined) throw new Error(`no member ${memberId}`)
    return member
  }

  /** To a member, in order, over the connection of now or not at all. */
  #deliver(memberId: MemberId, take: (member: SimulatedMember) => void): void {
    const member = this.members.get(memberId)
    if (member === undefined || !member.isConnected) {
      throw new Error(`something was sent to ${memberId}, which is not there`)
    }
    const { attempt } = member
    this.#at(this.#arrivalMs(member), () => {
      if (member.attempt === attempt && member.isConnected && this.members.has(memberId)) take(member)
    })
  }

  #toBroker(member: SimulatedMember, take: () => void): void {
    const { attempt } = member
    this.#at(this.#arrivalMs(member), () => {
      if (member.attempt === attempt && member.isConnected && this.members.has(member.memberId)) take()
    })
  }

  #arrivalMs(member: SimulatedMember): number {
    member.lastArrivalMs = Math.max(member.lastArrivalMs, this.nowMs + 1 + this.random.below(10))
    return member.lastArrivalMs
  }

  #at(atMs: number, run: () => void): void {
    const index = this.#events.findLastIndex((event) => event.atMs <= atMs)
    this.#events.splice(index + 1, 0, { atMs, run })
  }
}
