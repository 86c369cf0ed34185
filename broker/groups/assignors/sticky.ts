import type { MemberId, TopicId } from '../../../protocol/ids.js'
import { type Part, partOf } from '../part.js'

export interface StickyInput {
  /** What each member reads. */
  readonly members: ReadonlyMap<MemberId, Iterable<TopicId>>
  /** How many partitions each topic has; a topic that is missing here does not exist. */
  readonly partitions: ReadonlyMap<TopicId, number>
  /** Who holds what now. Partitions that do not exist and members that are not there are no matter. */
  readonly owners: ReadonlyMap<Part, MemberId>
  /** Where an owner must give something up, it gives these first: it does without them already. */
  readonly loose?: ReadonlySet<Part>
  /** Members that get nothing new for now. */
  readonly full?: ReadonlySet<MemberId>
}

/**
 * Who should hold which partition. Every partition of a topic that somebody reads has one member; members that read
 * the same topics differ by at most one partition; and what has an owner moves only where that takes it to balance the
 * rest. Equal inputs give equal results, and a result put in again comes out as it is.
 *
 * Members of different topics are balanced as far as their topics allow, along chains too: A hands over to B what lets
 * B hand something to C.
 */
export function sticky(input: StickyInput): Map<Part, MemberId> {
  const balance = new Balance(input)
  balance.keep()
  balance.fill()
  while (balance.improve());
  return balance.target()
}

interface Holder {
  readonly memberId: MemberId
  readonly topics: readonly TopicId[]
  readonly takes: boolean
  load: number
  readonly parts: Map<TopicId, Part[]>
}

/** How a chain got to a member: `from` gives it a partition of `topicId`. */
interface Step {
  readonly from: Holder
  readonly topicId: TopicId
}

class Balance {
  readonly #input: StickyInput
  readonly #holders: Holder[] = []
  readonly #byId = new Map<MemberId, Holder>()
  readonly #readers = new Map<TopicId, Holder[]>()
  #free: { topicId: TopicId; part: Part }[] = []
  /** Cheap to move: nobody reads them now. */
  readonly #loose: Set<Part>

  constructor(input: StickyInput) {
    this.#input = input
    this.#loose = new Set(input.loose)
    const ids = [...input.members.keys()].sort()
    for (const memberId of ids) {
      const topics = [...new Set(input.members.get(memberId))].filter((id) => input.partitions.has(id))
      const takes = !input.full?.has(memberId)
      const holder: Holder = { memberId, topics, takes, load: 0, parts: new Map() }
      this.#holders.push(holder)
      this.#byId.set(memberId, holder)
      for (const topicId of topics) {
        const readers = this.#readers.get(topicId)
        if (readers === undefined) this.#readers.set(topicId, [holder])
        else readers.push(holder)
      }
    }
  }

  /** Leaves every partition with its owner, if that still reads the topic. */
  keep(): void {
    for (const topicId of [...this.#readers.keys()].sort()) {
      const readers = new Set(this.#readers.get(topicId))
      for (let partition = 0; partition < (this.#input.partitions.get(topicId) ?? 0); partition++) {
        const part = partOf(topicId, partition)
        const ownerId = this.#input.owners.get(part)
        const owner = ownerId === undefined ? undefined : this.#byId.get(ownerId)
        if (owner !== undefined && readers.has(owner)) give(owner, topicId, part)
        else this.#free.push({ topicId, part })
      }
    }
  }

  /** Gives what nobody holds to those who have least; topics with few readers first, they leave no choice. */
  fill(): void {
    const readersOf = (topicId: TopicId): Holder[] => this.#readers.get(topicId) ?? []
    this.#free.sort((a, b) => readersOf(a.topicId).length - readersOf(b.topicId).length)
    for (const { topicId, part } of this.#free) {
      let least: Holder | undefined
      for (const reader of readersOf(topicId)) {
        if (reader.takes && (least === undefined || reader.load < least.load)) least = reader
      }
      if (least === undefined) continue
      give(least, topicId, part)
      this.#loose.add(part)
    }
  }

  /** Moves one partition, or one along each link of a chain, off the member that has most and can; false: balanced. */
  improve(): boolean {
    let leastLoad = Number.POSITIVE_INFINITY
    for (const { takes, load } of this.#holders) if (takes) leastLoad = Math.min(leastLoad, load)
    const givers = this.#holders.filter(({ load }) => load >= leastLoad + 2)
    givers.sort((a, b) => b.load - a.load)
    return givers.some((giver) => this.#relieve(giver))
  }

  target(): Map<Part, MemberId> {
    const target = new Map<Part, MemberId>()
    for (const { memberId, parts } of this.#holders) {
      for (const ofTopic of parts.values()) for (const part of ofTopic) target.set(part, memberId)
    }
    return target
  }

  #relieve(giver: Holder): boolean {
    const steps = this.#reachedFrom(giver)
    let taker: Holder | undefined
    // In the order of their distance, so that of equals the one with the shortest chain is taken.
    for (const holder of steps.keys()) {
      if (holder.load <= giver.load - 2 && (taker === undefined || holder.load < taker.load)) taker = holder
    }
    if (taker === undefined) return false
    let to = taker
    while (to !== giver) {
      const { from, topicId } = steps.get(to) as Step
      give(to, topicId, this.#take(from, topicId))
      to = from
    }
    return true
  }

  /** Everyone to whom a partition of the giver could go, directly or along a chain; breadth first. */
  #reachedFrom(giver: Holder): Map<Holder, Step> {
    const steps = new Map<Holder, Step>()
    const seen = new Set<TopicId>()
    const queue = [giver]
    for (const from of queue) {
      for (const topicId of this.#topicsHeldBy(from)) {
        if (seen.has(topicId)) continue
        seen.add(topicId)
        for (const reader of this.#readers.get(topicId) ?? []) {
          if (reader === giver || !reader.takes || steps.has(reader)) continue
          steps.set(reader, { from, topicId })
          queue.push(reader)
        }
      }
    }
    return steps
  }

  #topicsHeldBy({ parts }: Holder): TopicId[] {
    const held = [...parts].filter(([, ofTopic]) => ofTopic.length > 0)
    const isLoose = (part: Part): boolean => this.#loose.has(part)
    const rank = new Map(held.map(([topicId, ofTopic]) => [topicId, ofTopic.some(isLoose) ? 0 : 1]))
    return [...rank.keys()].sort((a, b) => (rank.get(a) ?? 0) - (rank.get(b) ?? 0))
  }

  #take(holder: Holder, topicId: TopicId): Part {
    const parts = holder.parts.get(topicId) as Part[]
    const index = parts.findLastIndex((part) => this.#loose.has(part))
    holder.load--
    return parts.splice(index === -1 ? parts.length - 1 : index, 1)[0] as Part
  }
}

function give(holder: Holder, topicId: TopicId, part: Part): void {
  const parts = holder.parts.get(topicId)
  if (parts === undefined) holder.parts.set(topicId, [part])
  else parts.push(part)
  holder.load++
}
