import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Shard } from '../../../broker/shard/shard.js'
import type { TopicId } from '../../../protocol/ids.js'
import { EMPTY_TOPIC_OPTIONS_PATCH, type TopicOptionsPatch } from '../../../protocol/topic-options.js'
import { changesOf, sealedOf, TestCursor } from '../../support/test-cursor.js'
import { append, readAll, someRequestId, textBatch } from '../../support/test-shard.js'
import { outcomeOf, quiet, SimulatedShard, until } from './simulated-shard.js'

const KIB = 1024
const WEEK = 7 * 24 * 3_600_000
const IDLE = 100_000
const CHUNK = 16 * KIB
const SMALL = { chunkBytes: CHUNK, tailCacheBytes: 0 }

let simulated: SimulatedShard
let shard: Shard

beforeEach(() => {
  simulated = new SimulatedShard()
})

afterEach(async () => {
  await simulated.close()
  expect(simulated.failures).toEqual([])
})

async function topicWith(
  options: Partial<TopicOptionsPatch>,
  name = 'orders',
  partitions = 1,
): Promise<TopicId> {
  const { topic } = await shard.createTopic({
    requestId: someRequestId(),
    name,
    partitions,
    keyEncoding: 'text',
    valueEncoding: 'text',
    ifMissing: false,
    options: { ...EMPTY_TOPIC_OPTIONS_PATCH, ...options },
  })
  return topic.topicId
}

const send = (topicId: TopicId, partition = 0, bytes = 4 * KIB) =>
  append(shard, textBatch(['x'.repeat(bytes)], { topicId, partition }))

/** Sends records of 4 KiB and lets time go by in between. */
async function fill(topicId: TopicId, records: number, msEach = 100): Promise<void> {
  for (let i = 0; i < records; i++) {
    const acknowledged = send(topicId)
    await simulated.clock.advanceAndSettle(msEach)
    await acknowledged
  }
}

const start = (topicId: TopicId) => shard.bounds(topicId, 0).startOffset
const eventsOf = async (type: string) => (await changesOf(shard)).filter((event) => event.type === type)

describe('a topic that keeps its records until they are acknowledged', () => {
  test('holds hardly more than its slowest reader needs, in chunks and in the WAL, under steady load', async () => {
    const walBytesMax = 1024 * KIB
    shard = await simulated.open({ ...SMALL, walBytesMax, walSegmentBytes: 64 * KIB })
    const topicId = await topicWith({ untilAcked: true }, 'orders', 2)
    const readers = [
      await TestCursor.join(shard, 'fast', { topicId, partition: 0 }),
      await TestCursor.join(shard, 'slow', { topicId, partition: 0 }),
      await TestCursor.join(shard, 'fast', { topicId, partition: 1 }),
    ]
    const behind = [2, 25, 4]
    let walMax = 0
    for (let i = 0; i < 400; i++) {
      const acknowledged = Promise.all([send(topicId, 0), send(topicId, 1)])
      await simulated.clock.advanceAndSettle(20)
      await acknowledged
      await Promise.all(readers.map((reader, n) => reader.ack(Math.max(0, i - (behind[n] ?? 0)))))
      for (const partition of [0, 1]) {
        const slowest = Math.min(
          ...readers.slice(...(partition === 0 ? [0, 2] : [2])).map((r) => r.offset ?? 0),
        )
        const { sections } = sealedOf(shard, { topicId, partition })
        expect(sections.filter(({ endOffset }) => endOffset <= slowest).length).toBeLessThanOrEqual(3)
      }
      walMax = Math.max(walMax, simulated.metrics.snapshot().gauges.walTotalBytes ?? 0)
    }
    expect(walMax).toBeLessThanOrEqual(walBytesMax)
    expect(simulated.counter('retentionDeletions')).toBeGreaterThan(50)
    // Of 200 chunks: what the slow reader lacks, and a few.
    await simulated.clock.advanceAndSettle(2_000)
    const changes = shard.topicNamed('_millrace.changes')?.topicId as TopicId
    const held = [0, 1].map((partition) => sealedOf(shard, { topicId, partition }).sections.length)
    expect(held[0]).toBeLessThanOrEqual(25 / 4 + 4)
    expect(held[1]).toBeLessThanOrEqual(4)
    const files = (held[0] ?? 0) + (held[1] ?? 0) + sealedOf(shard, { topicId: changes }).sections.length
    expect(await simulated.files('chunks')).toHaveLength(files)
    expect(await readAll(shard, topicId, { from: readers[1]?.offset ?? 0 })).toMatchObject({
      records: { length: 400 - (readers[1]?.offset ?? 0) },
    })
  })

  test('deletes nothing while there is no cursor, and begins once there is one', async () => {
    shard = await simulated.open(SMALL)
    const topicId = await topicWith({ untilAcked: true })
    await fill(topicId, 40)
    await simulated.clock.advanceAndSettle(20_000)
    simulated.clock.jumpTo(simulated.clock.now() + 4 * WEEK)
    await simulated.clock.advanceAndSettle(5_000)
    expect(start(topicId)).toBe(0)
    expect(simulated.counter('retentionDeletions')).toBe(0)
    expect((await readAll(shard, topicId)).records).toHaveLength(40)
    const reader = await TestCursor.join(shard, 'billing', { topicId })
    await reader.ack(40)
    await simulated.clock.advanceAndSettle(2_000)
    expect(start(topicId)).toBeGreaterThan(30)
  })

  test('keeps what a work queue has not settled', async () => {
    shard = await simulated.open(SMALL)
    const topicId = await topicWith({ untilAcked: true })
    await fill(topicId, 40)
    const { groupId } = await shard.groups.createGroup({
      name: 'mail',
      kind: 'queue',
      queue: { leaseMs: 30_000, maxDeliveries: 5 },
      requestId: null,
    })
    const move = (acked: { from: number; to: number }[]) =>
      shard.groups.queue({ groupId, topicId, partition: 0, ifNoCursor: 'earliest' }, ({ floor }) => {
        const none = { claims: [], returned: [], extended: [] }
        return {
          move: { floor0: floor, frontier: 40, nextLeaseId: 1, acked, ...none, reason: 0 },
          result: undefined,
        }
      })
    await move([{ from: 1, to: 40 }])
    await simulated.clock.advanceAndSettle(2_000)
    expect(start(topicId)).toBe(0)
    await move([{ from: 0, to: 1 }])
    await simulated.clock.advanceAndSettle(2_000)
    expect(start(topicId)).toBeGreaterThan(30)
  })
})

describe('a forgotten cursor', () => {
  const lag = { untilAcked: true, maxLagBytes: 10 * CHUNK }

  test('with `drop` does not stop deletion, keeps its bound, and is reported before and after, once each', async () => {
    shard = await simulated.open(SMALL)
    const topicId = await topicWith({ ...lag, onLag: 'drop' })
    const busy = await TestCursor.join(shard, 'busy', { topicId })
    const forgotten = await TestCursor.join(shard, 'forgotten', { topicId })
    let bytesMax = 0
    let warnedAt = 0
    for (let i = 1; i <= 200; i++) {
      await fill(topicId, 1)
      await busy.ack(i)
      if (simulated.counter('lagWarnings') === 1 && warnedAt === 0) warnedAt = i
      bytesMax = Math.max(bytesMax, sealedOf(shard, { topicId }).bytes)
    }
    await simulated.clock.advanceAndSettle(2_000)
    expect(start(topicId)).toBeGreaterThan(150)
    expect(bytesMax).toBeGreaterThan(8 * CHUNK)
    expect(bytesMax).toBeLessThan(13 * CHUNK)
    // 80 % of 160 KiB are 32 records.
    expect(warnedAt).toBeGreaterThan(30)
    expect(warnedAt).toBeLessThan(45)
    expect([simulated.counter('lagWarnings'), simulated.counter('lagDrops')]).toEqual([1, 1])
    expect(simulated.warnings.filter((warning) => warning.includes('"forgotten"'))).toHaveLength(2)
    expect(await eventsOf('lagWarning')).toMatchObject([
      { group: 'forgotten', bound: 'maxLagBytes', topic: 'orders' },
    ])
    expect(await eventsOf('lagDropped')).toMatchObject([{ group: 'forgotten', offset: 0, reason: 'lagDrop' }])
    // It stays, and who reads with it finds out what is gone.
    expect(forgotten.offset).toBe(0)
    expect(await outcomeOf(readAll(shard, topicId, { from: 0 }))).toMatchObject({
      code: 'OFFSET_OUT_OF_RANGE',
    })
  })

  test('with `keep` keeps everything, and is reported', async () => {
    shard = await simulated.open(SMALL)
    const topicId = await topicWith({ ...lag, onLag: 'keep' })
    await TestCursor.join(shard, 'forgotten', { topicId })
    const busy = await TestCursor.join(shard, 'busy', { topicId })
    for (let i = 1; i <= 100; i++) {
      await fill(topicId, 1)
      await busy.ack(i)
    }
    await simulated.clock.advanceAndSettle(5_000)
    expect(start(topicId)).toBe(0)
    expect([simulated.counter('lagWarnings'), simulated.counter('lagDrops')]).toEqual([1, 0])
  })

  test('goes when it was idle for too long, and with it what it kept', async () => {
    shard = await simulated.open(SMALL)
    const topicId = await topicWith({ untilAcked: true, cursorIdleMs: IDLE })
    const busy = await TestCursor.join(shard, 'busy', { topicId })
    const forgotten = await TestCursor.join(shard, 'forgotten', { topicId })
    await fill(topicId, 40)
    for (let i = 0; i < 23; i++) {
      await simulated.clock.advanceAndSettle(IDLE / 25)
      await fill(topicId, 1)
      await busy.ack(41 + i)
    }
    expect(forgotten.offset).toBe(0)
    expect(await eventsOf('lagWarning')).toMatchObject([{ group: 'forgotten', bound: 'cursorIdleMs' }])
    await simulated.clock.advanceAndSettle(IDLE / 10)
    expect(forgotten.offset).toBeUndefined()
    expect(busy.offset).toBe(63)
    expect(await eventsOf('cursorDeleted')).toMatchObject([{ group: 'forgotten', reason: 'idle' }])
    expect(simulated.counter('cursorsExpired')).toBe(1)
    expect(start(topicId)).toBeGreaterThan(30)
  })

  test('is not one whose group has members, however quiet the topic, nor right after the last one left', async () => {
    shard = await simulated.open(SMALL)
    const topicId = await topicWith({ untilAcked: true, cursorIdleMs: IDLE })
    const reader = await TestCursor.join(shard, 'billing', { topicId })
    let isLive = true
    shard.setLiveGroups((groupId, topic) => isLive && groupId === reader.groupId && topic === topicId)
    await simulated.clock.advanceAndSettle(5 * IDLE)
    expect(reader.offset).toBe(0)
    isLive = false
    await simulated.clock.advanceAndSettle(0.7 * IDLE)
    expect(reader.offset).toBe(0)
    await simulated.clock.advanceAndSettle(0.4 * IDLE)
    expect(reader.offset).toBeUndefined()
  })

  test('is not one whose broker was down', async () => {
    shard = await simulated.open(SMALL)
    const topicId = await topicWith({ untilAcked: true, cursorIdleMs: IDLE })
    await TestCursor.join(shard, 'billing', { topicId })
    simulated.clock.jumpTo(simulated.clock.now() + WEEK)
    shard = await simulated.crash()
    const offset = () => shard.groups.state.groupsByName.get('billing')?.cursors.get(`${topicId}/0`)?.offset
    await simulated.clock.advanceAndSettle(0.9 * IDLE)
    expect(offset()).toBe(0)
    await simulated.clock.advanceAndSettle(0.2 * IDLE)
    expect(offset()).toBeUndefined()
  })
})

describe('a group without cursors', () => {
  test('is forgotten after a week without members', async () => {
    shard = await simulated.open(SMALL)
    const group = { kind: 'consumer', queue: null, requestId: null } as const
    await shard.groups.createGroup({ ...group, name: 'once' })
    const { groupId } = await shard.groups.createGroup({ ...group, name: 'waiting' })
    shard.setLiveGroups((live) => live === groupId)
    simulated.clock.jumpTo(simulated.clock.now() + WEEK - 10_000)
    await simulated.clock.advanceAndSettle(9_000)
    expect(shard.groups.state.groups.size).toBe(2)
    await simulated.clock.advanceAndSettle(3_000)
    expect([...shard.groups.state.groupsByName.keys()]).toEqual(['waiting'])
  })
})

describe('a bound', () => {
  test('on age takes records that were never read, and that would not have been sealed for long', async () => {
    shard = await simulated.open({ ...SMALL, chunkMaxAgeMs: WEEK })
    const topicId = await topicWith({ maxAgeMs: 60_000 })
    await fill(topicId, 2)
    await simulated.clock.advanceAndSettle(50_000)
    expect((await readAll(shard, topicId)).records).toHaveLength(2)
    await simulated.clock.advanceAndSettle(45_000)
    expect(shard.bounds(topicId, 0)).toEqual({ startOffset: 2, durableEnd: 2 })
    await simulated.clock.advanceAndSettle(100)
    expect(await simulated.files('chunks')).toEqual([])
  })

  test('on size takes them too, says so, and keeps the newest', async () => {
    shard = await simulated.open(SMALL)
    const topicId = await topicWith({ untilAcked: true, maxBytes: 4 * CHUNK })
    await TestCursor.join(shard, 'slow', { topicId })
    await fill(topicId, 60)
    await simulated.clock.advanceAndSettle(2_000)
    const { bytes } = sealedOf(shard, { topicId })
    expect(bytes).toBeLessThan(6 * CHUNK)
    const { records } = await readAll(shard, topicId)
    expect(records.length * 4 * KIB).toBeGreaterThanOrEqual(4 * CHUNK - 4 * KIB)
    expect(await eventsOf('lagDropped')).toMatchObject([{ group: 'slow', reason: 'bytes' }])
    expect(await eventsOf('lagWarning')).toMatchObject([{ group: 'slow', bound: 'maxBytes' }])
  })

  test('holds from the moment that the topic is altered, and no longer once it is cleared', async () => {
    shard = await simulated.open(SMALL)
    const topicId = await topicWith({})
    await fill(topicId, 60)
    const alter = (options: Partial<TopicOptionsPatch>, clear: string[] = []) =>
      shard.alterTopic({
        requestId: someRequestId(),
        name: 'orders',
        options: { ...EMPTY_TOPIC_OPTIONS_PATCH, ...options },
        clear,
      })
    expect((await alter({ maxBytes: 4 * CHUNK })).options).toMatchObject({ maxBytes: 4 * CHUNK })
    await simulated.clock.advanceAndSettle(1_000)
    const before = start(topicId)
    expect(before).toBeGreaterThan(30)
    expect((await alter({}, ['maxBytes'])).options).toMatchObject({ maxBytes: null })
    await fill(topicId, 60)
    expect(start(topicId)).toBe(before)
    shard = await simulated.crash('power cut')
    expect(start(topicId)).toBe(before)
    expect(shard.topicNamed('orders')?.options.maxBytes).toBeNull()
  })
})

describe('a disk at its first watermark', () => {
  test('takes acks, deletes, and takes records again, without a restart and without waiting for a flush', async () => {
    simulated = new SimulatedShard({ capacityBytes: 3072 * KIB })
    shard = await simulated.open({
      ...SMALL,
      diskFreeBytesMin: 256 * KIB,
      manifestFlushMs: WEEK,
    })
    const topicId = await topicWith({ untilAcked: true })
    const reader = await TestCursor.join(shard, 'billing', { topicId })
    let sent = 0
    let refusal: unknown
    while (refusal === undefined && sent < 1_000) {
      const answer = outcomeOf(send(topicId))
      await simulated.clock.advanceAndSettle(100)
      const outcome = await answer
      if ('code' in outcome) refusal = outcome
      else sent++
    }
    expect(refusal).toEqual({ code: 'DISK_FULL', outcome: 'notWritten' })
    await simulated.clock.advanceAndSettle(10_000)
    expect(await outcomeOf(send(topicId))).toMatchObject({ code: 'DISK_FULL' })
    expect(await reader.ack(sent)).toBeNull()
    await simulated.clock.advanceAndSettle(1_000)
    await until(() => start(topicId) > sent / 2)
    await quiet(500)
    await simulated.clock.advanceAndSettle(1_000)
    expect(await send(topicId)).toMatchObject({ baseOffset: sent })
    expect(simulated.warnings.filter((warning) => warning.includes('taken again'))).toHaveLength(1)
  })
})
