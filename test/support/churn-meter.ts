import type { Part } from '../../broker/groups/part.js'
import type { MemberId } from '../../protocol/ids.js'

/**
 * What a rebalance costs, measured from outside: who reads what when. For members that all read the same topics.
 * Times are of any one clock, in milliseconds.
 */
export class ChurnMeter {
  readonly #parts: number
  readonly #readers = new Map<Part, MemberId>()
  readonly #members = new Set<MemberId>()
  readonly #stoppedAtMs = new Map<Part, number>()
  readonly #readBefore = new Map<Part, MemberId>()
  /** Partitions that went from one member to another. */
  moved = 0
  /**
   * What no assignor can do better than, change by change: a newcomer to balanced members needs its share, rounded
   * down, and everything of one that goes must go somewhere.
   */
  fewest = 0
  /** The longest that a partition was read by nobody. */
  pausedMsMax = 0

  constructor(parts: number) {
    this.#parts = parts
  }

  joined(memberId: MemberId): void {
    if (this.#members.size > 0) this.fewest += Math.floor(this.#parts / (this.#members.size + 1))
    this.#members.add(memberId)
  }

  /** It goes, and stops reading what it had at `nowMs`. */
  left(memberId: MemberId, nowMs: number): void {
    this.#members.delete(memberId)
    const own = [...this.#readers].filter(([, reader]) => reader === memberId).map(([part]) => part)
    if (this.#members.size > 0) this.fewest += own.length
    for (const part of own) this.stopped(part, memberId, nowMs)
  }

  stopped(part: Part, memberId: MemberId, nowMs: number): void {
    if (this.#readers.get(part) !== memberId) return
    this.#readers.delete(part)
    this.#readBefore.set(part, memberId)
    this.#stoppedAtMs.set(part, nowMs)
  }

  started(part: Part, memberId: MemberId, nowMs: number): void {
    const before = this.#readers.get(part) ?? this.#readBefore.get(part)
    if (before !== undefined && before !== memberId) this.moved++
    const stoppedAtMs = this.#stoppedAtMs.get(part)
    if (stoppedAtMs !== undefined) this.pausedMsMax = Math.max(this.pausedMsMax, nowMs - stoppedAtMs)
    this.#stoppedAtMs.delete(part)
    this.#readBefore.delete(part)
    this.#readers.set(part, memberId)
  }

  /** Partitions that nobody reads now. */
  get unread(): number {
    return this.#parts - this.#readers.size
  }

  /** How many partitions each member reads now. */
  loads(): number[] {
    const loads = new Map([...this.#members].map((id) => [id, 0]))
    for (const reader of this.#readers.values()) loads.set(reader, (loads.get(reader) ?? 0) + 1)
    return [...loads.values()]
  }
}
