import { describe, expect, test } from 'vitest'
import {
  DEDUP_ID_BYTES,
  DEDUP_PAGE_IDS,
  DedupKey,
  type DedupPlace,
} from '../../../broker/shard/dedup-bucket.js'
import { DedupIndex } from '../../../broker/shard/dedup-index.js'
import { DedupTable } from '../../../broker/shard/dedup-table.js'
import type { DedupIds } from '../../../protocol/entry-section.js'
import type { TopicId } from '../../../protocol/ids.js'
import { SeededRandom } from '../../support/seeded-random.js'

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

const key = new DedupKey()

const findIn = (index: DedupIndex, topicId: TopicId, options: { id: number; time: number }) =>
  index.topic(topicId)?.find(key.read(hashOf(options.id), 0), options.time)

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
  readonly pages = new Map<string, { topicId: TopicId; start: number; page: number; bytes: Uint8Array }>()

  flush(index: DedupIndex): void {
    const changes = index.changes()
    const deleted = changes.deletedBuckets.length + changes.deletedPages.length
    const bytes = changes.pages.reduce((sum, { bytes }) => sum + bytes.length, 0)
    expect(index.changedBytes).toBe(bytes + deleted * 160)
    for (const { topicId, start } of changes.deletedBuckets) this.buckets.delete(`${topicId}/${start}`)
    for (const { topicId, start, page } of changes.deletedPages)
      this.pages.delete(`${topicId}/${start}/${page}`)
    for (const row of changes.buckets) this.buckets.set(`${row.topicId}/${row.start}`, row)
    for (const row of changes.pages)
      this.pages.set(`${row.topicId}/${row.start}/${row.page}`, { ...row, bytes: row.bytes.slice() })
    index.flushed()
    expect(index.changedBytes).toBe(0)
    expect(this.buckets.size).toBe(index.bucketCount)
    expect(this.pages.size).toBe(index.pageCount)
  }

  load(windowMs = WINDOW_MS): DedupIndex {
    const index = new DedupIndex()
    const keyOf = (row: { topicId: TopicId; start: number; page?: number }): string =>
      [row.topicId, row.start, row.page ?? 0].map((field) => String(field).padStart(16, '0')).join('/')
    const inOrder = <R extends Parameters<typeof keyOf>[0]>(rows: Iterable<R>): R[] =>
      [...rows].sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1))
    index.load(
      { buckets: inOrder(this.buckets.values()), pages: inOrder(this.pages.values()) },
      () => windowMs,
    )
    return index
  }
}

describe('the dedup index', () => {
  for (let seed = 1; seed <= 12; seed++) {
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

  test('costs about 36 bytes an id, and a topic with one id little', () => {
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
    expect(index.bytes / index.ids).toBeLessThan(42)
    expect(index.bytes / index.ids).toBeGreaterThan(DEDUP_ID_BYTES)
  })

  test('refuses pages of the manifest that are not the ones its buckets count', () => {
    const [topicId] = TOPICS as [TopicId]
    const index = new DedupIndex()
    const ids = Array.from({ length: DEDUP_PAGE_IDS + 1 }, (_, i) => i)
    const batch = { topicId, windowMs: WINDOW_MS, time: EPOCH_MS, partition: 0, baseOffset: 0 }
    index.insert({ ...batch, ids: idsOf(ids), omitted: undefined })
    const { buckets, pages } = index.changes()
    const [first, second] = pages as [(typeof pages)[0], (typeof pages)[0]]
    const load = (...given: typeof pages) => new DedupIndex().load({ buckets, pages: given }, () => WINDOW_MS)
    expect(() => load(first, second)).not.toThrow()
    expect(() => load(first)).toThrow('page 1')
    expect(() => load(second, first)).toThrow('page 0')
    expect(() => load({ ...first, start: 1 }, second)).toThrow('page 0')
    expect(() => load({ ...first, bytes: first.bytes.subarray(DEDUP_ID_BYTES) }, second)).toThrow('page 0')
    expect(() => load(first, { ...second, bytes: first.bytes })).toThrow('page 1')
    expect(() => load(first, second, { ...second, page: 2 })).toThrow('without a bucket')
  })
})

const NOW = { windowMs: WINDOW_MS, time: EPOCH_MS }

describe('a dedup table', () => {
  test('never says more of its memory than it has, while it grows beside the old one', () => {
    const table = new DedupTable(NOW)
    table.beginBucket(EPOCH_MS)
    for (let from = 0; from < 30_000; from += 300) {
      const bound = table.bytes + table.growth(300, EPOCH_MS)
      let bytesMax = 0
      for (let id = from; id < from + 300; id++) {
        table.insert(key.read(hashOf(id), 0), { partition: 1, offset: id })
        bytesMax = Math.max(bytesMax, table.bytes)
      }
      expect(bytesMax).toBeLessThanOrEqual(bound)
    }
    const lost = Array.from({ length: 30_000 }, (_, id) => id).filter(
      (id) => table.find(key.read(hashOf(id), 0), EPOCH_MS)?.offset !== id,
    )
    expect(lost).toEqual([])
    expect(table.find(key.read(hashOf(30_000), 0), EPOCH_MS)).toBeUndefined()
  })

  test('finds every id right after it came, at every size of the table', () => {
    const table = new DedupTable(NOW)
    table.beginBucket(EPOCH_MS)
    for (let id = 0; id < 3_000; id++) {
      table.insert(key.read(hashOf(id), 0), { partition: 1, offset: id })
      const found = [id, id >>> 1, 0].map((known) => table.find(key.read(hashOf(known), 0), EPOCH_MS)?.offset)
      if (found[0] !== id || found[1] !== id >>> 1 || found[2] !== 0) expect.fail(`after ${id}: ${found}`)
    }
  })

  test('holds its memory while buckets come and go, for more pages than positions can name', () => {
    const table = new DedupTable(NOW)
    let time = EPOCH_MS
    let bytesMax = 0
    let id = 0
    // 34,000 pages, each of one id only but for now and then: page numbers go round twice.
    for (let round = 0; round < 34_000; round++, time += WIDTH_MS) {
      while (table.nextExpiry <= time) table.dropOldest()
      table.beginBucket(time)
      for (let i = 0; i < (round % 1_000 === 0 ? 3_000 : 1); i++, id++)
        table.insert(key.read(hashOf(id), 0), { partition: 0, offset: id })
      const lost = [id - 1, id - 5, id - 8].filter(
        (known) => known >= 0 && table.find(key.read(hashOf(known), 0), time)?.offset !== known,
      )
      if (lost.length > 0) expect.fail(`round ${round}: ${lost} of ${id} were lost`)
      if (id > 100_000 && table.find(key.read(hashOf(id - 50_000), 0), time) !== undefined)
        expect.fail(`round ${round}: an id came back`)
      bytesMax = Math.max(bytesMax, table.bytes)
    }
    expect(bytesMax).toBeLessThan(200_000)
  })

  test('keeps an offset close to 2^53 and the last partition', () => {
    const table = new DedupTable(NOW)
    table.beginBucket(EPOCH_MS)
    const place = { partition: 2 ** 32 - 1, offset: Number.MAX_SAFE_INTEGER }
    table.insert(key.read(hashOf(1), 0), place)
    expect(table.find(key, EPOCH_MS)).toEqual(place)
  })
})
