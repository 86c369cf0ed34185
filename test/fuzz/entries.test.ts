import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { crc32 } from '#crc32'
import { type EntryPlace, recordsOf, storedBatchAt } from '../../client/stored-batch.js'
import {
  ENTRY_HEADER_BYTES,
  type EntryHeader,
  entryPayload,
  readEntryHeader,
  writeEntryHeader,
} from '../../protocol/entry.js'
import { writeSection } from '../../protocol/entry-section.js'
import { MillraceError } from '../../protocol/error-codes.js'
import { RecordBatchBuilder } from '../../protocol/records.js'
import { someTopicId } from '../support/entries.js'
import { FUZZ_TIMEOUT_MS, runCampaign } from './campaign.js'
import { chosen, otherNumber } from './lies.js'

interface EntryRecipe {
  readonly entries: number
  readonly changes: readonly {
    readonly what: number
    readonly entry: number
    readonly at: number
    readonly n: number
    /** Whether the checksums are made right again. */
    readonly isSealed: boolean
  }[]
}
type EntryChange = EntryRecipe['changes'][number]

const entryRecipe: fc.Arbitrary<EntryRecipe> = fc.record(
  {
    entries: fc.integer({ min: 1, max: 5 }),
    changes: fc.array(
      fc.record(
        { what: fc.nat(6), entry: fc.nat(4), at: fc.nat(200), n: fc.nat(500), isSealed: fc.boolean() },
        { noNullPrototype: true },
      ),
      { minLength: 1, maxLength: 2 },
    ),
  },
  { noNullPrototype: true },
)

const BASE_OFFSET = 40
const INFLATED_BYTES_MAX = 4 * 1024 * 1024
const REFUSALS = ['CORRUPT_DATA', 'BAD_BATCH', 'BAD_COMPRESSION']

test('a client reads from changed entries what was written, or says in its own words that they are damaged', {
  timeout: FUZZ_TIMEOUT_MS,
}, async () => {
  const outcomes = { read: 0, refused: 0 }
  await runCampaign({
    name: 'entries',
    recipe: entryRecipe,
    runs: 1_000,
    holds: async (recipe) => {
      outcomes[await tryEntries(recipe)]++
    },
  })
  expect(outcomes.refused).toBeGreaterThan(100)
})

async function tryEntries({ entries, changes }: EntryRecipe): Promise<'read' | 'refused'> {
  const whole = Array.from({ length: entries }, (_, i) => entryOf(i))
  let parts = whole.map((part) => new Uint8Array(part))
  for (const change of changes) parts = changed(parts, change)
  const written = await valuesOf(new Uint8Array(Buffer.concat(whole)))
  const isForged = changes.some(({ isSealed }) => isSealed)
  let found: string[]
  try {
    found = await valuesOf(new Uint8Array(Buffer.concat(parts)))
  } catch (error) {
    if (!(error instanceof MillraceError) || !REFUSALS.includes(error.code)) throw error
    return 'refused'
  }
  // Without a forged checksum some may be missing, as a gap, and none is another.
  for (const value of isForged ? [] : found)
    if (!written.includes(value)) throw new Error(`${value} was read and never written`)
  return 'read'
}

/** What a reader gives out, `offset value`, as the partition source takes it: entry by entry, from the first offset on. */
async function valuesOf(delivered: Uint8Array): Promise<string[]> {
  const values: string[] = []
  let offset = BASE_OFFSET
  for (let at = 0; at < delivered.length; ) {
    const place: EntryPlace = {
      topicName: 'orders',
      topicId: someTopicId,
      partition: 0,
      offset,
      mayBeginBelow: false,
    }
    const batch = storedBatchAt(delivered, at, place)
    if (!(batch.nextOffset > offset) || !(batch.bytes >= ENTRY_HEADER_BYTES))
      throw new Error(`a reader would not come past offset ${offset}`)
    for (const { offsetDelta, value } of await recordsOf(batch, place, INFLATED_BYTES_MAX))
      values.push(`${batch.header.baseOffset + offsetDelta} ${String(value)}`)
    offset = batch.nextOffset
    at += batch.bytes
  }
  return values
}

/** Three records, some of them compressed, the second one omitted in some. */
function entryOf(index: number): Uint8Array {
  const builder = new RecordBatchBuilder()
  for (let i = 0; i < 3; i++) builder.append({ key: null, value: `${index} ${i}`, timestamp: 5 })
  const { payload: plain, recordCount, baseTimestamp } = builder.finish()
  const isZipped = index % 2 === 1
  const payload = isZipped ? new Uint8Array(gzipSync(plain)) : plain.slice()
  const section =
    index % 3 === 2 ? writeSection({ ids: undefined, omitted: Uint8Array.of(2) }) : new Uint8Array()
  const bytes = new Uint8Array(ENTRY_HEADER_BYTES + section.length + payload.length)
  bytes.set(section, ENTRY_HEADER_BYTES)
  bytes.set(payload, ENTRY_HEADER_BYTES + section.length)
  writeEntryHeader(bytes, 0, {
    attributes: isZipped ? 1 : 0,
    payloadCrc: crc32(payload),
    topicId: someTopicId,
    partition: 0,
    baseOffset: BASE_OFFSET + 3 * index,
    lastOffsetDelta: 2,
    recordCount,
    appendTime: 9,
    baseTimestamp,
    producerId: 0,
    producerEpoch: 0,
    baseSequence: 0,
    sectionBytes: section.length,
    sectionCrc: crc32(section),
    payloadBytes: payload.length,
    inflatedBytes: plain.length,
  })
  return bytes
}

function changed(parts: Uint8Array<ArrayBuffer>[], change: EntryChange): Uint8Array<ArrayBuffer>[] {
  const { what, at, n, isSealed } = change
  if (parts.length === 0) return parts
  const index = change.entry % parts.length
  const entry = parts[index] as Uint8Array<ArrayBuffer>
  const other = (index + n) % parts.length
  switch (what) {
    case 0:
      return parts.filter((_, i) => i !== index)
    case 1:
      return [...parts, entry]
    case 2:
      return parts.map((part, i) =>
        i === index ? (parts[other] as Uint8Array<ArrayBuffer>) : i === other ? entry : part,
      )
    case 3:
      return parts.map((part, i) =>
        i === index ? entry.slice(0, Math.max(0, entry.length - 1 - (n % 200))) : part,
      )
    default: {
      if (entry.length < ENTRY_HEADER_BYTES) return parts
      if (what === 4) lieInHeader(entry, { at, n })
      else {
        const from = what === 5 ? ENTRY_HEADER_BYTES : 0
        const place = from + (at % Math.max(1, entry.length - from))
        entry[place] = (entry[place] as number) ^ (1 + (n % 255))
      }
      if (isSealed) seal(entry)
      return parts
    }
  }
}

const LARGE = ['baseOffset', 'appendTime', 'producerId'] as const
const SMALL = [
  'partition',
  'lastOffsetDelta',
  'recordCount',
  'sectionBytes',
  'payloadBytes',
  'inflatedBytes',
] as const

function lieInHeader(entry: Uint8Array, { at, n }: { at: number; n: number }): void {
  const header = readEntryHeader(entry)
  const name = chosen<keyof EntryHeader>([...LARGE, ...SMALL], at)
  const max = (LARGE as readonly string[]).includes(name) ? Number.MAX_SAFE_INTEGER : 0xffff_ffff
  const attributes = at % 11 === 10 ? n % 8 : header.attributes
  const before = entry.slice(8, 12)
  writeEntryHeader(entry, 0, {
    ...header,
    attributes,
    [name]: otherNumber(header[name] as number, n, { max }),
  })
  // The checksum of before: a seal makes it right.
  entry.set(before, 8)
}

function seal(entry: Uint8Array): void {
  const header = readEntryHeader(entry)
  const section = entry.subarray(ENTRY_HEADER_BYTES, ENTRY_HEADER_BYTES + header.sectionBytes)
  const isWhole = Object.values(header).every((value) => !Number.isNaN(value))
  if (!isWhole) return
  writeEntryHeader(entry, 0, {
    ...header,
    sectionCrc: crc32(section),
    payloadCrc: crc32(entryPayload(entry, header)),
  })
}
