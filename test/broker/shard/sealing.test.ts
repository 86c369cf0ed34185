import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { Shard } from '../../../broker/shard/shard.js'
import type { TopicId } from '../../../protocol/ids.js'
import type { SimulatedOperation } from '../../support/simulated-disk.js'
import { append, createTopic, readAll, someRequestId, textBatch } from '../../support/test-shard.js'
import { outcomeOf, quiet, SimulatedShard, until } from './simulated-shard.js'

const KIB = 1024
/** Chunks and WAL segments are counted here: nothing but the test's own records shall fill them. */
const QUIET = { changesBytesMax: 0 }

let simulated: SimulatedShard
let shard: Shard
let operations: SimulatedOperation[]

beforeEach(() => {
  operations = []
  simulated = new SimulatedShard({ onOperation: (operation) => operations.push(operation) })
})

afterEach(async () => {
  await simulated.close()
  expect(simulated.failures).toEqual([])
})

const send = (topicId: TopicId, partition: number, value: string) =>
  append(shard, textBatch([value], { topicId, partition }))

describe('what is in the WAL', () => {
  test('is sealed when it is old, several cold partitions into one chunk file', async () => {
    shard = await simulated.open({ ...QUIET, chunkMaxAgeMs: 60_000, tailCacheBytes: 0 })
    const topicId = await createTopic(shard, 'orders', 5)
    for (let partition = 0; partition < 5; partition++) await send(topicId, partition, `in ${partition}`)
    await simulated.clock.advanceAndSettle(59_000)
    expect(await simulated.files('chunks')).toEqual([])
    await simulated.clock.advanceAndSettle(2_000)
    await until(() => simulated.counter('chunksSealed') === 1)
    expect(await simulated.files('chunks')).toHaveLength(1)
    for (let partition = 0; partition < 5; partition++) {
      const { records, sources } = await readAll(shard, topicId, { partition })
      expect(records).toEqual([{ offset: 0, value: `in ${partition}` }])
      expect(sources).toEqual(new Set(['chunk']))
    }
    await shard.deleteTopic({ requestId: someRequestId(), name: 'orders' })
    await simulated.clock.advanceAndSettle(100)
    await until(async () => (await simulated.files('chunks')).length === 0)
  })

  test('is sealed in whole chunks, whatever comes while one is sealed', async () => {
    shard = await simulated.open({ ...QUIET, chunkBytes: 16 * KIB })
    const topicId = await createTopic(shard, 'orders')
    let sent = 0
    const sendSome = async (count: number): Promise<void> => {
      for (let i = 0; i < count; i++) await send(topicId, 0, `${sent++} ${'x'.repeat(6 * KIB)}`)
    }
    const stall = simulated.stall('sealBeforeCommit')
    await sendSome(3)
    await stall.held()
    // With what is being sealed these would be enough for another one.
    await sendSome(2)
    stall.release()
    await until(() => simulated.counter('chunksSealed') === 1)
    await simulated.clock.advanceAndSettle(5_000)
    expect(simulated.counter('chunksSealed')).toBe(1)
    await sendSome(1)
    await until(() => simulated.counter('chunksSealed') === 2)
    expect((await readAll(shard, topicId)).records).toHaveLength(6)
  })

  /** Turns of the event loop until the chunk that is to be written now is. */
  async function turnsToSeal(begin: () => void): Promise<number> {
    const stall = simulated.stall('sealBeforeCommit')
    begin()
    let isHeld = false
    void stall.held().then(() => {
      isHeld = true
    })
    let turns = 0
    for (; !isHeld && turns < 1_000; turns++) await new Promise((resolve) => setImmediate(resolve))
    stall.release()
    return turns
  }

  const sendMany = (topicId: TopicId) =>
    Promise.all(Array.from({ length: 2_000 }, (_, i) => send(topicId, 0, `${i}`)))

  test('is sealed a few entries at a time, so that others have their turn between them', async () => {
    shard = await simulated.open({ ...QUIET, chunkMaxAgeMs: 60_000, chunkBytes: 1024 * KIB })
    const topicId = await createTopic(shard, 'orders')
    await sendMany(topicId)
    await simulated.clock.advanceAndSettle(59_500)
    expect(await turnsToSeal(() => simulated.clock.advance(2_000))).toBeGreaterThan(2_000 / 100)
    await until(() => simulated.counter('chunksSealed') === 1)
    expect((await readAll(shard, topicId)).records).toHaveLength(2_000)
  })

  test('is sealed many entries at a time when sealing is behind', async () => {
    shard = await simulated.open({ ...QUIET, chunkBytes: 32 * KIB })
    const topicId = await createTopic(shard, 'orders')
    const first = simulated.stall('sealBeforeCommit')
    await send(topicId, 0, 'x'.repeat(33 * KIB))
    await first.held()
    await sendMany(topicId)
    expect(await turnsToSeal(() => first.release())).toBeLessThan(2_000 / 100)
    await until(() => simulated.counter('chunksSealed') === 2)
    expect((await readAll(shard, topicId)).records).toHaveLength(2_001)
  })

  test('is sealed when it keeps the WAL large, and the WAL stays below its cap', async () => {
    const walBytesMax = 512 * KIB
    shard = await simulated.open({ ...QUIET, walBytesMax, walSegmentBytes: 64 * KIB, tailCacheBytes: 0 })
    const topicId = await createTopic(shard, 'orders', 2)
    await send(topicId, 1, 'cold')
    let largest = 0
    for (let i = 0; i < 400; i++) {
      const acknowledged = send(topicId, 0, `${i} ${'x'.repeat(4 * KIB)}`)
      await simulated.clock.advanceAndSettle(100)
      await acknowledged
      largest = Math.max(largest, simulated.metrics.snapshot().gauges.walTotalBytes ?? 0)
    }
    expect(largest).toBeGreaterThan(walBytesMax / 2)
    expect(largest).toBeLessThanOrEqual(walBytesMax)
    expect(await readAll(shard, topicId, { partition: 1 })).toEqual({
      records: [{ offset: 0, value: 'cold' }],
      sources: new Set(['chunk']),
    })
    expect((await readAll(shard, topicId)).records).toHaveLength(400)
  })
})

describe('a partition whose entries in the WAL are damaged', () => {
  test('is left out of a shared chunk, so that the others are sealed', async () => {
    shard = await simulated.open({ ...QUIET, chunkMaxAgeMs: 60_000, tailCacheBytes: 0 })
    const topicId = await createTopic(shard, 'orders', 3)
    for (let partition = 0; partition < 3; partition++) await send(topicId, partition, `in ${partition}`)
    await simulated.clock.advanceAndSettle(1_000)
    const path = '/data/wal/0000000000000001.wal'
    const bytes = await simulated.disk.readFile(path)
    simulated.disk.flipBit(path, Buffer.from(bytes).indexOf('in 1') + 3)
    await simulated.clock.advanceAndSettle(70_000)
    await until(() => simulated.counter('chunksSealed') === 1)
    await expect(readAll(shard, topicId, { partition: 1 })).rejects.toMatchObject({ code: 'CORRUPT_DATA' })
    for (const partition of [0, 2]) {
      const { records, sources } = await readAll(shard, topicId, { partition })
      expect(records).toEqual([{ offset: 0, value: `in ${partition}` }])
      expect(sources).toEqual(new Set(['chunk']))
    }
  })
})

describe('a WAL that is full', () => {
  test('holds appends up only until it was trimmed, however rarely the manifest is flushed by the clock', async () => {
    shard = await simulated.open({
      ...QUIET,
      manifestFlushMs: 3_600_000,
      walBytesMax: 256 * KIB,
      walSegmentBytes: 64 * KIB,
      chunkBytes: 24 * KIB,
    })
    const topicId = await createTopic(shard, 'orders')
    let held = 0
    for (let i = 0; i < 200; i++) {
      let isAnswered = false
      const answer = send(topicId, 0, `${i} ${'x'.repeat(4 * KIB)}`).finally(() => {
        isAnswered = true
      })
      await quiet(200)
      // What pins the oldest segment is looked for once a second.
      for (; !isAnswered; held++) {
        await simulated.clock.advanceAndSettle(1_000)
        await quiet(200)
      }
      await answer
    }
    expect(held).toBeLessThan(100)
    expect(simulated.counter('snapshots')).toBeGreaterThan(0)
  })
})

describe('a chunk file that nothing refers to', () => {
  test('goes together with the others of its topic, not one sync for each', async () => {
    shard = await simulated.open({ ...QUIET, chunkBytes: KIB })
    const topicId = await createTopic(shard, 'orders')
    for (let i = 1; i <= 300; i++) {
      await send(topicId, 0, 'x'.repeat(KIB))
      await until(() => simulated.counter('chunksSealed') === i)
    }
    await simulated.clock.advanceAndSettle(50)
    expect(await simulated.files('chunks')).toHaveLength(300)
    await shard.deleteTopic({ requestId: someRequestId(), name: 'orders' })
    operations.length = 0
    await simulated.clock.advanceAndSettle(50)
    await until(async () => (await simulated.files('chunks')).length === 0)
    const syncs = operations.filter(
      ({ phase, operation, path }) =>
        phase === 'begin' && operation === 'syncDirectory' && path === '/data/chunks',
    )
    expect(syncs).toHaveLength(2)
  })

  test('is swept at the start, but only after the last group was written again', async () => {
    shard = await simulated.open({ ...QUIET, chunkBytes: 16 * KIB })
    const topicId = await createTopic(shard, 'orders')
    const stall = simulated.stall('sealBeforeCommit')
    for (let i = 0; i < 3; i++) await send(topicId, 0, `${i} ${'x'.repeat(6 * KIB)}`)
    await stall.held()
    const [stray] = await simulated.files('chunks')
    expect(stray).toBeDefined()
    operations.length = 0
    shard = await simulated.crash()
    expect(shard.report.chunksSwept).toBe(1)
    const sweep = operations.findIndex(
      ({ operation, path }) => operation === 'remove' && path === `/data/chunks/${stray}`,
    )
    const written = operations.findIndex(
      ({ phase, operation, path }, i) =>
        i > operations.findIndex((each) => each.operation === 'rename' && each.path.includes('/wal/')) &&
        phase === 'end' &&
        operation === 'write' &&
        path.endsWith('.wal'),
    )
    expect(written).toBeGreaterThan(-1)
    expect(sweep).toBeGreaterThan(written)
    expect((await readAll(shard, topicId)).records).toHaveLength(3)
  })
})

describe('a disk that is nearly full', () => {
  test('refuses records with DISK_FULL, goes on deleting and sealing, and takes records again without a restart', async () => {
    shard = await simulated.open({
      ...QUIET,
      diskFreeBytesMin: 1_000_000,
      chunkMaxAgeMs: 30_000,
      tailCacheBytes: 0,
    })
    const topicId = await createTopic(shard, 'orders')
    await createTopic(shard, 'old')
    await send(topicId, 0, 'before')
    const freeBytes = vi.spyOn(simulated.disk, 'freeBytes').mockResolvedValue(999_999)
    await simulated.clock.advanceAndSettle(1_000)
    await expect(send(topicId, 0, 'refused')).rejects.toMatchObject({
      code: 'DISK_FULL',
      retriable: true,
      outcome: 'notWritten',
      retryAfterMs: expect.any(Number),
    })
    await shard.deleteTopic({ requestId: someRequestId(), name: 'old' })
    expect(shard.topicNamed('old')).toBeUndefined()
    await simulated.clock.advanceAndSettle(31_000)
    await until(() => simulated.counter('chunksSealed') === 1)
    freeBytes.mockResolvedValue(1_000_000)
    await simulated.clock.advanceAndSettle(1_000)
    expect(await send(topicId, 0, 'after')).toMatchObject({ baseOffset: 1 })
  })
})

describe('changes that the manifest lacks', () => {
  test('hold appends up when they pass their cap, until they are flushed', async () => {
    shard = await simulated.open({ ...QUIET, manifestOverlayBytesMax: 4_000 })
    const topicId = await createTopic(shard, 'orders', 200)
    await simulated.clock.advanceAndSettle(100)
    await quiet()
    const stall = simulated.stall('manifestBeforeFlush')
    const answers = Array.from({ length: 100 }, async (_, partition) => {
      await quiet(partition)
      return await outcomeOf(send(topicId, partition, 'x'))
    })
    let answered = 0
    for (const answer of answers) void answer.then(() => answered++)
    await stall.held()
    await quiet(300)
    expect(answered).toBeGreaterThan(10)
    expect(answered).toBeLessThan(40)
    // Changes may free space: they go on.
    await createTopic(shard, 'changes')
    stall.release()
    const results = await Promise.all(answers)
    expect(results.every((result) => 'baseOffset' in result)).toBe(true)
    expect(simulated.metrics.snapshot().gauges.overlayBytes).toBeLessThan(8_000)
  })
})
