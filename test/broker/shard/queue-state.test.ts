import { describe, expect, test } from 'vitest'
import { OffsetRanges } from '../../../broker/shard/offset-ranges.js'
import {
  type OffsetRange,
  QUEUE_REASON,
  type QueueMove,
  type QueueRange,
  QueueState,
  RANGE,
} from '../../../broker/shard/queue-state.js'
import type { MemberId } from '../../../protocol/ids.js'
import { someTopicId } from '../../support/entries.js'
import { SeededRandom } from '../../support/seeded-random.js'

const ada = 'aa'.repeat(16) as MemberId
const bob = 'bb'.repeat(16) as MemberId

const newQueue = (floor = 0): QueueState =>
  new QueueState({ groupId: 1, topicId: someTopicId, partition: 0, floor })

const move = (fields: Partial<QueueMove>): QueueMove => ({
  floor0: 0,
  frontier: 0,
  nextLeaseId: 1,
  claims: [],
  acked: [],
  returned: [],
  extended: [],
  reason: QUEUE_REASON.settled,
  ...fields,
})

/** A queue of which one member has claimed offsets 0 to `to` under lease 1 until 1000. */
function claimedQueue(to: number): QueueState {
  const queue = newQueue()
  const claim = { leaseId: 1, memberId: ada, deadline: 1000, ranges: [{ from: 0, to }] }
  queue.apply(move({ frontier: to, nextLeaseId: 2, claims: [claim] }), 1)
  return queue
}

describe('a queue', () => {
  test('leases what is claimed at the frontier, never counted before', () => {
    const queue = claimedQueue(10)
    expect(queue.frontier).toBe(10)
    expect(queue.floor).toBe(0)
    expect(queue.nextLeaseId).toBe(2)
    expect(queue.movedAt).toBe(1)
    expect(queue.ranges).toEqual([
      { from: 0, to: 10, kind: RANGE.leased, leaseId: 1, memberId: ada, time: 1000, count: 0 },
    ])
  })

  test('moves its floor over what is done and holds the rest', () => {
    const queue = claimedQueue(10)
    queue.ack({ from: 4, to: 6 })
    expect(queue.floor).toBe(0)
    expect(queue.ranges.map(({ from, to, kind }) => [from, to, kind])).toEqual([
      [0, 4, RANGE.leased],
      [4, 6, RANGE.done],
      [6, 10, RANGE.leased],
    ])
    queue.ack({ from: 0, to: 4 })
    expect(queue.floor).toBe(6)
    queue.ack({ from: 6, to: 10 })
    expect(queue.floor).toBe(10)
    expect(queue.ranges).toEqual([])
  })

  test('counts a delivery that had started when it comes back, and no other', () => {
    const queue = claimedQueue(4)
    queue.giveBack({ from: 0, to: 2, visibleAt: 50, counted: true })
    queue.giveBack({ from: 2, to: 4, visibleAt: 50, counted: false })
    expect(queue.ranges.map(({ count }) => count)).toEqual([1, 0])
    queue.claim({ leaseId: 2, memberId: bob, deadline: 2000, ranges: [{ from: 0, to: 4 }] })
    expect(queue.at(1)).toMatchObject({ kind: RANGE.leased, memberId: bob, count: 1 })
    expect(queue.at(2)).toMatchObject({ kind: RANGE.leased, memberId: bob, count: 0 })
  })

  test('joins neighbours to which the same happened', () => {
    const queue = claimedQueue(9)
    for (const from of [3, 0, 6]) queue.giveBack({ from, to: from + 3, visibleAt: 7, counted: true })
    expect(queue.ranges).toHaveLength(1)
    queue.claim({ leaseId: 2, memberId: bob, deadline: 9, ranges: [{ from: 2, to: 4 }] })
    expect(queue.ranges).toHaveLength(3)
    queue.giveBack({ from: 2, to: 4, visibleAt: 7, counted: false })
    expect(queue.ranges).toHaveLength(1)
  })

  test('never gives an offset to two leases', () => {
    const queue = claimedQueue(4)
    queue.claim({ leaseId: 2, memberId: bob, deadline: 5000, ranges: [{ from: 0, to: 4 }] })
    expect(queue.at(0)).toMatchObject({ leaseId: 1, memberId: ada })
  })

  test('keeps an offset that its command forgot to claim: it is ready', () => {
    const queue = newQueue()
    queue.apply(move({ frontier: 3, acked: [{ from: 1, to: 2 }] }), 1)
    expect(queue.ranges.map(({ from, kind }) => [from, kind])).toEqual([
      [0, RANGE.ready],
      [1, RANGE.done],
      [2, RANGE.ready],
    ])
  })

  test('claims again in the command that gives back', () => {
    const queue = claimedQueue(2)
    const claim = { leaseId: 2, memberId: bob, deadline: 3000, ranges: [{ from: 0, to: 2 }] }
    const returned = [{ from: 0, to: 2, visibleAt: 0, counted: true }]
    queue.apply(move({ frontier: 2, nextLeaseId: 3, returned, claims: [claim] }), 2)
    expect(queue.at(0)).toMatchObject({ leaseId: 2, memberId: bob, time: 3000, count: 1 })
  })

  test('begins anew when it is reset, with lease ids that were never used', () => {
    const queue = claimedQueue(10)
    queue.reset(5, 77)
    expect(queue.row).toMatchObject({ floor: 5, frontier: 5, nextLeaseId: 2, movedAt: 77, ranges: [] })
  })

  test('gives every lease back, uncounted, when nobody knows any more who had it', () => {
    const queue = claimedQueue(10)
    queue.ack({ from: 3, to: 4 })
    queue.giveBackAll(77)
    expect(queue.ranges.map(({ from, kind, time, count }) => [from, kind, time, count])).toEqual([
      [0, RANGE.ready, 77, 0],
      [3, RANGE.done, 0, 0],
      [4, RANGE.ready, 77, 0],
    ])
  })

  test('comes back from its row as it was', () => {
    const queue = claimedQueue(10)
    queue.giveBack({ from: 3, to: 5, visibleAt: 9, counted: true })
    const again = QueueState.fromRow(structuredClone(queue.row))
    expect(again.row).toEqual(queue.row)
    const before = structuredClone(queue.row)
    again.ack({ from: 0, to: 9 })
    expect(queue.row).toEqual(before)
  })
})

describe('who holds a lease', () => {
  const at = { time: 500, sequence: 3 }
  const held = { from: 2, to: 6, leaseId: 1, memberId: ada }

  test('is the member with the right lease id, before the deadline', () => {
    const queue = claimedQueue(10)
    expect(queue.isHeld(held, at)).toBe(true)
    expect(queue.isHeld({ ...held, memberId: bob }, at)).toBe(false)
    expect(queue.isHeld({ ...held, leaseId: 2 }, at)).toBe(false)
    expect(queue.isHeld(held, { ...at, time: 999 })).toBe(true)
    expect(queue.isHeld(held, { ...at, time: 1000 })).toBe(false)
    expect(queue.isHeld({ ...held, from: 5, to: 11 }, at)).toBe(false)
    expect(queue.isHeld({ ...held, from: 6 }, at)).toBe(false)
  })

  test('is nobody for an offset that is done or was given back', () => {
    const queue = claimedQueue(10)
    queue.ack({ from: 3, to: 4 })
    expect(queue.isHeld(held, at)).toBe(false)
    expect(queue.isHeld({ ...held, from: 4 }, at)).toBe(true)
    queue.giveBack({ from: 4, to: 5, visibleAt: 0, counted: false })
    expect(queue.isHeld({ ...held, from: 4 }, at)).toBe(false)
  })

  test('is nobody once the group being cut has taken the offset, until that group is applied', () => {
    const queue = claimedQueue(10)
    const acks = move({ acked: [{ from: 2, to: 3 }], frontier: 12, nextLeaseId: 4 })
    queue.take(acks, at.sequence)
    expect(queue.isHeld(held, at)).toBe(false)
    expect(queue.isHeld({ ...held, from: 3 }, at)).toBe(true)
    expect(queue.cutOf(at.sequence)).toMatchObject({ frontier: 12, nextLeaseId: 4 })
    expect(queue.cutOf(4)).toMatchObject({ frontier: 10, nextLeaseId: 2 })
    expect(queue.isHeld(held, { ...at, sequence: 4 })).toBe(true)
  })
})

/** One offset, as the naive model has it. */
type Cell = Pick<QueueRange, 'kind' | 'leaseId' | 'memberId' | 'time' | 'count'>

const READY: Cell = { kind: RANGE.ready, leaseId: 0, memberId: null, time: 0, count: 0 }
const DONE: Cell = { ...READY, kind: RANGE.done }

const inOrder = ({ kind, leaseId, memberId, time, count }: Cell) => [kind, leaseId, memberId, time, count]

/** The same queue with one cell per offset and no cleverness. */
class NaiveQueue {
  cells: Cell[]
  readonly start: number

  constructor(floor: number) {
    this.start = floor
    this.cells = Array.from({ length: floor }, () => DONE)
  }

  apply(command: QueueMove): void {
    while (this.cells.length < command.frontier) this.cells.push(READY)
    const each = (range: OffsetRange, next: (cell: Cell) => Cell): void => {
      for (let i = Math.max(0, range.from); i < Math.min(range.to, this.cells.length); i++) {
        this.cells[i] = next(this.cells[i] as Cell)
      }
    }
    for (const range of command.acked) each(range, () => DONE)
    for (const range of command.returned) {
      each(range, (cell) =>
        cell.kind === RANGE.leased
          ? { ...READY, time: range.visibleAt, count: cell.count + (range.counted ? 1 : 0) }
          : cell,
      )
    }
    for (const range of command.extended) {
      each(range, (cell) => (cell.kind === RANGE.leased ? { ...cell, time: range.deadline } : cell))
    }
    for (const { leaseId, memberId, deadline, ranges } of command.claims) {
      for (const range of ranges) {
        each(range, (cell) =>
          cell.kind === RANGE.ready
            ? { ...cell, kind: RANGE.leased, leaseId, memberId, time: deadline }
            : cell,
        )
      }
    }
  }

  get floor(): number {
    const at = this.cells.findIndex(({ kind }) => kind !== RANGE.done)
    return at === -1 ? this.cells.length : at
  }
}

function randomMove(random: SeededRandom, queue: QueueState): QueueMove {
  // Ranges reach over both ends, and some are empty or turned round: apply must take anything.
  const range = (): OffsetRange => {
    const from = random.below(queue.frontier + 8) - 2
    return { from, to: from + random.below(9) - 1 }
  }
  const some = <T>(make: () => T): T[] => Array.from({ length: random.below(4) }, make)
  let leaseId = queue.nextLeaseId
  return move({
    frontier: queue.frontier + random.below(6) - 1,
    claims: some(() => ({
      leaseId: leaseId++,
      memberId: random.pick([ada, bob]),
      deadline: random.below(3) * 100,
      ranges: some(range),
    })),
    nextLeaseId: leaseId,
    acked: some(range),
    returned: some(() => ({ ...range(), visibleAt: random.below(3) * 100, counted: random.chance(0.5) })),
    extended: some(() => ({ ...range(), deadline: random.below(3) * 100 })),
  })
}

test('a queue is, offset by offset, what a list of offsets would be', () => {
  for (let seed = 1; seed <= 120; seed++) {
    const random = new SeededRandom(seed)
    const floor = random.below(4)
    let queue = newQueue(floor)
    const naive = new NaiveQueue(floor)
    for (let step = 0; step < 60; step++) {
      const command = randomMove(random, queue)
      queue.apply(command, step)
      naive.apply(command)
      const cells: Cell[] = Array.from({ length: queue.floor }, () => DONE)
      for (const { to, from, ...cell } of queue.ranges) {
        // A hole would shift all that follows.
        if (from === cells.length) while (cells.length < to) cells.push(cell)
      }
      const context = `seed ${seed}, step ${step}`
      const { floor, frontier } = queue
      expect({ floor, frontier }, context).toEqual({ floor: naive.floor, frontier: naive.cells.length })
      expect(JSON.stringify(cells.map(inOrder)), context).toBe(JSON.stringify(naive.cells.map(inOrder)))
      // Nothing that could be one range is two, and what is done at the front is no range at all.
      const states = [DONE, ...queue.ranges].map((cell) => JSON.stringify(inOrder(cell)))
      expect(
        states.findIndex((state, i) => i > 0 && state === states[i - 1]),
        context,
      ).toBe(-1)
      const countOf = (wanted: number) => naive.cells.filter(({ kind }) => kind === wanted).length
      expect(queue.sizes(), context).toEqual({ leased: countOf(RANGE.leased), ready: countOf(RANGE.ready) })
      if (random.chance(0.1)) queue = QueueState.fromRow(queue.row)
    }
  }
})

test('thousands of ranges are settled one by one, and their neighbours joined', () => {
  const queue = claimedQueue(6000)
  for (let offset = 5998; offset >= 0; offset -= 2) queue.ack({ from: offset, to: offset + 1 })
  expect(queue.ranges).toHaveLength(5999)
  queue.extend({ from: 0, to: 6000, deadline: 5 })
  expect(queue.at(3001)).toMatchObject({ kind: RANGE.leased, time: 5 })
  for (let offset = 1; offset < 6000; offset += 2) queue.ack({ from: offset, to: offset + 1 })
  expect(queue.row).toMatchObject({ floor: 6000, frontier: 6000, ranges: [] })
})

test('a set of offsets is, offset by offset, what a plain set would be', () => {
  for (let seed = 1; seed <= 60; seed++) {
    const random = new SeededRandom(seed)
    const ranges = new OffsetRanges()
    const naive = new Set<number>()
    for (let step = 0; step < 60; step++) {
      const from = random.below(40)
      const range = { from, to: from + random.below(8) - 1 }
      const adds = random.chance(0.6)
      if (adds) ranges.add(range)
      else ranges.delete(range)
      for (let offset = range.from; offset < range.to; offset++) {
        if (adds) naive.add(offset)
        else naive.delete(offset)
      }
      const context = `seed ${seed}, step ${step}`
      const held = ranges.ranges.flatMap(({ from, to }) =>
        Array.from({ length: to - from }, (_, i) => from + i),
      )
      const touching = ranges.ranges.some(({ from }, i) => ranges.ranges[i - 1]?.to === from)
      expect({ held, touching, size: ranges.size }, context).toEqual({
        held: [...naive].sort((a, b) => a - b),
        touching: false,
        size: naive.size,
      })
      const probe = random.below(48)
      expect(ranges.has(probe), context).toBe(naive.has(probe))
      const wanted = { from: probe, to: probe + random.below(5) }
      const within = [...ranges.within(wanted)].reduce((sum, { from, to }) => sum + to - from, 0)
      const expected = [...naive].filter((offset) => offset >= wanted.from && offset < wanted.to).length
      expect(within, context).toBe(expected)
      expect(ranges.overlaps(wanted), context).toBe(expected > 0)
      expect(ranges.covers(wanted), context).toBe(expected === wanted.to - wanted.from)
      const outside = [...ranges.outside(wanted)].flatMap(({ from, to }) =>
        Array.from({ length: to - from }, (_, i) => from + i),
      )
      const missing = Array.from({ length: wanted.to - wanted.from }, (_, i) => wanted.from + i)
      expect(outside, context).toEqual(missing.filter((offset) => !naive.has(offset)))
    }
  }
})
