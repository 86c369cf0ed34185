import type { MemberId, TopicId } from '../../protocol/ids.js'
import { HARD_LIMITS } from '../../protocol/limits.js'
import { type Part, placeOf } from './part.js'
import type { MemberDemand } from './queue-events.js'

interface QueueMember {
  readonly topics: Set<TopicId>
  /** Jobs that it has room for and that no partition was promised. */
  credits: number
  isAway: boolean
  /** What a partition gets of it at least, if there is so much; of one allotment. */
  shareMin: number
  /** Its connection has not taken what it was sent: it gets no more for now. */
  isHeld: boolean
}

/** More than so many jobs at a time are not kept together for one partition. */
const SHARE_MIN_MAX = 256

/** What one partition may deal out. */
export interface Allotment {
  readonly part: Part
  readonly members: readonly MemberDemand[]
}

/**
 * The members of a work queue, and which partition is served next. Credit is given to a partition before it claims and
 * comes back if it had no use for it, so that many partitions never deliver to a member more than it has room for.
 */
export class QueueGroup {
  readonly #members = new Map<MemberId, QueueMember>()
  /** Partitions with work and without credit; those that have waited longest first. */
  readonly #hungry = new Set<Part>()

  get size(): number {
    return this.#members.size
  }

  /** The member is new, or back on another connection with room for `credits`. */
  join(memberId: MemberId, member: { topics: Iterable<TopicId>; credits: number }): void {
    const topics = new Set(member.topics)
    this.#members.set(memberId, { topics, credits: 0, shareMin: 0, isAway: false, isHeld: false })
    this.credit(memberId, member.credits)
  }

  /** It gets nothing until it joins again. What partitions hold of its credit is worth nothing. */
  away(memberId: MemberId): void {
    const member = this.#members.get(memberId)
    if (member === undefined) return
    member.isAway = true
    member.credits = 0
  }

  leave(memberId: MemberId): void {
    this.#members.delete(memberId)
  }

  /** Gives the member nothing more while `isHeld`; its credit stays. */
  hold(memberId: MemberId, isHeld: boolean): void {
    const member = this.#members.get(memberId)
    if (member !== undefined) member.isHeld = isHeld
  }

  /** The member takes records of this topic too. */
  addTopic(memberId: MemberId, topicId: TopicId): void {
    this.#members.get(memberId)?.topics.add(topicId)
  }

  /** Adds credit, also what a partition did not use. What would pass the most that a member may have is cut off. */
  credit(memberId: MemberId, records: number): void {
    const member = this.#members.get(memberId)
    if (member === undefined || member.isAway) return
    member.credits = Math.min(member.credits + records, HARD_LIMITS.prefetchMax)
  }

  /** The partition has work; forgotten once it is in an allotment. */
  hungry(part: Part): void {
    this.#hungry.add(part)
  }

  /** The partition is gone. */
  forget(part: Part): void {
    this.#hungry.delete(part)
  }

  /**
   * Shares the credit that there is among the partitions with work, in turn; `jobsIn` says how many jobs one may have, at most. A
   * claim costs the same for one job as for hundreds: so many partitions are rather served one after the other than all with little.
   */
  allot(jobsIn: (part: Part) => number = () => Number.POSITIVE_INFINITY): Allotment[] {
    const allotments: Allotment[] = []
    let waiting = this.#hungry.size
    let free = 0
    for (const member of this.#members.values()) {
      free += member.isHeld ? 0 : member.credits
      member.shareMin = Math.min(SHARE_MIN_MAX, Math.floor(member.credits / 4))
    }
    for (const part of this.#hungry) {
      if (free === 0) break
      const { topicId } = placeOf(part)
      // One that has none says so itself.
      const jobs = Math.max(1, jobsIn(part))
      const members: MemberDemand[] = []
      for (const [memberId, member] of this.#members) {
        if (member.credits === 0 || member.isHeld || !member.topics.has(topicId)) continue
        // What it leaves goes to those behind it; the last one gets all that is left.
        const share = Math.max(Math.ceil(member.credits / waiting), member.shareMin)
        const credits = Math.min(share, jobs, member.credits)
        member.credits -= credits
        free -= credits
        members.push({ memberId, credits })
      }
      waiting--
      if (members.length === 0) continue
      this.#hungry.delete(part)
      allotments.push({ part, members })
    }
    return allotments
  }
}
