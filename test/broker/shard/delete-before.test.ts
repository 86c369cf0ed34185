import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Shard } from '../../../broker/shard/shard.js'
import type { RequestId, TopicId } from '../../../protocol/ids.js'
import { sealedOf } from '../../support/test-cursor.js'
import { append, createTopic, readAll, someRequestId, textBatch } from '../../support/test-shard.js'
import { outcomeOf, quiet, SimulatedShard, until } from './simulated-shard.js'

const KIB = 1024
const END = Number.MAX_SAFE_INTEGER

let simulated: SimulatedShard
let shard: Shard
let topicId: TopicId

beforeEach(async () => {
  simulated = new SimulatedShard()
  shard = await simulated.open({ chunkBytes: 16 * KIB, tailCacheBytes: 0 })
  topicId = await createTopic(shard, 'orders', 2)
})

afterEach(async () => {
  await simulated.close()
  expect(simulated.failures).toEqual([])
})

/** Five records in a batch, 5 KiB. */
const send = (batches = 1, kib = 1) =>
  Promise.all(
    Array.from({ length: batches }, () => {
      const values = Array.from({ length: 5 }, (_, i) => `${i} ${'x'.repeat(kib * KIB)}`)
      return append(shard, textBatch(values, { topicId }))
    }),
  )

const deleteBefore = (offset: number, requestId: RequestId = someRequestId()) =>
  shard.deleteBefore({ requestId, topicId, partition: 0, offset })

const offsets = async () => (await readAll(shard, topicId)).records.map(({ offset }) => offset)
const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i)

describe('deleting before an offset', () => {
  test('takes exactly what lies below it, in the WAL and in chunks, and stays done over a crash', async () => {
    await send(10)
    await until(() => simulated.counter('chunksSealed') >= 1)
    await quiet()
    const sealedEnd = sealedOf(shard, { topicId }).sections.at(-1)?.endOffset as number
    expect(sealedEnd).toBeGreaterThan(10)
    await send(2)
    for (const offset of [3, 12, sealedEnd, 57]) {
      const { startOffset } = shard.bounds(topicId, 0)
      expect(await deleteBefore(offset)).toMatchObject({ startOffset: offset, records: offset - startOffset })
      expect(await offsets()).toEqual(range(offset, 60))
      shard = await simulated.crash(offset === 12 ? 'power cut' : 'kill')
      expect(await offsets()).toEqual(range(offset, 60))
    }
    expect(sealedOf(shard, { topicId }).sections).toEqual([])
    await send(10)
    await until(() => sealedOf(shard, { topicId }).sections.length > 0)
    expect(await offsets()).toEqual(range(57, 110))
    shard = await simulated.reopen()
    expect(await offsets()).toEqual(range(57, 110))
  })

  test('says how much went, and a retry gets the same answer', async () => {
    await send(10)
    await until(() => simulated.counter('chunksSealed') >= 1)
    await quiet()
    const { sections, bytes } = sealedOf(shard, { topicId })
    const requestId = someRequestId()
    const first = await deleteBefore(END, requestId)
    expect(first).toEqual({ startOffset: 50, records: 50, bytes })
    expect(sections.length).toBeGreaterThan(0)
    expect(await deleteBefore(END, requestId)).toEqual(first)
    expect(simulated.counter('truncations')).toBe(1)
    shard = await simulated.crash()
    await send(1)
    expect(await deleteBefore(END, requestId)).toEqual(first)
    expect(await offsets()).toEqual(range(50, 55))
    expect(simulated.counter('truncations')).toBe(0)
  })

  test('frees the chunk files, and the WAL of what was never sealed', async () => {
    await send(10)
    await until(() => simulated.counter('chunksSealed') >= 1)
    await quiet()
    await send(2)
    const unsealed = shard.groups.state.topics.get(topicId)?.partitions[0]?.tail.unsealedBytes
    expect(unsealed).toBeGreaterThan(0)
    await deleteBefore(END)
    expect(shard.groups.state.topics.get(topicId)?.partitions[0]?.tail.unsealedBytes).toBe(0)
    await simulated.clock.advanceAndSettle(100)
    await until(async () => (await simulated.files('chunks')).length === 0)
  })

  test('is refused past the durable end, and for what is not there, and changes nothing', async () => {
    await send(1)
    const before = shard.stateHash()
    await expect(deleteBefore(6)).rejects.toMatchObject({
      code: 'OFFSET_OUT_OF_RANGE',
      details: { startOffset: 0, endOffset: 5 },
    })
    const other = { requestId: someRequestId(), topicId, partition: 0, offset: 1 }
    const nowhere = 'f'.repeat(32) as TopicId
    expect(await outcomeOf(shard.deleteBefore({ ...other, topicId: nowhere }))).toMatchObject({
      code: 'UNKNOWN_TOPIC',
    })
    expect(await outcomeOf(shard.deleteBefore({ ...other, partition: 2 }))).toMatchObject({
      code: 'UNKNOWN_PARTITION',
    })
    expect(await deleteBefore(0)).toEqual({ startOffset: 0, records: 0, bytes: 0 })
    expect(shard.stateHash()).toBe(before)
  })

  test('tells readers below the start both ends, and wakes those who wait', async () => {
    await send(2)
    let woken = 0
    const stop = shard.follow({ topicId, partition: 0 }, () => woken++)
    await deleteBefore(7)
    await quiet()
    expect(woken).toBe(1)
    stop()
    await expect(readAll(shard, topicId, { from: 6 })).rejects.toMatchObject({
      code: 'OFFSET_OUT_OF_RANGE',
      details: { startOffset: 7, endOffset: 10 },
    })
  })

  test('twice at once moves on to the higher offset, whoever comes first', async () => {
    await send(2)
    const [low, high] = await Promise.all([deleteBefore(4), deleteBefore(9)])
    expect([low?.startOffset, high?.startOffset]).toEqual([4, 9])
    expect(low.records + high.records).toBe(9)
    const [more, less] = await Promise.all([deleteBefore(10), deleteBefore(5)])
    expect([more.startOffset, less.startOffset]).toEqual([10, 10])
  })
})

describe('a place in a log that is being shortened', () => {
  test('is chosen when the new start is known', async () => {
    await send(2)
    const { groupId } = await shard.groups.createGroup({
      name: 'billing',
      kind: 'consumer',
      queue: null,
      requestId: null,
    })
    const write = simulated.stall('walBeforeWrite')
    const before = append(shard, textBatch(['x'], { topicId, partition: 1 }))
    await write.held()
    const deleted = deleteBefore(7)
    const move = { topicId, partition: 0, memberId: null, ifNoCursor: 'earliest' as const }
    const assigned = shard.groups.assign(groupId, [move])
    const reset = shard.groups.resetCursors({
      requestId: someRequestId(),
      name: 'other',
      moves: [{ topicId, partition: 0, to: 'earliest' }],
      create: true,
    })
    write.release()
    await Promise.all([before, deleted])
    expect((await assigned).cursors).toEqual([7])
    expect(await reset).toMatchObject([{ to: 7 }])
  })
})

describe('a seal under way', () => {
  const heldSeal = async () => {
    const stall = simulated.stall('sealBeforeCommit')
    const sent = send(4)
    await stall.held()
    await sent
    return stall
  }

  for (const { offset, kept } of [
    { offset: 2, kept: 'the first entry' },
    { offset: 8, kept: 'the second entry' },
    { offset: END, kept: 'nothing' },
  ]) {
    test(`that meets a deletion leaving ${kept} gives what is left, and no more`, async () => {
      const stall = await heldSeal()
      const { startOffset } = await deleteBefore(offset)
      stall.release()
      await quiet(300)
      expect(await offsets()).toEqual(range(startOffset, 20))
      await send(4)
      await until(() => sealedOf(shard, { topicId }).sections.at(-1)?.endOffset !== undefined)
      await quiet(300)
      expect(await offsets()).toEqual(range(startOffset, 40))
      const { sections } = sealedOf(shard, { topicId })
      await simulated.clock.advanceAndSettle(100)
      await quiet(300)
      expect(await simulated.files('chunks')).toHaveLength(sections.length)
      shard = await simulated.crash('power cut')
      expect(await offsets()).toEqual(range(startOffset, 40))
    })
  }

  test('that is about to read what was deleted begins again behind it', async () => {
    await simulated.close()
    simulated = new SimulatedShard()
    // One chunk takes reads from two WAL segments.
    const limits = {
      chunkBytes: 96 * KIB,
      walSegmentBytes: 64 * KIB,
      groupBytesMax: 16 * KIB,
      tailCacheBytes: 0,
    }
    shard = await simulated.open(limits)
    topicId = await createTopic(shard, 'orders')
    let release = (): void => {}
    const held = new Promise<void>((resolve) => {
      release = resolve
    })
    const { disk } = simulated
    const open = disk.open.bind(disk)
    let reads = 0
    disk.open = async (path, mode) => {
      const file = await open(path, mode)
      if (!path.endsWith('.wal')) return file
      const read = file.read.bind(file)
      file.read = async (...args) => {
        if (reads++ === 0) await held
        return await read(...args)
      }
      return file
    }
    await send(20)
    await until(() => reads > 0)
    const { tail } = shard.groups.state.topics.get(topicId)?.partitions[0] ?? {}
    expect(tail?.at(0)?.segment).toBeLessThan(tail?.at(16)?.segment ?? 0)
    await deleteBefore(83)
    release()
    await quiet(500)
    expect(simulated.warnings).toEqual([])
    expect(await offsets()).toEqual(range(83, 100))
    await send(20)
    await until(() => sealedOf(shard, { topicId }).sections.length > 0)
    expect(await offsets()).toEqual(range(83, 200))
    shard = await simulated.crash('power cut')
    expect(await offsets()).toEqual(range(83, 200))
  })

  test('that meets the deletion of its topic leaves nothing behind', async () => {
    const stall = await heldSeal()
    await shard.deleteTopic({ requestId: someRequestId(), name: 'orders' })
    stall.release()
    await until(async () => (await simulated.files('chunks')).length === 0)
    expect(simulated.warnings).toEqual([])
    expect(simulated.counter('chunksSealed')).toBe(0)
  })

  test('that is to be committed with a deletion waits for the next group, and its file goes with what it held', async () => {
    const stall = await heldSeal()
    const write = simulated.stall('walBeforeWrite')
    const before = append(shard, textBatch(['x'], { topicId, partition: 1 }))
    await write.held()
    const deleted = deleteBefore(8)
    stall.release()
    await quiet(100)
    write.release()
    await Promise.all([before, deleted])
    await quiet(300)
    expect(await offsets()).toEqual(range(8, 20))
    const { sections } = sealedOf(shard, { topicId })
    expect(await simulated.files('chunks')).toHaveLength(sections.length)
  })

  test('that is committed together with a deletion keeps the log whole', async () => {
    for (let round = 0; round < 40; round++) {
      await send(4)
      // Somewhere between the first look at the partition and the command that makes the chunk part of it.
      await quiet(round)
      const { startOffset } = await deleteBefore(20 * round + 7)
      expect(await offsets()).toEqual(range(startOffset, 20 * (round + 1)))
    }
    await quiet(300)
    expect(simulated.counter('chunksSealed')).toBeGreaterThan(20)
    expect(simulated.warnings).toEqual([])
    shard = await simulated.crash('power cut')
    expect(await offsets()).toEqual(range(787, 800))
  })
})

describe('a topic of the broker itself', () => {
  test('is not written to, altered, deleted or truncated by others', async () => {
    const own = shard.topicNamed('_millrace.changes')
    if (own === undefined) throw new Error('there is no topic of changes')
    expect(shard.topicsAfter(null, 10).map(({ name }) => name)).toEqual(['orders', '_millrace.changes'])
    expect(shard.topicsAfter('orders', 10).map(({ name }) => name)).toEqual(['_millrace.changes'])
    expect(shard.topicsAfter('_millrace.changes', 10)).toEqual([])
    const before = shard.stateHash()
    const requestId = someRequestId()
    const readOnly = expect.objectContaining({ code: 'TOPIC_READ_ONLY', outcome: 'notWritten' })
    expect(await outcomeOf(append(shard, textBatch(['x'], { topicId: own.topicId })))).toEqual(readOnly)
    expect(await outcomeOf(shard.deleteTopic({ requestId, name: own.name }))).toEqual(readOnly)
    expect(
      await outcomeOf(shard.deleteBefore({ requestId, topicId: own.topicId, partition: 0, offset: 0 })),
    ).toEqual(readOnly)
    const options = { ...own.options, maxAgeMs: 1, onLag: null }
    expect(await outcomeOf(shard.alterTopic({ requestId, name: own.name, options, clear: [] }))).toEqual(
      readOnly,
    )
    expect(shard.stateHash()).toBe(before)
  })

  test('has the size that is configured, from the next start on', async () => {
    shard = await simulated.reopen()
    expect(shard.topicNamed('_millrace.changes')?.options).toMatchObject({
      maxBytes: KIB * KIB,
      untilAcked: true,
    })
    await simulated.close()
    shard = await simulated.open({ changesBytesMax: 2 * KIB * KIB })
    expect(shard.topicNamed('_millrace.changes')?.options.maxBytes).toBe(2 * KIB * KIB)
  })
})
