import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { QUEUE_REASON, type QueueMove } from '../../../broker/shard/queue-state.js'
import type { Shard } from '../../../broker/shard/shard.js'
import { type MemberId, memberIdFrom, type TopicId, topicIdFrom } from '../../../protocol/ids.js'
import { appendUnit } from '../../support/checked-writes.js'
import { append, createTopic, readAll, someRequestId, textBatch } from '../../support/test-shard.js'
import { outcomeOf, quiet, SimulatedShard } from './simulated-shard.js'

let simulated: SimulatedShard
let shard: Shard
let topicId: TopicId

const alice = memberIdFrom('a'.repeat(32))
const bob = memberIdFrom('b'.repeat(32))
const nowhere = topicIdFrom('9'.repeat(32))

beforeEach(async () => {
  simulated = new SimulatedShard()
  shard = await simulated.open({ groupsMax: 4, cursorsMax: 5 })
  topicId = await createTopic(shard, 'orders', 3)
  for (const partition of [0, 1, 2])
    await append(shard, textBatch(['a', 'b', 'c', 'd'], { topicId, partition }))
})

afterEach(async () => {
  await simulated.close()
  expect(simulated.failures).toEqual([])
})

const consumers = async (name = 'billing'): Promise<number> =>
  (await shard.groups.createGroup({ name, kind: 'consumer', queue: null, requestId: null })).groupId

const workers = async (name = 'mail'): Promise<number> => {
  const queue = { leaseMs: 30_000, maxDeliveries: 5 }
  return (await shard.groups.createGroup({ name, kind: 'queue', queue, requestId: null })).groupId
}

const at = (partition: number) => ({ topicId, partition })

const give = (groupId: number, memberId: MemberId | null, ...partitions: number[]) =>
  shard.groups.assign(
    groupId,
    partitions.map((partition) => ({ ...at(partition), memberId, ifNoCursor: 'earliest' as const })),
  )

const cursorOf = (groupId: number, partition: number): number | undefined =>
  shard.groups.state.groups.get(groupId)?.cursors.get(`${topicId}/${partition}`)?.offset

describe('a group', () => {
  test('is made once, whoever asks for it, and keeps its id over a crash', async () => {
    const first = await shard.groups.createGroup({
      name: 'billing',
      kind: 'consumer',
      queue: null,
      requestId: null,
    })
    expect(first).toEqual({ groupId: 1, created: true })
    const both = await Promise.all([consumers(), consumers(), consumers('other')])
    expect(both).toEqual([1, 1, 2])
    shard = await simulated.crash()
    expect(await consumers('other')).toBe(2)
  })

  test('has a name that no group of the other kind may have', async () => {
    await consumers('mail')
    expect(await outcomeOf(workers('mail'))).toMatchObject({ code: 'GROUP_KIND_CONFLICT' })
  })

  test('has a legal name, and there are only so many', async () => {
    expect(await outcomeOf(consumers('no spaces'))).toMatchObject({ code: 'ILLEGAL_GROUP_NAME' })
    const made = await Promise.all(['a', 'b', 'c', 'd', 'e'].map((name) => outcomeOf(consumers(name))))
    expect(made).toEqual([1, 2, 3, 4, expect.objectContaining({ code: 'LIMIT_REACHED' })])
  })

  test('goes with its cursors, and its id is never given out again', async () => {
    const groupId = await consumers()
    await give(groupId, alice, 0, 1)
    const requestId = someRequestId()
    await shard.groups.deleteGroup({ name: 'billing', requestId })
    await shard.groups.deleteGroup({ name: 'billing', requestId })
    expect(shard.groups.state.groups.size).toBe(0)
    expect(await outcomeOf(shard.groups.deleteGroup({ name: 'billing', requestId: null }))).toMatchObject({
      code: 'UNKNOWN_GROUP',
    })
    expect(await consumers()).toBe(groupId + 1)
    shard = await simulated.reopen()
    expect([...shard.groups.state.groups.keys()]).toEqual([groupId + 1])
  })

  test('loses its cursors with their topic', async () => {
    const groupId = await consumers()
    await give(groupId, alice, 0, 1, 2)
    await shard.deleteTopic({ requestId: someRequestId(), name: 'orders' })
    expect(shard.groups.state.groups.get(groupId)?.cursors.size).toBe(0)
    shard = await simulated.reopen()
    expect(shard.groups.state.groups.get(groupId)?.cursors.size).toBe(0)
  })
})

describe('an assignment', () => {
  test('makes cursors at the start or at the end, and says where their owner begins', async () => {
    const groupId = await consumers()
    const moves = [
      { ...at(0), memberId: alice, ifNoCursor: 'earliest' as const },
      { ...at(1), memberId: bob, ifNoCursor: 'latest' as const },
      { topicId: nowhere, partition: 0, memberId: bob, ifNoCursor: 'latest' as const },
      { ...at(7), memberId: bob, ifNoCursor: 'latest' as const },
    ]
    expect(await shard.groups.assign(groupId, moves)).toEqual({ epoch: 1, cursors: [0, 4, null, null] })
    await append(shard, textBatch(['e'], { topicId, partition: 1 }))
    expect((await shard.groups.assign(groupId, moves)).cursors).toEqual([0, 4, null, null])
    shard = await simulated.crash()
    const cursor = shard.groups.state.groups.get(groupId)?.cursors.get(`${topicId}/1`)
    expect(cursor).toMatchObject({ offset: 4, ownerMember: bob, ownerEpoch: 2 })
  })

  test('is refused where it would make too many cursors, and for a work queue', async () => {
    await give(await consumers('a'), alice, 0, 1, 2)
    expect(await outcomeOf(give(await consumers('b'), alice, 0, 1, 2))).toMatchObject({
      code: 'LIMIT_REACHED',
    })
    await give(await consumers('b'), alice, 0, 1)
    expect(await outcomeOf(give(await workers(), alice, 0))).toMatchObject({ code: 'GROUP_KIND_CONFLICT' })
    expect(await outcomeOf(give(99, alice, 0))).toMatchObject({ code: 'UNKNOWN_GROUP' })
  })
})

describe('an ack', () => {
  test('moves the cursor for good, and what is acknowledged already is no refusal', async () => {
    const groupId = await consumers()
    const { epoch } = await give(groupId, alice, 0, 1)
    const mine = { memberId: alice, epoch }
    const codes = await shard.groups.ack(groupId, [
      { ...mine, ...at(0), offset: 2 },
      { ...mine, ...at(0), offset: 3 },
      { ...mine, ...at(0), offset: 1 },
      { ...mine, ...at(1), offset: 4 },
    ])
    expect(codes).toEqual([null, null, null, null])
    expect([cursorOf(groupId, 0), cursorOf(groupId, 1)]).toEqual([3, 4])
    shard = await simulated.crash()
    expect([cursorOf(groupId, 0), cursorOf(groupId, 1)]).toEqual([3, 4])
  })

  test('of a member that has lost the partition is fenced and changes nothing; what it keeps it may acknowledge', async () => {
    const groupId = await consumers()
    const { epoch } = await give(groupId, alice, 0, 1)
    await give(groupId, bob, 1)
    const before = shard.stateHash()
    const [fenced] = await shard.groups.ack(groupId, [{ memberId: alice, epoch, ...at(1), offset: 2 }])
    expect(fenced).toBe('FENCED')
    await quiet()
    expect(shard.stateHash()).toBe(before)
    const kept = await shard.groups.ack(groupId, [{ memberId: alice, epoch, ...at(0), offset: 2 }])
    expect(kept).toEqual([null])
    expect([cursorOf(groupId, 0), cursorOf(groupId, 1)]).toEqual([2, 0])
  })

  test('needs the very member and the very epoch of the assignment', async () => {
    const groupId = await consumers()
    const { epoch: first } = await give(groupId, alice, 0)
    await give(groupId, bob, 0)
    const { epoch } = await give(groupId, alice, 0)
    const codes = await shard.groups.ack(groupId, [
      { memberId: alice, epoch: first, ...at(0), offset: 2 },
      { memberId: bob, epoch, ...at(0), offset: 2 },
      { memberId: alice, epoch, ...at(0), offset: 1 },
    ])
    expect(codes).toEqual(['FENCED', 'FENCED', null])
    expect(cursorOf(groupId, 0)).toBe(1)
  })

  test('is fenced by an assignment that is on its way to the disk with it', async () => {
    const groupId = await consumers()
    const { epoch } = await give(groupId, alice, 0)
    const stall = simulated.stall('walBeforeWrite')
    const held = append(shard, textBatch(['x'], { topicId }))
    await stall.held()
    const taken = give(groupId, bob, 0)
    const acked = shard.groups.ack(groupId, [{ memberId: alice, epoch, ...at(0), offset: 2 }])
    stall.release()
    await held
    await taken
    expect(await acked).toEqual(['FENCED'])
    expect(cursorOf(groupId, 0)).toBe(0)
  })

  test('past the end, of no group, of a work queue and of a partition never assigned says which', async () => {
    const groupId = await consumers()
    const { epoch } = await give(groupId, alice, 0)
    const mine = { memberId: alice, epoch }
    const before = shard.stateHash()
    const ack = { ...mine, ...at(0), offset: 4 }
    expect(await shard.groups.ack(groupId, [{ ...ack, offset: 5 }])).toEqual(['ACK_OUT_OF_RANGE'])
    expect(await shard.groups.ack(groupId, [{ ...ack, ...at(2) }])).toEqual(['FENCED'])
    expect(await shard.groups.ack(groupId, [{ ...ack, topicId: nowhere }])).toEqual(['FENCED'])
    expect(await shard.groups.ack(99, [ack])).toEqual(['UNKNOWN_GROUP'])
    expect(shard.stateHash()).toBe(before)
    expect(await shard.groups.ack(await workers(), [ack])).toEqual(['GROUP_KIND_CONFLICT'])
  })

  test('of a group that is being deleted is refused', async () => {
    const groupId = await consumers()
    const { epoch } = await give(groupId, alice, 0)
    const gone = shard.groups.deleteGroup({ name: 'billing', requestId: null })
    const acked = shard.groups.ack(groupId, [{ memberId: alice, epoch, ...at(0), offset: 2 }])
    await gone
    expect(await acked).toEqual(['UNKNOWN_GROUP'])
  })
})

describe('a reset', () => {
  const to = (partition: number, place: 'earliest' | 'latest' | { offset: number }) => ({
    ...at(partition),
    to: place,
  })

  test('sets cursors, says where they were, fences their owners, and gives a retry the same places', async () => {
    const groupId = await consumers()
    const { epoch } = await give(groupId, alice, 0, 1)
    await shard.groups.ack(groupId, [{ memberId: alice, epoch, ...at(0), offset: 3 }])
    const reset = {
      requestId: someRequestId(),
      name: 'billing',
      moves: [to(0, { offset: 1 }), to(1, 'latest'), to(2, 'earliest')],
      create: false,
    }
    expect(await shard.groups.resetCursors(reset)).toEqual([
      { ...at(0), from: 3, to: 1 },
      { ...at(1), from: 0, to: 4 },
      { ...at(2), from: null, to: 0 },
    ])
    const late = await shard.groups.ack(groupId, [{ memberId: alice, epoch, ...at(0), offset: 4 }])
    expect(late).toEqual(['FENCED'])
    shard = await simulated.crash()
    const again = await shard.groups.resetCursors(reset)
    expect(again.map((each) => each.to)).toEqual([1, 4, 0])
    expect([0, 1, 2].map((partition) => cursorOf(groupId, partition))).toEqual([1, 4, 0])
  })

  test('makes the group when it is told to', async () => {
    const reset = { requestId: someRequestId(), name: 'new', moves: [to(0, 'latest')], create: false }
    expect(await outcomeOf(shard.groups.resetCursors(reset))).toMatchObject({ code: 'UNKNOWN_GROUP' })
    const done = await shard.groups.resetCursors({ ...reset, requestId: someRequestId(), create: true })
    expect(done).toEqual([{ ...at(0), from: null, to: 4 }])
    const group = shard.groups.state.groupsByName.get('new')
    expect(group).toMatchObject({ kind: 'consumer', epoch: 1 })
  })

  test('to an offset that does not exist is refused, and no cursor of it moves', async () => {
    const groupId = await consumers()
    await give(groupId, alice, 0, 1)
    const moves = [to(0, 'latest'), to(1, { offset: 5 })]
    const reset = { requestId: someRequestId(), name: 'billing', moves, create: false }
    const before = shard.stateHash()
    expect(await outcomeOf(shard.groups.resetCursors(reset))).toMatchObject({ code: 'OFFSET_OUT_OF_RANGE' })
    expect(shard.stateHash()).toBe(before)
  })

  test('of a work queue takes its leases back', async () => {
    const groupId = await workers()
    await claim(groupId, 2)
    await shard.groups.resetCursors({
      requestId: someRequestId(),
      name: 'mail',
      moves: [to(0, 'earliest')],
      create: false,
    })
    const queue = shard.groups.state.groups.get(groupId)?.queues.get(`${topicId}/0`)
    expect(queue?.row).toMatchObject({ floor: 0, frontier: 0, ranges: [] })
  })
})

const nothing = { claims: [], acked: [], returned: [], extended: [], reason: QUEUE_REASON.settled }

/** Leases the next `count` records of partition 0 to alice. */
function claim(groupId: number, count: number): Promise<number> {
  return shard.groups.queue({ groupId, ...at(0), ifNoCursor: 'earliest' }, (queue, time) => {
    const { floor: floor0, frontier: from, nextLeaseId: leaseId } = queue
    const ranges = [{ from, to: from + count }]
    const move: QueueMove = {
      ...nothing,
      floor0,
      frontier: from + count,
      nextLeaseId: leaseId + 1,
      claims: [{ leaseId, memberId: alice, deadline: time + 30_000, ranges }],
    }
    return { move, result: leaseId }
  })
}

describe('a queue', () => {
  test('begins where it is told to, and keeps its leases over a crash', async () => {
    const groupId = await workers()
    expect(await claim(groupId, 3)).toBe(1)
    shard = await simulated.crash()
    const queue = shard.groups.state.groups.get(groupId)?.queues.get(`${topicId}/0`)
    expect(queue?.row).toMatchObject({ floor: 0, frontier: 3, nextLeaseId: 2 })
    expect(queue?.ranges).toMatchObject([{ from: 0, to: 3, leaseId: 1, memberId: alice }])
  })

  test('is opened with others in one record, and anew when it goes with the same group of the WAL', async () => {
    const groupId = await workers()
    const places = [0, 1, 2].map((partition) => ({ ...at(partition), ifNoCursor: 'latest' as const }))
    const groups = simulated.counter('walGroups')
    await shard.groups.openQueues(groupId, places)
    expect(simulated.counter('walGroups') - groups).toBe(1)
    const floors = () => [...(shard.groups.state.groups.get(groupId)?.queues ?? [])].map(([, q]) => q.floor)
    expect(floors()).toEqual([4, 4, 4])
    const hash = shard.stateHash()
    await shard.groups.openQueues(groupId, places)
    expect(shard.stateHash()).toBe(hash)
    const earliest = places.map((place) => ({ ...place, ifNoCursor: 'earliest' as const }))
    await Promise.all([
      shard.groups.deleteCursors({ groupId, partitions: [at(0), at(1)], reason: 'idle' }),
      shard.groups.openQueues(groupId, earliest),
    ])
    expect(floors().sort()).toEqual([0, 0, 4])
    shard = await simulated.crash()
    expect(floors().sort()).toEqual([0, 0, 4])
  })

  test('is not opened when there is no room, and none of those asked for with it', async () => {
    const groupId = await workers()
    const wide = await createTopic(shard, 'wide', 6)
    const places = Array.from({ length: 6 }, (_, partition) => ({
      ...{ topicId: wide, partition, ifNoCursor: 'earliest' as const },
    }))
    const opened = shard.groups.openQueues(groupId, places)
    await expect(opened).rejects.toMatchObject({ code: 'LIMIT_REACHED' })
    expect(shard.groups.state.groups.get(groupId)?.queues.size).toBe(0)
  })

  test('is shown the queue as it was left by the change before it, even if both came at once', async () => {
    const groupId = await workers()
    expect(await Promise.all([claim(groupId, 1), claim(groupId, 1), claim(groupId, 2)])).toEqual([1, 2, 3])
    const queue = shard.groups.state.groups.get(groupId)?.queues.get(`${topicId}/0`)
    expect(queue?.frontier).toBe(4)
  })

  test('writes a dead letter with the move that gives the job up, or neither', async () => {
    const dead = await createTopic(shard, 'orders.mail.dlq')
    const groupId = await workers()
    await claim(groupId, 3)
    const letter = textBatch(['b'], { topicId: dead })
    const where = { groupId, ...at(0), ifNoCursor: 'earliest' as const, appendBytes: letter.payload.length }
    const bury = (topic: TopicId) =>
      shard.groups.queue(where, ({ floor: floor0, frontier, nextLeaseId }) => ({
        move: { ...nothing, floor0, frontier, nextLeaseId, acked: [{ from: 1, to: 2 }] },
        appends: [{ ...letter, topicId: topic }],
        result: 'buried',
      }))
    const before = shard.stateHash()
    expect(await outcomeOf(bury(nowhere))).toMatchObject({ code: 'UNKNOWN_TOPIC' })
    expect(shard.stateHash()).toBe(before)
    expect(await bury(dead)).toBe('buried')
    expect((await readAll(shard, dead)).records.map(({ value }) => value)).toEqual(['b'])
    shard = await simulated.crash('power cut')
    expect((await readAll(shard, dead)).records).toHaveLength(1)
    const queue = shard.groups.state.groups.get(groupId)?.queues.get(`${topicId}/0`)
    expect(queue?.ranges).toMatchObject([{ from: 0, to: 1 }, { kind: 0 }, { from: 2, to: 3 }])
  })

  test('of no group, of consumers and of no topic is refused', async () => {
    const refused = (groupId: number, topic = topicId): Promise<unknown> =>
      outcomeOf(
        shard.groups.queue({ groupId, topicId: topic, partition: 0, ifNoCursor: 'earliest' }, () => ({
          move: undefined,
          result: 'asked',
        })),
      )
    expect(await refused(99)).toMatchObject({ code: 'UNKNOWN_GROUP' })
    expect(await refused(await consumers())).toMatchObject({ code: 'GROUP_KIND_CONFLICT' })
    const groupId = await workers()
    expect(await refused(groupId, nowhere)).toMatchObject({ code: 'UNKNOWN_TOPIC' })
    expect(await refused(groupId)).toBe('asked')
    expect(shard.groups.state.groups.get(groupId)?.queues.size).toBe(0)
  })
})

describe('a dead letter of a consumer group', () => {
  test('is written as the cursor moves past the record, once, however often it is asked for', async () => {
    const dead = await createTopic(shard, 'orders.billing.dlq')
    const groupId = await consumers()
    const { epoch } = await give(groupId, alice, 0)
    const letter = textBatch(['a'], { topicId: dead })
    const ack = { groupId, memberId: alice, epoch, ...at(0), offset: 1 }
    const request = { requestId: someRequestId(), ack, letter }
    const [first, second] = await Promise.all([
      shard.groups.deadLetter(request),
      shard.groups.deadLetter(request),
    ])
    expect(first).toEqual({ offset: 0 })
    expect(second).toEqual({ offset: 0 })
    shard = await simulated.crash('power cut')
    expect(await shard.groups.deadLetter(request)).toEqual({ offset: 0 })
    expect((await readAll(shard, dead)).records).toHaveLength(1)
    expect(cursorOf(groupId, 0)).toBe(1)
    const other = { ...request, requestId: someRequestId() }
    expect(await outcomeOf(shard.groups.deadLetter(other))).toMatchObject({ code: 'ALREADY_ACKED' })
  })

  test('has a request id of its own: that of an atomic write is refused', async () => {
    const dead = await createTopic(shard, 'orders.billing.dlq')
    const groupId = await consumers()
    const { epoch } = await give(groupId, alice, 0)
    const requestId = someRequestId()
    await appendUnit(shard, { requestId, writes: [textBatch(['x'], at(1))] })
    const ack = { groupId, memberId: alice, epoch, ...at(0), offset: 1 }
    const letter = textBatch(['a'], { topicId: dead })
    const outcome = await outcomeOf(shard.groups.deadLetter({ requestId, ack, letter }))
    expect(outcome).toMatchObject({ code: 'ILLEGAL_ARGUMENT' })
    expect([cursorOf(groupId, 0), shard.bounds(dead, 0).durableEnd]).toEqual([0, 0])
  })

  test('of a stale member leaves nothing written', async () => {
    const dead = await createTopic(shard, 'orders.billing.dlq')
    const groupId = await consumers()
    const { epoch } = await give(groupId, alice, 0)
    await give(groupId, bob, 0)
    const before = shard.stateHash()
    const letter = textBatch(['a'], { topicId: dead })
    const ack = { groupId, memberId: alice, epoch, ...at(0), offset: 1 }
    const request = { requestId: someRequestId(), ack, letter }
    expect(await outcomeOf(shard.groups.deadLetter(request))).toMatchObject({ code: 'FENCED' })
    expect(shard.stateHash()).toBe(before)
  })

  test('moves to another topic with the start of its own, or not at all', async () => {
    const dead = await createTopic(shard, 'orders.billing.dlq')
    const retry = await createTopic(shard, 'orders.billing.retry')
    await append(shard, textBatch(['a', 'b', 'c'], { topicId: dead }))
    await append(shard, textBatch(['d'], { topicId: dead }))
    const move = (from: number, to: number) =>
      shard.groups.moveDeadLetters({
        requestId: someRequestId(),
        topicId: dead,
        partition: 0,
        from,
        to,
        batches: [textBatch(['again'], { topicId: retry })],
      })
    // Both read the same letters: one of them is too late.
    expect(await Promise.all([move(0, 2), move(0, 2)])).toEqual([true, false])
    const left = await readAll(shard, dead)
    expect(left.records.map(({ value }) => value)).toEqual(['c', 'd'])
    expect((await readAll(shard, retry)).records).toHaveLength(1)
    shard = await simulated.crash('power cut')
    expect(shard.bounds(dead, 0)).toEqual({ startOffset: 2, durableEnd: 4 })
    expect(await move(2, 4)).toBe(true)
    expect(shard.bounds(dead, 0)).toEqual({ startOffset: 4, durableEnd: 4 })
    await append(shard, textBatch(['e'], { topicId: dead }))
    shard = await simulated.reopen()
    expect((await readAll(shard, dead)).records).toEqual([{ offset: 4, value: 'e' }])
  })
})

describe('changes that append', () => {
  test('wait for the next group where they would not fit, and are written whole', async () => {
    await simulated.close()
    simulated = new SimulatedShard()
    shard = await simulated.open({ groupBytesMax: 16 * 1024 })
    topicId = await createTopic(shard, 'orders')
    await append(shard, textBatch(['a'], { topicId }))
    const dead = await createTopic(shard, 'dead')
    const acks = []
    for (const name of ['a', 'b', 'c', 'd']) {
      const groupId = await consumers(name)
      const { epoch } = await give(groupId, alice, 0)
      acks.push({ groupId, memberId: alice, epoch, ...at(0), offset: 1 })
    }
    const stall = simulated.stall('walBeforeWrite')
    const held = append(shard, textBatch(['x'], { topicId }))
    await stall.held()
    const groupsBefore = simulated.counter('walGroups')
    const letter = textBatch(['x'.repeat(7_000)], { topicId: dead })
    const buried = acks.map((ack) => shard.groups.deadLetter({ requestId: someRequestId(), ack, letter }))
    stall.release()
    await held
    const places = await Promise.all(buried)
    expect(places.map(({ offset }) => offset)).toEqual([0, 1, 2, 3])
    // What was held up, and then two at a time.
    expect(simulated.counter('walGroups') - groupsBefore).toBe(3)
    expect((await readAll(shard, dead)).records).toHaveLength(4)
  })

  test('tell whoever asks that a topic came or went, once it is so', async () => {
    const seen: string[] = []
    const stop = shard.groups.onTopicChange(({ type, topicId: changed }) => {
      const isThere = shard.topic(changed) !== undefined
      seen.push(`${type} ${isThere}`)
    })
    await createTopic(shard, 'more')
    await shard.deleteTopic({ requestId: someRequestId(), name: 'more' })
    await quiet()
    stop()
    await createTopic(shard, 'more')
    await quiet()
    expect(seen).toEqual(['created true', 'deleted false'])
  })
})
