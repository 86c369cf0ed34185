import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { crc32 } from '#crc32'
import { LmdbStore } from '../../../broker/manifest/lmdb-store.js'
import { nodeDisk } from '../../../broker/platform/node-disk.js'
import type { Shard } from '../../../broker/shard/shard.js'
import {
  append,
  createTopic,
  openTestShard,
  readAll,
  someRequestId,
  type TestShardOptions,
  textBatch,
} from '../../support/test-shard.js'

let directory: string
let store: LmdbStore
let shard: Shard

async function open(options: Partial<TestShardOptions> = {}): Promise<Shard> {
  store = await LmdbStore.open({ disk: nodeDisk, directory: join(directory, 'manifest') })
  shard = await openTestShard({ directory, disk: nodeDisk, store, ...options })
  return shard
}

async function close(): Promise<void> {
  await shard.close()
  await store.close()
}

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'millrace-shard-'))
})

afterEach(async () => {
  await close()
  await rm(directory, { recursive: true })
})

const values = (count: number, tag = 'value'): string[] =>
  Array.from({ length: count }, (_, i) => `${tag}-${i}`)

describe('a shard', () => {
  test('gives back what it acknowledged, in order and with dense offsets', async () => {
    await open()
    const topicId = await createTopic(shard, 'orders')
    const acks = await Promise.all(
      [0, 1, 2].map((n) => append(shard, textBatch(values(10, `b${n}`), { topicId }))),
    )
    expect(acks.map(({ baseOffset }) => baseOffset).sort((a, b) => a - b)).toEqual([0, 10, 20])
    const { records, sources } = await readAll(shard, topicId)
    expect(records.map(({ offset }) => offset)).toEqual(Array.from({ length: 30 }, (_, i) => i))
    expect(sources).toEqual(new Set(['cache']))
  })

  test('holds everything across a clean stop, with the same state', async () => {
    await open()
    const topicId = await createTopic(shard, 'orders', 3)
    for (let i = 0; i < 20; i++)
      await append(shard, textBatch(values(5, `n${i}`), { topicId, partition: i % 3 }))
    await close()
    await open()
    expect(shard.report).toMatchObject({
      isNew: false,
      wasCleanStop: true,
      groupsReplayed: expect.any(Number),
    })
    const { records, sources } = await readAll(shard, topicId, { partition: 1 })
    expect(records.map(({ value }) => value)).toEqual(
      [1, 4, 7, 10, 13, 16, 19].flatMap((i) => values(5, `n${i}`)),
    )
    expect(sources).toEqual(new Set(['wal']))
  })

  test('serves from chunks, the WAL and the cache through rolls, seals, trims and restarts', async () => {
    await open()
    const topicId = await createTopic(shard, 'orders')
    const expected: string[] = []
    for (let round = 0; round < 3; round++) {
      for (let i = 0; i < 200; i++) {
        const batch = values(10, `round ${round} batch ${i} ${'x'.repeat(200)}`)
        expected.push(...batch)
        await append(shard, textBatch(batch, { topicId }))
      }
      const { records, sources } = await readAll(shard, topicId)
      expect(records.map(({ value }) => value)).toEqual(expected)
      expect(sources.has('chunk')).toBe(true)
      await close()
      await open()
    }
    const { records } = await readAll(shard, topicId)
    expect(records.length).toBe(expected.length)
    expect(records.map(({ value }) => value)).toEqual(expected)
  })

  test('writes a batch of an idempotent producer once, and gives a retry its first answer', async () => {
    await open()
    const topicId = await createTopic(shard, 'orders')
    const { producerId, producerEpoch } = await shard.initProducer({ requestId: someRequestId(), name: null })
    const batch = (n: number) =>
      textBatch(values(5, `b${n}`), { topicId, producerId, producerEpoch, baseSequence: n * 5 })
    const first = await append(shard, batch(0))
    await append(shard, batch(1))
    expect(await append(shard, batch(0))).toEqual({ ...first, duplicate: true })
    const racing = await Promise.all([append(shard, batch(2)), append(shard, batch(2))])
    expect(racing.map(({ baseOffset }) => baseOffset)).toEqual([10, 10])
    expect(racing.filter(({ duplicate }) => duplicate)).toHaveLength(1)
    await expect(append(shard, batch(4))).rejects.toMatchObject({ code: 'SEQUENCE_GAP' })
    await close()
    await open()
    expect(await append(shard, batch(1))).toMatchObject({ baseOffset: 5, duplicate: true })
    expect((await readAll(shard, topicId)).records).toHaveLength(15)
  })

  test('fences the predecessor of a named producer', async () => {
    await open()
    const topicId = await createTopic(shard, 'orders')
    const old = await shard.initProducer({ requestId: someRequestId(), name: 'shop-1' })
    await append(shard, textBatch(['a'], { topicId, ...old }))
    const requestId = someRequestId()
    const young = await shard.initProducer({ requestId, name: 'shop-1' })
    expect(young).toEqual({ producerId: old.producerId, producerEpoch: 1 })
    expect(await shard.initProducer({ requestId, name: 'shop-1' })).toEqual(young)
    await expect(append(shard, textBatch(['b'], { topicId, ...old, baseSequence: 1 }))).rejects.toMatchObject(
      {
        code: 'PRODUCER_FENCED',
        outcome: 'notWritten',
      },
    )
    await append(shard, textBatch(['c'], { topicId, ...young }))
    expect((await readAll(shard, topicId)).records.map(({ value }) => value)).toEqual(['a', 'c'])
  })

  test('takes gzip batches, keeps their order, and refuses those that lie', async () => {
    await open()
    const topicId = await createTopic(shard, 'orders')
    const plain = textBatch(values(100), { topicId })
    const zipped = gzipSync(plain.payload)
    const gzip = { ...plain, attributes: 1, payload: zipped, payloadCrc: crc32(zipped) }
    const source = shard.openSource({ onPressure() {} })
    const offsets: number[] = []
    await Promise.all(
      [gzip, plain].map(
        (batch) =>
          new Promise<void>((resolve) => {
            source.append(batch, (_, ack) => {
              offsets.push(ack?.baseOffset as number)
              resolve()
            })
          }),
      ),
    )
    expect(offsets).toEqual([0, 100])
    const bomb = gzipSync(Buffer.alloc(1_000_000))
    await expect(append(shard, { ...gzip, payload: bomb, payloadCrc: crc32(bomb) })).rejects.toMatchObject({
      code: 'BAD_COMPRESSION',
    })
    await expect(append(shard, { ...gzip, recordCount: 99 })).rejects.toMatchObject({ code: 'BAD_BATCH' })
    await expect(append(shard, { ...plain, payloadCrc: 1 })).rejects.toMatchObject({ code: 'BAD_CRC' })
    expect(shard.bounds(topicId, 0).durableEnd).toBe(200)
  })

  test('deletes a topic with its files, and a topic of the same name begins empty', async () => {
    await open()
    const topicId = await createTopic(shard, 'orders')
    for (let i = 0; i < 50; i++) await append(shard, textBatch(values(10, 'x'.repeat(300)), { topicId }))
    const requestId = someRequestId()
    expect(await shard.deleteTopic({ requestId, name: 'orders' })).toEqual({ topicId })
    expect(await shard.deleteTopic({ requestId, name: 'orders' })).toEqual({ topicId })
    expect(() => shard.bounds(topicId, 0)).toThrow(expect.objectContaining({ code: 'UNKNOWN_TOPIC' }))
    const next = await createTopic(shard, 'orders')
    expect(next).not.toBe(topicId)
    expect(shard.bounds(next, 0)).toEqual({ startOffset: 0, durableEnd: 0 })
    await close()
    expect(await nodeDisk.list(join(directory, 'chunks'))).toEqual([])
    await open()
    expect(shard.topicNamed('orders')?.topicId).toBe(next)
  })

  test('says what it does not have', async () => {
    await open()
    const topicId = await createTopic(shard, 'orders')
    await append(shard, textBatch(['a'], { topicId }))
    expect(() => shard.read({ topicId, partition: 0, offset: 2, maxBytes: 1 })).toThrow(
      expect.objectContaining({ code: 'OFFSET_OUT_OF_RANGE', details: { startOffset: 0, endOffset: 1 } }),
    )
    await expect(append(shard, textBatch(['a'], { topicId, partition: 7 }))).rejects.toMatchObject({
      code: 'UNKNOWN_PARTITION',
    })
    await expect(createTopic(shard, '../etc')).rejects.toMatchObject({ code: 'ILLEGAL_TOPIC_NAME' })
    await expect(createTopic(shard, 'none', 0)).rejects.toMatchObject({ code: 'ILLEGAL_ARGUMENT' })
  })

  test('answers a read that its end overtakes, and does not look for what is closed for ever', async () => {
    await open({ limits: { tailCacheBytes: 0 } })
    const topicId = await createTopic(shard, 'orders')
    await append(shard, textBatch(['a'], { topicId }))
    await shard.close()
    const read = async () => await shard.read({ topicId, partition: 0, offset: 0, maxBytes: 1 })
    await expect(read()).rejects.toMatchObject({ code: 'SHUTTING_DOWN' })
  })

  test('finds the first offset of a time', async () => {
    await open()
    const topicId = await createTopic(shard, 'orders')
    const times: number[] = []
    for (let i = 0; i < 30; i++) {
      times.push((await append(shard, textBatch([`${i} ${'x'.repeat(9_000)}`], { topicId }))).appendTime)
      await new Promise((resolve) => setTimeout(resolve, 3))
    }
    for (const [offset, time] of times.entries()) {
      expect(await shard.offsetAtTime({ topicId, partition: 0, time })).toBe(times.indexOf(time))
      if (offset > 0)
        expect(await shard.offsetAtTime({ topicId, partition: 0, time: (times[offset - 1] ?? 0) + 1 })).toBe(
          offset,
        )
    }
    expect(await shard.offsetAtTime({ topicId, partition: 0, time: Date.now() + 1000 })).toBe(30)
  })
})
