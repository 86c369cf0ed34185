import { type OffsetRange, OffsetRanges } from '../shard/offset-ranges.js'
import { type QueueRange, type QueueState, RANGE } from '../shard/queue-state.js'

/** What was read from a partition. */
export interface ReadRecords extends OffsetRange {
  /** The offsets from `from` to `to` at which there are records, in order. */
  readonly live: readonly OffsetRange[]
}

/** Jobs of one delivery count that may be claimed. */
export interface Claimable extends OffsetRange {
  readonly count: number
}

export interface Picked {
  /** In the order in which they are to be delivered. */
  readonly jobs: readonly Claimable[]
  /** Offsets without a record: nobody will ever get them. */
  readonly gaps: readonly OffsetRange[]
  /** The queue's frontier once these are claimed. */
  readonly frontier: number
}

/** Records that have been read and not been claimed: what the next claim may take. */
export class QueueHand {
  readonly #read = new OffsetRanges()
  readonly #live = new OffsetRanges()

  get isEmpty(): boolean {
    return this.#read.isEmpty
  }

  add({ from, to, live }: ReadRecords): void {
    this.#read.add({ from, to })
    for (const range of live) this.#live.add(range)
  }

  clear(): void {
    this.#read.clear()
    this.#live.clear()
  }

  /** The first offset of `range` that was not read; undefined when all of it was. */
  firstUnread(range: OffsetRange): number | undefined {
    for (const { from } of this.#read.outside(range)) return from
    return undefined
  }

  /** How many records of `range` are at hand. */
  liveIn(range: OffsetRange): number {
    let count = 0
    for (const { from, to } of this.#live.within(range)) count += to - from
    return count
  }

  /** Up to `countMax` jobs that may be claimed at `time`: those given back, longest first, then the frontier's. */
  pick(queue: QueueState, at: { time: number; countMax: number; atFrontier: boolean }): Picked {
    const jobs: Claimable[] = []
    const gaps: OffsetRange[] = []
    let left = at.countMax
    /** Takes what it may of a part that was read; says where it stopped. */
    const take = (part: OffsetRange, count: number): number => {
      let end = part.from
      for (const live of this.#live.within(part)) {
        if (left === 0) return end
        const to = Math.min(live.to, live.from + left)
        if (end < live.from) gaps.push({ from: end, to: live.from })
        jobs.push({ from: live.from, to, count })
        left -= to - live.from
        end = to
      }
      // Whether a gap or a record comes next is not known once nothing may be taken any more.
      if (left === 0) return end
      if (end < part.to) gaps.push({ from: end, to: part.to })
      return part.to
    }
    for (const ready of readyRanges(queue, at.time)) {
      for (const part of this.#read.within(ready)) take(part, ready.count)
    }
    let frontier = queue.frontier
    for (const part of this.#read.within({ from: frontier, to: Number.MAX_SAFE_INTEGER })) {
      if (!at.atFrontier || part.from !== frontier) break
      frontier = take(part, 0)
    }
    return { jobs, gaps, frontier }
  }
}

/** The ranges that may be delivered again at `time`, those first that could be the longest. */
export function readyRanges(queue: QueueState, time: number): QueueRange[] {
  if (queue.sizes().ready === 0) return []
  return queue.ranges
    .filter((range) => range.kind === RANGE.ready && range.time <= time)
    .sort((a, b) => a.time - b.time || a.from - b.from)
}
