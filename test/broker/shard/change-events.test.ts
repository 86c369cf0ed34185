import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { noMetrics } from '../../../broker/platform/metrics.js'
import type { ChangeEvent } from '../../../broker/shard/change-events.js'
import { ChangeLog } from '../../../broker/shard/change-log.js'
import type { Shard } from '../../../broker/shard/shard.js'
import { ShardState, TopicState } from '../../../broker/shard/state.js'
import type { TopicId } from '../../../protocol/ids.js'
import { decodeRecords } from '../../../protocol/records.js'
import { DEFAULT_TOPIC_OPTIONS } from '../../../protocol/topic-options.js'
import { changesOf, sealedOf, TestCursor } from '../../support/test-cursor.js'
import { append, createTopic, someRequestId, textBatch } from '../../support/test-shard.js'
import { outcomeOf, quiet, SimulatedShard, until } from './simulated-shard.js'

const KIB = 1024

let simulated: SimulatedShard
let shard: Shard

beforeEach(() => {
  simulated = new SimulatedShard()
})

afterEach(async () => {
  await simulated.close()
  expect(simulated.failures).toEqual([])
})

const types = async () => (await changesOf(shard)).map(({ type }) => type)

describe('the topic of changes', () => {
  test('tells what became of topics, groups, cursors, chunks and records, in the order of the log', async () => {
    shard = await simulated.open({ chunkBytes: 4 * KIB, tailCacheBytes: 0 })
    const topicId = await createTopic(shard, 'orders', 2)
    const requestId = someRequestId()
    const options = { ...DEFAULT_TOPIC_OPTIONS, onLag: null, dedupWindowMs: null, untilAcked: true }
    await shard.alterTopic({ requestId, name: 'orders', options, clear: [] })
    const cursor = await TestCursor.join(shard, 'billing', { topicId })
    await append(shard, textBatch(['x'.repeat(5 * KIB), 'y'], { topicId }))
    await until(() => sealedOf(shard, { topicId }).sections.length === 1)
    const { bytes } = sealedOf(shard, { topicId })
    await simulated.clock.advanceAndSettle(1_000)
    await cursor.ack(2)
    await simulated.clock.advanceAndSettle(1_000)
    const at = { topicId, partition: 0 }
    await shard.groups.deleteCursors({ groupId: cursor.groupId, partitions: [at], reason: 'asked' })
    await shard.groups.deleteGroup({ name: 'billing', requestId: null })
    await append(shard, textBatch(['z'], { topicId, partition: 1 }))
    await shard.deleteBefore({ requestId: someRequestId(), topicId, partition: 1, offset: 1 })
    await shard.deleteTopic({ requestId: someRequestId(), name: 'orders' })
    const here = { topic: 'orders', partition: 0 }
    const events = [
      { type: 'topicCreated', topic: 'orders', partitions: 2 },
      { type: 'topicAltered', topic: 'orders', options: { ...DEFAULT_TOPIC_OPTIONS, untilAcked: true } },
      { type: 'groupCreated', group: 'billing', kind: 'consumer' },
      { type: 'chunkSealed', ...here, chunkId: 2 ** 32, baseOffset: 0, endOffset: 2, bytes },
      { type: 'cursorMoved', ...here, group: 'billing', offset: 0 },
      { type: 'recordsDeleted', ...here, reason: 'acked', startOffset: 2, records: 2, bytes, chunks: 1 },
      { type: 'cursorMoved', ...here, group: 'billing', offset: 2 },
      { type: 'cursorDeleted', ...here, group: 'billing', reason: 'asked' },
      { type: 'groupDeleted', group: 'billing' },
      {
        type: 'recordsDeleted',
        topic: 'orders',
        partition: 1,
        reason: 'deleteBefore',
        startOffset: 1,
        records: 1,
        bytes: 0,
        chunks: 0,
      },
      { type: 'topicDeleted', topic: 'orders' },
    ]
    const told = await changesOf(shard)
    expect(told.map(({ time: _, ...facts }) => facts)).toEqual(events)
    for (const { time } of told) expect(time).toBeGreaterThan(Date.UTC(2025, 11, 31))
  })

  test('holds the event of whatever was answered, however the broker ends right after', async () => {
    shard = await simulated.open()
    for (const name of ['a', 'b', 'c']) {
      await createTopic(shard, name)
      shard = await simulated.crash(name === 'b' ? 'kill' : 'power cut')
      expect((await changesOf(shard)).at(-1)).toMatchObject({ type: 'topicCreated', topic: name })
    }
    expect(await types()).toHaveLength(3)
  })

  test('tells where a cursor is, and not each of its steps', async () => {
    shard = await simulated.open()
    const topicId = await createTopic(shard, 'orders')
    const cursor = await TestCursor.join(shard, 'billing', { topicId })
    for (let i = 1; i <= 300; i++) {
      await append(shard, textBatch(['x'], { topicId }))
      await cursor.ack(i)
      await simulated.clock.advanceAndSettle(10)
    }
    await simulated.clock.advanceAndSettle(2_000)
    const moves = (await changesOf(shard)).filter(({ type }) => type === 'cursorMoved')
    expect(moves.length).toBeGreaterThan(2)
    expect(moves.length).toBeLessThan(7)
    expect(moves.at(-1)).toMatchObject({ group: 'billing', offset: 300 })
  })

  test('tells how far a work queue is done', async () => {
    shard = await simulated.open()
    const topicId = await createTopic(shard, 'mails')
    await append(shard, textBatch(['a', 'b', 'c'], { topicId }))
    const queue = { leaseMs: 1_000, maxDeliveries: 5 }
    const { groupId } = await shard.groups.createGroup({
      name: 'mail',
      kind: 'queue',
      queue,
      requestId: null,
    })
    const acked = [{ from: 0, to: 2 }]
    const move = { floor0: 0, frontier: 3, nextLeaseId: 1, claims: [], acked, returned: [], extended: [] }
    await shard.groups.queue({ groupId, topicId, partition: 0, ifNoCursor: 'earliest' }, () => ({
      move: { ...move, reason: 0 },
      result: undefined,
    }))
    await simulated.clock.advanceAndSettle(2_000)
    expect((await changesOf(shard)).at(-1)).toMatchObject({ type: 'cursorMoved', group: 'mail', offset: 2 })
  })

  test('tells nothing of itself, and nothing while nothing happens', async () => {
    shard = await simulated.open({ chunkMaxAgeMs: 5_000, tailCacheBytes: 0 })
    const own = shard.topicNamed('_millrace.changes')?.topicId as TopicId
    await createTopic(shard, 'orders')
    const cursor = await TestCursor.join(shard, 'auditor', { topicId: own })
    await simulated.clock.advanceAndSettle(8_000)
    expect(sealedOf(shard, { topicId: own }).sections).toHaveLength(1)
    await cursor.ack(2)
    await simulated.clock.advanceAndSettle(3_000)
    // Deleted by the rule that holds for any topic.
    expect(shard.bounds(own, 0).startOffset).toBe(2)
    const groups = simulated.counter('walGroups')
    await simulated.clock.advanceAndSettle(30_000)
    expect(simulated.counter('walGroups')).toBe(groups)
    expect(shard.bounds(own, 0).durableEnd).toBe(2)
  })

  test('grows no larger than it may', async () => {
    const changesBytesMax = 64 * KIB
    shard = await simulated.open({ changesBytesMax, chunkBytes: 8 * KIB, tailCacheBytes: 0 })
    const own = shard.topicNamed('_millrace.changes')?.topicId as TopicId
    for (let i = 0; i < 600; i++) {
      await createTopic(shard, `orders-${i}`)
      await shard.deleteTopic({ requestId: someRequestId(), name: `orders-${i}` })
      await simulated.clock.advanceAndSettle(10)
    }
    await simulated.clock.advanceAndSettle(2_000)
    expect(shard.bounds(own, 0).startOffset).toBeGreaterThan(300)
    expect(sealedOf(shard, { topicId: own }).bytes).toBeLessThanOrEqual(changesBytesMax + 10 * KIB)
    expect((await changesOf(shard)).at(-1)).toMatchObject({ type: 'topicDeleted', topic: 'orders-599' })
  })

  test('costs a refused request nothing', async () => {
    shard = await simulated.open()
    const topicId = await createTopic(shard, 'orders')
    await TestCursor.join(shard, 'billing', { topicId })
    const before = shard.stateHash()
    expect(await outcomeOf(shard.deleteTopic({ requestId: someRequestId(), name: 'nothing' }))).toMatchObject(
      { code: 'UNKNOWN_TOPIC' },
    )
    await quiet()
    expect(shard.stateHash()).toBe(before)
  })
})

describe('events that come too fast', () => {
  const state = new ShardState({ clusterId: 'c'.repeat(32) as never, walId: 'a'.repeat(32) })
  state.addTopic(
    new TopicState({
      topicId: 'b'.repeat(32) as TopicId,
      name: '_millrace.changes',
      partitions: 1,
      keyEncoding: 'text',
      valueEncoding: 'json',
      createdAt: 0,
      options: DEFAULT_TOPIC_OPTIONS,
      internal: true,
    }),
  )

  function drain(log: ChangeLog): ChangeEvent[][] {
    const batches: ChangeEvent[][] = []
    for (let batch = log.take([], 7); batch !== undefined; batch = log.take([], 7)) {
      const records = decodeRecords(batch.payload, batch.recordCount)
      batches.push(records.map(({ value }) => JSON.parse(value as string) as ChangeEvent))
    }
    return batches
  }

  test('wait for later groups, in their order', () => {
    const log = new ChangeLog({ state, metrics: noMetrics, groupBytesMax: 1024 * KIB })
    for (let i = 0; i < 2_500; i++) log.add({ type: 'topicDeleted', topic: `orders-${i}` }, i)
    const batches = drain(log)
    expect(batches.map(({ length }) => length)).toEqual([1_000, 1_000, 500])
    expect(batches.flat().map(({ time }) => time)).toEqual(Array.from({ length: 2_500 }, (_, i) => i))
  })

  test('take a share of a group and no more', () => {
    const log = new ChangeLog({ state, metrics: noMetrics, groupBytesMax: 16 * KIB })
    for (let i = 0; i < 100; i++) log.add({ type: 'topicDeleted', topic: 'x'.repeat(200) }, i)
    const batches = drain(log)
    expect(batches.flat()).toHaveLength(100)
    for (const batch of batches) expect(JSON.stringify(batch).length).toBeLessThan(5 * KIB)
  })

  test('are counted where they are left out', () => {
    const log = new ChangeLog({ state, metrics: noMetrics, groupBytesMax: 1024 * KIB })
    for (let i = 0; i < 12_345; i++) log.add({ type: 'topicDeleted', topic: `orders-${i}` }, i)
    const events = drain(log).flat()
    expect(events).toHaveLength(10_001)
    expect(events.at(-1)).toEqual({ type: 'skipped', count: 2_345, time: 7 })
    expect(log.isWaiting).toBe(false)
  })
})
