import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { AppendBatch } from '../../../broker/shard/append-batch.js'
import type { Shard } from '../../../broker/shard/shard.js'
import type { ShardState } from '../../../broker/shard/state.js'
import type { TopicId } from '../../../protocol/ids.js'
import { DEFAULT_TOPIC_OPTIONS } from '../../../protocol/topic-options.js'
import { appendUnit, idBatch } from '../../support/checked-writes.js'
import { SeededRandom } from '../../support/seeded-random.js'
import { append, createTopic, readAll, someRequestId, textBatch } from '../../support/test-shard.js'
import { outcomeOf, quiet, SimulatedShard, until } from './simulated-shard.js'

const WINDOW_MS = 600_000
const HOUR_MS = 3_600_000

let simulated: SimulatedShard
let shard: Shard
let topicId: TopicId

beforeEach(async () => {
  simulated = new SimulatedShard()
  shard = await simulated.open()
  topicId = await createTopic(shard, 'orders', 2)
})

afterEach(async () => {
  await simulated.close()
  expect(simulated.failures).toEqual([])
})

const send = (records: string[], fields: Partial<AppendBatch> = {}) =>
  append(shard, idBatch(records, { topicId, ...fields }))

const stored = async (partition = 0): Promise<string[]> =>
  (await readAll(shard, topicId, { partition })).records.map(({ offset, value }) => `${offset} ${value}`)

/** What the shard knows of dedup ids, bucket by bucket. */
const digests = (): unknown[] => [...(shard.groups.state as unknown as ShardState).dedup.digests()]

/** The first `send` is on its way to the disk when this resolves. */
async function whileWriting(begin: () => Promise<unknown>): Promise<{ release: () => void }> {
  const stall = simulated.stall('walBeforeWrite')
  void begin()
  await stall.held()
  return stall
}

describe('a dedup id', () => {
  test('is stored once, and the second answer says where, whatever partition it comes to', async () => {
    expect(await send(['a=1'])).toMatchObject({ baseOffset: 0, duplicate: false, duplicates: null })
    const again = await send(['a=2'], { partition: 1 })
    expect(again).toMatchObject({ duplicate: false, duplicates: [{ index: 0, partition: 0, offset: 0 }] })
    expect(await stored(0)).toEqual(['0 a=1'])
    expect(await stored(1)).toEqual([])
    expect(simulated.counter('dedupDuplicates')).toBe(1)
  })

  test('belongs to its topic alone', async () => {
    const other = await createTopic(shard, 'refunds')
    await send(['a=1'])
    expect((await send(['a=1'], { topicId: other })).duplicates).toBeNull()
  })

  test('that two connections send at once is stored once, and neither hears of it before it is durable', async () => {
    const stall = simulated.stall('walBeforeWrite')
    const answers: string[] = []
    const first = send(['a=1']).then((ack) => answers.push(`first ${ack.duplicates?.length ?? 0}`))
    const second = send(['a=2'], { partition: 1 }).then((ack) =>
      answers.push(`second ${ack.duplicates?.length ?? 0}`),
    )
    await stall.held()
    await quiet()
    expect(answers).toEqual([])
    stall.release()
    await Promise.all([first, second])
    expect(answers).toEqual(['first 0', 'second 1'])
    expect([await stored(0), await stored(1)]).toEqual([['0 a=1'], []])
  })

  test('that comes while its first record is being written waits for that record to be durable', async () => {
    const stall = await whileWriting(() => send(['a=1']))
    let isAnswered = false
    const second = send(['a=2']).then((ack) => {
      isAnswered = true
      return ack
    })
    await quiet()
    expect(isAnswered).toBe(false)
    stall.release()
    expect((await second).duplicates).toEqual([{ index: 0, partition: 0, offset: 0 }])
    expect(await stored()).toEqual(['0 a=1'])
  })

  test('leaves out its record alone: the others of the batch are stored, with a gap where it would be', async () => {
    await send(['a=1', 'b=1'])
    const ack = await send(['c=2', 'a=2', 'plain', 'd=2', 'b=2', 'c=3'])
    expect(ack).toMatchObject({ baseOffset: 2, duplicate: false })
    expect(ack.duplicates).toEqual([
      { index: 1, partition: 0, offset: 0 },
      { index: 4, partition: 0, offset: 1 },
      { index: 5, partition: 0, offset: 2 },
    ])
    const expected = ['0 a=1', '1 b=1', '2 c=2', '4 plain', '5 d=2']
    expect(await stored()).toEqual(expected)
    expect(shard.bounds(topicId, 0).durableEnd).toBe(8)
    shard = await simulated.crash()
    expect(await stored()).toEqual(expected)
    expect((await send(['d=4', 'c=4'])).duplicates).toEqual([
      { index: 0, partition: 0, offset: 5 },
      { index: 1, partition: 0, offset: 2 },
    ])
  })

  test('that is not the only one of a batch with nothing new writes nothing at all', async () => {
    await send(['a=1', 'b=1'])
    const groups = simulated.counter('walGroups')
    const hash = shard.stateHash()
    const ack = await send(['b=2', 'a=2'])
    expect(ack.duplicates).toHaveLength(2)
    expect(simulated.counter('walGroups')).toBe(groups)
    expect(shard.stateHash()).toBe(hash)
  })
})

describe('dedup ids of a group that is being written', () => {
  test('are in no flush of the manifest, and unknown when the group was lost', async () => {
    await send(['a=1'])
    const [before, hash] = [digests(), shard.stateHash()]
    await whileWriting(() => outcomeOf(send(['b=1', 'c=1'])))
    const flushes = simulated.counter('manifestFlushes')
    await until(() => {
      simulated.clock.advance(1_000)
      return simulated.counter('manifestFlushes') > flushes
    })
    expect(digests()).toEqual(before)
    expect(shard.stateHash()).toBe(hash)
    shard = await simulated.crash()
    expect(digests()).toEqual(before)
    expect((await send(['c=2', 'a=2'])).duplicates).toEqual([{ index: 1, partition: 0, offset: 0 }])
  })

  test('are no part of the state when the write failed', async () => {
    await send(['a=1'])
    const before = digests()
    simulated.disk.failNext({ operation: 'write', path: /\.wal$/, code: 'EIO' })
    const outcomes = await Promise.all([outcomeOf(send(['b=1'])), outcomeOf(send(['b=2', 'c=2']))])
    expect(outcomes.map((outcome) => 'code' in outcome && outcome.code)).toEqual([
      'STORAGE_FAILED',
      'STORAGE_FAILED',
    ])
    expect(digests()).toEqual(before)
    expect(simulated.failures.splice(0)).toHaveLength(1)
    shard = await simulated.crash()
    expect(digests()).toEqual(before)
    expect((await send(['b=3'])).duplicates).toBeNull()
  })

  test('are those of the batches and units that it took, not of the units that it refused', async () => {
    const other = await createTopic(shard, 'refunds')
    const late = idBatch(['x=1'], { topicId, expectedOffset: 99 })
    const refused = {
      writes: [idBatch(['a=1', 'b=1'], { topicId }), idBatch(['a=1'], { topicId: other }), late],
    }
    const [first, unit, second] = await Promise.all([
      send(['a=2']),
      outcomeOf(appendUnit(shard, refused)),
      send(['b=2', 'a=3']),
    ])
    expect(unit).toMatchObject({ code: 'EXPECTED_OFFSET_CONFLICT' })
    expect(first?.duplicates).toBeNull()
    expect(second?.duplicates).toEqual([{ index: 1, partition: 0, offset: 0 }])
    expect((await send(['a=4'], { topicId: other })).duplicates).toBeNull()
    const before = digests()
    expect(before).toHaveLength(2)
    shard = await simulated.crash()
    expect(digests()).toEqual(before)
  })

  test('have the bucket that a replay gives them when their topic is altered or deleted by the same group', async () => {
    await createTopic(shard, 'refunds')
    const stall = await whileWriting(() => send(['plain']))
    const altered = shard.alterTopic({
      ...{ requestId: someRequestId(), name: 'orders', clear: [] },
      options: { ...DEFAULT_TOPIC_OPTIONS, onLag: null, untilAcked: null, dedupWindowMs: 4 * WINDOW_MS },
    })
    const deleted = shard.deleteTopic({ requestId: someRequestId(), name: 'refunds' })
    const written = send(['a=1', 'b=1', 'a=2'])
    stall.release()
    await Promise.all([altered, deleted, written])
    const before = digests()
    expect(before).toEqual([expect.objectContaining({ widthMs: WINDOW_MS / 2, count: 2 })])
    shard = await simulated.crash()
    expect(digests()).toEqual(before)
    expect((await send(['b=2'])).duplicates).toHaveLength(1)
  })
})

describe('an idempotent producer with dedup ids', () => {
  let producer: { producerId: number; producerEpoch: number }

  beforeEach(async () => {
    producer = await shard.initProducer({ requestId: someRequestId(), name: null })
  })

  test('that sends a batch again is told of each record what it was told before', async () => {
    await send(['a=1'], { partition: 1 })
    const batch = { ...producer, baseSequence: 0 }
    const first = await send(['b=1', 'a=2', 'plain', 'b=2'], batch)
    expect(first.duplicates).toEqual([
      { index: 1, partition: 1, offset: 0 },
      { index: 3, partition: 0, offset: 0 },
    ])
    const again = await send(['b=1', 'a=2', 'plain', 'b=2'], batch)
    expect(again).toEqual({ ...first, duplicate: true })
    shard = await simulated.crash()
    expect(await send(['b=1', 'a=2', 'plain', 'b=2'], batch)).toEqual({ ...first, duplicate: true })
    expect(await stored()).toEqual(['0 b=1', '2 plain'])
  })

  test('that sends a batch twice at once gets two equal answers', async () => {
    const batch = { ...producer, baseSequence: 0 }
    const [first, again] = await Promise.all([send(['a=1', 'a=2'], batch), send(['a=1', 'a=2'], batch)])
    expect(again).toEqual({ ...first, duplicate: true })
    expect(first?.duplicates).toEqual([{ index: 1, partition: 0, offset: 0 }])
  })

  test('goes on after a batch of which nothing was new, in the same group and after a crash', async () => {
    await send(['a=1', 'b=1'])
    const [nothingNew, next] = await Promise.all([
      send(['a=2', 'b=2'], { ...producer, baseSequence: 0 }),
      send(['c=1'], { ...producer, baseSequence: 2 }),
    ])
    expect(nothingNew?.duplicates).toHaveLength(2)
    expect(next).toMatchObject({ baseOffset: 2, duplicates: null })
    await send(['c=2', 'b=3'], { ...producer, baseSequence: 3 })
    shard = await simulated.crash()
    const again = await send(['c=2', 'b=3'], { ...producer, baseSequence: 3 })
    expect(again).toMatchObject({ duplicate: true })
    expect(again.duplicates).toHaveLength(2)
    expect(await outcomeOf(send(['d=1'], { ...producer, baseSequence: 6 }))).toMatchObject({
      code: 'SEQUENCE_GAP',
    })
    expect(await send(['d=1'], { ...producer, baseSequence: 5 })).toMatchObject({ baseOffset: 3 })
    expect(await stored()).toEqual(['0 a=1', '1 b=1', '2 c=1', '3 d=1'])
  })
})

describe('the window of dedup ids', () => {
  test('holds when the clock jumps back an hour, and across a crash after it', async () => {
    await send(['a=1'])
    simulated.clock.jumpTo(simulated.clock.now() - HOUR_MS)
    expect((await send(['a=2'])).duplicates).toHaveLength(1)
    await send(['b=1'])
    shard = await simulated.crash()
    expect((await send(['a=3', 'b=3'])).duplicates).toHaveLength(2)
    // What the clock then makes up for is no time that has passed.
    simulated.clock.jumpTo(simulated.clock.now() + HOUR_MS)
    expect((await send(['a=4'])).duplicates).toHaveLength(1)
  })

  test('ends by broker time, and one that is over is over even if nothing was logged since', async () => {
    const sentAt = simulated.clock.now()
    await send(['a=1'])
    simulated.clock.jumpTo(sentAt + WINDOW_MS)
    expect((await send(['a=2'])).duplicates).toHaveLength(1)
    simulated.clock.jumpTo(sentAt + WINDOW_MS + WINDOW_MS / 8 + 1)
    expect((await send(['a=3'])).duplicates).toBeNull()
    expect((await send(['a=4'])).duplicates).toEqual([{ index: 0, partition: 0, offset: 1 }])
  })

  test('ends in a replay exactly where it ended before: by what was logged', async () => {
    const sentAt = simulated.clock.now()
    await send(['a=1', 'b=1'])
    simulated.clock.jumpTo(sentAt + WINDOW_MS / 2)
    await send(['c=1'])
    expect(digests()).toHaveLength(2)
    simulated.clock.jumpTo(sentAt + WINDOW_MS + WINDOW_MS / 8)
    // Time alone changes nothing, a group does.
    expect(digests()).toHaveLength(2)
    await send(['plain'])
    const after = digests()
    expect(after).toEqual([expect.objectContaining({ count: 1 })])
    simulated.clock.jumpTo(sentAt)
    shard = await simulated.crash()
    expect(digests()).toEqual(after)
    expect((await send(['c=2'])).duplicates).toHaveLength(1)
    expect((await send(['a=2'])).duplicates).toBeNull()
  })
})

describe('a full dedup index', () => {
  const BYTES_MAX = 64 * 1024

  beforeEach(async () => {
    shard = await simulated.reopen()
    await simulated.close()
    shard = await simulated.open({ dedupBytesMax: BYTES_MAX })
  })

  const many = (from: number, count: number): string[] =>
    Array.from({ length: count }, (_, i) => `id${from + i}=x`)

  async function fill(): Promise<number> {
    for (let sent = 0; ; sent += 100) {
      const outcome = await outcomeOf(send(many(sent, 100)))
      if ('code' in outcome) {
        expect(outcome).toEqual({ code: 'DEDUP_FULL', outcome: 'notWritten' })
        return sent
      }
    }
  }

  test('refuses new ids, takes plain batches, knows the old ids, and has room again after the window', async () => {
    const sent = await fill()
    expect(sent).toBeGreaterThan(700)
    expect(simulated.counter('dedupRefusals')).toBe(1)
    const hash = shard.stateHash()
    expect(await outcomeOf(send(many(sent, 100)))).toMatchObject({ code: 'DEDUP_FULL' })
    expect(shard.stateHash()).toBe(hash)
    expect((await send(many(0, 100))).duplicates).toHaveLength(100)
    expect(await append(shard, textBatch(['plain'], { topicId }))).toMatchObject({ baseOffset: sent })
    const refusal = await send(many(sent, 100)).catch((error: { retryAfterMs: number }) => error)
    expect((refusal as { retryAfterMs: number }).retryAfterMs).toBeGreaterThan(0)
    // Nothing is logged in between: what is over its window counts no more, or it would be full for ever.
    simulated.clock.jumpTo(simulated.clock.now() + 2 * WINDOW_MS)
    expect((await send(many(sent, 100))).duplicates).toBeNull()
  })

  test('is warned of, once, before it is full', async () => {
    await simulated.close()
    shard = await simulated.open({ dedupBytesMax: 1024 * 1024 })
    await fill()
    const warnings = () => simulated.warnings.filter((message) => message.includes('dedup ids take'))
    await until(() => {
      simulated.clock.advance(1_000)
      return warnings().length > 0
    })
    for (let i = 0; i < 5; i++) {
      simulated.clock.advance(1_000)
      await new Promise(setImmediate)
    }
    expect(warnings()).toHaveLength(1)
  })

  test('is not passed by ids that race in one group', async () => {
    const sent = await fill()
    shard = await simulated.crash()
    const room = Math.max(0, sent - 200)
    simulated.clock.jumpTo(simulated.clock.now() + 2 * WINDOW_MS)
    const outcomes = await Promise.all(
      Array.from({ length: 30 }, (_, i) => outcomeOf(send(many(10_000 + i * 100, 100)))),
    )
    const taken = outcomes.filter((outcome) => !('code' in outcome)).length * 100
    expect(taken).toBeGreaterThanOrEqual(Math.min(room, 500))
    expect(taken).toBeLessThanOrEqual(sent + 200)
  })
})

describe('a batch with dedup ids that make no sense', () => {
  test('is refused, and changes nothing', async () => {
    const hash = shard.stateHash()
    const good = idBatch(['a=1', 'b=1', 'plain'], { topicId })
    const { bitmap, hashes } = good.dedupIds as { bitmap: Uint8Array; hashes: Uint8Array }
    for (const dedupIds of [
      { bitmap: new Uint8Array(1), hashes: new Uint8Array(0) },
      { bitmap: new Uint8Array(2), hashes },
      { bitmap, hashes: hashes.subarray(1) },
      { bitmap, hashes: new Uint8Array(48) },
      { bitmap: new Uint8Array([0b1011]), hashes: new Uint8Array(48) },
    ]) {
      expect(await outcomeOf(append(shard, { ...good, dedupIds }))).toMatchObject({ code: 'BAD_BATCH' })
    }
    expect(shard.stateHash()).toBe(hash)
    expect(await append(shard, good)).toMatchObject({ baseOffset: 0 })
  })
})

describe('many connections with the same ids', () => {
  for (const seed of [1, 2, 3]) {
    test(`store each id once, through flushes, seals and crashes (seed ${seed})`, async () => {
      const random = new SeededRandom(seed)
      const sent = new Set<string>()
      const told = new Map<string, string>()
      for (let round = 0; round < 30; round++) {
        const batches = Array.from({ length: 8 }, () => ({
          partition: random.below(2),
          ids: Array.from({ length: 1 + random.below(30) }, () => `id${random.below(2_000)}`),
        }))
        const acks = await Promise.all(
          batches.map(({ partition, ids }) =>
            send(
              ids.map((id) => `${id}=${round}`),
              { partition },
            ),
          ),
        )
        batches.forEach(({ partition, ids }, i) => {
          const ack = acks[i]!
          ids.forEach((id, index) => {
            const known = ack.duplicates?.find((duplicate) => duplicate.index === index)
            const place = `${known?.partition ?? partition}/${known?.offset ?? ack.baseOffset + index}`
            expect(told.get(id) ?? place).toBe(place)
            told.set(id, place)
            sent.add(id)
          })
        })
        simulated.clock.advance(random.below(500))
        if (!random.chance(0.2)) continue
        const before = digests()
        if (random.chance(0.5)) shard = await simulated.reopen()
        else shard = await simulated.crash(random.pick(['kill', 'power cut']))
        expect(digests()).toEqual(before)
      }
      const records: string[] = []
      for (const partition of [0, 1]) {
        for (const record of await stored(partition)) {
          const [offset, text] = record.split(' ') as [string, string]
          const id = text.split('=')[0] as string
          expect(told.get(id)).toBe(`${partition}/${offset}`)
          records.push(id)
        }
      }
      expect(records.sort()).toEqual([...sent].sort())
    })
  }
})
