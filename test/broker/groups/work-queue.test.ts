import { describe, expect, test } from 'vitest'
import { BACKOFF_MS_MAX, backoffMs } from '../../../broker/groups/backoff.js'
import type { Delivery, Settlement } from '../../../broker/groups/queue-events.js'
import { WorkQueue } from '../../../broker/groups/work-queue.js'
import { QUEUE_REASON, QueueState } from '../../../broker/shard/queue-state.js'
import type { MemberId, TopicId } from '../../../protocol/ids.js'
import { SeededRandom } from '../../support/seeded-random.js'
import { member, offsetsOf, QueueWorld } from './queue-world.js'

const [ada, bob, cleo] = [member(1), member(2), member(3)]

/** A world in which `records` records were delivered to ada under one lease. */
function delivered(records: number, options: ConstructorParameters<typeof QueueWorld>[0] = {}): QueueWorld {
  const world = new QueueWorld(options)
  world.append(records)
  world.credit(ada, records)
  world.run()
  expect(world.deliveries).toHaveLength(1)
  return world
}

/** A queue with so many jobs under one lease of ada, no two of which stand side by side. */
function scattered(jobs: number): { queue: QueueState; memberId: MemberId; leaseId: number } {
  const queue = new QueueState({ groupId: 1, topicId: 'a'.repeat(32) as TopicId, partition: 0, floor: 0 })
  const ranges = [{ from: 0, to: 2 * jobs }]
  const done = Array.from({ length: jobs }, (_, i) => ({ from: 2 * i + 1, to: 2 * i + 2 }))
  const lease = { memberId: ada, leaseId: 1 }
  const nothing = {
    floor0: 0,
    frontier: 2 * jobs,
    nextLeaseId: 2,
    returned: [],
    extended: [],
    reason: 0 as const,
  }
  queue.apply({ ...nothing, claims: [{ ...lease, deadline: 30_000, ranges }], acked: [] }, 0)
  queue.apply({ ...nothing, claims: [], acked: done }, 0)
  return { queue, ...lease }
}

/** As a worker is told of jobs that one that was lost may have started. */
const uncounted = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, i) => ({ offset: from + i, count: 0 }))

const firstOf = (world: QueueWorld): Delivery => world.deliveries[0] as Delivery
const lastOf = (world: QueueWorld): Delivery => world.deliveries.at(-1) as Delivery

describe('jobs', () => {
  test('are claimed before they are delivered, and under one lease', () => {
    const world = new QueueWorld()
    world.append(10)
    world.credit(ada, 4)
    world.feed()
    world.read()
    world.decide()
    expect(world.deliveries).toEqual([])
    world.written()
    expect(world.deliveries).toMatchObject([{ memberId: ada, leaseId: 1, ranges: [{ from: 0, to: 4 }] }])
    expect(world.queue.frontier).toBe(4)
  })

  test('are read while others are being written, so that one move acks the last and claims the next', () => {
    const world = delivered(4)
    world.append(20)
    for (const [round, from] of [0, 4].entries()) {
      const to = from === 0 ? 4 : 14
      const { leaseId } = lastOf(world)
      world.settle({ memberId: ada, leaseId, from, to })
      if (round === 1) world.decide()
      world.credit(ada, 10)
      expect(world.isHungry).toBe(true)
      world.feed()
      expect(world.reading).toBe(round === 0 ? 4 : 14)
      world.read(10)
      if (round === 0) world.decide()
      world.written()
      expect(world.moves.at(-1)?.acked).toEqual([{ from, to }])
    }
    expect(world.moves.at(-1)?.claims).toEqual([])
    const { leaseId } = lastOf(world)
    world.settle({ memberId: ada, leaseId, from: 4, to: 14 })
    world.run()
    expect(world.deliveries.map(({ ranges }) => ranges)).toEqual(
      [
        [0, 4],
        [4, 14],
        [14, 24],
      ].map(([from, to]) => [{ from, to }]),
    )
  })

  test('are dealt out evenly over the members that have room', () => {
    const world = new QueueWorld()
    world.append(10)
    world.credit(ada, 2)
    world.credit(bob, 100)
    world.credit(cleo, 100)
    world.run()
    const taken = new Map(world.deliveries.map((d) => [d.memberId, [...offsetsOf(d.ranges)].length]))
    expect(taken).toEqual(
      new Map([
        [ada, 2],
        [bob, 4],
        [cleo, 4],
      ]),
    )
  })

  test('leave the credit that they do not use to other partitions', () => {
    const world = delivered(3)
    world.credit(ada, 7)
    world.feed()
    world.run()
    expect(world.credits.get(ada)).toBe(7)
  })

  test('are not made of offsets at which there is no record: those are done at once', () => {
    const world = new QueueWorld({}, (offset) => offset % 3 === 1)
    world.append(9)
    world.credit(ada, 9)
    world.run()
    expect([...offsetsOf(firstOf(world).ranges)]).toEqual([1, 4, 7])
    expect(world.queue.sizes()).toEqual({ leased: 3, ready: 0 })
    for (const offset of [1, 4, 7]) world.settle({ ...firstOf(world), from: offset, to: offset + 1 })
    world.run()
    expect(world.queue.floor).toBe(9)
  })

  test('that a gap alone separates from the end do not keep a reader busy', () => {
    const world = new QueueWorld({}, () => false)
    world.append(50)
    world.credit(ada, 5)
    world.run()
    expect(world.queue.floor).toBe(50)
    expect(world.deliveries).toEqual([])
    expect(world.credits.get(ada)).toBe(5)
  })

  test('are not claimed at the frontier while the queue has too many ranges; those given back are', () => {
    const world = new QueueWorld({ rangesMax: 5 })
    world.append(100)
    world.credit(ada, 10)
    world.run()
    for (const from of [1, 3, 5]) world.settle({ ...firstOf(world), from, to: from + 1 })
    world.run()
    world.credit(bob, 50)
    world.run()
    expect(world.deliveries).toHaveLength(1)
    world.settle({ ...firstOf(world), kind: 'release', from: 8, to: 9 })
    world.run()
    expect(lastOf(world)).toMatchObject({ memberId: bob, ranges: [{ from: 8, to: 9 }] })
    expect(world.queue.frontier).toBe(10)
    for (const from of [0, 2, 4, 6, 7, 9]) world.settle({ ...firstOf(world), from, to: from + 1 })
    world.run()
    expect(world.queue.frontier).toBeGreaterThan(10)
  })

  test('are not claimed at the frontier while very many are out, for each could become a range', () => {
    const world = new QueueWorld({ rangesMax: 5 })
    world.append(200)
    world.credit(ada, 60)
    world.run()
    world.credit(bob, 10)
    world.run()
    expect(world.deliveries.every(({ memberId }) => memberId === ada)).toBe(true)
    expect(world.queue.frontier).toBe(60)
    world.settle({ ...firstOf(world), from: 0, to: 20 })
    world.run()
    expect(lastOf(world)).toMatchObject({ memberId: bob })
  })
})

describe('a settlement', () => {
  test('is answered when it is durable, not before', () => {
    const world = delivered(3)
    const item = world.settle({ ...firstOf(world), from: 0, to: 3 })
    world.decide()
    expect(item.outcome).toBeUndefined()
    world.written()
    expect(item.outcome).toBe('done')
    expect(world.queue.floor).toBe(3)
  })

  test('of a lease that is not held changes nothing and is refused', () => {
    const world = delivered(3)
    const before = structuredClone(world.queue.row)
    const lease = firstOf(world)
    for (const kind of ['ack', 'nack', 'extend', 'release'] as const) {
      for (const wrong of [{ memberId: bob }, { leaseId: 7 }]) {
        const item = world.settle({ ...lease, kind, ms: 5, from: 0, to: 1, ...wrong })
        world.run()
        expect(item.outcome).toBe('LEASE_LOST')
      }
      const past = world.settle({ ...lease, kind, ms: 5, from: 2, to: 4 })
      world.run()
      expect(past.outcome).toBe('ACK_OUT_OF_RANGE')
    }
    expect(world.queue.row).toEqual(before)
  })

  test('comes too late once the lease has run out, though nobody has logged that yet', () => {
    const world = delivered(1)
    world.time += 30_000
    const item = world.settle({ ...firstOf(world), from: 0, to: 1 })
    world.run()
    expect(item.outcome).toBe('LEASE_LOST')
  })

  test('extends from the time at which it is decided, and never shortens', () => {
    const world = delivered(2)
    const lease = firstOf(world)
    world.time += 20_000
    const longer = world.settle({ ...lease, kind: 'extend', ms: 60_000, from: 0, to: 2 })
    world.run()
    expect(longer.deadline).toBe(world.time + 60_000)
    const shorter = world.settle({ ...lease, kind: 'extend', ms: 10, from: 0, to: 2 })
    world.run()
    expect(shorter.deadline).toBe(longer.deadline)
    world.pass(59_999)
    world.run()
    expect(world.settle({ ...lease, from: 0, to: 1 }).outcome).toBeUndefined()
    world.run()
    expect(world.settled.at(-1)?.outcome).toBe('done')
  })

  test('extends what is left of a lease of which some is settled', () => {
    const world = delivered(4)
    world.settle({ ...firstOf(world), from: 1, to: 2 })
    world.run()
    const item = world.settle({ ...firstOf(world), kind: 'extend', ms: 90_000, from: 0, to: 4 })
    world.run()
    expect(item.outcome).toBe('done')
    expect(world.queue.at(3)).toMatchObject({ time: world.time + 90_000 })
  })

  test('that goes through very many ranges leaves others to the next moves, and whoever goes comes behind all', () => {
    const { queue, ...lease } = scattered(4000)
    const machine = new WorkQueue({ leaseMs: 30_000, maxDeliveries: 5, rangesMax: 10_000 })
    const view = { now: 0, queue, endOffset: 8000 }
    const rest = { ...lease, ms: 60_000, reason: null }
    const items: Settlement[] = Array.from({ length: 20 }, () => ({
      ...rest,
      kind: 'extend',
      from: 0,
      to: 8000,
    }))
    items.push({ ...rest, kind: 'ack', from: 0, to: 1 })
    let effects = machine.step({ type: 'settle', items }, view)
    machine.step({ type: 'gone', memberId: ada, left: true }, view)
    const answered: unknown[] = []
    const extended: number[] = []
    while (effects.some(({ type }) => type === 'write')) {
      expect(queue.sizes().leased).toBe(4000)
      const move = machine.decide(queue, 0)
      extended.push(move?.extended.length ?? 0)
      if (move !== undefined) queue.apply(move, 0)
      effects = machine.step({ type: 'written' }, view)
      for (const effect of effects) if (effect.type === 'answer') answered.push(effect.item)
    }
    expect(Math.max(...extended)).toBe(8_000)
    expect(extended).toHaveLength(11)
    expect(answered).toEqual(items)
    expect(queue.sizes()).toEqual({ leased: 0, ready: 3999 })
  })
})

describe('a job that failed', () => {
  test('waits for the delay that the worker named', () => {
    const world = delivered(1)
    world.settle({ ...firstOf(world), kind: 'nack', ms: 5000, from: 0, to: 1 })
    world.run()
    world.credit(bob, 1)
    world.pass(4999)
    world.run()
    expect(world.deliveries).toHaveLength(1)
    expect(world.wakeAt).toBe(world.time + 1)
    world.pass(1)
    world.run()
    expect(lastOf(world)).toMatchObject({ memberId: bob, counts: [{ offset: 0, count: 1 }] })
  })

  test('waits longer each time when the worker named no delay', () => {
    expect([0, 1, 2, 3].map(backoffMs)).toEqual([1000, 2000, 4000, 8000])
    expect(backoffMs(1000)).toBe(BACKOFF_MS_MAX)
    const world = delivered(1, { maxDeliveries: 10 })
    for (const delayMs of [1000, 2000, 4000]) {
      world.settle({ ...lastOf(world), kind: 'nack', from: 0, to: 1 })
      world.run()
      world.credit(ada, 1)
      const before = world.deliveries.length
      world.pass(delayMs - 1)
      world.run()
      expect(world.deliveries).toHaveLength(before)
      world.pass(1)
      world.run()
      expect(world.deliveries).toHaveLength(before + 1)
    }
  })

  test('is delivered again before anything new, the one that waited longest first', () => {
    const world = delivered(6)
    world.settle({ ...firstOf(world), kind: 'nack', ms: 500, from: 4, to: 5 })
    world.run()
    world.time += 10
    world.settle({ ...firstOf(world), kind: 'nack', ms: 700, from: 0, to: 1 })
    world.run()
    world.append(10)
    world.pass(1000)
    for (const expected of [4, 0, 6]) {
      world.credit(bob, 1)
      world.run()
      expect([...offsetsOf(lastOf(world).ranges)]).toEqual([expected])
    }
  })

  test('too often is buried under its lease, and its last nack is answered then', () => {
    const world = delivered(2, { maxDeliveries: 2 })
    world.settle({ ...firstOf(world), kind: 'nack', ms: 0, from: 0, to: 2 })
    world.credit(bob, 2)
    world.run()
    const item = world.settle({ ...lastOf(world), kind: 'nack', reason: 'bad address', from: 0, to: 2 })
    world.decide()
    world.written()
    expect(world.burying).toMatchObject([
      { offset: 0, count: 2, reason: 'bad address' },
      { offset: 1, count: 2, reason: 'bad address' },
    ])
    // However long that takes, nobody else gets them.
    world.pass(100_000)
    world.credit(ada, 5)
    world.isHungry = true
    world.feed()
    expect(world.isWriting).toBe(false)
    world.bury()
    expect(item.outcome).toBeUndefined()
    world.bury()
    expect(item.outcome).toBe('done')
    expect(world.queue.floor).toBe(2)
  })
})

describe('a lease that runs out', () => {
  test('is logged as such before its jobs go out again', () => {
    const world = delivered(3)
    world.credit(bob, 3)
    world.pass(30_000)
    world.run()
    const [, expiry, claim] = world.moves
    expect(expiry).toMatchObject({ reason: QUEUE_REASON.expired, claims: [] })
    expect(expiry?.returned).toEqual([{ from: 0, to: 3, visibleAt: world.time, counted: false }])
    expect(claim).toMatchObject({ claims: [{ memberId: bob, leaseId: 2 }] })
  })

  test('counts for the jobs that had started, and for no other', () => {
    const world = delivered(3)
    world.started(firstOf(world), [{ from: 1, to: 2 }])
    world.credit(bob, 3)
    world.pass(30_000)
    world.run()
    expect(lastOf(world).counts).toEqual([...uncounted(0, 1), { offset: 1, count: 1 }, ...uncounted(2, 3)])
  })

  test('is noticed after a start of the broker, with no word from anybody', () => {
    const world = delivered(3)
    world.time += 40_000
    world.crash()
    world.credit(bob, 3)
    world.run()
    expect(lastOf(world)).toMatchObject({
      memberId: bob,
      ranges: [{ from: 0, to: 3 }],
      counts: uncounted(0, 3),
    })
  })
})

describe('a member', () => {
  test('that leaves gives all back at once, and nothing counts', () => {
    const world = delivered(4)
    world.started(firstOf(world), [{ from: 0, to: 4 }])
    world.gone(ada, { left: true })
    world.credit(bob, 4)
    world.run()
    expect(lastOf(world)).toMatchObject({
      memberId: bob,
      ranges: [{ from: 0, to: 4 }],
      counts: [],
    })
  })

  test('that is lost pays for what it had started', () => {
    const world = delivered(4)
    world.started(firstOf(world), [{ from: 2, to: 3 }])
    world.gone(ada)
    world.credit(bob, 4)
    world.run()
    expect(lastOf(world).counts).toEqual([...uncounted(0, 2), { offset: 2, count: 1 }, ...uncounted(3, 4)])
  })

  test('killed again and again with a full buffer buries only the jobs that it had started', () => {
    const world = new QueueWorld({ maxDeliveries: 5 })
    world.append(100)
    for (let kill = 1; kill <= 6; kill++) {
      const worker = member(10 + kill)
      world.credit(worker, 100)
      world.run()
      // The same poison job each time, while it lives.
      const first = [...offsetsOf(lastOf(world).ranges)][0] as number
      if (kill <= 5) expect(first).toBe(0)
      world.started(lastOf(world), [{ from: first, to: first + 1 }])
      world.gone(worker)
      world.run()
    }
    const dead = [...world.jobs].filter(([, { state }]) => state === 'dead').map(([offset]) => offset)
    expect(dead).toEqual([0])
    expect(world.queue.at(1)).toMatchObject({ count: 1 })
    expect(world.queue.at(50)).toMatchObject({ count: 0 })
  })

  test('that comes back keeps the leases that it has, and those that never reached it go out again', () => {
    const world = delivered(2)
    world.append(4)
    world.credit(ada, 4)
    world.run()
    expect(lastOf(world).leaseId).toBe(2)
    world.back(ada, [{ leaseId: 1, started: [{ from: 0, to: 1 }] }])
    world.credit(bob, 4)
    world.run()
    expect(lastOf(world)).toMatchObject({
      memberId: bob,
      ranges: [{ from: 2, to: 6 }],
      counts: [],
    })
    expect(world.settle({ ...firstOf(world), from: 0, to: 2 })).toBeDefined()
    world.run()
    expect(world.settled.at(-1)?.outcome).toBe('done')
  })

  test('that comes back while jobs are on their way to it keeps those', () => {
    const world = new QueueWorld()
    world.append(2)
    world.credit(ada, 2)
    world.feed()
    world.read()
    world.decide()
    world.back(ada, [])
    world.written()
    world.run()
    expect(world.queue.at(0)).toMatchObject({ memberId: ada })
    expect(world.deliveries).toHaveLength(1)
  })

  test('that is away is given nothing more', () => {
    const world = new QueueWorld()
    world.append(2)
    world.credit(ada, 2)
    world.feed()
    world.step({ type: 'away', memberId: ada })
    world.run()
    expect(world.deliveries).toEqual([])
  })

  test('that cannot be served because a read failed is served when that is tried again', () => {
    const world = new QueueWorld()
    world.append(2)
    world.credit(ada, 2)
    world.feed()
    world.reading = undefined
    world.step({ type: 'unreadable', retryAt: world.time + 1000 })
    world.run()
    expect(world.credits.get(ada)).toBe(2)
    expect(world.wakeAt).toBe(world.time + 1000)
    world.pass(1000)
    world.run()
    expect(world.deliveries).toHaveLength(1)
  })
})

/** What members do in the end: everything must come to an end with them. */
function drain(world: QueueWorld): void {
  for (let round = 0; round < 60; round++) {
    world.gone(member(99), { left: true })
    world.credit(ada, 1000)
    world.run()
    for (const [offset, job] of world.jobs) {
      if (job.state !== 'out') continue
      const { leaseId } = job
      world.settle({ memberId: job.memberId ?? ada, leaseId, from: offset, to: offset + 1 })
    }
    world.run()
    if (world.queue.floor === world.endOffset) return
    world.pass(BACKOFF_MS_MAX)
  }
}

test('whatever members, crashes and clocks do, no record is lost, stranded, or leased twice', () => {
  for (let seed = 1; seed <= 150; seed++) {
    const random = new SeededRandom(seed)
    const gapEvery = 2 + random.below(6)
    const world = new QueueWorld(
      { leaseMs: 1000, maxDeliveries: 1 + random.below(3), rangesMax: random.pick([8, 40, 1000]) },
      (offset) => offset % gapEvery !== 0,
    )
    const members = [ada, bob, cleo]
    const settlable = (): Delivery | undefined =>
      world.deliveries.length === 0 ? undefined : random.pick(world.deliveries.slice(-12))
    const part = ({ ranges }: Delivery): { from: number; to: number } => {
      const offsets = [...offsetsOf(ranges)]
      const from = random.pick(offsets)
      return { from, to: random.chance(0.8) ? from + 1 : from + 1 + random.below(4) }
    }
    for (let step = 0; step < 250; step++) {
      world.context = `seed ${seed}, step ${step}`
      const delivery = settlable()
      const who = random.pick(members)
      switch (random.below(14)) {
        case 0:
          world.append(random.below(6))
          break
        case 1:
          world.credit(who, random.below(8))
          break
        case 2:
          if (world.isHungry) world.feed()
          break
        case 3:
          if (world.reading !== undefined) world.read(1 + random.below(20))
          break
        case 4:
          if (world.isWriting && !world.isDecided) world.decide()
          break
        case 5:
          if (world.isDecided) world.written()
          break
        case 6:
          world.pass(random.pick([1, 10, 300, 900]))
          break
        case 7:
        case 8: {
          if (delivery === undefined) break
          const kind = random.pick(['ack', 'ack', 'nack', 'extend', 'release'] as const)
          const ms = kind === 'extend' ? random.below(2000) : random.pick([0, 100, 700])
          // Now and then in somebody else's name.
          const memberId = random.chance(0.9) ? delivery.memberId : who
          world.settle({ kind, memberId, leaseId: delivery.leaseId, ms, ...part(delivery) })
          break
        }
        case 9:
          if (delivery !== undefined) world.started(delivery, [part(delivery)])
          break
        case 10:
          if (random.chance(0.3)) world.gone(who, { left: random.chance(0.5) })
          break
        case 11:
          if (random.chance(0.3)) {
            const held = world.deliveries.filter((d) => d.memberId === who && random.chance(0.7))
            world.back(
              who,
              held.map(({ leaseId }) => ({ leaseId, started: [] })),
            )
          }
          break
        case 12:
          if (world.burying.length > 0) world.bury()
          break
        case 13:
          if (random.chance(0.1)) world.crash()
          else world.run()
          break
      }
    }
    world.context = `seed ${seed}, draining`
    world.run()
    drain(world)
    expect(world.queue.floor, world.context).toBe(world.endOffset)
    for (let offset = 0; offset < world.endOffset; offset++) {
      if (!world.isLive(offset)) continue
      expect(['done', 'dead'], `${world.context}, offset ${offset}`).toContain(world.jobs.get(offset)?.state)
    }
  }
})

test('whatever comes while others are read and written, every job that a member has room for is delivered', () => {
  for (let seed = 1; seed <= 100; seed++) {
    const random = new SeededRandom(seed)
    const world = new QueueWorld()
    const members = [ada, bob]
    let room = 0
    for (let step = 0; step < 200; step++) {
      world.context = `seed ${seed}, step ${step}`
      const credits = random.below(8)
      const delivery = world.deliveries.length > 0 ? random.pick(world.deliveries) : undefined
      switch (random.below(7)) {
        case 0:
          world.append(random.below(10))
          break
        case 1:
          world.credit(random.pick(members), credits)
          room += credits
          break
        case 2:
          if (world.isHungry) world.feed()
          break
        case 3:
          if (world.reading !== undefined) world.read(1 + random.below(10))
          break
        case 4:
          if (world.isWriting && !world.isDecided) world.decide()
          break
        case 5:
          if (world.isDecided) world.written()
          break
        case 6: {
          const offset = random.pick(delivery === undefined ? [0] : [...offsetsOf(delivery.ranges)])
          if (delivery !== undefined) world.settle({ ...delivery, from: offset, to: offset + 1 })
          break
        }
      }
    }
    world.append(room)
    world.run()
    const delivered = world.deliveries.flatMap(({ ranges }) => [...offsetsOf(ranges)])
    expect(delivered, world.context).toHaveLength(room)
  }
})
