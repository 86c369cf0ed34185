import { gzipSync } from 'node:zlib'
import { describe, expect, test, vi } from 'vitest'
import { type EntrySlice, EntrySlicer, entriesIn } from '../../../broker/groups/entry-slice.js'
import { InflationGate } from '../../../broker/groups/inflation-gate.js'
import { COMPRESSION, type EntryHeader } from '../../../protocol/entry.js'
import { bitmapBytes, setBit, writeSection } from '../../../protocol/entry-section.js'
import { decodeRecords, RecordBatchBuilder } from '../../../protocol/records.js'
import { joined, type StoredEntry, storedEntry } from '../../support/entries.js'
import { SeededRandom } from '../../support/seeded-random.js'

interface EntryOptions {
  baseOffset?: number
  gzip?: boolean
  omitted?: readonly number[]
  valueBytes?: (index: number) => number
}

/** An entry whose record i has the key `k<offset>`. */
function entryOf(records: number, options: EntryOptions = {}): StoredEntry {
  const { baseOffset = 100, gzip = false, omitted, valueBytes = () => 3 } = options
  const builder = new RecordBatchBuilder()
  for (let i = 0; i < records; i++) {
    const headers = i % 3 === 0 ? { trace: `t${i}` } : null
    builder.append({
      key: `k${baseOffset + i}`,
      value: new Uint8Array(valueBytes(i)),
      headers,
      timestamp: 1000 + i,
    })
  }
  const { payload, recordCount, baseTimestamp } = builder.finish()
  const bits = new Uint8Array(bitmapBytes(records))
  for (const index of omitted ?? []) setBit(bits, index)
  const section = omitted === undefined ? undefined : writeSection({ ids: undefined, omitted: bits })
  const header: Partial<EntryHeader> = {
    baseOffset,
    lastOffsetDelta: records - 1,
    recordCount,
    baseTimestamp,
    attributes: gzip ? COMPRESSION.gzip : COMPRESSION.none,
  }
  const stored = gzip ? new Uint8Array(gzipSync(payload)) : new Uint8Array(payload)
  const entry = storedEntry({ ...header, payload: stored, ...(section && { section }) })
  // The support file knows nothing of compression.
  return gzip ? withInflatedBytes(entry, payload.length) : entry
}

const withInflatedBytes = (entry: StoredEntry, inflatedBytes: number): StoredEntry => ({
  ...entry,
  header: { ...entry.header, inflatedBytes },
})

const slicer = (): EntrySlicer => new EntrySlicer({ cacheBytesMax: 1 << 20 })

/** The view of an entry as entriesIn gives it, with the header of the test. */
function viewOf(entry: StoredEntry) {
  const [view] = [...entriesIn([entry.bytes])]
  if (view === undefined) throw new Error('no entry')
  return { ...view, header: entry.header }
}

const keysOf = (slice: EntrySlice): string[] =>
  decodeRecords(joined(slice.parts), slice.recordCount).map(({ key, offsetDelta }) => {
    expect(key).toBe(`k${slice.header.baseOffset + offsetDelta}`)
    return key as string
  })

describe('a slice of an entry', () => {
  test('holds exactly the records asked for, at their own offsets', async () => {
    const view = viewOf(entryOf(10))
    const slice = await slicer().slice(view, [
      { from: 102, to: 104 },
      { from: 107, to: 108 },
    ])
    expect(keysOf(slice)).toEqual(['k102', 'k103', 'k107'])
    expect(slice.payloadBytes).toBe(joined(slice.parts).length)
    expect(decodeRecords(joined(slice.parts), 3)[0]).toMatchObject({ offsetDelta: 2, timestampDelta: 2 })
  })

  test('copies nothing of an uncompressed entry, and neighbours go as one piece', async () => {
    const entry = entryOf(10)
    const slice = await slicer().slice(viewOf(entry), [
      { from: 101, to: 103 },
      { from: 103, to: 106 },
    ])
    expect(slice.parts).toHaveLength(2)
    expect(slice.parts[1]?.buffer).toBe(entry.bytes.buffer)
  })

  test('takes no more than the entry has', async () => {
    const slice = await slicer().slice(viewOf(entryOf(3)), [{ from: 0, to: 1000 }])
    expect(keysOf(slice)).toEqual(['k100', 'k101', 'k102'])
  })

  test('never holds a record that was omitted', async () => {
    const view = viewOf(entryOf(6, { omitted: [0, 3, 4] }))
    expect(await slicer().live([view])).toEqual([
      { from: 101, to: 103 },
      { from: 105, to: 106 },
    ])
    expect(keysOf(await slicer().slice(view, [{ from: 100, to: 106 }]))).toEqual(['k101', 'k102', 'k105'])
  })

  test('of a compressed entry is inflated, once for all its jobs', async () => {
    const view = viewOf(entryOf(500, { gzip: true }))
    const shared = slicer()
    const slices = await Promise.all(
      Array.from({ length: 500 }, (_, i) => shared.slice(view, [{ from: 100 + i, to: 101 + i }])),
    )
    expect(slices.map((slice) => keysOf(slice)[0])).toEqual(
      Array.from({ length: 500 }, (_, i) => `k${100 + i}`),
    )
    const buffers = new Set(slices.map(({ parts }) => parts[1]?.buffer))
    expect(buffers.size).toBe(1)
  })

  test('that inflates to more than its header says is corrupt, and is not kept', async () => {
    const entry = entryOf(50, { gzip: true })
    const view = viewOf(withInflatedBytes(entry, entry.header.inflatedBytes - 1))
    const shared = slicer()
    await expect(shared.slice(view, [{ from: 100, to: 101 }])).rejects.toMatchObject({ code: 'CORRUPT_DATA' })
    expect(shared.cachedBytes).toBe(0)
  })

  test('that is no list of so many records is corrupt', async () => {
    const view = viewOf(entryOf(5))
    const wrong = { ...view, header: { ...view.header, recordCount: 4 } }
    await expect(slicer().slice(wrong, [{ from: 100, to: 101 }])).rejects.toMatchObject({
      code: 'CORRUPT_DATA',
    })
  })
})

test('of many compressed entries few are inflated at once', async () => {
  const views = Array.from({ length: 40 }, (_, i) => viewOf(entryOf(50, { gzip: true, baseOffset: i * 50 })))
  const run = vi.spyOn(InflationGate.prototype, 'run')
  const shared = slicer()
  const slices = await Promise.all(views.map((view) => shared.slice(view, [view])))
  expect(slices.map(({ recordCount }) => recordCount)).toEqual(views.map(() => 50))
  expect(run.mock.calls.map(([bytes]) => bytes)).toEqual(views.map(({ header }) => header.inflatedBytes))
  run.mockRestore()
})

test('inflated entries are kept within a bound, the least recently used go first', async () => {
  const entries = Array.from({ length: 6 }, (_, i) =>
    viewOf(entryOf(10, { gzip: true, baseOffset: i * 10, valueBytes: () => 1000 })),
  )
  const bytes = entries[0]?.header.inflatedBytes ?? 0
  const shared = new EntrySlicer({ cacheBytesMax: 3 * (bytes + 300) })
  for (const view of entries) {
    await shared.slice(view, [{ from: view.from, to: view.from + 1 }])
    expect(shared.cachedBytes).toBeLessThanOrEqual(3 * (bytes + 300))
  }
  expect(shared.cachedBytes).toBeGreaterThan(2 * bytes)
})

test('the offsets of an entry that lost records to compaction are found in its payload', async () => {
  // Three records, at deltas 0, 2 and 5.
  const payload = Uint8Array.of(
    0x93,
    0x95,
    0,
    0,
    0xc0,
    0xc0,
    0xc0,
    0x95,
    2,
    0,
    0xc0,
    0xc0,
    0xc0,
    0x95,
    5,
    0,
    0xc0,
    0xc0,
    0xc0,
  )
  const view = viewOf(storedEntry({ baseOffset: 40, lastOffsetDelta: 7, recordCount: 3, payload }))
  expect(await slicer().live([view])).toEqual([
    { from: 40, to: 41 },
    { from: 42, to: 43 },
    { from: 45, to: 46 },
  ])
  const slice = await slicer().slice(view, [{ from: 41, to: 44 }])
  expect(decodeRecords(joined(slice.parts), 1)).toMatchObject([{ offsetDelta: 2 }])
})

test('the entries of a read are found end to end, in buffers of any number', () => {
  const entries = [
    entryOf(3, { baseOffset: 0 }),
    entryOf(1, { baseOffset: 3 }),
    entryOf(20, { baseOffset: 4 }),
  ]
  const [a, b, c] = entries.map(({ bytes }) => bytes) as [Uint8Array, Uint8Array, Uint8Array]
  expect([...entriesIn([joined([a, b]), c])].map(({ from, to }) => [from, to])).toEqual([
    [0, 3],
    [3, 4],
    [4, 24],
  ])
})

test('any choice of records of any entry is what decoding the whole of it says', async () => {
  for (let seed = 1; seed <= 60; seed++) {
    const random = new SeededRandom(seed)
    const records = 1 + random.below(400)
    const omitted = random.chance(0.5)
      ? Array.from({ length: records }, (_, i) => i).filter(() => random.chance(0.2))
      : undefined
    const entry = entryOf(records, {
      gzip: random.chance(0.5),
      valueBytes: (i) => (i * 7919) % 90,
      ...(omitted && { omitted }),
    })
    const view = viewOf(entry)
    const shared = slicer()
    const gone = new Set(omitted)
    for (let round = 0; round < 8; round++) {
      const wanted: { from: number; to: number }[] = []
      for (let at = 100 + random.below(50); at < 100 + records + 20; ) {
        const to = at + 1 + random.below(40)
        wanted.push({ from: at, to })
        at = to + random.below(60)
      }
      const expected = Array.from({ length: records }, (_, i) => i)
        .filter((i) => !gone.has(i) && wanted.some(({ from, to }) => 100 + i >= from && 100 + i < to))
        .map((i) => `k${100 + i}`)
      expect(keysOf(await shared.slice(view, wanted)), `seed ${seed}`).toEqual(expected)
    }
  }
})
