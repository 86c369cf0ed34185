import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type StickyInput, sticky } from '../../../broker/groups/assignors/sticky.js'
import { type Part, partOf, placeOf } from '../../../broker/groups/part.js'
import type { MemberId, TopicId } from '../../../protocol/ids.js'

const member = (n: number): MemberId => `${n}`.padStart(32, 'a') as MemberId
const topic = (n: number): TopicId => `${n}`.padStart(32, 'f') as TopicId

interface Case {
  readonly input: StickyInput
  readonly parts: readonly Part[]
}

/** Members of one set of topics; owners at random, some of whom are gone. */
const equalCase: fc.Arbitrary<Case> = fc
  .record({
    members: fc.integer({ min: 1, max: 9 }),
    partitions: fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 1, maxLength: 4 }),
    owners: fc.infiniteStream(fc.integer({ min: -3, max: 10 })),
  })
  .map(({ members, partitions, owners }) =>
    caseOf({
      topics: Array.from({ length: members }, () => partitions.map((_, n) => n)),
      partitions,
      owners,
    }),
  )

/** Few enough partitions that every assignment can be tried. */
const unequalCase: fc.Arbitrary<Case> = fc
  .record({
    topics: fc.array(fc.subarray([0, 1, 2], { minLength: 1 }), { minLength: 1, maxLength: 3 }),
    partitions: fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 3, maxLength: 3 }),
    owners: fc.infiniteStream(fc.integer({ min: -2, max: 3 })),
  })
  .map(caseOf)

function caseOf(shape: {
  topics: readonly (readonly number[])[]
  partitions: readonly number[]
  owners: Iterable<number>
}): Case {
  const members = new Map(shape.topics.map((read, n) => [member(n), read.map(topic)]))
  const partitions = new Map(shape.partitions.map((count, n) => [topic(n), count]))
  const parts = shape.partitions.flatMap((count, n) =>
    Array.from({ length: count }, (_, partition) => partOf(topic(n), partition)),
  )
  const owners = new Map<Part, MemberId>()
  const stream = shape.owners[Symbol.iterator]()
  for (const part of parts) {
    const owner = stream.next().value ?? -1
    if (owner >= 0) owners.set(part, member(owner))
  }
  return { input: { members, partitions, owners }, parts }
}

function loadsOf(input: StickyInput, target: ReadonlyMap<Part, MemberId>): number[] {
  const loads = new Map([...input.members.keys()].map((id) => [id, 0]))
  for (const owner of target.values()) loads.set(owner, (loads.get(owner) ?? 0) + 1)
  return [...loads.values()]
}

/** What a member that is still there had to give up. */
function movedFromReaders(input: StickyInput, target: ReadonlyMap<Part, MemberId>): number {
  let moved = 0
  for (const [part, owner] of input.owners)
    if (reads(input, owner, part) && target.get(part) !== owner) moved++
  return moved
}

function reads(input: StickyInput, memberId: MemberId, part: Part): boolean {
  return [...(input.members.get(memberId) ?? [])].includes(placeOf(part).topicId)
}

/** With equal subscriptions: what each holds beyond its quota, the larger quotas going to those who hold most. */
function fewestMoves(input: StickyInput, parts: readonly Part[]): number {
  const kept = new Map([...input.members.keys()].map((id) => [id, 0]))
  for (const owner of input.owners.values()) if (kept.has(owner)) kept.set(owner, (kept.get(owner) ?? 0) + 1)
  const floor = Math.floor(parts.length / kept.size)
  const larger = parts.length % kept.size
  const most = [...kept.values()].sort((a, b) => b - a)
  return most.reduce((sum, load, rank) => sum + Math.max(0, load - floor - (rank < larger ? 1 : 0)), 0)
}

function* everyAssignment(input: StickyInput, parts: readonly Part[]): Generator<Map<Part, MemberId>> {
  const [part, ...rest] = parts
  if (part === undefined) {
    yield new Map()
    return
  }
  const takers = [...input.members.keys()].filter((id) => reads(input, id, part))
  for (const others of everyAssignment(input, rest)) {
    if (takers.length === 0) yield others
    for (const taker of takers) yield new Map(others).set(part, taker)
  }
}

const squares = (loads: readonly number[]): number => loads.reduce((sum, load) => sum + load * load, 0)

describe('the sticky assignor', () => {
  it('gives every partition of a topic that is read to one of its readers', () => {
    fc.assert(
      fc.property(fc.oneof(equalCase, unequalCase), ({ input, parts }) => {
        const target = sticky(input)
        for (const part of parts) {
          const readers = [...input.members.keys()].filter((id) => reads(input, id, part))
          if (readers.length === 0) expect(target.has(part)).toBe(false)
          else expect(readers).toContain(target.get(part))
        }
      }),
    )
  })

  it('gives members of the same topics as many partitions each, to within one', () => {
    fc.assert(
      fc.property(equalCase, ({ input }) => {
        const loads = loadsOf(input, sticky(input))
        expect(Math.max(...loads) - Math.min(...loads)).toBeLessThanOrEqual(1)
      }),
    )
  })

  it('takes from members of the same topics no more than balance asks for', () => {
    fc.assert(
      fc.property(equalCase, ({ input, parts }) => {
        expect(movedFromReaders(input, sticky(input))).toBe(fewestMoves(input, parts))
      }),
      { numRuns: 1000 },
    )
  })

  it('changes nothing when its own result is put in', () => {
    fc.assert(
      fc.property(fc.oneof(equalCase, unequalCase), ({ input }) => {
        const target = sticky(input)
        expect(sticky({ ...input, owners: target })).toEqual(target)
      }),
    )
  })

  it('does not depend on the order in which members, topics and owners are listed', () => {
    fc.assert(
      fc.property(fc.oneof(equalCase, unequalCase), ({ input }) => {
        const backwards = {
          members: new Map([...input.members].reverse().map(([id, topics]) => [id, [...topics].reverse()])),
          partitions: new Map([...input.partitions].reverse()),
          owners: new Map([...input.owners].reverse()),
        }
        const loads = (target: Map<Part, MemberId>): string => JSON.stringify([...target].sort())
        expect(loads(sticky(backwards))).toBe(loads(sticky(input)))
      }),
    )
  })

  it('balances members of different topics as well as any assignment can', () => {
    fc.assert(
      fc.property(unequalCase, ({ input, parts }) => {
        const best = Math.min(
          ...[...everyAssignment(input, parts)].map((each) => squares(loadsOf(input, each))),
        )
        expect(squares(loadsOf(input, sticky(input)))).toBe(best)
      }),
      { numRuns: 200 },
    )
  })

  it('moves at most one partition more than needed between members of different topics', () => {
    fc.assert(
      fc.property(unequalCase, ({ input, parts }) => {
        const all = [...everyAssignment(input, parts)]
        const best = Math.min(...all.map((each) => squares(loadsOf(input, each))))
        const balanced = all.filter((each) => squares(loadsOf(input, each)) === best)
        const fewest = Math.min(...balanced.map((each) => movedFromReaders(input, each)))
        expect(movedFromReaders(input, sticky(input))).toBeLessThanOrEqual(fewest + 1)
      }),
      { numRuns: 200 },
    )
  })

  it('hands on along a chain where two members share no topic', () => {
    // A reads 0; B reads 0 and 1; C reads 1. A holds all of topic 0, B all of topic 1.
    const members = new Map([
      [member(0), [topic(0)]],
      [member(1), [topic(0), topic(1)]],
      [member(2), [topic(1)]],
    ])
    const partitions = new Map([
      [topic(0), 4],
      [topic(1), 2],
    ])
    const owners = new Map<Part, MemberId>()
    for (let n = 0; n < 4; n++) owners.set(partOf(topic(0), n), member(0))
    for (let n = 0; n < 2; n++) owners.set(partOf(topic(1), n), member(1))
    const input = { members, partitions, owners }
    expect(loadsOf(input, sticky(input))).toEqual([2, 2, 2])
  })

  it('takes those partitions first that their owner has let go of already', () => {
    const owners = new Map<Part, MemberId>()
    for (let n = 0; n < 4; n++) owners.set(partOf(topic(0), n), member(0))
    const loose = new Set([partOf(topic(0), 0), partOf(topic(0), 2)])
    const members = new Map([0, 1].map((n) => [member(n), [topic(0)]]))
    const target = sticky({ members, partitions: new Map([[topic(0), 4]]), owners, loose })
    const given = [...target].filter(([, owner]) => owner === member(1)).map(([part]) => part)
    expect(new Set(given)).toEqual(loose)
  })

  it('gives nothing new to a member that takes nothing for now, and leaves it what it has', () => {
    const partitions = new Map([[topic(0), 6]])
    const members = new Map([0, 1].map((n) => [member(n), [topic(0)]]))
    const owners = new Map([[partOf(topic(0), 3), member(1)]])
    const target = sticky({ members, partitions, owners, full: new Set([member(1)]) })
    expect([...target.values()].filter((owner) => owner === member(1))).toHaveLength(1)
    expect(target.get(partOf(topic(0), 3))).toBe(member(1))
  })

  it('leaves a topic alone whose only readers take nothing', () => {
    const members = new Map([[member(0), [topic(0)]]])
    const input = { members, partitions: new Map([[topic(0), 2]]), owners: new Map() }
    expect(sticky({ ...input, full: new Set([member(0)]) }).size).toBe(0)
  })

  it('assigns ten thousand partitions to five hundred members', () => {
    const members = new Map(Array.from({ length: 500 }, (_, n) => [member(n), [topic(0), topic(1)]]))
    const partitions = new Map([
      [topic(0), 5000],
      [topic(1), 5000],
    ])
    const owners = sticky({ members, partitions, owners: new Map() })
    members.set(member(500), [topic(0), topic(1)])
    members.delete(member(7))
    expect(sticky({ members, partitions, owners }).size).toBe(10_000)
  })
})
