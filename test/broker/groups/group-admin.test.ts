import { beforeEach, describe, expect, it } from 'vitest'
import { GroupAdmin } from '../../../broker/groups/group-admin.js'
import { GroupDescriptions } from '../../../broker/groups/group-descriptions.js'
import type { GroupSide } from '../../../broker/groups/group-side.js'
import type { ErrorCode } from '../../../protocol/error-codes.js'
import type { MemberId, RequestId, TopicId } from '../../../protocol/ids.js'
import type { ResetCursors } from '../../../protocol/messages/group-admin.js'
import { FakeShardGroups } from '../../support/fake-shard-groups.js'
import { ManualClock } from '../../support/manual-clock.js'

const ada = '1'.repeat(32) as MemberId

let clock: ManualClock
let shard: FakeShardGroups
let active: Set<number>
let admin: GroupAdmin
let descriptions: GroupDescriptions
let orders: TopicId
let refunds: TopicId
let requests = 0

beforeEach(async () => {
  clock = new ManualClock()
  shard = new FakeShardGroups(clock)
  active = new Set()
  const side: GroupSide = {
    isActive: (groupId) => active.has(groupId),
    members: (groupId) =>
      active.has(groupId) ? [{ memberId: ada, clientName: 'ada', connected: true, partitions: 2 }] : [],
    topics: (groupId) => (active.has(groupId) ? [orders] : []),
    uses: (groupId, topicId) => active.has(groupId) && topicId === orders,
  }
  const sides = { consumer: side, queue: side }
  const offsetAtTime = async ({ time }: { time: number }) => time - 1000
  admin = new GroupAdmin({ shard: { groups: shard.groups, offsetAtTime }, sides })
  descriptions = new GroupDescriptions({ state: shard.groups.state, time: () => clock.now(), sides })
  orders = shard.createTopic('orders', 2)
  refunds = shard.createTopic('refunds', 1)
  for (const partition of [0, 1]) shard.setEnd(orders, { partition, startOffset: 5, endOffset: 20 })
  shard.setEnd(refunds, { endOffset: 8 })
})

async function resultOf<T>(promise: Promise<T>): Promise<T> {
  const outcome = promise.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  )
  await clock.advanceAndSettle(20)
  const settled = await outcome
  if ('error' in settled) throw settled.error
  return settled.value
}

/** A group with cursors at 5 in both partitions of orders, and at 0 in refunds. */
async function billing(): Promise<number> {
  const group = { name: 'billing', kind: 'consumer' as const, queue: null, requestId: null }
  const { groupId } = await resultOf(shard.groups.createGroup(group))
  const places = [
    { topicId: orders, partition: 0 },
    { topicId: orders, partition: 1 },
    { topicId: refunds, partition: 0 },
  ]
  await resultOf(
    shard.groups.assign(
      groupId,
      places.map((place) => ({ ...place, memberId: ada, ifNoCursor: 'earliest' as const })),
    ),
  )
  return groupId
}

const requestId = (): RequestId => `${++requests}`.padStart(32, '0') as RequestId

const reset = (
  more: Partial<Omit<ResetCursors, 'correlationId'>> = {},
): Omit<ResetCursors, 'correlationId'> => ({
  requestId: requestId(),
  group: 'billing',
  topicId: null,
  partitions: null,
  to: 'latest',
  value: 0,
  dryRun: false,
  create: false,
  ...more,
})

const cursors = (): Record<string, number> =>
  Object.fromEntries(
    [...(shard.state.groupsByName.get('billing')?.cursors ?? new Map())].map(([part, { offset }]) => [
      part.replace(orders, 'orders').replace(refunds, 'refunds'),
      offset,
    ]),
  )

const refused = (code: ErrorCode) => expect.objectContaining({ code })

describe('resetting a group', () => {
  it('sets every cursor that it has, and takes the partitions from their owners', async () => {
    await billing()
    const { parts } = await resultOf(admin.reset(reset()))
    expect(parts).toEqual([
      { topic: 'orders', partition: 0, from: 5, to: 20 },
      { topic: 'orders', partition: 1, from: 5, to: 20 },
      { topic: 'refunds', partition: 0, from: 0, to: 8 },
    ])
    expect(cursors()).toEqual({ 'orders/0': 20, 'orders/1': 20, 'refunds/0': 8 })
    const owners = [...(shard.state.groupsByName.get('billing')?.cursors.values() ?? [])]
    expect(owners.map(({ ownerMember }) => ownerMember)).toEqual([null, null, null])
  })

  it('sets one topic, or some of its partitions, to an offset or a time', async () => {
    await billing()
    await resultOf(admin.reset(reset({ topicId: orders, to: 'offset', value: 11 })))
    expect(cursors()).toEqual({ 'orders/0': 11, 'orders/1': 11, 'refunds/0': 0 })
    await resultOf(admin.reset(reset({ topicId: orders, partitions: [1], to: 'time', value: 1017 })))
    expect(cursors()).toEqual({ 'orders/0': 11, 'orders/1': 17, 'refunds/0': 0 })
    await resultOf(admin.reset(reset({ topicId: orders, partitions: [0, 0], to: 'earliest' })))
    expect(cursors()).toEqual({ 'orders/0': 5, 'orders/1': 17, 'refunds/0': 0 })
  })

  it('says with dryRun what it would do, and does nothing', async () => {
    await billing()
    const before = shard.state.hash()
    const args = { topicId: orders, to: 'time', value: 1012 } as const
    const { parts } = await resultOf(admin.reset(reset({ ...args, dryRun: true })))
    expect(shard.state.hash()).toBe(before)
    expect(await resultOf(admin.reset(reset(args)))).toEqual({ parts })
  })

  it('makes the group and its cursors when asked to', async () => {
    const args = { topicId: orders, to: 'offset', value: 9, create: true } as const
    const would = await resultOf(admin.reset(reset({ ...args, dryRun: true })))
    expect(shard.state.groups.size).toBe(0)
    expect(await resultOf(admin.reset(reset(args)))).toEqual(would)
    expect(cursors()).toEqual({ 'orders/0': 9, 'orders/1': 9 })
  })

  it('leaves the retry topic alone unless it is named', async () => {
    const groupId = await billing()
    const retries = shard.createTopic('orders.billing.retry', 1)
    shard.setEnd(retries, { endOffset: 3 })
    const place = { topicId: retries, partition: 0 }
    await resultOf(shard.groups.assign(groupId, [{ ...place, memberId: ada, ifNoCursor: 'earliest' }]))
    const { parts } = await resultOf(admin.reset(reset()))
    expect(parts.map(({ topic }) => topic)).not.toContain('orders.billing.retry')
    const named = await resultOf(admin.reset(reset({ topicId: retries })))
    expect(named.parts).toEqual([{ topic: 'orders.billing.retry', partition: 0, from: 0, to: 3 }])
  })

  it('is refused with a reason and changes nothing', async () => {
    const groupId = await billing()
    const before = shard.state.hash()
    const cases: [Parameters<typeof reset>[0], ErrorCode][] = [
      [{ group: 'nobody' }, 'UNKNOWN_GROUP'],
      [{ group: 'nobody', create: true }, 'ILLEGAL_ARGUMENT'],
      [{ partitions: [0] }, 'ILLEGAL_ARGUMENT'],
      [{ topicId: '9'.repeat(32) as TopicId }, 'UNKNOWN_TOPIC'],
      [{ topicId: orders, partitions: [2] }, 'UNKNOWN_PARTITION'],
      [{ topicId: orders, to: 'offset', value: 4 }, 'OFFSET_OUT_OF_RANGE'],
      [{ topicId: orders, to: 'offset', value: 21 }, 'OFFSET_OUT_OF_RANGE'],
    ]
    for (const dryRun of [true, false]) {
      for (const [more, code] of cases) {
        await expect(resultOf(admin.reset(reset({ ...more, dryRun }))), code).rejects.toEqual(refused(code))
      }
      active.add(groupId)
      await expect(resultOf(admin.reset(reset({ dryRun })))).rejects.toEqual(refused('GROUP_ACTIVE'))
      active.clear()
    }
    expect(shard.state.hash()).toBe(before)
  })
})

describe('deleting a group', () => {
  it('takes its cursors along, and a retry of it succeeds', async () => {
    await billing()
    const args = { requestId: requestId(), group: 'billing', topicId: null }
    await resultOf(admin.deleteGroup(args))
    expect(shard.state.groups.size).toBe(0)
    await resultOf(admin.deleteGroup(args))
    await expect(resultOf(admin.deleteGroup({ ...args, requestId: requestId() }))).rejects.toEqual(
      refused('UNKNOWN_GROUP'),
    )
  })

  it('deletes the cursors of one topic alone when it is named', async () => {
    await billing()
    await resultOf(admin.deleteGroup({ requestId: requestId(), group: 'billing', topicId: orders }))
    expect(cursors()).toEqual({ 'refunds/0': 0 })
  })

  it('is refused while it has members', async () => {
    active.add(await billing())
    for (const topicId of [null, orders]) {
      const deleted = admin.deleteGroup({ requestId: requestId(), group: 'billing', topicId })
      await expect(resultOf(deleted)).rejects.toEqual(refused('GROUP_ACTIVE'))
    }
  })
})

describe('what is told of groups', () => {
  it('lists them by name, in pages', async () => {
    await billing()
    for (const name of ['audit', 'zebra'])
      await resultOf(shard.groups.createGroup({ name, kind: 'consumer', queue: null, requestId: null }))
    const first = descriptions.list({ after: null, limit: 2 })
    expect(first.groups).toEqual([
      { name: 'audit', kind: 'consumer', members: 0, topics: 0, lagRecords: 0 },
      { name: 'billing', kind: 'consumer', members: 0, topics: 2, lagRecords: 15 + 15 + 8 },
    ])
    expect(first.next).toBe('billing')
    const second = descriptions.list({ after: 'billing', limit: 2 })
    expect(second.groups.map(({ name }) => name)).toEqual(['zebra'])
    expect(second.next).toBeNull()
  })

  it('describes where a group stands, by topic name and partition', async () => {
    const groupId = await billing()
    const letters = shard.createTopic('orders.billing.dlq', 1)
    shard.setEnd(letters, { startOffset: 2, endOffset: 6 })
    const described = descriptions.describe({ name: 'billing', topicId: null })
    expect(described).toMatchObject({
      name: 'billing',
      kind: 'consumer',
      state: 'empty',
      epoch: 1,
      members: [],
    })
    expect(described.parts.map(({ topic, partition }) => `${topic}/${partition}`)).toEqual([
      'orders/0',
      'orders/1',
      'refunds/0',
    ])
    expect(described.parts[0]).toMatchObject({
      hasCursor: true,
      position: 5,
      startOffset: 5,
      durableEnd: 20,
      lagRecords: 15,
      memberId: ada,
      leased: 0,
      ready: 0,
    })
    expect(described.deadLetters).toEqual([{ topic: 'orders', dlqTopic: 'orders.billing.dlq', records: 4 }])
    active.add(groupId)
    expect(descriptions.describe({ name: 'billing', topicId: null })).toMatchObject({
      state: 'active',
      members: [{ memberId: ada, clientName: 'ada', connected: true, partitions: 2 }],
    })
  })

  it('shows a partition that members read and nobody has a cursor in as one without lag', async () => {
    const { groupId } = await resultOf(
      shard.groups.createGroup({ name: 'billing', kind: 'consumer', queue: null, requestId: null }),
    )
    active.add(groupId)
    const { parts } = descriptions.describe({ name: 'billing', topicId: null })
    expect(parts).toHaveLength(2)
    expect(parts[0]).toMatchObject({ hasCursor: false, position: 20, lagRecords: 0, lagMs: 0, movedAt: 0 })
  })

  it('describes one topic when it is named, and refuses an unknown group', async () => {
    await billing()
    const { parts } = descriptions.describe({ name: 'billing', topicId: refunds })
    expect(parts.map(({ topic }) => topic)).toEqual(['refunds'])
    expect(() => descriptions.describe({ name: 'nobody', topicId: null })).toThrow(
      refused('UNKNOWN_GROUP') as never,
    )
  })
})
