import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { Shard } from '../../../broker/shard/shard.js'
import type { TopicId } from '../../../protocol/ids.js'
import { append, createTopic, readAll, someRequestId, textBatch } from '../../support/test-shard.js'
import { outcomeOf, quiet, SimulatedShard, until } from './simulated-shard.js'

const KIB = 1024
const unknown = { code: 'STORAGE_FAILED', outcome: 'unknown' }
const notWritten = { code: 'STORAGE_FAILED', outcome: 'notWritten' }

let simulated: SimulatedShard
let shard: Shard
let topicId: TopicId

async function open(limits: Parameters<SimulatedShard['open']>[0] = {}): Promise<void> {
  shard = await simulated.open(limits)
  topicId = await createTopic(shard, 'orders')
}

beforeEach(() => {
  simulated = new SimulatedShard()
})

afterEach(async () => {
  await simulated.close()
})

const send = (value: string) => append(shard, textBatch([value], { topicId }))
const valuesOf = async (): Promise<string[]> =>
  (await readAll(shard, topicId)).records.map(({ value }) => value)

describe('a write to the WAL that fails', () => {
  for (const code of ['EIO', 'ENOSPC']) {
    test(`with ${code} answers everyone, acknowledges nothing more and loses nothing`, async () => {
      await open()
      for (let i = 0; i < 5; i++) await send(`acknowledged ${i}`)
      let wakes = 0
      shard.follow({ topicId, partition: 0 }, () => wakes++)

      const stall = simulated.stall('walBeforeWrite')
      const inGroup = [outcomeOf(send('in the group')), outcomeOf(createTopic(shard, 'in-the-group'))]
      await stall.held()
      const queued = [outcomeOf(send('queued')), outcomeOf(createTopic(shard, 'queued'))]
      simulated.disk.failNext({ operation: 'write', path: /\.wal$/, code })
      stall.release()
      expect(await Promise.all(inGroup)).toEqual([unknown, unknown])
      expect(await Promise.all(queued)).toEqual([notWritten, notWritten])
      expect(await outcomeOf(send('later'))).toEqual(notWritten)
      expect(await outcomeOf(createTopic(shard, 'later'))).toEqual(notWritten)
      await quiet()

      expect(simulated.failures).toEqual([expect.objectContaining({ code })])
      expect(wakes).toBe(0)
      expect(shard.bounds(topicId, 0).durableEnd).toBe(5)
      expect(shard.topicNamed('in-the-group')).toBeUndefined()
      await shard.close()
      expect(await simulated.disk.exists('/data/clean-stop.json')).toBe(false)

      shard = await simulated.crash('power cut')
      const found = await valuesOf()
      expect(found.slice(0, 5)).toEqual([0, 1, 2, 3, 4].map((i) => `acknowledged ${i}`))
      expect(found.slice(5).every((value) => value === 'in the group')).toBe(true)
      await send('goes on')
      expect((await valuesOf()).at(-1)).toBe('goes on')
    })
  }

  test('while the shard is being closed ends the close, without a marker of a clean stop', async () => {
    await open()
    await send('acknowledged')
    const stall = simulated.stall('walBeforeWrite')
    const waiting = outcomeOf(send('in the group'))
    await stall.held()
    const closing = shard.close()
    simulated.disk.failNext({ operation: 'write', path: /\.wal$/, code: 'EIO' })
    stall.release()
    expect(await waiting).toEqual(unknown)
    await closing
    expect(simulated.failures).toHaveLength(1)
    shard = await simulated.crash()
    expect(shard.report.wasCleanStop).toBe(false)
    expect((await valuesOf())[0]).toBe('acknowledged')
  })
})

describe('an error that nobody expected', () => {
  test('in telling a follower stops the broker, and leaves nobody of the next group waiting', async () => {
    await open()
    const stall = simulated.stall('walBeforeWrite')
    const first = send('first')
    await stall.held()
    const next = outcomeOf(send('next'))
    const change = outcomeOf(createTopic(shard, 'next'))
    shard.follow({ topicId, partition: 0 }, () => {
      throw new Error('a follower is broken')
    })
    simulated.disk.failNext({ operation: 'write', path: /\.wal$/, code: 'EIO', skip: 1 })
    stall.release()
    expect(await first).toMatchObject({ baseOffset: 0 })
    expect(await next).toEqual(unknown)
    expect(await change).toEqual(unknown)
    await quiet()
    expect(simulated.failures).toEqual([new Error('a follower is broken')])
    await shard.close()
  })
})

describe('a stop', () => {
  test('refuses what comes after it began, so that nothing follows the group that its marker names', async () => {
    await open()
    await send('acknowledged')
    const stall = simulated.stall('walBeforeWrite')
    const underWay = outcomeOf(send('under way'))
    await stall.held()
    const closing = shard.close()
    await quiet()
    const refused = { code: 'SHUTTING_DOWN', outcome: 'notWritten' }
    expect(await outcomeOf(send('late'))).toEqual(refused)
    expect(await outcomeOf(createTopic(shard, 'late'))).toEqual(refused)
    stall.release()
    expect(await underWay).toMatchObject({ baseOffset: 1 })
    await closing
    expect(await outcomeOf(shard.initProducer({ requestId: someRequestId(), name: 'late' }))).toEqual(refused)
    await quiet()
    shard = await simulated.crash()
    expect(shard.report.wasCleanStop).toBe(true)
    expect(await valuesOf()).toEqual(['acknowledged', 'under way'])
    expect(simulated.failures).toEqual([])
  })

  test('is not followed by what a round of housekeeping has to tell that is still under way', async () => {
    await open()
    await send('acknowledged')
    const moves = [{ topicId, partition: 0, to: 'latest' as const }]
    await shard.groups.resetCursors({ requestId: someRequestId(), name: 'billing', moves, create: true })
    let goOn = (): void => {}
    vi.spyOn(simulated.disk, 'freeBytes').mockImplementation(
      () =>
        new Promise((resolve) => {
          goOn = () => resolve(2 ** 40)
        }),
    )
    await simulated.clock.advanceAndSettle(1_000)
    const flush = simulated.stall('manifestBeforeFlush')
    const closing = shard.close()
    await flush.held()
    const write = simulated.stall('walBeforeWrite')
    goOn()
    await quiet()
    flush.release()
    await until(async () => await simulated.disk.exists('/data/clean-stop.json'))
    write.release()
    await closing
    shard = await simulated.crash()
    expect(shard.report.wasCleanStop).toBe(true)
    expect(simulated.failures).toEqual([])
  })
})

describe('a flush of the manifest that fails', () => {
  test('stops the broker, and what it acknowledged is there at the next start', async () => {
    await open()
    await send('acknowledged')
    simulated.store.failNextCommit(new Error('the disk is gone'))
    await simulated.clock.advanceAndSettle(100)
    await until(() => simulated.failures.length > 0)
    expect(await outcomeOf(send('late'))).toEqual(notWritten)
    await simulated.clock.advanceAndSettle(5_000)
    expect(simulated.failures).toHaveLength(1)
    await shard.close()
    shard = await simulated.crash('power cut')
    expect(await valuesOf()).toEqual(['acknowledged'])
  })

  test('leaves nobody of a group that is being written without an answer', async () => {
    await open()
    await send('acknowledged')
    const stall = simulated.stall('walBeforeWrite')
    const inGroup = send('in the group')
    await stall.held()
    const queued = outcomeOf(send('queued'))
    simulated.store.failNextCommit(new Error('the disk is gone'))
    await simulated.clock.advanceAndSettle(100)
    await until(() => simulated.failures.length > 0)
    expect(await queued).toEqual(notWritten)
    stall.release()
    expect(await inGroup).toMatchObject({ baseOffset: 1 })
    await shard.close()
  })
})

describe('a seal that fails', () => {
  for (const failure of [
    { operation: 'write', path: /\/chunks\//, code: 'ENOSPC' },
    { operation: 'sync', path: /\/chunks\//, code: 'EIO' },
    { operation: 'syncDirectory', path: /\/chunks$/, code: 'EIO' },
  ] as const) {
    test(`at a ${failure.operation} is tried again, without new records and without a file left behind`, async () => {
      await open({ chunkBytes: 16 * KIB, tailCacheBytes: 0 })
      simulated.disk.failNext(failure)
      for (let i = 0; i < 3; i++) await send(`${i} ${'x'.repeat(6 * KIB)}`)
      await until(() => simulated.warnings.some((warning) => warning.includes('sealing')))
      expect(simulated.counter('chunksSealed')).toBe(0)
      expect(await simulated.files('chunks')).toEqual([])
      for (let s = 0; s < 3; s++) await simulated.clock.advanceAndSettle(1_000)
      await until(() => simulated.counter('chunksSealed') === 1)
      expect(await simulated.files('chunks')).toHaveLength(1)
      const { records, sources } = await readAll(shard, topicId)
      expect(records).toHaveLength(3)
      expect(sources).toEqual(new Set(['chunk']))
      expect(simulated.failures).toEqual([])
    })
  }
})

/** A snapshot now and then. */
const OFTEN = {
  snapshotEveryBytes: 64 * KIB,
  walSegmentBytes: 64 * KIB,
  chunkBytes: 16 * KIB,
  // Its few events would keep the oldest segment for long.
  changesBytesMax: 0,
}

describe('the newest snapshot', () => {
  let before: string
  let newest: string

  beforeEach(async () => {
    await open(OFTEN)
    for (let sent = 0; simulated.counter('snapshots') < 2; sent++) {
      await send(`${sent} ${'x'.repeat(4 * KIB)}`)
      await simulated.clock.advanceAndSettle(50)
    }
    ;[before = '', newest = ''] = await simulated.files('snapshots')
  })

  const isWarnedOf = (text: string): boolean => simulated.warnings.some((warning) => warning.includes(text))

  test('is found damaged after the start, which does not wait for it, and the one before it is taken', async () => {
    const bytes = (await simulated.disk.readFile(`/data/snapshots/${newest}`)).slice()
    bytes[200] = (bytes[200] ?? 0) ^ 1
    await simulated.disk.replaceFile(`/data/snapshots/${newest}`, bytes)
    shard = await simulated.crash('kill')
    expect(isWarnedOf(newest)).toBe(false)
    await simulated.clock.advanceAndSettle(1_000)
    await until(() => isWarnedOf(newest))
    expect(isWarnedOf(before)).toBe(false)
    expect(simulated.failures).toEqual([])
  })

  test('is not given up for a disk that does not read it now: the next round tries again', async () => {
    shard = await simulated.crash('kill')
    simulated.disk.failNext({ operation: 'read', path: /\.snapshot$/, code: 'EIO' })
    await simulated.clock.advanceAndSettle(1_000)
    await until(() => isWarnedOf('checkpoint'))
    expect(isWarnedOf(newest)).toBe(false)
    await simulated.clock.advanceAndSettle(1_000)
    expect(simulated.warnings.filter((warning) => warning.includes('checkpoint'))).toHaveLength(1)
    expect(simulated.failures).toEqual([])
  })
})

describe('a snapshot that fails', () => {
  test('is tried again, and the WAL is trimmed after the one that succeeds', async () => {
    await open(OFTEN)
    simulated.disk.failNext({ operation: 'write', path: /\/snapshots\//, code: 'ENOSPC' })
    const oldest = async () => (await simulated.files('wal')).filter((name) => name.endsWith('.wal'))[0]
    const first = await oldest()
    let sent = 0
    const isWarned = () => simulated.warnings.some((warning) => warning.includes('checkpoint'))
    for (; sent < 200 && !isWarned(); sent++) {
      await send(`${sent} ${'x'.repeat(4 * KIB)}`)
      await simulated.clock.advanceAndSettle(50)
    }
    expect(isWarned()).toBe(true)
    for (const until = sent + 60; sent < until; sent++) {
      await send(`${sent} ${'x'.repeat(4 * KIB)}`)
      await simulated.clock.advanceAndSettle(50)
    }
    expect(simulated.counter('snapshots')).toBeGreaterThan(0)
    expect(await oldest()).not.toBe(first)
    expect(simulated.failures).toEqual([])
    shard = await simulated.crash('power cut')
    expect(await valuesOf()).toHaveLength(sent)
  })
})
