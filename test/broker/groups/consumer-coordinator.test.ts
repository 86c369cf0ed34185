import { beforeEach, describe, expect, it } from 'vitest'
import { ConsumerCoordinator, type Join } from '../../../broker/groups/consumer-coordinator.js'
import { PatientClock } from '../../../broker/groups/patient-clock.js'
import type { Timer } from '../../../broker/platform/clock.js'
import { noFailpoints } from '../../../broker/platform/failpoints.js'
import { MemoryMetrics } from '../../../broker/platform/metrics.js'
import { type ErrorCode, MillraceError } from '../../../protocol/error-codes.js'
import type { MemberId, TopicId } from '../../../protocol/ids.js'
import { FakeMemberLink } from '../../support/fake-member-link.js'
import { FakeShardGroups } from '../../support/fake-shard-groups.js'
import { ManualClock } from '../../support/manual-clock.js'

const ada = '1'.repeat(32) as MemberId
const bob = '2'.repeat(32) as MemberId

let clock: ManualClock
let shard: FakeShardGroups
let metrics: MemoryMetrics
let coordinator: ConsumerCoordinator
let orders: TopicId
let ticking: Timer | undefined
let warnings: string[]

beforeEach(() => {
  clock = new ManualClock()
  shard = new FakeShardGroups(clock)
  orders = shard.createTopic('orders', 4)
  start()
})

function start(): void {
  metrics = new MemoryMetrics()
  warnings = []
  const patience = new PatientClock(clock)
  coordinator = new ConsumerCoordinator({
    store: shard.groups,
    clock,
    patience,
    metrics,
    failpoints: noFailpoints,
    warn: (message) => void warnings.push(message),
  })
  const run = (): void => {
    coordinator.tick(patience.tick())
    ticking = clock.setTimer(run, 250)
  }
  ticking?.cancel()
  ticking = clock.setTimer(run, 250)
}

/** The broker dies and starts again from what is durable. */
function restart(): void {
  coordinator.close()
  shard = new FakeShardGroups(clock, shard.state)
  start()
}

const join = (memberId: MemberId, more: Partial<Join> = {}): Join => ({
  group: 'billing',
  kind: 'consumer',
  memberId,
  attempt: 1,
  topicIds: [orders],
  ifNoCursor: 'earliest',
  sessionTimeoutMs: 0,
  leaseMs: 0,
  maxDeliveries: 0,
  prefetch: 0,
  held: [],
  heldLeases: [],
  ...more,
})

async function settle(ms = 100): Promise<void> {
  await clock.advanceAndSettle(ms)
}

async function resultOf<T>(promise: Promise<T>): Promise<T> {
  const settled = promise.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  )
  await settle(5)
  const outcome = await settled
  if ('error' in outcome) throw outcome.error
  return outcome.value
}

const refused = (code: ErrorCode) => expect.objectContaining({ code })

/** Joins and waits until what is to come has come. */
async function joined(memberId: MemberId, more: Partial<Join> = {}) {
  const link = new FakeMemberLink()
  const { groupId } = await resultOf(coordinator.join(join(memberId, more), link))
  await settle()
  return { link, groupId, memberId }
}

const ackOf = (link: FakeMemberLink, partition: number, offset: number, more: { epoch?: number } = {}) => {
  const epoch = link.owned.get(`${orders}/${partition}`)?.epoch ?? 0
  return { topicId: orders, partition, epoch, offset, ...more }
}

const cursorOf = (partition: number): number | undefined =>
  shard.state.groupsByName.get('billing')?.cursors.get(`${orders}/${partition}`)?.offset

describe('joining a consumer group', () => {
  it('makes the group, and gives the first member everything from its cursors', async () => {
    shard.setEnd(orders, { partition: 2, startOffset: 3, endOffset: 9 })
    const { link, groupId } = await joined(ada)
    expect(shard.state.groupsByName.get('billing')?.groupId).toBe(groupId)
    expect([...link.owned.keys()]).toEqual([0, 1, 2, 3].map((n) => `${orders}/${n}`))
    expect(link.owned.get(`${orders}/2`)).toMatchObject({
      epoch: 1,
      cursor: 3,
      startOffset: 3,
      durableEnd: 9,
      lost: 0,
      originTopicId: null,
      name: 'orders',
      keyEncoding: 'text',
      valueEncoding: 'json',
    })
  })

  it('begins at the durable end when asked to, and says what of a cursor is lost', async () => {
    shard.setEnd(orders, { endOffset: 7 })
    const { link } = await joined(ada, { ifNoCursor: 'latest' })
    expect(link.owned.get(`${orders}/0`)).toMatchObject({ cursor: 7 })
    link.close()
    shard.setEnd(orders, { startOffset: 10, endOffset: 12 })
    const back = await joined(ada, { attempt: 2 })
    expect(back.link.owned.get(`${orders}/0`)).toMatchObject({ cursor: 10, lost: 3 })
  })

  it('moves only what it must', async () => {
    const first = await joined(ada)
    const second = await joined(bob)
    const asked = first.link.last
    expect(asked).toMatchObject({ epoch: 1, assigned: [] })
    expect(asked.revoked).toHaveLength(2)
    expect(second.link.assignments).toEqual([])
    coordinator.revoked({ ...first, epoch: 1, parts: asked.revoked })
    await settle()
    expect([...second.link.owned.values()].map(({ epoch }) => epoch)).toEqual([2, 2])
    expect([...first.link.owned.values()].map(({ epoch }) => epoch)).toEqual([1, 1])
    const { counters } = metrics.snapshot()
    expect(counters).toMatchObject({ groupRebalances: 2, partitionsMoved: 2 })
  })

  it('is refused with a reason', async () => {
    const cases: [Partial<Join>, ErrorCode][] = [
      [{ group: 'no good' }, 'ILLEGAL_GROUP_NAME'],
      [{ topicIds: [] }, 'ILLEGAL_ARGUMENT'],
      [{ topicIds: ['9'.repeat(32) as TopicId] }, 'UNKNOWN_TOPIC'],
      [{ topicIds: [shard.createTopic('orders.billing.dlq', 1)] }, 'ILLEGAL_ARGUMENT'],
      [{ topicIds: [shard.createTopic('orders.billing.retry', 1)] }, 'ILLEGAL_ARGUMENT'],
      [{ topicIds: [shard.createTopic('x'.repeat(240), 1)] }, 'ILLEGAL_ARGUMENT'],
    ]
    for (const [more, code] of cases) {
      const before = shard.state.hash()
      await expect(resultOf(coordinator.join(join(ada, more), new FakeMemberLink()))).rejects.toEqual(
        refused(code),
      )
      expect(shard.state.hash()).toBe(before)
    }
  })

  it('is refused for the name of a work queue', async () => {
    const queue = { leaseMs: 1000, maxDeliveries: 5 }
    await resultOf(shard.groups.createGroup({ name: 'billing', kind: 'queue', queue, requestId: null }))
    await expect(resultOf(coordinator.join(join(ada), new FakeMemberLink()))).rejects.toEqual(
      refused('GROUP_KIND_CONFLICT'),
    )
  })

  it('is refused for the id of a member that is there, unless it is that member on a newer connection', async () => {
    const first = await joined(ada)
    await expect(resultOf(coordinator.join(join(ada), new FakeMemberLink()))).rejects.toEqual(
      refused('MEMBER_EXISTS'),
    )
    expect(first.link.ended).toBeUndefined()
    const second = await joined(ada, { attempt: 2 })
    expect(first.link.ended).toMatchObject({ code: 'FENCED' })
    expect(second.link.owned.size).toBe(4)
    // The old socket breaks at last: nobody cares.
    first.link.close()
    await settle(20_000)
    expect(coordinator.isActive(first.groupId)).toBe(true)
  })

  it('ends with the error of the log when there are too many cursors', async () => {
    const big = shard.createTopic('big', 1200)
    const { link } = await joined(ada, { topicIds: [big] })
    expect(link.ended).toMatchObject({ code: 'LIMIT_REACHED' })
    expect(coordinator.isActive(1)).toBe(false)
  })

  it('takes nothing from those who have something when there is no room for the cursors of a newcomer', async () => {
    const big = shard.createTopic('big', 1200)
    const first = await joined(ada)
    const second = await joined(bob, { topicIds: [big] })
    expect(second.link.ended).toMatchObject({ code: 'LIMIT_REACHED' })
    expect(first.link.ended).toBeUndefined()
    const acked = await resultOf(coordinator.ack({ ...first, acks: [ackOf(first.link, 0, 0)] }))
    expect(acked).toEqual([null])
  })

  it('gives a member what there is room for, and the rest when there is', async () => {
    const filler = shard.createTopic('filler', 990)
    await joined(ada, { group: 'other', topicIds: [filler] })
    const first = await joined(ada)
    first.link.close()
    const more = shard.createTopic('more', 8)
    const held = [0, 1, 2, 3].map((partition) => ({ topicId: orders, partition, epoch: 1 }))
    const { link } = await joined(ada, { attempt: 2, topicIds: [orders, more], held })
    expect([...link.owned.keys()].map((part) => part.split('/')[0])).toEqual(held.map(() => orders))
    expect(warnings).toEqual([
      'group "billing" has no room for its cursors in 8 partitions: nobody reads them',
    ])
    // What there is room for goes its way meanwhile.
    const second = await joined(bob)
    await settle(3_000)
    expect(second.link.owned.size).toBe(4)
    expect(warnings).toHaveLength(1)
    shard.deleteTopic(filler)
    await settle(8_000)
    const owned = [...link.owned.keys()].filter((part) => part.startsWith(more))
    expect(owned).toHaveLength(8)
    expect(link.ended).toBeUndefined()
  })

  it('makes the group anew when it is just being deleted because nobody used it', async () => {
    await resultOf(
      shard.groups.createGroup({ name: 'billing', kind: 'consumer', queue: null, requestId: null }),
    )
    const before = shard.state.groupsByName.get('billing')?.groupId
    void shard.groups.deleteGroup({ name: 'billing', requestId: null })
    const { link, groupId } = await joined(ada)
    expect(groupId).not.toBe(before)
    expect(link.ended).toBeUndefined()
    expect(link.owned.size).toBe(4)
  })

  it('is refused when its topic is deleted meanwhile', async () => {
    const joining = coordinator.join(join(ada), new FakeMemberLink())
    shard.deleteTopic(orders)
    await expect(resultOf(joining)).rejects.toEqual(refused('UNKNOWN_TOPIC'))
    expect(coordinator.isActive(1)).toBe(false)
  })

  it('goes on when a write is refused for now', async () => {
    const link = new FakeMemberLink()
    await resultOf(coordinator.join(join(ada), link))
    shard.failNext = new MillraceError('STORAGE_FAILED')
    await settle(50)
    expect(link.assignments).toEqual([])
    await settle(500)
    expect(link.owned.size).toBe(4)
    expect(link.ended).toBeUndefined()
  })
})

describe('acks', () => {
  it('move cursors, and are refused past the end and from stale epochs', async () => {
    shard.setEnd(orders, { endOffset: 10 })
    const { link, ...member } = await joined(ada)
    const acks = [ackOf(link, 0, 4), ackOf(link, 1, 1), ackOf(link, 2, 0, { epoch: 0 })]
    expect(await resultOf(coordinator.ack({ ...member, acks }))).toEqual([null, 'ACK_OUT_OF_RANGE', 'FENCED'])
    expect(cursorOf(0)).toBe(4)
    expect(metrics.snapshot().histograms.ackMs.count).toBe(1)
  })

  it('that come while others are written are written together', async () => {
    shard.setEnd(orders, { endOffset: 10 })
    const { link, ...member } = await joined(ada)
    shard.writeMs = 10
    const before = shard.written.length
    const results: Promise<unknown>[] = []
    for (let offset = 1; offset <= 8; offset++) {
      results.push(coordinator.ack({ ...member, acks: [ackOf(link, 0, offset)] }))
      if (offset > 4) await settle(1)
    }
    await settle(30)
    expect(await Promise.all(results)).toEqual(Array(8).fill([null]))
    expect(shard.written.length - before).toBe(2)
    expect(cursorOf(0)).toBe(8)
  })

  it('count that were sent before the member let go', async () => {
    shard.setEnd(orders, { partition: 3, endOffset: 10 })
    const { link, ...member } = await joined(ada)
    await joined(bob)
    const { revoked } = link.last
    expect(revoked.map(({ partition }) => partition)).toContain(3)
    shard.writeMs = 5
    const results = [5, 6, 7].map((n) => coordinator.ack({ ...member, acks: [ackOf2(3, n)] }))
    coordinator.revoked({ ...member, epoch: 1, parts: revoked })
    const late = coordinator.ack({ ...member, acks: [ackOf2(3, 8)] })
    await settle(50)
    expect(await Promise.all(results)).toEqual([[null], [null], [null]])
    expect(await late).toEqual(['FENCED'])
    expect(cursorOf(3)).toBe(7)
  })

  it('count that were sent before the member left, and no others', async () => {
    shard.setEnd(orders, { endOffset: 10 })
    const { link, ...member } = await joined(ada)
    const acked = coordinator.ack({ ...member, acks: [ackOf(link, 0, 5)] })
    const order: string[] = []
    void acked.then(() => order.push('acked'))
    const left = coordinator.leave(member).then(() => order.push('left'))
    const late = coordinator.ack({ ...member, acks: [ackOf(link, 0, 6)] })
    await resultOf(left)
    expect(order).toEqual(['acked', 'left'])
    expect(await acked).toEqual([null])
    expect(await late).toEqual(['FENCED'])
    expect(cursorOf(0)).toBe(5)
    const { cursors } = shard.state.groupsByName.get('billing') ?? {}
    expect([...(cursors ?? new Map()).values()].map(({ ownerMember }) => ownerMember)).toEqual([
      null,
      null,
      null,
      null,
    ])
  })

  it('of who is no member are fenced', async () => {
    const { groupId } = await joined(ada)
    const acks = [{ topicId: orders, partition: 0, epoch: 1, offset: 0 }]
    expect(await resultOf(coordinator.ack({ groupId, memberId: bob, acks }))).toEqual(['FENCED'])
    expect(await resultOf(coordinator.ack({ groupId: 99, memberId: ada, acks }))).toEqual(['FENCED'])
    expect(metrics.snapshot().counters.acksFenced).toBe(2)
  })
})

const ackOf2 = (partition: number, offset: number) => ({ topicId: orders, partition, epoch: 1, offset })

describe('a member that falls silent', () => {
  it('is expelled, and its partitions are read by others', async () => {
    shard.setEnd(orders, { endOffset: 10 })
    const first = await joined(ada, { sessionTimeoutMs: 2000 })
    const second = await joined(bob)
    fallSilent(first.link)
    await settle(1500)
    expect(first.link.ended).toBeUndefined()
    await settle(751)
    expect(first.link.ended).toMatchObject({ code: 'FENCED', retriable: false })
    expect(second.link.owned.size).toBe(4)
    const acks = [ackOf2(0, 5)]
    expect(await resultOf(coordinator.ack({ ...first, acks }))).toEqual(['FENCED'])
    expect(cursorOf(0)).toBe(0)
    expect(metrics.snapshot().counters.membersExpired).toBe(1)
  })

  it('is not expelled when it was heard in time', async () => {
    const { link, groupId } = await joined(ada, { sessionTimeoutMs: 2000 })
    fallSilent(link)
    await settle(1900)
    fallSilent(link)
    await settle(1900)
    expect(link.ended).toBeUndefined()
    expect(coordinator.members(groupId)).toMatchObject([{ memberId: ada, connected: true }])
  })

  it('is not expelled for silence in which the broker itself was held up', async () => {
    const { link } = await joined(ada, { sessionTimeoutMs: 2000 })
    fallSilent(link)
    clock.stall(12_000)
    await settle(1000)
    expect(link.ended).toBeUndefined()
    // It stays silent: what was the broker's fault is not held against it, the rest is.
    await settle(1000)
    expect(link.ended).toMatchObject({ code: 'FENCED' })
  })
})

/** Its peer is heard now, and no more. */
function fallSilent(link: FakeMemberLink): void {
  const heardAtMs = clock.monotonic()
  link.silence = () => clock.monotonic() - heardAtMs
}

describe('a member whose connection breaks', () => {
  it('does not lose its time to come back while the broker itself was held up', async () => {
    const { link } = await joined(ada)
    link.close()
    await settle(1000)
    clock.stall(60_000)
    await settle()
    const back = await joined(ada, { attempt: 2, held: [...link.owned.values()] })
    expect(back.link.owned.size).toBe(4)
    expect(back.link.last.epoch).toBe(1)
  })

  it('has its partitions when it comes back in time, and nothing is written', async () => {
    const { link, groupId } = await joined(ada)
    const before = shard.written.length
    link.close()
    await settle(9000)
    expect(coordinator.members(groupId)).toMatchObject([{ connected: false, partitions: 4 }])
    expect(coordinator.isActive(groupId)).toBe(true)
    const held = [...link.owned.values()].map(({ topicId, partition, epoch }) => ({
      topicId,
      partition,
      epoch,
    }))
    const back = await joined(ada, { attempt: 2, held })
    expect(back.link.assignments).toHaveLength(1)
    expect([...back.link.owned.values()].map(({ epoch }) => epoch)).toEqual([1, 1, 1, 1])
    expect(back.link.last.revoked).toEqual([])
    expect(shard.written.length).toBe(before)
  })

  it('is fenced when it comes back too late', async () => {
    const { link } = await joined(ada)
    link.close()
    await settle(10_500)
    expect(metrics.snapshot().counters.membersExpired).toBe(1)
    const held = [{ topicId: orders, partition: 0, epoch: 1 }]
    const late = coordinator.join(join(ada, { attempt: 2, held }), new FakeMemberLink())
    await expect(resultOf(late)).rejects.toEqual(refused('FENCED'))
    expect(shard.state.groupsByName.get('billing')?.cursors.get(`${orders}/0`)?.ownerMember).toBeNull()
  })

  it('hears which of its partitions went to others meanwhile', async () => {
    const first = await joined(ada)
    await joined(bob)
    const { revoked } = first.link.last
    const held = [...Array(4).keys()].map((partition) => ({ topicId: orders, partition, epoch: 1 }))
    first.link.close()
    await settle(2000)
    const back = await joined(ada, { attempt: 2, held })
    expect(back.link.last.revoked).toEqual(expect.arrayContaining([...revoked]))
    expect(back.link.owned.size).toBe(2)
  })

  it('finds its partitions after a restart of the broker, and others get them if it stays away', async () => {
    const first = await joined(ada)
    restart()
    expect(coordinator.isActive(first.groupId)).toBe(true)
    const second = await joined(bob)
    expect(second.link.owned.size).toBe(0)
    const back = await joined(ada, { attempt: 2 })
    expect(back.link.owned.size).toBe(2)
    coordinator.revoked({ ...back, epoch: back.link.last.epoch, parts: back.link.last.revoked })
    await settle()
    expect(second.link.owned.size).toBe(2)
    restart()
    await settle(1000)
    const third = await joined(bob, { attempt: 2 })
    await settle(10_000)
    expect(third.link.owned.size).toBe(4)
  })
})

describe('the topics of a running group', () => {
  it('take their partitions along when they are deleted', async () => {
    const refunds = shard.createTopic('refunds', 2)
    const { link } = await joined(ada, { topicIds: [orders, refunds] })
    expect(link.owned.size).toBe(6)
    shard.deleteTopic(refunds)
    await settle()
    expect(link.owned.size).toBe(4)
    shard.deleteTopic(orders)
    await settle()
    expect(link.ended).toMatchObject({ code: 'UNKNOWN_TOPIC' })
  })

  it('include the retry topic from the moment it exists', async () => {
    const { link } = await joined(ada)
    const retries = shard.createTopic('orders.billing.retry', 1)
    await settle()
    expect(link.owned.get(`${retries}/0`)).toMatchObject({
      originTopicId: orders,
      name: 'orders.billing.retry',
    })
  })
})

describe('an empty group', () => {
  it('keeps its cursors, and the next member goes on from them', async () => {
    shard.setEnd(orders, { endOffset: 10 })
    const { link, ...member } = await joined(ada)
    void coordinator.ack({ ...member, acks: [ackOf(link, 0, 6)] })
    await resultOf(coordinator.leave(member))
    await settle()
    const next = await joined(bob)
    expect(next.link.owned.get(`${orders}/0`)).toMatchObject({ cursor: 6 })
    expect(next.link.owned.size).toBe(4)
  })

  it('leaves no timer behind', async () => {
    const { link: _, ...member } = await joined(ada)
    await resultOf(coordinator.leave(member))
    await settle(1000)
    ticking?.cancel()
    expect(clock.timers).toBe(0)
  })
})
