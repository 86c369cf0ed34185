import { describe, expect, it } from 'vitest'
import { checkInvariants } from '../../../broker/manifest/invariants.js'
import type { ManifestContents } from '../../../broker/manifest/rows.js'
import { shardRow, someContents, topicIdOf } from './rows.js'

type Lists = { -readonly [Kind in keyof Omit<ManifestContents, 'shard'>]: ManifestContents[Kind] }

/** The refusal after `change` to contents that hold together; counts are made to fit again. */
function refusalOf(change: (rows: Lists) => void): string | undefined {
  const { shard, ...rows } = structuredClone(someContents({ topics: 2, partitions: 2, chunks: 3 }))
  change(rows)
  const { nextProducerId = 0, requestOrder = 0 } = shard ?? {}
  try {
    checkInvariants({ ...rows, shard: shardRow(rows, { nextProducerId, requestOrder }) })
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

const breaches: [what: string, change: (rows: Lists) => void, refusal: RegExp][] = [
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
    'a start offset in the unsealed part',
    (rows) => alter(rows.partitions, 0, { startOffset: 3_501 }),
    /not in order/,
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
]

describe('checkInvariants', () => {
  it('takes contents that hold together', () => {
    expect(refusalOf(() => {})).toBeUndefined()
  })

  it('takes gaps between chunks, which compaction leaves', () => {
    expect(refusalOf((rows) => section(rows, 1, { baseOffset: 1_700 }))).toBeUndefined()
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
