/**
 * One work queue of one partition, as the WAL's queueMoved commands have made it: who holds which offsets until when.
 * Pure data; every change is total, so that applying a command can never throw.
 */
import type { MemberId, TopicId } from '../../protocol/ids.js'
import { type OffsetRange, OffsetRanges } from './offset-ranges.js'

export type { OffsetRange } from './offset-ranges.js'

/** What may be with an offset. On disk: never renumbered. */
export const RANGE = {
  /** Acknowledged, dead-lettered, or no record at all. */
  done: 0,
  /** A member has it until its deadline. */
  leased: 1,
  /** Given back, to be delivered again from a moment on. */
  ready: 2,
} as const
export type RangeKind = (typeof RANGE)[keyof typeof RANGE]

/** Neighbouring offsets to which the same happened. */
export interface QueueRange extends OffsetRange {
  readonly kind: RangeKind
  /** Of a leased range; else 0. */
  readonly leaseId: number
  /** Of a leased range; else null. */
  readonly memberId: MemberId | null
  /** Broker time, milliseconds: the deadline of a leased range, the moment from which a ready one may go out; else 0. */
  readonly time: number
  /** Deliveries that counted. What a worker is told is one more; 0 for done ranges. */
  readonly count: number
}

/** The manifest's row of a queue. */
export interface QueueStateRow {
  readonly groupId: number
  readonly topicId: TopicId
  readonly partition: number
  readonly floor: number
  readonly frontier: number
  readonly nextLeaseId: number
  /** Broker time of the last move, milliseconds. */
  readonly movedAt: number
  readonly ranges: readonly QueueRange[]
}

export interface QueueClaim {
  readonly leaseId: number
  readonly memberId: MemberId
  readonly deadline: number
  readonly ranges: readonly OffsetRange[]
}

export interface QueueReturn extends OffsetRange {
  readonly visibleAt: number
  /** Whether the delivery counts: the worker had started the job. */
  readonly counted: boolean
}

export interface QueueExtension extends OffsetRange {
  readonly deadline: number
}

/** Why a queue moved. On disk: never renumbered. */
export const QUEUE_REASON = { settled: 0, expired: 1, gone: 2, restarted: 3 } as const
export type QueueReason = (typeof QUEUE_REASON)[keyof typeof QUEUE_REASON]

/** What a queueMoved command says besides which queue it means. */
export interface QueueMove {
  /** Where a queue begins that did not exist before. */
  readonly floor0: number
  /** The first offset that nobody has claimed yet, after this move. */
  readonly frontier: number
  /** The lowest lease id never given out, after this move. */
  readonly nextLeaseId: number
  readonly claims: readonly QueueClaim[]
  readonly acked: readonly OffsetRange[]
  readonly returned: readonly QueueReturn[]
  readonly extended: readonly QueueExtension[]
  readonly reason: QueueReason
}

/** What the group that is being cut has taken of a queue already. */
export interface QueueCut {
  /** Of the group. */
  readonly sequence: number
  /** Acked or returned. */
  readonly taken: OffsetRanges
  frontier: number
  nextLeaseId: number
}

/** A lease on some offsets, as a member claims to hold it. */
export interface HeldRange extends OffsetRange {
  readonly leaseId: number
  readonly memberId: MemberId
}

const DONE = { kind: RANGE.done, leaseId: 0, memberId: null, time: 0, count: 0 } as const

/**
 * Below `floor` everything is done; from `frontier` on nothing was claimed yet; `ranges` covers what lies between, in
 * order and without holes. The first range is never done: the floor would have moved over it.
 */
export class QueueState {
  readonly groupId: number
  readonly topicId: TopicId
  readonly partition: number
  floor: number
  frontier: number
  nextLeaseId = 1
  movedAt = 0
  #ranges: QueueRange[] = []
  /** How many offsets there are of each kind between `floor` and `frontier`; follows from `#ranges`. */
  readonly #sizes: [done: number, leased: number, ready: number] = [0, 0, 0]
  /** Not state, never persisted: see `cutOf`. */
  #cut: QueueCut | undefined

  constructor(at: { groupId: number; topicId: TopicId; partition: number; floor: number }) {
    this.groupId = at.groupId
    this.topicId = at.topicId
    this.partition = at.partition
    this.floor = at.floor
    this.frontier = at.floor
  }

  static fromRow(row: QueueStateRow): QueueState {
    const queue = new QueueState(row)
    queue.frontier = row.frontier
    queue.nextLeaseId = row.nextLeaseId
    queue.movedAt = row.movedAt
    queue.#ranges = row.ranges.map((range) => ({ ...range }))
    for (const { kind, from, to } of row.ranges) queue.#sizes[kind] += to - from
    return queue
  }

  /** For the manifest, and for the state's hash: equal queues have equal rows. */
  get row(): QueueStateRow {
    const { groupId, topicId, partition, floor, frontier, nextLeaseId, movedAt } = this
    return { groupId, topicId, partition, floor, frontier, nextLeaseId, movedAt, ranges: [...this.#ranges] }
  }

  get ranges(): readonly QueueRange[] {
    return this.#ranges
  }

  /** Everything below is done with: what deletion may take. */
  get position(): number {
    return this.floor
  }

  /** The range that holds `offset`; undefined below the floor and from the frontier on. */
  at(offset: number): QueueRange | undefined {
    return offset >= this.floor && offset < this.frontier ? this.#ranges[this.#indexOf(offset)] : undefined
  }

  /** The ranges that share an offset with `range`, whole and in order. */
  *overlapping({ from, to }: OffsetRange): Generator<QueueRange> {
    for (let i = this.#indexOf(from); i < this.#ranges.length; i++) {
      const range = this.#ranges[i] as QueueRange
      if (range.from >= to) return
      yield range
    }
  }

  /** How many offsets are leased and ready. */
  sizes(): { leased: number; ready: number } {
    return { leased: this.#sizes[RANGE.leased], ready: this.#sizes[RANGE.ready] }
  }

  // Changes. All clip what they are given to [floor, frontier) and leave alone what they do not fit.

  /** Applies a queueMoved command of a group with this time: what ended, what goes on, and then what is claimed. */
  apply(move: QueueMove, time: number): void {
    this.#grow(move.frontier)
    for (const range of move.acked) this.ack(range)
    for (const range of move.returned) this.giveBack(range)
    for (const range of move.extended) this.extend(range)
    for (const claim of move.claims) this.claim(claim)
    this.nextLeaseId = Math.max(this.nextLeaseId, move.nextLeaseId)
    this.movedAt = time
  }

  /** Offsets that are ready become leased and keep their count. */
  claim({ leaseId, memberId, deadline, ranges }: QueueClaim): void {
    for (const range of ranges) {
      this.#change(range, (old) =>
        old.kind === RANGE.ready ? { ...old, kind: RANGE.leased, leaseId, memberId, time: deadline } : old,
      )
    }
    this.nextLeaseId = Math.max(this.nextLeaseId, leaseId + 1)
  }

  /** Offsets become done, whatever they were. */
  ack(range: OffsetRange): void {
    this.#change(range, ({ from, to }) => ({ from, to, ...DONE }))
    this.#moveFloor()
  }

  /** Offsets that are leased become ready. */
  giveBack(range: QueueReturn): void {
    const { visibleAt: time, counted } = range
    this.#change(range, (old) =>
      old.kind === RANGE.leased
        ? {
            ...old,
            kind: RANGE.ready,
            leaseId: 0,
            memberId: null,
            time,
            count: old.count + (counted ? 1 : 0),
          }
        : old,
    )
  }

  /** Leases get another deadline. */
  extend(range: QueueExtension): void {
    const { deadline: time } = range
    this.#change(range, (old) => (old.kind === RANGE.leased ? { ...old, time } : old))
  }

  /** The queue begins anew at `offset`. Lease ids go on: a stale lease never fits again. */
  reset(offset: number, time: number): void {
    this.floor = offset
    this.frontier = offset
    this.movedAt = time
    this.#ranges = []
    this.#sizes.fill(0)
  }

  /** Takes every lease back, uncounted: for a state that was salvaged. */
  giveBackAll(visibleAt: number): void {
    this.giveBack({ from: this.floor, to: this.frontier, visibleAt, counted: false })
  }

  // The twin: what the group being cut has decided but not applied.

  /** The twin for the group of this sequence (`state.applied.sequence + 1`); begun anew for each group. */
  cutOf(sequence: number): QueueCut {
    if (this.#cut?.sequence !== sequence) {
      const { frontier, nextLeaseId } = this
      this.#cut = { sequence, taken: new OffsetRanges(), frontier, nextLeaseId }
    }
    return this.#cut as QueueCut
  }

  /**
   * Whether a member may settle these offsets in the group of this sequence: all of them leased to it under this lease
   * id, past no deadline, and nothing of them taken by the group already.
   */
  isHeld(held: HeldRange, at: { time: number; sequence: number }): boolean {
    return this.isLeased(held, at.time) && !this.cutOf(at.sequence).taken.overlaps(held)
  }

  /** The same by the applied state alone: for the first change of a queue in a group. */
  isLeased(held: HeldRange, time: number): boolean {
    const { from, to, leaseId, memberId } = held
    if (!(from < to) || from < this.floor || to > this.frontier) return false
    for (const range of this.overlapping(held)) {
      const isTheirs = range.kind === RANGE.leased && range.leaseId === leaseId && range.memberId === memberId
      if (!isTheirs || range.time <= time) return false
    }
    return true
  }

  /** Notes a decided move in the twin. Call it once all checks of its unit have passed. */
  take(move: Pick<QueueMove, 'acked' | 'returned' | 'frontier' | 'nextLeaseId'>, sequence: number): void {
    const cut = this.cutOf(sequence)
    for (const range of move.acked) cut.taken.add(range)
    for (const range of move.returned) cut.taken.add(range)
    cut.frontier = Math.max(cut.frontier, move.frontier)
    cut.nextLeaseId = Math.max(cut.nextLeaseId, move.nextLeaseId)
  }

  /** Notes in the twin that the queue begins anew, or goes, with this group: no lease of it is held any more. */
  takeAll(sequence: number): void {
    this.cutOf(sequence).taken.add({ from: this.floor, to: this.frontier })
  }

  /** New offsets are ready at once, so that one that no list of the command names is not lost. */
  #grow(frontier: number): void {
    if (!(frontier > this.frontier)) return
    const from = this.frontier
    this.frontier = frontier
    this.#sizes[RANGE.ready] += frontier - from
    addMerged(this.#ranges, { from, to: frontier, ...DONE, kind: RANGE.ready })
  }

  /** Gives the part of each range that lies within `within` another state; equal neighbours become one. */
  #change(within: OffsetRange, next: (part: QueueRange) => QueueRange): void {
    const from = Math.max(within.from, this.floor)
    const to = Math.min(within.to, this.frontier)
    if (!(from < to)) return
    const ranges = this.#ranges
    const start = Math.max(0, this.#indexOf(from) - 1)
    const pieces: QueueRange[] = []
    let end = start
    for (; end < ranges.length; end++) {
      const old = ranges[end] as QueueRange
      // The neighbours on both sides go through here too: they may merge.
      if (old.from > to) break
      const partFrom = Math.max(from, old.from)
      const partTo = Math.min(to, old.to)
      if (partFrom >= partTo) {
        addMerged(pieces, old)
        continue
      }
      if (old.from < partFrom) addMerged(pieces, { ...old, to: partFrom })
      const part = next({ ...old, from: partFrom, to: partTo })
      this.#sizes[old.kind] -= partTo - partFrom
      this.#sizes[part.kind] += partTo - partFrom
      addMerged(pieces, part)
      if (old.to > partTo) addMerged(pieces, { ...old, from: partTo })
    }
    // A call takes only so many arguments.
    if (pieces.length < SPLICE_MAX) ranges.splice(start, end - start, ...pieces)
    else this.#ranges = [...ranges.slice(0, start), ...pieces, ...ranges.slice(end)]
  }

  #moveFloor(): void {
    const first = this.#ranges[0]
    if (first?.kind !== RANGE.done) return
    this.floor = first.to
    this.#sizes[RANGE.done] -= first.to - first.from
    this.#ranges.shift()
  }

  /** Index of the first range that ends above `offset`. */
  #indexOf(offset: number): number {
    let low = 0
    let high = this.#ranges.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#ranges[middle] as QueueRange).to > offset) high = middle
      else low = middle + 1
    }
    return low
  }
}

const SPLICE_MAX = 1024

function addMerged(ranges: QueueRange[], range: QueueRange): void {
  const last = ranges.at(-1)
  if (last !== undefined && isSame(last, range)) ranges[ranges.length - 1] = { ...last, to: range.to }
  else ranges.push(range)
}

const isSame = (a: QueueRange, b: QueueRange): boolean =>
  a.kind === b.kind &&
  a.leaseId === b.leaseId &&
  a.memberId === b.memberId &&
  a.time === b.time &&
  a.count === b.count
