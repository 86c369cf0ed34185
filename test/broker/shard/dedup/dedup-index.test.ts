import { describe, expect, test } from 'vitest'
import type { DedupPageRow } from '../../../../broker/manifest/rows.js'
import { DedupChunk } from '../../../../broker/shard/dedup/chunk.js'
import { DedupIndex } from '../../../../broker/shard/dedup/dedup-index.js'
import { DEDUP_HASH_BYTES, DEDUP_PAGE_IDS, type DedupPlace } from '../../../../broker/shard/dedup/page.js'
import { DedupTable } from '../../../../broker/shard/dedup/table.js'
import type { DedupIds } from '../../../../protocol/entry-section.js'
import type { TopicId } from '../../../../protocol/ids.js'
import { PageMemory } from '../../../support/page-memory.js'
import { SeededRandom } from '../../../support/seeded-random.js'

const TOPICS = ['a', 'b', 'c'].map((digit) => digit.repeat(32) as TopicId)
const WINDOW_MS = 80_000
const WIDTH_MS = WINDOW_MS / 8
/** An hour, so that offsets and times of tests are far from zero. */
const EPOCH_MS = 3_600_000

/** Sixteen bytes that name `id`; only the last four differ, as a counter's would. */
function hashOf(id: number): Uint8Array {
  const hash = new Uint8Array(16)
  new DataView(hash.buffer).setUint32(12, id)
  return hash
}

function idsOf(ids: readonly (number | null)[]): DedupIds {
  const bitmap = new Uint8Array(Math.ceil(ids.length / 8))
  const hashes: number[] = []
  ids.forEach((id, record) => {
    if (id === null) return
    bitmap[record >>> 3]! |= 1 << (record & 7)
    hashes.push(...hashOf(id))
  })
  return { bitmap, hashes: new Uint8Array(hashes) }
}

const chunk = new DedupChunk()

/** Takes one chunk of ids. */
function chunkOf(ids: DedupIds): DedupChunk {
  chunk.begin(ids)
  chunk.next()
  return chunk
}

function findInTable(table: DedupTable, id: number, time: number): DedupPlace | undefined {
  const known = table.find(chunkOf(idsOf([id])), time)
  return known === 0 ? undefined : table.place(chunk.found[0]!)
}

function findIn(index: DedupIndex, topicId: TopicId, options: { id: number; time: number }) {
  const table = index.topic(topicId)
  return table && findInTable(table, options.id, options.time)
}

/** What the index is to do, said in the plainest way: a map from id to what was logged of it. */
class Model {
  readonly #ids = new Map<string, { time: number; partition: number; offset: number }>()

  insert(topicId: TopicId, id: number, at: { time: number; partition: number; offset: number }): void {
    this.#ids.set(`${topicId}/${id}`, at)
  }

  /** The place of an id that must be known, null for one that must not be, undefined where either is right. */
  find(topicId: TopicId, id: number, time: number): DedupPlace | null | undefined {
    const found = this.#ids.get(`${topicId}/${id}`)
    if (found === undefined || time > found.time + WINDOW_MS + WIDTH_MS) return null
    if (time > found.time + WINDOW_MS) return undefined
    return { partition: found.partition, offset: found.offset }
  }
}

function agrees(found: DedupPlace | undefined, expected: DedupPlace | null | undefined): boolean {
  if (expected === undefined) return true
  return found?.partition === expected?.partition && found?.offset === expected?.offset
}

/** What a manifest would hold after every flush. */
class Stored {
  readonly buckets = new Map<string, { topicId: TopicId; start: number; widthMs: number; count: number }>()
  readonly pages = new Map<string, DedupPageRow>()
  readonly #file = new PageMemory()
  #sequence = 0

  flush(index: DedupIndex): void {
    const before = this.#slots()
    const changes = index.changes()
    const deleted = changes.deletedBuckets.length + changes.deletedPages.length
    const bytes = [...changes.pages.map(({ hashes }) => hashes), ...changes.placed.map(({ bytes }) => bytes)]
      .map(({ length }) => length)
      .reduce((sum, length) => sum + length, 0)
    expect(index.changedBytes).toBe(bytes + deleted * 160)
    for (const { topicId, start } of changes.deletedBuckets) this.buckets.delete(`${topicId}/${start}`)
    for (const { topicId, start, page } of changes.deletedPages)
      this.pages.delete(`${topicId}/${start}/${page}`)
    for (const row of changes.buckets) this.buckets.set(`${row.topicId}/${row.start}`, row)
    for (const row of changes.pages)
      this.pages.set(`${row.topicId}/${row.start}/${row.page}`, {
        ...row,
        hashes: row.hashes.slice(),
        runs: row.runs.slice(),
      })
    // No page is put where one stands that the manifest, or the last snapshot, may name.
    const standing = new Set([...this.#snapshot, ...before])
    expect(changes.placed.filter(({ slot }) => standing.has(slot))).toEqual([])
    expect(this.#slots()).toHaveLength(new Set(this.#slots()).size)
    this.#file.write(changes.placed)
    index.flushed(++this.#sequence)
    if (this.#sequence % 3 === 0) {
      this.#snapshot = this.#slots()
      index.slots.reuse(this.#sequence)
    }
    expect(index.changedBytes).toBe(0)
    expect(this.buckets.size).toBe(index.bucketCount)
    expect(this.pages.size).toBe(index.pageCount)
  }

  #snapshot: readonly number[] = []

  #slots(): number[] {
    return [...this.pages.values()].flatMap(({ slot }) => slot ?? [])
  }

  load(windowMs = WINDOW_MS): DedupIndex {
    const index = new DedupIndex()
    const count = Math.max(-1, ...this.#slots(), ...this.#snapshot) + 1
    index.slots.load({ count, used: this.#slots(), sequence: this.#sequence })
    const keyOf = (row: { topicId: TopicId; start: number; page?: number }): string =>
      [row.topicId, row.start, row.page ?? 0].map((field) => String(field).padStart(16, '0')).join('/')
    const inOrder = <R extends Parameters<typeof keyOf>[0]>(rows: Iterable<R>): R[] =>
      [...rows].sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1))
    index.load(
      {
        buckets: inOrder(this.buckets.values()),
        pages: inOrder(this.pages.values()).map((row) => this.#file.fill(row)),
      },
      () => windowMs,
    )
    return index
  }
}

describe('the dedup index', () => {
  for (let seed = 1; seed <= 6; seed++) {
    test(`knows what a plain map knows, across flushes, expiry and restarts (seed ${seed})`, () => {
      const random = new SeededRandom(seed)
      const model = new Model()
      const stored = new Stored()
      let index = new DedupIndex()
      let time = EPOCH_MS
      let offset = 0
      const idMax = random.pick([50, 2_000, 60_000])
      for (let step = 0; step < 400; step++) {
        time += random.below(random.pick([10, 1_000, WIDTH_MS]))
        index.expire(time)
        const topicId = random.pick(TOPICS)
        const partition = random.below(4)
        const records = random.below(random.pick([4, 40, 1_000]))
        const ids: (number | null)[] = []
        const omitted = new Uint8Array(Math.ceil(records / 8))
        const taken = new Set<number>()
        for (let record = 0; record < records; record++) {
          const id = random.below(idMax)
          if (random.chance(0.2)) {
            ids.push(null)
            continue
          }
          ids.push(id)
          const found = findIn(index, topicId, { id, time })
          if (!taken.has(id) && !agrees(found, model.find(topicId, id, time)))
            expect.fail(`step ${step}: id ${id} was found at ${JSON.stringify(found)}`)
          if (found !== undefined || taken.has(id)) omitted[record >>> 3]! |= 1 << (record & 7)
          else model.insert(topicId, id, { time, partition, offset: offset + record })
          taken.add(id)
        }
        const growth = index.growth(topicId, { ids: records, time })
        const before = index.bytes
        const batch = { topicId, windowMs: WINDOW_MS, time, partition, baseOffset: offset, ids: idsOf(ids) }
        index.insert({ ...batch, omitted })
        expect(index.bytes).toBeLessThanOrEqual(before + growth)
        offset += records
        if (random.chance(0.05)) stored.flush(index)
        if (random.chance(0.02)) {
          stored.flush(index)
          const digests = [...index.digests()]
          const { ids } = index
          index = stored.load()
          expect([...index.digests()]).toEqual(digests)
          expect(index.ids).toBe(ids)
          expect(index.changedBytes).toBe(0)
        }
        if (random.chance(0.01)) {
          index.deleteTopic(topicId)
          for (let id = 0; id < idMax; id++)
            model.insert(topicId, id, { time: -1e9, partition: 0, offset: 0 })
          expect(index.topic(topicId)).toBeUndefined()
        }
      }
      index.expire(time + WINDOW_MS + WIDTH_MS)
      expect(index).toMatchObject({ ids: 0, bytes: 0, bucketCount: 0, pageCount: 0 })
      expect(index.nextExpiry).toBe(Number.POSITIVE_INFINITY)
      stored.flush(index)
      expect(stored.pages.size).toBe(0)
    })
  }

  test('holds an id for its whole window, and no longer than an eighth of it more, even if nothing is logged', () => {
    const [topicId] = TOPICS as [TopicId]
    for (const after of [0, 1, WIDTH_MS - 1]) {
      const index = new DedupIndex()
      const time = EPOCH_MS + after
      const batch = { topicId, windowMs: WINDOW_MS, partition: 0, baseOffset: 7, omitted: undefined }
      index.insert({ ...batch, time, ids: idsOf([1]) })
      expect(findIn(index, topicId, { id: 1, time: time + WINDOW_MS })).toEqual({ partition: 0, offset: 7 })
      expect(findIn(index, topicId, { id: 1, time: time + WINDOW_MS + WIDTH_MS })).toBeUndefined()
      expect(index.nextExpiry).toBe(EPOCH_MS + WINDOW_MS + WIDTH_MS)
      // What goes is counted out before it has gone: else an index that is full would stay so.
      expect(index.bytesAt(index.nextExpiry - 1)).toBe(index.bytes)
      expect(index.bytesAt(index.nextExpiry)).toBe(0)
      index.expire(index.nextExpiry - 1)
      expect(index.ids).toBe(1)
      index.expire(index.nextExpiry)
      expect(index.ids).toBe(0)
    }
  })

  test('lets a topic with another window expire by it, buckets made before as well', () => {
    const [topicId, other] = TOPICS as [TopicId, TopicId]
    const index = new DedupIndex()
    const batch = { windowMs: WINDOW_MS, partition: 0, baseOffset: 0, omitted: undefined, time: EPOCH_MS }
    index.insert({ ...batch, topicId, ids: idsOf([1]) })
    index.insert({ ...batch, topicId: other, ids: idsOf([1]) })
    index.setWindow(topicId, 8_000)
    expect(index.nextExpiry).toBe(EPOCH_MS + WIDTH_MS + 8_000)
    index.expire(index.nextExpiry)
    expect(index.topic(topicId)).toBeUndefined()
    expect(findIn(index, other, { id: 1, time: EPOCH_MS })).toBeDefined()
    index.setWindow(other, 10 * WINDOW_MS)
    const time = EPOCH_MS + 9 * WINDOW_MS
    index.expire(time)
    expect(findIn(index, other, { id: 1, time })).toBeDefined()
    index.insert({ ...batch, topicId: other, windowMs: 10 * WINDOW_MS, time, ids: idsOf([2]) })
    expect([...index.digests()].map(({ widthMs }) => widthMs)).toEqual([WIDTH_MS, 10 * WIDTH_MS])
  })

  test('costs about 23 bytes an id, and a topic with one id little', () => {
    const [topicId] = TOPICS as [TopicId]
    const index = new DedupIndex()
    const batch = { topicId, windowMs: WINDOW_MS, time: EPOCH_MS, partition: 0, omitted: undefined }
    index.insert({ ...batch, baseOffset: 0, ids: idsOf([1]) })
    expect(index.bytes).toBeLessThan(2_048)
    for (let base = 1; base < 200_000; base += 1_000)
      index.insert({
        ...batch,
        baseOffset: base,
        ids: idsOf(Array.from({ length: 1_000 }, (_, i) => base + i)),
      })
    expect(index.bytes / index.ids).toBeLessThan(30)
    expect(index.bytes / index.ids).toBeGreaterThan(DEDUP_HASH_BYTES)
  })

  test('refuses pages of the manifest that are not the ones its buckets count', () => {
    const [topicId] = TOPICS as [TopicId]
    const index = new DedupIndex()
    const ids = Array.from({ length: DEDUP_PAGE_IDS + 1 }, (_, i) => i)
    const batch = { topicId, windowMs: WINDOW_MS, time: EPOCH_MS, partition: 0, baseOffset: 0 }
    index.insert({ ...batch, ids: idsOf(ids), omitted: undefined })
    const { buckets, pages } = index.wholeRows()
    const [first, second] = pages as [(typeof pages)[0], (typeof pages)[0]]
    const load = (...given: typeof pages) => new DedupIndex().load({ buckets, pages: given }, () => WINDOW_MS)
    expect(() => load(first, second)).not.toThrow()
    expect(() => load(first)).toThrow('page 1')
    expect(() => load(second, first)).toThrow('page 0')
    expect(() => load({ ...first, start: 1 }, second)).toThrow('page 0')
    expect(() => load({ ...first, hashes: first.hashes.subarray(DEDUP_HASH_BYTES) }, second)).toThrow(
      'page 0',
    )
    expect(() => load(first, { ...second, hashes: first.hashes })).toThrow('page 1')
    expect(() => load(first, second, { ...second, page: 2 })).toThrow('without a bucket')
  })
})

describe('ids that are pending', () => {
  const [topicId, other] = TOPICS as [TopicId, TopicId]
  const at = { topicId, windowMs: WINDOW_MS, time: EPOCH_MS, partition: 3, baseOffset: 100 }

  /** Adds ids as a cut does; returns which records were known. */
  function cut(index: DedupIndex, ids: readonly (number | null)[], group: Partial<typeof at> = {}): number[] {
    const known: number[] = []
    const batch = new DedupChunk()
    batch.begin(idsOf(ids))
    while (batch.next()) {
      const count = index.add(batch, { ...at, ...group })
      const records = [...batch.records.subarray(0, batch.count)].filter((_, i) => batch.found[i]! >= 0)
      expect(records).toHaveLength(count)
      known.push(...records)
    }
    return known
  }

  const marked = (records: readonly number[], count: number): Uint8Array => {
    const bits = new Uint8Array(Math.ceil(count / 8))
    for (const record of records) bits[record >>> 3]! |= 1 << (record & 7)
    return bits
  }

  /** Everything of an index that is state, or goes to the manifest. */
  const seen = (index: DedupIndex) => {
    const { ids, bucketCount, pageCount, changedBytes } = index
    const digests = [...index.digests()]
    // In whatever order of the topics.
    const lines = Object.entries({ ...index.changes(), whole: Object.values(index.wholeRows()).flat() })
      .flatMap(([name, rows]) =>
        rows.map((row) =>
          JSON.stringify({
            name,
            ...row,
            hashes: 'hashes' in row ? row.hashes.length : null,
            runs: 'runs' in row ? row.runs.length : null,
          }),
        ),
      )
      .sort()
    return { ids, bucketCount, pageCount, changedBytes, lines, digests }
  }

  test('are found, by ids of the same batch too, and are no part of the state before they are inserted', () => {
    const index = new DedupIndex()
    const before = seen(index)
    expect(cut(index, [1, null, 2, 1])).toEqual([3])
    expect(cut(index, [2, 3], { baseOffset: 104 })).toEqual([0])
    expect(findIn(index, topicId, { id: 3, time: EPOCH_MS })).toEqual({ partition: 3, offset: 105 })
    expect(seen(index)).toEqual(before)
    index.insert({ ...at, ids: idsOf([1, null, 2, 1]), omitted: marked([3], 4) })
    expect(index.ids).toBe(2)
    expect(index.topic(topicId)?.pending).toBe(1)
    index.insert({ ...at, baseOffset: 104, ids: idsOf([2, 3]), omitted: marked([0], 2) })
    expect(index).toMatchObject({ ids: 3, bucketCount: 1, pageCount: 1, changedBytes: 3 * DEDUP_HASH_BYTES })
    expect(index.topic(topicId)?.pending).toBe(0)
  })

  test('that are withdrawn leave nothing, and those before them stay', () => {
    const index = new DedupIndex()
    cut(index, [1])
    const before = index.pendingIds()
    cut(
      index,
      Array.from({ length: 3_000 }, (_, i) => i),
      { baseOffset: 101 },
    )
    cut(index, [7], { topicId: other })
    index.withdraw(before)
    expect(index.topic(other)).toBeUndefined()
    expect(index.topic(topicId)?.pending).toBe(1)
    expect(cut(index, [2_999, 1], { baseOffset: 101 })).toEqual([1])
    index.withdraw()
    expect(index).toMatchObject({ ids: 0, bytes: 0, bucketCount: 0, nextExpiry: Number.POSITIVE_INFINITY })
  })

  test('go with their topic', () => {
    const index = new DedupIndex()
    cut(index, [1])
    cut(index, [1], { topicId: other })
    index.insert({ ...at, ids: idsOf([1]), omitted: undefined })
    cut(index, [2], { baseOffset: 101 })
    index.deleteTopic(topicId)
    index.deleteTopic(other)
    expect(index).toMatchObject({ ids: 0, bytes: 0, bucketCount: 0, pageCount: 0, changedBytes: 0 })
    index.withdraw()
    expect(index.bytes).toBe(0)
  })

  test('get the bucket that they have in a replay when the window of their topic changes with them', () => {
    const [index, replayed] = [new DedupIndex(), new DedupIndex()]
    const group = { ...at, windowMs: 16 * WINDOW_MS }
    cut(index, [1])
    for (const each of [index, replayed]) {
      each.setWindow(topicId, group.windowMs)
      each.insert({ ...group, ids: idsOf([1]), omitted: undefined })
    }
    expect(seen(index)).toEqual(seen(replayed))
    expect([...index.digests()]).toMatchObject([{ widthMs: 2 * WINDOW_MS, count: 1 }])
  })

  test('that are new because an older one is due take its place', () => {
    const index = new DedupIndex()
    cut(index, [1])
    index.insert({ ...at, ids: idsOf([1]), omitted: undefined })
    const later = { time: EPOCH_MS + WIDTH_MS + WINDOW_MS, baseOffset: 500 }
    expect(cut(index, [1, 1], later)).toEqual([1])
    expect(findIn(index, topicId, { id: 1, time: later.time })).toEqual({ partition: 3, offset: 500 })
    expect(index.ids).toBe(1)
    index.expire(later.time)
    index.insert({ ...at, ...later, ids: idsOf([1, 1]), omitted: marked([1], 2) })
    expect(findIn(index, topicId, { id: 1, time: later.time })).toEqual({ partition: 3, offset: 500 })
    expect(index).toMatchObject({ ids: 1, bucketCount: 1 })
  })

  test('never decide what is inserted: not when they are others, elsewhere, or of another time', () => {
    for (const wrong of [{ baseOffset: 99 }, { partition: 4 }, { time: EPOCH_MS - WIDTH_MS }, {}]) {
      const [index, replayed] = [new DedupIndex(), new DedupIndex()]
      const ids = Array.from({ length: 1_500 }, (_, i) => i)
      cut(index, 'time' in wrong || 'partition' in wrong ? ids : [-1, ...ids.slice(1)], wrong)
      for (const each of [index, replayed]) each.insert({ ...at, ids: idsOf(ids), omitted: undefined })
      expect(seen(index)).toEqual(seen(replayed))
      expect(findIn(index, topicId, { id: -1, time: EPOCH_MS })).toBeUndefined()
      expect(findIn(index, topicId, { id: 1_400, time: EPOCH_MS })).toEqual({ partition: 3, offset: 1_500 })
    }
  })

  for (let seed = 1; seed <= 3; seed++) {
    test(`make no difference to the state, whatever comes between cut and insert (seed ${seed})`, () => {
      const random = new SeededRandom(seed)
      const [index, replayed] = [new DedupIndex(), new DedupIndex()]
      const windows = new Map(TOPICS.map((topic) => [topic, WINDOW_MS]))
      const idMax = random.pick([100, 3_000, 1_000_000])
      const recordsMax = random.pick([10, 300, 1_500])
      let time = EPOCH_MS
      let offset = 2 ** 32 - 20_000
      const batchOf = () => {
        const count = 1 + random.below(recordsMax)
        const ids = Array.from({ length: count }, () => (random.chance(0.1) ? null : random.below(idMax)))
        return { ids, topicId: random.pick(TOPICS), partition: random.below(3) }
      }
      for (let round = 0; round < 40; round++) {
        time += random.below(random.pick([10, 2_000, WIDTH_MS]))
        // The cut: batches, and now and then some that are taken back.
        const batches: Parameters<DedupIndex['insert']>[0][] = []
        for (let n = 1 + random.below(4); n > 0; n--) {
          const { ids, ...place } = batchOf()
          const group = { ...place, windowMs: windows.get(place.topicId) as number, time, baseOffset: offset }
          const before = index.pendingIds()
          const bound = index.bytes + index.growth(group.topicId, { ids: ids.length, time })
          const known = new Set(cut(index, ids, group))
          expect(index.bytes).toBeLessThanOrEqual(bound)
          const own = new Set<number>()
          ids.forEach((id, record) => {
            if (id === null) return
            const there = findIn(index, group.topicId, { id, time })
            if (
              !known.has(record) &&
              (there?.partition !== group.partition || there.offset !== offset + record)
            )
              expect.fail(`id ${id} was found at ${JSON.stringify(there)}`)
            if (own.has(id) && !known.has(record)) expect.fail(`id ${id} came twice`)
            own.add(id)
          })
          if (random.chance(0.2)) {
            index.withdraw(before)
            continue
          }
          offset += ids.length
          batches.push({ ...group, ids: idsOf(ids), omitted: marked([...known], ids.length) })
        }
        expect(seen(index)).toEqual(seen(replayed))
        if (random.chance(0.3)) for (const each of [index, replayed]) each.flushed(1)
        // The group is applied; in a replay nothing is pending.
        const doomed = random.chance(0.05) ? random.pick(TOPICS) : undefined
        const altered = random.chance(0.1) ? random.pick(TOPICS) : undefined
        if (altered !== undefined)
          windows.set(altered, random.pick([WINDOW_MS / 4, WINDOW_MS, 3 * WINDOW_MS]))
        for (const each of [index, replayed]) {
          each.expire(time)
          if (altered !== undefined) each.setWindow(altered, windows.get(altered) as number)
          if (doomed !== undefined) each.deleteTopic(doomed)
          for (const batch of batches) {
            if (batch.topicId === doomed) continue
            each.insert({ ...batch, windowMs: windows.get(batch.topicId) as number })
          }
        }
        expect(seen(index)).toEqual(seen(replayed))
        index.withdraw()
        expect(seen(index)).toEqual(seen(replayed))
        expect(TOPICS.map((topic) => index.topic(topic)?.pending ?? 0)).toEqual([0, 0, 0])
        expect(index.nextExpiry).toBe(replayed.nextExpiry)
      }
    })
  }
})

const NOW = { windowMs: WINDOW_MS, time: EPOCH_MS }

/** Adds the ids `from` to `to`, each with its number for an offset. */
function insert(
  table: DedupTable,
  { from, to, time = EPOCH_MS }: { from: number; to: number; time?: number },
) {
  for (let id = from; id < to; id += 500) {
    const ids = Array.from({ length: Math.min(500, to - id) }, (_, i) => id + i)
    table.insert(chunkOf(idsOf(ids)), { partition: 1, baseOffset: id, time })
  }
}

describe('a dedup table', () => {
  for (const step of [1, 7, 300]) {
    test(`never says more of its memory than it has, while it grows beside the old one, by ${step}`, () => {
      const table = new DedupTable(NOW)
      const total = 100 * step
      for (let from = 0; from < total; from += step) {
        const bound = table.bytes + table.growth(step, EPOCH_MS)
        insert(table, { from, to: from + step })
        expect(table.bytes).toBeLessThanOrEqual(bound)
      }
      const lost = Array.from({ length: total }, (_, id) => id).filter(
        (id) => findInTable(table, id, EPOCH_MS)?.offset !== id,
      )
      expect(lost).toEqual([])
      expect(findInTable(table, total, EPOCH_MS)).toBeUndefined()
    })
  }

  test('finds every id right after it came, at every size of the table', () => {
    const table = new DedupTable(NOW)
    for (let id = 0; id < 3_000; id++) {
      insert(table, { from: id, to: id + 1 })
      const found = [id, id >>> 1, 0].map((known) => findInTable(table, known, EPOCH_MS)?.offset)
      if (found[0] !== id || found[1] !== id >>> 1 || found[2] !== 0) expect.fail(`after ${id}: ${found}`)
    }
  })

  test('holds its memory while pending ids come and are taken back, and loses none of the others', () => {
    const table = new DedupTable(NOW)
    insert(table, { from: 0, to: 2_000 })
    let bytesMax = 0
    for (let round = 0; round < 400; round++) {
      const ids = Array.from({ length: 300 }, (_, i) => 10_000 + round * 300 + i)
      const known = table.add(chunkOf(idsOf(ids)), { partition: 0, baseOffset: 1, time: EPOCH_MS })
      expect([known, table.pending]).toEqual([0, 300])
      bytesMax = Math.max(bytesMax, table.bytes)
      table.withdraw(round % 3)
      expect(table.pending).toBe(round % 3)
      table.withdraw()
      if (round % 20 === 0) insert(table, { from: 2_000 + round, to: 2_020 + round })
      for (const id of [0, 1_999, 2_000 + round - (round % 20)])
        if (findInTable(table, id, EPOCH_MS)?.offset !== id) expect.fail(`round ${round}: ${id} was lost`)
      if (findInTable(table, ids[0]!, EPOCH_MS) !== undefined) expect.fail(`round ${round}: an id came back`)
    }
    expect(table.ids).toBe(2_400)
    expect(bytesMax).toBeLessThan(200_000)
  })

  test('holds its memory while buckets come and go, for more pages than positions can name', () => {
    const table = new DedupTable(NOW)
    let time = EPOCH_MS
    let bytesMax = 0
    let id = 0
    // 34,000 pages, each of one id only but for now and then: page numbers go round twice.
    for (let round = 0; round < 34_000; round++, time += WIDTH_MS) {
      while (table.nextExpiry <= time) table.dropOldest()
      const count = round % 1_000 === 0 ? 3_000 : 1
      insert(table, { from: id, to: id + count, time })
      id += count
      const lost = [id - 1, id - 5, id - 8].filter(
        (known) => known >= 0 && findInTable(table, known, time)?.offset !== known,
      )
      if (lost.length > 0) expect.fail(`round ${round}: ${lost} of ${id} were lost`)
      if (id > 100_000 && findInTable(table, id - 50_000, time) !== undefined)
        expect.fail(`round ${round}: an id came back`)
      bytesMax = Math.max(bytesMax, table.bytes)
    }
    expect(bytesMax).toBeLessThan(200_000)
  })

  test('keeps an offset close to 2^53 and the last partition, and applies it when it was pending', () => {
    const place = { partition: 2 ** 32 - 1, baseOffset: Number.MAX_SAFE_INTEGER }
    const table = new DedupTable(NOW)
    table.add(chunkOf(idsOf([1])), { ...place, time: EPOCH_MS })
    expect(table.isPending(0)).toBe(true)
    expect(table.buckets[0]?.apply(chunkOf(idsOf([1])), place)).toBe(true)
    expect(table.isPending(0)).toBe(false)
    expect(findInTable(table, 1, EPOCH_MS)).toEqual({ partition: place.partition, offset: place.baseOffset })
  })
})
