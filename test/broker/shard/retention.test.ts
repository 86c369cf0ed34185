import { describe, expect, test } from 'vitest'
import { Crossings } from '../../../broker/shard/crossings.js'
import { CursorState } from '../../../broker/shard/group-state.js'
import { dueIn, idleMs, lagBytes, type Retained, slowestOf } from '../../../broker/shard/retention.js'
import { Tail } from '../../../broker/shard/tail.js'
import type { TopicId } from '../../../protocol/ids.js'
import { DEFAULT_TOPIC_OPTIONS, type TopicOptions } from '../../../protocol/topic-options.js'

const topicId = 'a'.repeat(32) as TopicId

/** Chunks of 10 records and 1,000 bytes, the n-th of them appended at n seconds; then `unsealed` entries of 100 bytes. */
function partitionOf(chunks: number, unsealed = 0): Retained {
  const tail = new Tail()
  for (let i = 0; i < unsealed; i++) {
    const baseOffset = 10 * chunks + i
    const place = { sequence: 1, segment: 1, position: 0, slab: undefined, slabPosition: 0 }
    tail.push({ baseOffset, endOffset: baseOffset + 1, appendTime: 0, bytes: 100, ...place })
  }
  return {
    startOffset: 0,
    sealedEnd: 10 * chunks,
    endOffset: 10 * chunks + unsealed,
    tail,
    chunks: Array.from({ length: chunks }, (_, i) => ({
      topicId,
      partition: 0,
      chunkId: i,
      section: {
        baseOffset: 10 * i,
        endOffset: 10 * (i + 1),
        byteStart: 0,
        byteEnd: 900,
        indexStart: 900,
        indexBytes: 100,
        recordCount: 10,
        minAppendTime: 1000 * i,
        maxAppendTime: 1000 * i + 999,
        digest: '',
      },
    })),
  }
}

const options = (set: Partial<TopicOptions>): TopicOptions => ({ ...DEFAULT_TOPIC_OPTIONS, ...set })

const due = (
  partition: Retained,
  set: Partial<TopicOptions>,
  at: { now?: number; slowest?: number | undefined; chunksMax?: number } = {},
) => dueIn(partition, { options: options(set), slowest: undefined, now: 0, chunksMax: 100, ...at })

describe('what is due for deletion', () => {
  test('is nothing where no option says so, whatever its age and size and whoever has read it', () => {
    expect(due(partitionOf(5), {}, { now: 1e12, slowest: 50 })).toBeUndefined()
    expect(due(partitionOf(5), { maxLagBytes: 1, onLag: 'drop' }, { now: 1e12, slowest: 0 })).toBeUndefined()
  })

  test('by age is every leading chunk whose last record is older', () => {
    expect(due(partitionOf(5), { maxAgeMs: 1000 }, { now: 3000 })).toEqual({
      chunks: 2,
      startOffset: 20,
      bytes: 2000,
      reason: 'age',
    })
    expect(due(partitionOf(5), { maxAgeMs: 1000 }, { now: 1999 })).toBeUndefined()
    expect(due(partitionOf(5, 7), { maxAgeMs: 1 }, { now: 1e9 })).toMatchObject({
      chunks: 5,
      startOffset: 50,
    })
  })

  test('by size is what the newest `maxBytes` do without, the unsealed ones counted', () => {
    expect(due(partitionOf(5), { maxBytes: 3000 })).toMatchObject({
      chunks: 2,
      startOffset: 20,
      reason: 'bytes',
    })
    expect(due(partitionOf(5), { maxBytes: 2999 })).toMatchObject({ chunks: 2 })
    expect(due(partitionOf(5), { maxBytes: 3001 })).toMatchObject({ chunks: 1 })
    expect(due(partitionOf(5, 5), { maxBytes: 3500 })).toMatchObject({ chunks: 2 })
    expect(due(partitionOf(5), { maxBytes: 5000 })).toBeUndefined()
    expect(due(partitionOf(1), { maxBytes: 1 })).toBeUndefined()
  })

  test('by acknowledgement is what the slowest cursor has passed, and nothing without a cursor', () => {
    expect(due(partitionOf(5), { untilAcked: true }, { slowest: 39 })).toEqual({
      chunks: 3,
      startOffset: 30,
      bytes: 3000,
      reason: 'acked',
    })
    expect(due(partitionOf(5), { untilAcked: true }, { slowest: 9 })).toBeUndefined()
    expect(due(partitionOf(5), { untilAcked: true }, { slowest: undefined, now: 1e12 })).toBeUndefined()
  })

  test('by lag is what lies behind the newest `maxLagBytes`, with `drop` alone', () => {
    const set = { untilAcked: true, maxLagBytes: 2500 } as const
    expect(due(partitionOf(5), { ...set, onLag: 'drop' }, { slowest: 0 })).toMatchObject({
      chunks: 2,
      reason: 'lagDrop',
    })
    expect(due(partitionOf(5, 5), { ...set, onLag: 'drop' }, { slowest: 0 })).toMatchObject({ chunks: 3 })
    expect(due(partitionOf(5), { ...set, onLag: 'keep' }, { slowest: 0 })).toBeUndefined()
    expect(due(partitionOf(5), { ...set, onLag: 'drop' })).toBeUndefined()
  })

  test('goes one reason at a time, and so many chunks at most', () => {
    const set = { untilAcked: true, maxAgeMs: 1000 }
    expect(due(partitionOf(5), set, { now: 10_000, slowest: 20 })).toMatchObject({
      chunks: 2,
      reason: 'acked',
    })
    const rest = partitionOf(5)
    rest.chunks.splice(0, 2)
    expect(due(rest, set, { now: 10_000, slowest: 20 })).toMatchObject({ chunks: 3, reason: 'age' })
    expect(due(partitionOf(5), set, { now: 10_000, chunksMax: 1 })).toMatchObject({ chunks: 1 })
  })
})

describe('the slowest cursor', () => {
  const cursor = (offset: number) =>
    new CursorState({ groupId: 1, topicId, partition: 0 }, { offset, movedAt: 0 })

  test('is the one furthest behind, a reset that is being written included', () => {
    expect(slowestOf([])).toBeUndefined()
    expect(slowestOf([cursor(30), cursor(12)])).toBe(12)
    const reset = cursor(30)
    reset.cutOffset = 5
    expect(slowestOf([cursor(12), reset])).toBe(5)
    // What is acknowledged in the same group may yet be lost with it.
    const acked = cursor(12)
    acked.cutOffset = 40
    expect(slowestOf([acked])).toBe(12)
  })
})

describe('the lag of a position', () => {
  test('is exact in the tail and at the ends of chunks, and a share within one', () => {
    const partition = partitionOf(3, 5)
    expect(lagBytes(partition, 0)).toBe(3500)
    expect(lagBytes(partition, 10)).toBe(2500)
    expect(lagBytes(partition, 15)).toBe(2000)
    expect(lagBytes(partition, 30)).toBe(500)
    expect(lagBytes(partition, 33)).toBe(200)
    expect(lagBytes(partition, 35)).toBe(0)
    expect(lagBytes({ ...partition, startOffset: 20 }, 0)).toBe(1500)
  })
})

describe('the idle time of a cursor', () => {
  test('leaves out the time in which the broker was down', () => {
    const uptime = { now: 10_000, startedAt: 8_000, downMs: 5_000 }
    expect(idleMs({ movedAt: 2_000 }, uptime)).toBe(3_000)
    expect(idleMs({ movedAt: 9_000 }, uptime)).toBe(1_000)
    expect(idleMs({ movedAt: 11_000 }, uptime)).toBe(0)
  })
})

describe('a warning', () => {
  test('is given once above 80 %, and again only after the share was below 70 %', () => {
    const crossings = new Crossings()
    const told = [0.5, 0.8, 0.81, 0.95, 0.75, 0.9, 0.71, 0.69, 0.79, 0.85, 2].map((share) => {
      const crossed = crossings.crossed('x', share)
      crossings.endRound()
      return crossed
    })
    expect(told.flatMap((crossed, i) => (crossed ? [i] : []))).toEqual([2, 9])
  })

  test('is forgotten with what it was about', () => {
    const crossings = new Crossings()
    expect(crossings.crossed('x', 0.9)).toBe(true)
    crossings.endRound()
    crossings.endRound()
    expect(crossings.crossed('x', 0.75)).toBe(false)
    expect(crossings.crossed('x', 0.9)).toBe(true)
  })
})
