import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { crc32 } from '#crc32'
import type { AppendBatch } from '../../broker/shard/append-batch.js'
import type { Shard } from '../../broker/shard/shard.js'
import { entryPayload, readEntryHeader } from '../../protocol/entry.js'
import { omittedBits } from '../../protocol/entry-section.js'
import { MillraceError } from '../../protocol/error-codes.js'
import type { TopicId } from '../../protocol/ids.js'
import { decodeRecords } from '../../protocol/records.js'
import { SeededRandom } from '../support/seeded-random.js'
import { SimulatedDisk } from '../support/simulated-disk.js'
import { SimulatedStore } from '../support/simulated-store.js'
import { append, openTestShard, SMALL_LIMITS, someRequestId } from '../support/test-shard.js'
import { FUZZ_TIMEOUT_MS, runCampaign } from './campaign.js'
import { encode } from './messagepack.js'
import { isPayload, readValue } from './second-opinion.js'
import { editTree, type TreeEdit, treeEdit } from './tree-edits.js'

/** What a batch says of itself, or how it is compressed, against what it is. */
const LIES = [
  'none',
  'none',
  'none',
  'gzip',
  'gzip',
  'gzipTail',
  'gzipTwice',
  'gzipCut',
  'noGzip',
  'gzipOfLess',
  'countMore',
  'countLess',
  'inflatedMore',
  'inflatedLess',
  'inflatedHuge',
  'crc',
  'attributes',
  'ids',
  'idsShort',
  'idsNone',
  'idsPast',
  'sequence',
] as const
type Lie = (typeof LIES)[number]

interface BatchRecipe {
  readonly seed: number
  readonly records: number
  /** Bit 0: keys are text; bit 1: values are. */
  readonly encodings: number
  readonly lie: number
  readonly edits: readonly TreeEdit[]
}

const batchRecipe: fc.Arbitrary<BatchRecipe> = fc.record(
  {
    seed: fc.nat(1_000_000),
    records: fc.integer({ min: 1, max: 20 }),
    encodings: fc.nat(3),
    lie: fc.nat(LIES.length - 1),
    edits: fc.array(treeEdit, { maxLength: 2 }),
  },
  { noNullPrototype: true },
)

const REFUSALS = [
  'BAD_BATCH',
  'BAD_CRC',
  'BAD_COMPRESSION',
  'BATCH_TOO_LARGE',
  'RECORD_TOO_LARGE',
  'ENCODING_MISMATCH',
  'ILLEGAL_ARGUMENT',
]

let shard: Shard
const topics: TopicId[] = []

beforeAll(async () => {
  shard = await openTestShard({ directory: '/', disk: new SimulatedDisk(), store: new SimulatedStore() })
  for (let encodings = 0; encodings < 4; encodings++) {
    const { topic } = await shard.createTopic({
      requestId: someRequestId(),
      name: `topic-${encodings}`,
      partitions: 1,
      keyEncoding: (encodings & 1) === 1 ? 'text' : 'msgpack',
      valueEncoding: (encodings & 2) === 2 ? 'json' : 'bytes',
      ifMissing: false,
    })
    topics.push(topic.topicId)
  }
})

afterAll(async () => {
  await shard.close()
})

test('a batch is written byte for byte when it is what PROTOCOL.md says, and else refused without a trace', {
  timeout: FUZZ_TIMEOUT_MS,
}, async () => {
  const verdicts = { legal: 0, illegal: 0 }
  await runCampaign({
    name: 'batches',
    recipe: batchRecipe,
    runs: 1_000,
    holds: async (recipe) => {
      verdicts[await tryBatch(recipe)]++
    },
  })
  // A campaign that sees one kind alone shows nothing.
  expect(Math.min(verdicts.legal, verdicts.illegal)).toBeGreaterThan(100)
})

async function tryBatch(recipe: BatchRecipe): Promise<'legal' | 'illegal'> {
  const topicId = topics[recipe.encodings] as TopicId
  const { batch, isLegal } = batchOf(recipe, topicId)
  const before = shard.bounds(topicId, 0).durableEnd
  let outcome: unknown
  try {
    outcome = await append(shard, batch)
  } catch (error) {
    if (!(error instanceof MillraceError) || !REFUSALS.includes(error.code)) throw error
    if (isLegal) throw new Error(`a legal batch was refused with ${error.code}: ${error.message}`)
    expect(shard.bounds(topicId, 0).durableEnd).toBe(before)
    return 'illegal'
  }
  if (!isLegal) throw new Error(`an illegal batch was written: ${JSON.stringify(outcome)}`)
  await assertStored(topicId, before, batch)
  return 'legal'
}

async function assertStored(topicId: TopicId, offset: number, batch: AppendBatch): Promise<void> {
  const read = await shard.read({ topicId, partition: 0, offset, maxBytes: 1 })
  const bytes = new Uint8Array(Buffer.concat(read.buffers))
  read.release()
  const header = readEntryHeader(bytes)
  const payload = entryPayload(bytes, header)
  if (!Buffer.from(payload).equals(batch.payload)) throw new Error('other bytes are stored than were sent')
  expect(header).toMatchObject({
    baseOffset: offset,
    recordCount: batch.recordCount,
    attributes: batch.attributes,
  })
  if (batch.attributes !== 0) return
  const list = readValue(payload)
  const records = decodeRecords(payload, header.recordCount, omittedBits(bytes, header))
  expect(records.length).toBe(list.kind === 'list' ? list.items.length : -1)
}

function batchOf(recipe: BatchRecipe, topicId: TopicId): { batch: AppendBatch; isLegal: boolean } {
  const lie = LIES[recipe.lie] as Lie
  let tree: unknown = recordsTree(recipe)
  const others = [recordsTree({ ...recipe, seed: recipe.seed + 1, encodings: 3 - recipe.encodings })]
  for (const edit of recipe.edits) tree = editTree(tree, edit, others)
  const records = encode(tree)
  const count = recipe.records + (lie === 'countMore' ? 1 : lie === 'countLess' ? -1 : 0)
  const { payload, inflatedBytes, isWhole } = compressed(records, lie)
  const { dedupIds, areLegal } = idsOf(lie, count)
  const claims = {
    recordCount: count,
    keyTextual: (recipe.encodings & 1) === 1,
    valueTextual: (recipe.encodings & 2) === 2,
    recordBytesMax: SMALL_LIMITS.recordBytesMax,
  }
  const isSmall =
    Math.max(
      payload.length + (dedupIds?.bitmap.length ?? 0) + (dedupIds?.hashes.length ?? 0),
      inflatedBytes,
    ) <= SMALL_LIMITS.batchBytesMax
  const isHonest = !['crc', 'attributes', 'sequence', 'gzipOfLess'].includes(lie)
  return {
    isLegal: isWhole && isHonest && isSmall && areLegal && count > 0 && isPayload(records, claims),
    batch: {
      topicId,
      partition: 0,
      producerId: null,
      producerEpoch: 0,
      baseSequence: lie === 'sequence' ? Number.MAX_SAFE_INTEGER : 0,
      attributes: lie === 'attributes' ? 2 + (recipe.seed % 5000) : /^(no)?gzip/i.test(lie) ? 1 : 0,
      baseTimestamp: 1_700_000_000_000,
      recordCount: count,
      inflatedBytes,
      payloadCrc: lie === 'crc' ? (crc32(payload) ^ 1) >>> 0 : crc32(payload),
      payload,
      expectedOffset: null,
      dedupIds,
    },
  }
}

function recordsTree({ seed, records, encodings }: BatchRecipe): unknown[] {
  const random = new SeededRandom(seed)
  const content = (isTextual: boolean): unknown => {
    if (random.chance(0.2)) return null
    const bytes = random.bytes(random.below(60))
    return isTextual ? Buffer.from(bytes).toString('hex') : bytes
  }
  return Array.from({ length: records }, (_, i) => [
    i,
    random.below(1000) - 500,
    content((encodings & 1) === 1),
    content((encodings & 2) === 2),
    random.chance(0.7) ? null : { trace: content(true) ?? '', raw: content(false) ?? 'x' },
  ])
}

/** The payload under a lie about its compression, and whether it is one gzip member of what is claimed, or plain. */
function compressed(
  records: Uint8Array,
  lie: Lie,
): { payload: Uint8Array; inflatedBytes: number; isWhole: boolean } {
  const zipped = new Uint8Array(gzipSync(records))
  const claimed = records.length
  const plain = (inflatedBytes: number) => ({
    payload: records,
    inflatedBytes,
    isWhole: inflatedBytes === claimed,
  })
  const gzip = (parts: readonly Uint8Array[], isWhole: boolean, inflatedBytes = claimed) => ({
    payload: new Uint8Array(Buffer.concat(parts)),
    inflatedBytes,
    isWhole,
  })
  switch (lie) {
    case 'gzip':
      return gzip([zipped], true)
    case 'gzipTail':
      return gzip([zipped, Uint8Array.of(0)], false)
    case 'gzipTwice':
      return gzip([zipped, zipped], false, 2 * claimed)
    case 'gzipCut':
      return gzip([zipped.subarray(0, -1)], false)
    case 'gzipOfLess':
      return gzip([new Uint8Array(gzipSync(records.subarray(0, -1)))], false)
    case 'noGzip':
      return gzip([records], false)
    case 'inflatedMore':
      return plain(claimed + 1)
    case 'inflatedLess':
      return plain(Math.max(0, claimed - 1))
    case 'inflatedHuge':
      return plain(2 ** 32 - 1)
    default:
      return plain(claimed)
  }
}

let idsGiven = 0

function idsOf(lie: Lie, count: number): { dedupIds: AppendBatch['dedupIds']; areLegal: boolean } {
  if (!lie.startsWith('ids')) return { dedupIds: null, areLegal: true }
  const bitmap = new Uint8Array(Math.ceil(count / 8))
  if (lie !== 'idsNone') bitmap[0] = 1
  if (lie === 'idsPast')
    bitmap[bitmap.length - 1] = (bitmap.at(-1) as number) | (count % 8 === 0 ? 0 : 1 << (count % 8))
  // Never the same again: a duplicate would be left out.
  const hashes = new SeededRandom(++idsGiven).bytes(lie === 'idsShort' ? 15 : lie === 'idsNone' ? 0 : 16)
  return { dedupIds: { bitmap, hashes }, areLegal: lie === 'ids' || (lie === 'idsPast' && count % 8 === 0) }
}
