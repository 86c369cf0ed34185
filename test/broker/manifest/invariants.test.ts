import { describe, expect, it } from 'vitest'
import { checkInvariants } from '../../../broker/manifest/invariants.js'
import type { ManifestContents } from '../../../broker/manifest/rows.js'
import { shardRow, someContents, topicIdOf } from './rows.js'

type Lists = { -readonly [Kind in keyof Omit<ManifestContents, 'shard'>]: ManifestContents[Kind] }

/** The refusal after `change` to contents that hold together; counts are made to fit again. */
function refusalOf(change: (rows: Lists) => void): string | undefined {
  const { shard, ...rows } = structuredClone(someContents({ topics: 2, partitions: 2, chunks: 3 }))
  change(rows)
  const { nextProducerId = 0, requestOrder = 0, nextGroupId = 0, answerOrder = 0 } = shard ?? {}
  const given = { nextProducerId, requestOrder, nextGroupId, answerOrder }
  try {
    checkInvariants({ ...rows, shard: shardRow(rows, given) })
    return undefined
  } catch (error) {
    return (error as Error).message
  }
}

function alter<Row extends object>(rows: Row[], index: number, change: object): void {
  rows[index] = { ...(rows[index] as Row), ...change }
}

const section = (rows: Lists, index: number, change: object): void =>
  alter(rows.chunks, index, { section: { ...rows.chunks[index]?.section, ...change } })

function range(rows: Lists, index: number, change: object): void {
  const ranges = [...(rows.queues[0]?.ranges ?? [])]
  alter(ranges, index, change)
  alter(rows.queues, 0, { ranges })
}

/** A stream of a topic that has one partition, and its fork. */
function streams(rows: Lists, change: { source?: object; fork?: object; topic?: object } = {}): void {
  const [source, fork] = [topicIdOf(20), topicIdOf(21)]
  const life = { contentType: 'text/plain', ttlSeconds: null, expiresAt: null, accessedAt: 0 }
  const state = { closed: false, closedBy: null, seq: null, opened: true, deleted: false }
  const row = { ...life, ...state }
  const [topic] = rows.topics
  for (const topicId of [source, fork]) {
    rows.topics.push({
      ...(topic as (typeof rows.topics)[0]),
      topicId,
      name: topicId,
      partitions: 1,
      ...change.topic,
    })
    rows.partitions.push({
      topicId,
      partition: 0,
      startOffset: 5,
      sealedEnd: 5,
      endOffset: 5,
      lastAppendTime: 0,
    })
  }
  const point = { topicId: source, offset: 5, subOffset: 0, endOffset: 5, endBytes: 0 }
  rows.streams.push({ ...row, topicId: source, fork: null, ...change.source })
  rows.streams.push({ ...row, topicId: fork, fork: { ...point, ...change.fork } })
  rows.streamProducers.push({ topicId: source, producerId: 'p', epoch: 0, seq: 0, lastSeen: 0 })
}

const breaches: [what: string, change: (rows: Lists) => void, refusal: RegExp][] = [
  [
    'a stream of two partitions',
    (rows) => {
      streams(rows)
      alter(rows.streams, 0, { topicId: topicIdOf(0) })
    },
    /its topic has 2 partitions/,
  ],
  ['a fork of nothing', (rows) => streams(rows, { fork: { topicId: topicIdOf(0) } }), /is missing/],
  [
    'a fork beyond its source',
    (rows) => streams(rows, { fork: { endOffset: 6 } }),
    /up to offset 6, which ends at 5/,
  ],
  [
    'a deleted stream that nobody needs',
    (rows) => {
      streams(rows, { source: { deleted: true } })
      alter(rows.streams, 1, { fork: null })
    },
    /it is deleted, and no fork needs it/,
  ],
  [
    'a producer of no stream',
    (rows) => {
      streams(rows)
      alter(rows.streamProducers, 0, { topicId: topicIdOf(0) })
    },
    /its stream is missing/,
  ],
  [
    'two topics of one name',
    (rows) => alter(rows.topics, 1, { name: 'topic-0' }),
    /a second topic is named "topic-0"/,
  ],
  ['a topic with a partition too few', (rows) => rows.partitions.pop(), /4 partitions, but 3 rows/],
  [
    'a partition without its topic',
    (rows) => alter(rows.partitions, 3, { topicId: topicIdOf(9) }),
    /its topic is missing/,
  ],
  ['a partition number too high', (rows) => alter(rows.partitions, 3, { partition: 2 }), /only 2 partitions/],
  [
    'a start offset behind the end',
    (rows) => alter(rows.partitions, 0, { startOffset: 3_508 }),
    /not in order/,
  ],
  [
    'a chunk below the start offset',
    (rows) => alter(rows.partitions, 0, { startOffset: 1_500 }),
    /the chunk at offset 500 holds nothing that may be read: the start is 1500/,
  ],
  [
    'an end offset before the sealed end',
    (rows) => alter(rows.partitions, 0, { endOffset: 3_499 }),
    /not in order/,
  ],
  [
    'an append later than the shard',
    (rows) => alter(rows.partitions, 0, { lastAppendTime: 2e12 }),
    /later than/,
  ],
  [
    'chunks that overlap',
    (rows) => section(rows, 1, { baseOffset: 1_499 }),
    /begins before the one before it ends/,
  ],
  [
    'chunks that end early',
    (rows) => section(rows, 2, { endOffset: 3_499 }),
    /the chunks end at offset 3499, the sealed part at 3500/,
  ],
  ['a chunk without offsets', (rows) => section(rows, 0, { endOffset: 500 }), /holds no offsets/],
  ['a chunk without bytes', (rows) => section(rows, 0, { byteEnd: 64 }), /has no bytes/],
  [
    'a chunk of no partition',
    (rows) => alter(rows.chunks, 11, { partition: 7 }),
    /the chunks end|its partition is missing/,
  ],
  [
    'a sealed part without chunks',
    (rows) => {
      rows.chunks = rows.chunks.slice(3)
    },
    /offsets 600 to 3500 are sealed, but no chunk holds them/,
  ],
  ['a producer id from the future', (rows) => alter(rows.producers, 0, { producerId: 3 }), /never given out/],
  ['a producer of no partition', (rows) => alter(rows.producers, 0, { partition: 2 }), /only 2 partitions/],
  [
    'batches out of order',
    (rows) => alter(rows.producers, 0, { batches: [...(rows.producers[0]?.batches ?? [])].reverse() }),
    /sequences are not in order/,
  ],
  [
    'a producer id with two names',
    (rows) => alter(rows.producerNames, 1, { producerId: 1 }),
    /has two names/,
  ],
  [
    'a named producer id from the future',
    (rows) => alter(rows.producerNames, 1, { producerId: 3 }),
    /never given out/,
  ],
  ['a request from the future', (rows) => alter(rows.requests, 0, { order: 3 }), /never given out/],
  ['two requests of one order', (rows) => alter(rows.requests, 0, { order: 2 }), /order 2 too/],
  ['an answer from the future', (rows) => alter(rows.answers, 0, { order: 3 }), /never given out/],
  ['two answers of one order', (rows) => alter(rows.answers, 0, { order: 2 }), /another answer .* 2 too/],
  ['a group from the future', (rows) => alter(rows.groups, 3, { groupId: 5 }), /its id was never given out/],
  ['two groups of one name', (rows) => alter(rows.groups, 1, { name: 'billing-0' }), /second group is named/],
  ['a cursor without its group', (rows) => alter(rows.cursors, 0, { groupId: 9 }), /its group is missing/],
  ['a cursor of a work queue', (rows) => alter(rows.cursors, 0, { groupId: 2 }), /its group is a work queue/],
  ['a queue of consumers', (rows) => alter(rows.queues, 0, { groupId: 1 }), /its group is a consumer group/],
  [
    'a cursor without its partition',
    (rows) => alter(rows.cursors, 0, { partition: 2 }),
    /its partition is missing/,
  ],
  ['a cursor behind the end', (rows) => alter(rows.cursors, 0, { offset: 3_508 }), /behind the end 3507/],
  [
    'an owner from the future',
    (rows) => alter(rows.cursors, 0, { ownerEpoch: 5 }),
    /epoch 5, and the group 4/,
  ],
  ['a frontier behind the end', (rows) => alter(rows.queues, 0, { frontier: 3_508 }), /not in order/],
  [
    'ranges with a hole',
    (rows) => range(rows, 1, { from: 3_503 }),
    /do not follow one another at offset 3502/,
  ],
  ['an empty range', (rows) => range(rows, 1, { to: 3_502 }), /do not follow one another/],
  ['ranges that end early', (rows) => range(rows, 2, { to: 3_505 }), /end at offset 3505/],
  ['a lease from the future', (rows) => range(rows, 0, { leaseId: 9 }), /lease 9 was never given out/],
  ['a queue that begins with what is done', (rows) => range(rows, 0, { kind: 0 }), /first range is done/],
  ['a bucket without its topic', (rows) => alter(rows.dedupBuckets, 1, { topicId: topicIdOf(9) }), /missing/],
  ['a bucket with too many ids', (rows) => alter(rows.dedupBuckets, 0, { count: 6 }), /hold 5/],
  ['a page too few', (rows) => rows.dedupPages.splice(0, 1), /page 0 before it is missing/],
  ['a page without its bucket', (rows) => alter(rows.dedupPages, 3, { start: 1 }), /pages hold 3|missing/],
  ['a bucket that is gone', (rows) => rows.dedupBuckets.pop(), /its bucket is missing/],
]

describe('checkInvariants', () => {
  it('takes contents that hold together', () => {
    expect(refusalOf(() => {})).toBeUndefined()
  })

  it('takes gaps between chunks, which compaction leaves', () => {
    expect(refusalOf((rows) => section(rows, 1, { baseOffset: 1_700 }))).toBeUndefined()
  })

  it('takes a start offset in the unsealed part when nothing is sealed', () => {
    const change = (rows: Lists): void => {
      rows.chunks = rows.chunks.slice(3)
      alter(rows.partitions, 0, { startOffset: 3_503 })
    }
    expect(refusalOf(change)).toBeUndefined()
  })

  it.each(breaches)('refuses %s', (_what, change, refusal) => {
    expect(refusalOf(change)).toMatch(refusal)
  })

  it('refuses counts that the rows do not have', () => {
    const contents = someContents({ topics: 1, partitions: 1, chunks: 1 })
    expect(() => checkInvariants({ ...contents, requests: [] })).toThrow(
      /request: 0 rows were found where 1 were written/,
    )
  })
})
