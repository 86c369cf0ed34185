import { describe, expect, test } from 'vitest'
import { partOf } from '../../../broker/groups/part.js'
import { type Allotment, QueueGroup } from '../../../broker/groups/queue-group.js'
import { topicIdFrom } from '../../../protocol/ids.js'
import { HARD_LIMITS } from '../../../protocol/limits.js'
import { SeededRandom } from '../../support/seeded-random.js'
import { member } from './queue-world.js'

const mails = topicIdFrom('11'.repeat(16))
const calls = topicIdFrom('22'.repeat(16))
const [ada, bob] = [member(1), member(2)]

const creditsOf = (allotments: readonly Allotment[]): number =>
  allotments.flatMap(({ members }) => members).reduce((sum, { credits }) => sum + credits, 0)

describe('credit', () => {
  test('is shared among all partitions that have work', () => {
    const group = new QueueGroup()
    group.join(ada, { topics: [mails], credits: 10 })
    for (const partition of [0, 1, 2]) group.hungry(partOf(mails, partition))
    expect(group.allot()).toEqual([
      { part: partOf(mails, 0), members: [{ memberId: ada, credits: 4 }] },
      { part: partOf(mails, 1), members: [{ memberId: ada, credits: 3 }] },
      { part: partOf(mails, 2), members: [{ memberId: ada, credits: 3 }] },
    ])
    expect(group.allot()).toEqual([])
  })

  test('goes to few of very many partitions at a time, so that each has something to deal out, and to all in turn', () => {
    const group = new QueueGroup()
    group.join(ada, { topics: [mails], credits: 0 })
    const parts = Array.from({ length: 100 }, (_, partition) => partOf(mails, partition))
    const served = new Map<string, number>()
    for (const part of parts) group.hungry(part)
    for (let round = 0; round < 25; round++) {
      group.credit(ada, 1000)
      const allotments = group.allot()
      expect(allotments).toHaveLength(4)
      for (const { part, members } of allotments) {
        served.set(part, (served.get(part) ?? 0) + 1)
        expect(members).toEqual([{ memberId: ada, credits: 250 }])
        group.hungry(part)
      }
    }
    expect([...served.values()]).toEqual(parts.map(() => 1))
  })

  test('goes to no partition that has no use for it', () => {
    const group = new QueueGroup()
    group.join(ada, { topics: [mails], credits: 100 })
    group.join(bob, { topics: [mails], credits: 5 })
    const parts = [0, 1, 2].map((partition) => partOf(mails, partition))
    for (const part of parts) group.hungry(part)
    const jobs = new Map([30, 0, 500].map((count, i) => [parts[i], count]))
    const shares = group.allot((part) => jobs.get(part) ?? 0).map(({ members }) => members)
    expect(shares).toEqual([
      [
        { memberId: ada, credits: 30 },
        { memberId: bob, credits: 2 },
      ],
      // It may find out for itself.
      [
        { memberId: ada, credits: 1 },
        { memberId: bob, credits: 1 },
      ],
      [
        { memberId: ada, credits: 69 },
        { memberId: bob, credits: 2 },
      ],
    ])
  })

  test('goes to the partitions in turn when there is too little for all', () => {
    const group = new QueueGroup()
    group.join(ada, { topics: [mails], credits: 0 })
    const parts = [0, 1, 2].map((partition) => partOf(mails, partition))
    const served: string[] = []
    for (const part of parts) group.hungry(part)
    for (let round = 0; round < 6; round++) {
      group.credit(ada, 1)
      for (const { part } of group.allot()) {
        served.push(part)
        group.hungry(part)
      }
    }
    expect(served).toEqual([...parts, ...parts])
  })

  test('is for the topics of its member alone', () => {
    const group = new QueueGroup()
    group.join(ada, { topics: [mails], credits: 3 })
    group.join(bob, { topics: [calls], credits: 3 })
    group.hungry(partOf(calls, 0))
    expect(group.allot()).toEqual([{ part: partOf(calls, 0), members: [{ memberId: bob, credits: 3 }] }])
  })

  test('that a partition did not use goes to the next one', () => {
    const group = new QueueGroup()
    group.join(ada, { topics: [mails], credits: 5 })
    group.hungry(partOf(mails, 0))
    group.allot()
    group.hungry(partOf(mails, 1))
    expect(group.allot()).toEqual([])
    group.credit(ada, 5)
    expect(creditsOf(group.allot())).toBe(5)
  })

  test('never passes what a member may have', () => {
    const group = new QueueGroup()
    group.join(ada, { topics: [mails], credits: HARD_LIMITS.prefetchMax })
    group.credit(ada, HARD_LIMITS.prefetchMax)
    group.hungry(partOf(mails, 0))
    expect(creditsOf(group.allot())).toBe(HARD_LIMITS.prefetchMax)
  })

  test('of a member that does not take what it is sent waits', () => {
    const group = new QueueGroup()
    group.join(ada, { topics: [mails], credits: 5 })
    group.hold(ada, true)
    group.hungry(partOf(mails, 0))
    expect(group.allot()).toEqual([])
    group.hold(ada, false)
    expect(creditsOf(group.allot())).toBe(5)
  })

  test('of a member that is away or has left is worth nothing', () => {
    const group = new QueueGroup()
    for (const memberId of [ada, bob]) group.join(memberId, { topics: [mails], credits: 5 })
    group.away(ada)
    group.leave(bob)
    for (const memberId of [ada, bob]) group.credit(memberId, 5)
    group.hungry(partOf(mails, 0))
    expect(group.allot()).toEqual([])
    group.join(ada, { topics: [mails], credits: 2 })
    expect(creditsOf(group.allot())).toBe(2)
  })
})

test('no member is ever promised more than it has room for, and no partition waits for ever', () => {
  for (let seed = 1; seed <= 100; seed++) {
    const random = new SeededRandom(seed)
    const group = new QueueGroup()
    const room = new Map([ada, bob].map((memberId) => [memberId, random.below(5)]))
    for (const [memberId, credits] of room) group.join(memberId, { topics: [mails], credits })
    const parts = Array.from({ length: 7 }, (_, partition) => partOf(mails, partition))
    const waited = new Map(parts.map((part) => [part, 0]))
    for (let round = 0; round < 100; round++) {
      for (const part of parts) group.hungry(part)
      const memberId = random.pick([ada, bob])
      group.credit(memberId, 1)
      room.set(memberId, (room.get(memberId) ?? 0) + 1)
      for (const part of parts) waited.set(part, (waited.get(part) ?? 0) + 1)
      for (const { part, members } of group.allot()) {
        waited.set(part, 0)
        for (const demand of members) {
          const left = (room.get(demand.memberId) ?? 0) - demand.credits
          expect(left, `seed ${seed}`).toBeGreaterThanOrEqual(0)
          room.set(demand.memberId, left)
        }
      }
      expect(Math.max(...waited.values()), `seed ${seed}`).toBeLessThanOrEqual(parts.length)
    }
  }
})
