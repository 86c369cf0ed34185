import { describe, expect, it } from 'vitest'
import type { GroupEffect, GroupTopics, Member } from '../../../broker/groups/consumer-events.js'
import { ConsumerGroup, GATHER_MS, REVOKE_MS } from '../../../broker/groups/consumer-group.js'
import { type Part, partOf } from '../../../broker/groups/part.js'
import type { MemberId, TopicId } from '../../../protocol/ids.js'
import { SimulatedGroup } from '../../support/simulated-group.js'

const orders = 'a'.repeat(32) as TopicId
const refunds = 'b'.repeat(32) as TopicId
const retries = 'c'.repeat(32) as TopicId
const ada = '1'.repeat(32) as MemberId
const bob = '2'.repeat(32) as MemberId
const cy = '3'.repeat(32) as MemberId

const topicsOf = (...counts: [TopicId, number][]): GroupTopics => ({
  partitions: new Map(counts),
  origins: new Map(),
})

function newGroup(
  topics = topicsOf([orders, 4]),
  owners: [Part, { memberId: MemberId; epoch: number }][] = [],
): ConsumerGroup {
  const epoch = Math.max(0, ...owners.map(([, owner]) => owner.epoch))
  return new ConsumerGroup({
    durable: { epoch, owners },
    topics,
    awayUntilMs: 10_000,
    sessionTimeoutMs: 10_000,
  })
}

const member = (
  memberId: MemberId,
  more: Partial<Omit<Member, 'awayUntilMs'>> = {},
): Omit<Member, 'awayUntilMs'> => ({
  memberId,
  attempt: 1,
  topics: [orders],
  ifNoCursor: 'earliest',
  sessionTimeoutMs: 10_000,
  ...more,
})

type Of<T extends GroupEffect['type']> = Extract<GroupEffect, { type: T }>

function only<T extends GroupEffect['type']>(effects: readonly GroupEffect[], type: T): Of<T> {
  const found = effects.filter((effect): effect is Of<T> => effect.type === type)
  expect(found).toHaveLength(1)
  return found[0] as Of<T>
}

const types = (effects: readonly GroupEffect[]): string[] => effects.map(({ type }) => type)
const parts = (...partitions: number[]): Part[] => partitions.map((n) => partOf(orders, n))

/** A group of Ada alone, who has everything at epoch 1. */
function adasGroup(topics = topicsOf([orders, 4])): ConsumerGroup {
  const group = newGroup(topics)
  group.step({ type: 'joined', member: member(ada) }, 0)
  only(group.step({ type: 'time' }, GATHER_MS), 'write')
  only(group.step({ type: 'written', epoch: 1 }, 25), 'assign')
  return group
}

/** Bob joins Ada's group at 100; Ada has been asked for two partitions at 120. */
function bobJoins(group: ConsumerGroup): Of<'revoke'> {
  group.step({ type: 'joined', member: member(bob) }, 100)
  return only(group.step({ type: 'time' }, 100 + GATHER_MS), 'revoke')
}

describe('a consumer group', () => {
  it('gives the first member everything, after it is durable', () => {
    const group = newGroup()
    expect(group.step({ type: 'joined', member: member(ada) }, 0)).toEqual([])
    expect(group.wakeAtMs).toBe(GATHER_MS)
    const write = only(group.step({ type: 'time' }, GATHER_MS), 'write')
    expect(write.moves).toEqual(
      parts(0, 1, 2, 3).map((part) => ({ part, memberId: ada, ifNoCursor: 'earliest' })),
    )
    const effects = group.step({ type: 'written', epoch: 7 }, 30)
    expect(only(effects, 'assign').parts).toEqual(parts(0, 1, 2, 3).map((part) => ({ part, epoch: 7 })))
    expect(only(effects, 'rebalanced')).toEqual({ type: 'rebalanced', moved: 0, ms: 10 })
  })

  it('takes members that come within 20 ms in together', () => {
    const group = newGroup()
    group.step({ type: 'joined', member: member(ada) }, 0)
    group.step({ type: 'joined', member: member(bob) }, 15)
    const { moves } = only(group.step({ type: 'time' }, GATHER_MS), 'write')
    expect(new Set(moves.map(({ memberId }) => memberId))).toEqual(new Set([ada, bob]))
  })

  it('asks a member only for what another one is to have, and leaves it the rest at its epoch', () => {
    const group = adasGroup()
    const revoke = bobJoins(group)
    expect(revoke).toMatchObject({ memberId: ada })
    expect(revoke.parts).toHaveLength(2)
    const { moves } = only(
      group.step({ type: 'revoked', memberId: ada, epoch: 1, parts: revoke.parts }, 200),
      'write',
    )
    expect(moves.map(({ part, memberId }) => [part, memberId])).toEqual(
      revoke.parts.map((part) => [part, bob]),
    )
    const effects = group.step({ type: 'written', epoch: 2 }, 205)
    expect(only(effects, 'assign')).toMatchObject({ memberId: bob })
    expect(only(effects, 'rebalanced')).toEqual({ type: 'rebalanced', moved: 2, ms: 85 })
    const kept = [...group.claims.values()].filter(({ memberId }) => memberId === ada)
    expect(kept.map(({ epoch }) => epoch)).toEqual([1, 1])
  })

  it('hands each partition over as soon as it is let go of', () => {
    const group = adasGroup()
    const [first, second] = bobJoins(group).parts as [Part, Part]
    const write = only(group.step({ type: 'revoked', memberId: ada, epoch: 1, parts: [first] }, 200), 'write')
    expect(write.moves.map(({ part }) => part)).toEqual([first])
    // One write at a time: what comes meanwhile goes into the next.
    expect(group.step({ type: 'revoked', memberId: ada, epoch: 1, parts: [second] }, 201)).toEqual([])
    const effects = group.step({ type: 'written', epoch: 2 }, 203)
    expect(types(effects)).toEqual(['assign', 'write'])
    expect(only(effects, 'write').moves.map(({ part }) => part)).toEqual([second])
  })

  it('takes a partition that is not let go of in time', () => {
    const group = adasGroup()
    const revoke = bobJoins(group)
    expect(group.wakeAtMs).toBe(120 + REVOKE_MS)
    expect(group.step({ type: 'time' }, 120 + REVOKE_MS - 1)).toEqual([])
    const write = only(group.step({ type: 'time' }, 120 + REVOKE_MS), 'write')
    expect(write.moves.map(({ part }) => part).sort()).toEqual([...revoke.parts].sort())
    expect(group.members.has(ada)).toBe(true)
  })

  it('gives a partition back with a new epoch when its next member is gone before it is handed over', () => {
    const group = adasGroup()
    const revoke = bobJoins(group)
    expect(group.step({ type: 'left', memberId: bob }, 150)).toEqual([])
    const write = only(
      group.step({ type: 'revoked', memberId: ada, epoch: 1, parts: revoke.parts }, 200),
      'write',
    )
    expect(write.moves.map(({ memberId }) => memberId)).toEqual([ada, ada])
    const effects = group.step({ type: 'written', epoch: 2 }, 205)
    expect(only(effects, 'assign').parts.map(({ epoch }) => epoch)).toEqual([2, 2])
    expect(only(effects, 'rebalanced')).toMatchObject({ moved: 0 })
  })

  it('asks for what it has asked for already before it asks for more', () => {
    const group = adasGroup()
    const { parts: asked } = bobJoins(group)
    group.step({ type: 'left', memberId: bob }, 130)
    group.step({ type: 'topics', topics: topicsOf([orders, 6]) }, 140)
    group.step({ type: 'written', epoch: 2 }, 145)
    group.step({ type: 'joined', member: member(bob) }, 150)
    const more = only(group.step({ type: 'time' }, 150 + GATHER_MS), 'revoke').parts
    expect(more).toHaveLength(1)
    expect(asked).not.toContain(more[0])
  })

  it('does not take the answer to an earlier request for the answer to the present one', () => {
    const group = adasGroup()
    const { parts: asked } = bobJoins(group)
    group.step({ type: 'left', memberId: bob }, 150)
    group.step({ type: 'time' }, 120 + REVOKE_MS)
    group.step({ type: 'written', epoch: 2 }, 1700)
    group.step({ type: 'joined', member: member(cy) }, 1800)
    only(group.step({ type: 'time' }, 1800 + GATHER_MS), 'revoke')
    // Ada's answer to the request of epoch 1 arrives.
    expect(group.step({ type: 'revoked', memberId: ada, epoch: 1, parts: asked }, 1900)).toEqual([])
    expect(types(group.step({ type: 'revoked', memberId: ada, epoch: 2, parts: asked }, 1950))).toContain(
      'write',
    )
  })

  it('frees everything of a member that leaves at once', () => {
    const group = adasGroup()
    const revoke = bobJoins(group)
    group.step({ type: 'revoked', memberId: ada, epoch: 1, parts: revoke.parts }, 200)
    group.step({ type: 'written', epoch: 2 }, 205)
    const { moves } = only(group.step({ type: 'left', memberId: ada }, 300), 'write')
    expect(moves.map(({ memberId }) => memberId)).toEqual([bob, bob])
  })

  it('writes that nobody owns anything when the last member leaves', () => {
    const group = adasGroup()
    const { moves } = only(group.step({ type: 'left', memberId: ada }, 300), 'write')
    expect(moves.map(({ memberId }) => memberId)).toEqual([null, null, null, null])
    expect(group.isOver).toBe(false)
    group.step({ type: 'written', epoch: 2 }, 305)
    expect(group.isOver).toBe(true)
  })

  it('writes again when a member leaves while its assignment is written', () => {
    const group = newGroup()
    group.step({ type: 'joined', member: member(ada) }, 0)
    group.step({ type: 'joined', member: member(bob) }, 0)
    group.step({ type: 'time' }, GATHER_MS)
    expect(group.step({ type: 'left', memberId: bob }, 22)).toEqual([])
    const effects = group.step({ type: 'written', epoch: 1 }, 25)
    expect(types(effects)).toEqual(['assign', 'write'])
    expect(only(effects, 'write').moves.map(({ memberId }) => memberId)).toEqual([ada, ada])
  })

  it('tries a failed write again after a pause, as it then is right', () => {
    const group = newGroup()
    group.step({ type: 'joined', member: member(ada) }, 0)
    group.step({ type: 'time' }, GATHER_MS)
    expect(group.step({ type: 'writeFailed' }, 30)).toEqual([])
    group.step({ type: 'topics', topics: topicsOf([orders, 2]) }, 40)
    const wakeAtMs = group.wakeAtMs as number
    const { moves } = only(group.step({ type: 'time' }, wakeAtMs), 'write')
    expect(moves).toHaveLength(2)
  })
})

describe('a member whose connection broke', () => {
  it('finds everything as it was when it is back in time, and nothing is written', () => {
    const group = adasGroup()
    expect(group.step({ type: 'disconnected', memberId: ada, awayUntilMs: 10_100 }, 100)).toEqual([])
    expect(group.wakeAtMs).toBe(10_100)
    const effects = group.step({ type: 'joined', member: member(ada, { attempt: 2 }) }, 9000)
    expect(types(effects)).toEqual(['assign'])
    expect(only(effects, 'assign').parts).toEqual(parts(0, 1, 2, 3).map((part) => ({ part, epoch: 1 })))
    expect(group.wakeAtMs).toBeUndefined()
  })

  it('gets what it does not name as its own at a new epoch, so that what it sent before is fenced', () => {
    const group = adasGroup()
    group.step({ type: 'disconnected', memberId: ada, awayUntilMs: 10_100 }, 100)
    const back = {
      type: 'joined',
      member: member(ada, { attempt: 2 }),
      held: new Set(parts(0, 2, 3)),
    } as const
    const effects = group.step(back, 200)
    expect(only(effects, 'assign').parts).toEqual(parts(0, 2, 3).map((part) => ({ part, epoch: 1 })))
    const { moves } = only(effects, 'write')
    expect(moves.map(({ part, memberId }) => [part, memberId])).toEqual([[parts(1)[0], ada]])
    const written = group.step({ type: 'written', epoch: 2 }, 210)
    expect(only(written, 'assign').parts).toEqual(parts(1).map((part) => ({ part, epoch: 2 })))
  })

  it('loses everything when its time is over', () => {
    const group = adasGroup()
    group.step({ type: 'disconnected', memberId: ada, awayUntilMs: 10_100 }, 100)
    const { moves } = only(group.step({ type: 'time' }, 10_100), 'write')
    expect(moves.map(({ memberId }) => memberId)).toEqual([null, null, null, null])
  })

  it('is asked for what a newcomer should have when it is back, not before', () => {
    const group = adasGroup()
    group.step({ type: 'disconnected', memberId: ada, awayUntilMs: 10_100 }, 100)
    group.step({ type: 'joined', member: member(bob) }, 200)
    expect(group.step({ type: 'time' }, 200 + GATHER_MS)).toEqual([])
    const effects = group.step({ type: 'joined', member: member(ada, { attempt: 2 }) }, 300)
    expect(types(effects)).toEqual(['assign', 'revoke'])
    expect(only(effects, 'revoke').parts).toHaveLength(2)
  })

  it('gets nothing new while it is away', () => {
    const group = adasGroup()
    group.step({ type: 'disconnected', memberId: ada, awayUntilMs: 10_100 }, 100)
    expect(group.step({ type: 'topics', topics: topicsOf([orders, 6]) }, 200)).toEqual([])
    group.step({ type: 'joined', member: member(bob) }, 300)
    const { moves } = only(group.step({ type: 'time' }, 300 + GATHER_MS), 'write')
    expect(moves.map(({ part, memberId }) => [part, memberId])).toEqual(
      parts(4, 5).map((part) => [part, bob]),
    )
  })

  it('hears again what it was asked for, and has no more time for it', () => {
    const group = adasGroup()
    const revoke = bobJoins(group)
    group.step({ type: 'disconnected', memberId: ada, awayUntilMs: 10_200 }, 200)
    const effects = group.step({ type: 'joined', member: member(ada, { attempt: 2 }) }, 300)
    expect(only(effects, 'assign').parts).toHaveLength(4)
    expect(only(effects, 'revoke').parts).toEqual(revoke.parts)
    expect(group.wakeAtMs).toBe(120 + REVOKE_MS)
  })

  it('gets nothing back that it did not let go of in time', () => {
    const group = adasGroup()
    const { parts: asked } = bobJoins(group)
    group.step({ type: 'left', memberId: bob }, 150)
    group.step({ type: 'disconnected', memberId: ada, awayUntilMs: 10_200 }, 200)
    group.step({ type: 'joined', member: member(cy) }, 300)
    group.step({ type: 'time' }, 300 + GATHER_MS)
    const { moves } = only(group.step({ type: 'time' }, 120 + REVOKE_MS), 'write')
    expect(moves.map(({ part, memberId }) => [part, memberId])).toEqual(asked.map((part) => [part, cy]))
  })

  it('is taken for away when the broker has restarted', () => {
    const group = newGroup(topicsOf([orders, 2]), [
      [partOf(orders, 0), { memberId: ada, epoch: 3 }],
      [partOf(orders, 1), { memberId: bob, epoch: 4 }],
    ])
    const effects = group.step({ type: 'joined', member: member(ada, { attempt: 9 }) }, 500)
    expect(effects).toEqual([
      { type: 'assign', memberId: ada, parts: [{ part: partOf(orders, 0), epoch: 3 }] },
    ])
    // Bob does not come back.
    const { moves } = only(group.step({ type: 'time' }, 10_000), 'write')
    expect(moves).toEqual([{ part: partOf(orders, 1), memberId: ada, ifNoCursor: 'earliest' }])
  })
})

describe('the topics of a group', () => {
  it('bring their partitions when they appear', () => {
    const group = newGroup(topicsOf([orders, 1]))
    group.step({ type: 'joined', member: member(ada, { topics: [orders, refunds] }) }, 0)
    group.step({ type: 'time' }, GATHER_MS)
    group.step({ type: 'written', epoch: 1 }, 25)
    const { moves } = only(
      group.step({ type: 'topics', topics: topicsOf([orders, 1], [refunds, 1]) }, 30),
      'write',
    )
    expect(moves.map(({ part }) => part)).toEqual([partOf(refunds, 0)])
  })

  it('are taken back from their readers when they are deleted, without a write', () => {
    const group = newGroup(topicsOf([orders, 1], [refunds, 1]))
    group.step({ type: 'joined', member: member(ada, { topics: [orders, refunds] }) }, 0)
    group.step({ type: 'time' }, GATHER_MS)
    group.step({ type: 'written', epoch: 1 }, 25)
    const effects = group.step({ type: 'topics', topics: topicsOf([orders, 1]) }, 30)
    expect(effects).toEqual([{ type: 'revoke', memberId: ada, parts: [partOf(refunds, 0)] }])
  })

  it('end the membership of whoever reads none of those that are left', () => {
    const group = adasGroup()
    const effects = group.step({ type: 'topics', topics: topicsOf() }, 30)
    expect(types(effects)).toEqual(['revoke', 'end'])
    expect(group.isOver).toBe(true)
  })

  it('include the retry topics of what a member reads, from their start', () => {
    const group = newGroup({
      partitions: new Map([
        [orders, 1],
        [retries, 1],
      ]),
      origins: new Map([[retries, orders]]),
    })
    group.step({ type: 'joined', member: member(ada, { ifNoCursor: 'latest' }) }, 0)
    const { moves } = only(group.step({ type: 'time' }, GATHER_MS), 'write')
    expect(moves).toEqual([
      { part: partOf(orders, 0), memberId: ada, ifNoCursor: 'latest' },
      // What was replayed before anybody read the retry topic is read all the same.
      { part: partOf(retries, 0), memberId: ada, ifNoCursor: 'earliest' },
    ])
  })
})

const seeds = process.env.MILLRACE_LONG === undefined ? 60 : 2000
const firstSeed = Number(process.env.MILLRACE_SEED ?? 1)

describe('a group under everything that may happen to it', () => {
  it('never fences who is not stale, assigns nothing that is not durable, and settles with every partition read', () => {
    for (let seed = firstSeed; seed < firstSeed + seeds; seed++) {
      try {
        live(seed)
      } catch (error) {
        throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error })
      }
    }
  })
})

/** Joins, leaves, breaks, returns, restarts, topics that come and go, writes that fail, members that are slow. */
function live(seed: number): void {
  const both = new Map([
    [orders, 7],
    [refunds, 4],
  ])
  const world = new SimulatedGroup({
    seed,
    partitions: both,
    sessionTimeoutMs: 3000,
    writeFails: 0.1,
    isSlow: 0.1,
    restarts: 0.03,
  })
  const { random, members } = world
  const some = (isConnected: boolean): MemberId | undefined => {
    const found = [...members.values()].filter((each) => each.isConnected === isConnected)
    return found.length === 0 ? undefined : random.pick(found).memberId
  }
  for (let i = 0; i < 120; i++) {
    const connected = some(true)
    const away = some(false)
    const dice = random.below(100)
    if (dice < 20 && members.size < 8) world.join(random.pick([[orders], [refunds], [orders, refunds]]))
    else if (dice < 32 && connected) world.leave(connected)
    else if (dice < 42 && connected) world.disconnect(connected)
    else if (dice < 60 && away) world.connect(away)
    else if (dice < 63) world.restart()
    else if (dice < 66)
      world.setPartitions(random.pick([both, new Map([[orders, 7]]), new Map([[refunds, 4]])]))
    for (let acks = 0; acks < 5; acks++) {
      world.run(random.below(random.chance(0.1) ? 1000 : 30))
      world.ack()
    }
  }
  world.setPartitions(both)
  for (const { memberId, isConnected } of [...members.values()]) if (!isConnected) world.connect(memberId)
  for (let rounds = 0; rounds < 40; rounds++) {
    world.run(500)
    for (const { memberId, isConnected } of [...members.values()]) if (!isConnected) world.connect(memberId)
  }
  world.run(10_000)
  for (const { memberId, isConnected } of [...members.values()]) if (!isConnected) world.connect(memberId)
  world.run(20_000)
  world.checkSettled()
}
