import { MillraceError } from '../../protocol/error-codes.js'
import type { MemberId, TopicId } from '../../protocol/ids.js'
import * as messages from '../../protocol/messages/index.js'
import type { ScriptedBroker } from './scripted-broker.js'
import type { ScriptedSession } from './scripted-session.js'

interface Member {
  readonly memberId: MemberId
  readonly topicIds: readonly TopicId[]
  readonly ifNoCursor: 'earliest' | 'latest'
  attempt: number
  /** Undefined while it is away. */
  session: ScriptedSession | undefined
}

interface Part {
  readonly topicId: TopicId
  readonly partition: number
}

interface DeadLetter extends Part {
  readonly offset: number
  readonly count: number
  readonly reason: string
}

const keyOf = ({ topicId, partition }: Part): string => `${topicId}/${partition}`

/** A consumer group in memory: whoever comes gets its share at once, and what another has is asked back first. */
export class ScriptedGroup {
  readonly groupId: number
  readonly #broker: ScriptedBroker
  epoch = 0
  readonly members = new Map<MemberId, Member>()
  readonly owners = new Map<string, { memberId: MemberId; epoch: number }>()
  /** By partition, as `TOPICID/PARTITION`. */
  readonly cursors = new Map<string, number>()
  readonly deadLetters: DeadLetter[] = []
  /** Retry topics, with the topic whose members read them too. */
  readonly origins = new Map<TopicId, TopicId>()
  /** Every ack that was taken, in order. */
  readonly acked: (Part & { offset: number })[] = []
  readonly #revoking = new Set<string>()

  constructor(broker: ScriptedBroker, groupId: number) {
    this.#broker = broker
    this.groupId = groupId
  }

  /** Of partition `partition` of the topic named. */
  cursor(topic: string, partition = 0): number | undefined {
    return this.cursors.get(keyOf({ topicId: this.#topicId(topic), partition }))
  }

  /** How many partitions each member has, connected or away, in the order in which they came. */
  get shares(): number[] {
    const owners = [...this.owners.values()]
    return [...this.members.keys()].map((id) => owners.filter(({ memberId }) => memberId === id).length)
  }

  #topicId(name: string): TopicId {
    const topic = this.#broker.topics.get(name)
    if (topic === undefined) throw new Error(`no topic ${name}`)
    return topic.topicId
  }

  join(fields: messages.JoinGroup, session: ScriptedSession): void {
    const { memberId, attempt, topicIds, ifNoCursor, held } = fields
    for (const topicId of topicIds) this.#broker.topicById(topicId)
    const known = this.members.get(memberId)
    if (known === undefined && held.length > 0) throw new MillraceError('FENCED')
    if (known !== undefined && attempt <= known.attempt) throw new MillraceError('MEMBER_EXISTS')
    this.members.set(memberId, { memberId, topicIds, ifNoCursor, attempt, session })
    queueMicrotask(() => {
      if (known !== undefined) this.#remind(memberId, held)
      this.rebalance()
    })
  }

  /** To a member that is back: all that it has, and what of that it is to give. */
  #remind(memberId: MemberId, held: readonly Part[]): void {
    const own = this.parts().filter((part) => this.owners.get(keyOf(part))?.memberId === memberId)
    const gone = held.filter((part) => this.owners.get(keyOf(part))?.memberId !== memberId)
    const asked = own.filter((part) => this.#revoking.has(keyOf(part)))
    this.#tell(memberId, { assigned: own, revoked: [...gone, ...asked] })
  }

  leave(memberId: MemberId): void {
    if (!this.members.delete(memberId)) throw new MillraceError('UNKNOWN_MEMBER')
    this.#free(memberId)
  }

  /** As one that was silent for too long. */
  expel(memberId: MemberId): void {
    const session = this.members.get(memberId)?.session
    this.members.delete(memberId)
    this.#free(memberId)
    session?.send(
      messages.groupEnded.write({
        groupId: this.groupId,
        memberId,
        code: 'FENCED',
        message: 'silent for too long',
        retriable: true,
      }),
    )
  }

  /** Takes a partition from whoever has it, without a word. */
  steal(topic: string, partition = 0): void {
    this.epoch++
    this.owners.delete(keyOf({ topicId: this.#topicId(topic), partition }))
  }

  #free(memberId: MemberId): void {
    for (const [key, owner] of [...this.owners]) {
      if (owner.memberId !== memberId) continue
      this.owners.delete(key)
      this.#revoking.delete(key)
    }
    queueMicrotask(() => this.rebalance())
  }

  gone(session: ScriptedSession): void {
    for (const member of this.members.values()) if (member.session === session) member.session = undefined
  }

  revoked({ memberId, parts }: messages.GroupRevoked): void {
    for (const part of parts) {
      const key = keyOf(part)
      if (this.owners.get(key)?.memberId !== memberId || !this.#revoking.delete(key)) continue
      this.owners.delete(key)
    }
    this.rebalance()
  }

  ack({ memberId, acks }: messages.Ack): { index: number; code: string }[] {
    const results: { index: number; code: string }[] = []
    for (const [index, { topicId, partition, epoch, offset }] of acks.entries()) {
      const code = this.#refusal({ topicId, partition }, memberId, epoch, offset)
      if (code !== undefined) results.push({ index, code })
      else this.#move({ topicId, partition }, offset)
    }
    return results
  }

  #refusal(part: Part, memberId: MemberId, epoch: number, offset: number): string | undefined {
    const owner = this.owners.get(keyOf(part))
    const isConnected = this.members.get(memberId)?.session !== undefined
    if (owner?.memberId !== memberId || owner.epoch !== epoch || !isConnected) return 'FENCED'
    const topic = [...this.#broker.topics.values()].find(({ topicId }) => topicId === part.topicId)
    if (topic === undefined) return 'UNKNOWN_TOPIC'
    return offset > (topic.logs[part.partition]?.end ?? 0) ? 'ACK_OUT_OF_RANGE' : undefined
  }

  #move(part: Part, offset: number): void {
    this.acked.push({ ...part, offset })
    const key = keyOf(part)
    this.cursors.set(key, Math.max(offset, this.cursors.get(key) ?? 0))
  }

  deadLetter(fields: messages.DeadLetter): number {
    const { topicId, partition, memberId, epoch, offset, cursor, count, reason } = fields
    const code = this.#refusal({ topicId, partition }, memberId, epoch, cursor)
    if (code !== undefined) throw new MillraceError(code as 'FENCED')
    if (offset < (this.cursors.get(keyOf(fields)) ?? 0)) throw new MillraceError('ALREADY_ACKED')
    this.deadLetters.push({ topicId, partition, offset, count, reason })
    this.#move({ topicId, partition }, cursor)
    return this.deadLetters.length - 1
  }

  /** All partitions that a member reads. */
  parts(): Part[] {
    const topicIds = new Set([...this.members.values()].flatMap((member) => this.#topicsOf(member)))
    return [...topicIds].flatMap((topicId) => {
      const topic = [...this.#broker.topics.values()].find((one) => one.topicId === topicId)
      return (topic?.logs ?? []).map((_, partition) => ({ topicId, partition }))
    })
  }

  #topicsOf({ topicIds }: Member): TopicId[] {
    const retries = [...this.origins].filter(([, origin]) => topicIds.includes(origin)).map(([id]) => id)
    return [...topicIds, ...retries]
  }

  /** Everybody gets as much as anybody; who has more gives the rest back. */
  rebalance(): void {
    const all = this.parts()
    const quota = Math.ceil(all.length / Math.max(1, this.members.size))
    const count = new Map([...this.members.keys()].map((memberId) => [memberId, 0]))
    const surplus: Part[] = []
    for (const part of all) {
      const key = keyOf(part)
      const owner = this.owners.get(key)
      if (owner === undefined || this.#revoking.has(key)) continue
      const own = (count.get(owner.memberId) ?? 0) + 1
      count.set(owner.memberId, own)
      if (own > quota) surplus.push(part)
    }
    this.askBack(...surplus)
    const assigned = new Map<MemberId, Part[]>()
    for (const part of all) {
      if (this.owners.has(keyOf(part))) continue
      const [memberId] = [...count].sort(([, a], [, b]) => a - b)[0] ?? []
      if (memberId === undefined) break
      count.set(memberId, (count.get(memberId) ?? 0) + 1)
      if (assigned.size === 0) this.epoch++
      this.owners.set(keyOf(part), { memberId, epoch: this.epoch })
      assigned.set(memberId, [...(assigned.get(memberId) ?? []), part])
    }
    for (const [memberId, parts] of assigned) this.#tell(memberId, { assigned: parts, revoked: [] })
  }

  /** Asks the owners to hand partitions back. */
  askBack(...parts: Part[]): void {
    const asked = new Map<MemberId, Part[]>()
    for (const part of parts) {
      const owner = this.owners.get(keyOf(part))
      if (owner === undefined) continue
      this.#revoking.add(keyOf(part))
      asked.set(owner.memberId, [...(asked.get(owner.memberId) ?? []), part])
    }
    for (const [memberId, revoked] of asked) this.#tell(memberId, { assigned: [], revoked })
  }

  #tell(memberId: MemberId, { assigned, revoked }: { assigned: Part[]; revoked: Part[] }): void {
    const member = this.members.get(memberId)
    member?.session?.send(
      messages.groupAssignment.write({
        groupId: this.groupId,
        memberId,
        epoch: this.epoch,
        assigned: assigned.map((part) => this.#describe(part, member)),
        revoked: revoked.map(({ topicId, partition }) => ({ topicId, partition })),
      }),
    )
  }

  #describe(part: Part, { ifNoCursor }: Member): messages.AssignedPart {
    const { name, keyEncoding, valueEncoding, logs } = this.#broker.topicById(part.topicId)
    const log = logs[part.partition]
    if (log === undefined) throw new Error('no such partition')
    const { startOffset, end: durableEnd } = log
    const key = keyOf(part)
    const at = this.cursors.get(key) ?? (ifNoCursor === 'earliest' ? startOffset : durableEnd)
    this.cursors.set(key, at)
    const cursor = Math.max(at, startOffset)
    return {
      topicId: part.topicId,
      partition: part.partition,
      epoch: this.owners.get(key)?.epoch ?? 0,
      cursor,
      startOffset,
      durableEnd,
      lost: cursor - at,
      originTopicId: this.origins.get(part.topicId) ?? null,
      name,
      keyEncoding,
      valueEncoding,
    }
  }
}

/** The groups of a scripted broker. */
export class ScriptedGroups {
  readonly #broker: ScriptedBroker
  readonly #byName = new Map<string, ScriptedGroup>()

  constructor(broker: ScriptedBroker) {
    this.#broker = broker
  }

  named(name: string): ScriptedGroup {
    const group = this.#byName.get(name) ?? new ScriptedGroup(this.#broker, this.#byName.size + 1)
    this.#byName.set(name, group)
    return group
  }

  #byId(groupId: number): ScriptedGroup {
    for (const group of this.#byName.values()) if (group.groupId === groupId) return group
    throw new MillraceError('UNKNOWN_GROUP')
  }

  gone(session: ScriptedSession): void {
    for (const group of this.#byName.values()) group.gone(session)
  }

  /** The frame that answers; undefined for those that have no answer. */
  answer(name: string, fields: Record<string, unknown>, session: ScriptedSession): unknown[] | undefined {
    const correlationId = fields.correlationId as number
    switch (name) {
      case 'JOIN_GROUP': {
        const asked = fields as unknown as messages.JoinGroup
        const group = this.named(asked.group)
        group.join(asked, session)
        const { groupId, epoch } = group
        const { sessionTimeoutMs } = asked
        const rest = { leaseMs: 0, maxDeliveries: 0, time: Date.now() }
        return messages.groupJoined.write({ correlationId, groupId, epoch, sessionTimeoutMs, ...rest })
      }
      case 'LEAVE_GROUP': {
        const { groupId, memberId } = fields as unknown as messages.LeaveGroup
        this.#byId(groupId).leave(memberId)
        return messages.groupLeft.write({ correlationId })
      }
      case 'GROUP_REVOKED': {
        const asked = fields as unknown as messages.GroupRevoked
        this.#byId(asked.groupId).revoked(asked)
        return undefined
      }
      case 'ACK': {
        const asked = fields as unknown as messages.Ack
        return messages.acked.write({ correlationId, results: this.#byId(asked.groupId).ack(asked) })
      }
      case 'DEAD_LETTER': {
        const asked = fields as unknown as messages.DeadLetter
        const [dlqOffset] = this.#broker.once(asked.requestId, () => [
          this.#byId(asked.groupId).deadLetter(asked),
        ])
        return messages.deadLettered.write({ correlationId, dlqOffset: dlqOffset as number })
      }
      default:
        throw new MillraceError('UNKNOWN_OPCODE')
    }
  }
}
