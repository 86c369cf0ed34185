import { crc32 } from '#crc32'
import type { DedupIds } from '../../../protocol/entry-section.js'
import type { TopicId } from '../../../protocol/ids.js'
import type { PlacedPage } from '../../manifest/page-file.js'
import { PageSlots } from '../../manifest/page-slots.js'
import type { DedupBucketKey, DedupBucketRow, DedupPageKey, DedupPageRow } from '../../manifest/rows.js'
import type { DedupBucket, DedupSpan } from './bucket.js'
import { DedupChunk } from './chunk.js'
import { DEDUP_HASH_BYTES, DEDUP_PAGE_IDS, type DedupPageBytes } from './page.js'
import { DedupTable } from './table.js'

/** Where ids belong. */
export interface DedupGroup extends DedupSpan {
  readonly topicId: TopicId
  /** For how long the topic holds ids; used with its first bucket, later only `setWindow` changes it. */
  readonly windowMs: number
  /** Broker time of the group that holds the ids. */
  readonly time: number
}

export interface DedupInsert extends DedupGroup {
  readonly ids: DedupIds
  /** One bit a record: those that are not part of the log, whose ids stand elsewhere already. */
  readonly omitted: Uint8Array | undefined
}

/** What the manifest lacks. A page that has grown is put again; its bytes are a view of live memory. */
export interface DedupChanges {
  readonly buckets: readonly DedupBucketRow[]
  readonly pages: readonly DedupPageRow[]
  readonly deletedBuckets: readonly DedupBucketKey[]
  readonly deletedPages: readonly DedupPageKey[]
  /** Whole pages that go into the page file before that. */
  readonly placed: readonly PlacedPage[]
}

/** As the overlay counts a deleted row. */
const DELETED_ROW_BYTES = 160

const NO_HASHES = new Uint8Array(0)

const EMPTY_TABLE = new DedupTable({ windowMs: 0 })

/**
 * Which dedup ids each topic has seen within its window, and where their records stand. Part of the state: it changes by
 * what is logged and by logged time alone. Ids lie in buckets by the time of their group; a bucket expires whole.
 *
 * The ids of the group that is being cut and written lie in it too, as pending: they are found, and are no part of the
 * state before `insert` says so. What is pending saves `insert` its work, and never decides what it does.
 */
export class DedupIndex {
  readonly #topics = new Map<TopicId, DedupTable>()
  readonly #chunk = new DedupChunk()
  /** Those with pending ids, or with ids that were pending in the last group. */
  readonly #pending = new Map<TopicId, DedupTable>()
  #pendingTime = 0
  #ids = 0
  #bytes = 0
  #buckets = 0
  #pages = 0
  #nextExpiry = Number.POSITIVE_INFINITY
  readonly #changed = new Map<DedupBucket, TopicId>()
  #changedBytes = 0
  readonly #deletedBuckets: DedupBucketKey[] = []
  readonly #deletedPages: DedupPageKey[] = []
  readonly #deletedSlots: number[] = []
  /** Places of whole pages in the page file. No part of the state. */
  readonly slots = new PageSlots()

  /** Of the state, as the two counts below. */
  get ids(): number {
    return this.#ids
  }

  /** Memory of all topics, with what is pending. */
  get bytes(): number {
    return this.#bytes
  }

  get bucketCount(): number {
    return this.#buckets
  }

  get pageCount(): number {
    return this.#pages
  }

  /** `expire` does nothing before this time. */
  get nextExpiry(): number {
    return this.#nextExpiry
  }

  /** The ids of a topic, to look them up; undefined when it has none. */
  topic(topicId: TopicId): DedupTable | undefined {
    return this.#topics.get(topicId)
  }

  /**
   * Looks up the ids of a chunk and adds those that are new as pending, see `DedupTable.add`. Returns how many were known.
   */
  add(chunk: DedupChunk, group: DedupGroup): number {
    const { topicId, windowMs, time } = group
    const table = this.#tableOf(topicId, windowMs)
    const { bytes } = table
    const known = table.add(chunk, group)
    this.#bytes += table.bytes - bytes
    this.#nextExpiry = Math.min(this.#nextExpiry, table.nextExpiry)
    if (known < chunk.count) this.#pending.set(topicId, table)
    this.#pendingTime = time
    return known
  }

  /** How many ids of each topic are pending: what `withdraw` goes back to. */
  pendingIds(): ReadonlyMap<TopicId, number> {
    const counts = new Map<TopicId, number>()
    for (const [topicId, table] of this.#pending) counts.set(topicId, table.pending)
    return counts
  }

  /** Forgets pending ids: all, or those that were added since `pendingIds` was asked. */
  withdraw(keep?: ReadonlyMap<TopicId, number>): void {
    for (const [topicId, table] of this.#pending) {
      const count = keep?.get(topicId) ?? 0
      if (table.pending > count) this.#withdraw(topicId, table, count)
      if (count === 0) this.#pending.delete(topicId)
    }
  }

  /** The ids of an entry are part of the state now, all but those of omitted records; none of them may have been before. */
  insert(insert: DedupInsert): void {
    const chunk = this.#chunk
    chunk.begin(insert.ids, insert.omitted)
    while (chunk.next()) this.#insert(chunk, insert)
  }

  /** Drops the buckets that are out of their windows. */
  expire(time: number): void {
    if (time < this.#nextExpiry) return
    for (const [topicId, table] of this.#topics) {
      while (table.nextExpiry <= time) this.#dropOldest(topicId, table)
    }
    this.#findNextExpiry()
  }

  /** Holds a topic's ids for another time from now on; buckets made from now on have another width. */
  setWindow(topicId: TopicId, windowMs: number): void {
    const table = this.#topics.get(topicId)
    if (table === undefined) return
    // They may lie in a bucket whose width is not the one that it will have.
    if (table.pending > 0) this.#withdraw(topicId, table)
    table.windowMs = windowMs
    this.#findNextExpiry()
  }

  deleteTopic(topicId: TopicId): void {
    const table = this.#topics.get(topicId)
    if (table === undefined) return
    while (table.buckets.length > 0) this.#dropOldest(topicId, table)
    this.#findNextExpiry()
  }

  /** Memory once what is out of its window at `time` is gone. */
  bytesAt(time: number): number {
    if (time < this.#nextExpiry) return this.#bytes
    let bytes = 0
    for (const table of this.#topics.values()) bytes += table.bytesAt(time)
    return bytes
  }

  /** What so many ids of a topic would add to its memory at most; infinite when the topic has no room for them. */
  growth(topicId: TopicId, options: { ids: number; time: number }): number {
    const table = this.#topics.get(topicId)
    if (table !== undefined) return table.growth(options.ids, options.time)
    return EMPTY_TABLE.bytes + EMPTY_TABLE.growth(options.ids, options.time)
  }

  // The manifest's side.

  /** Bytes of the hashes, and of the deleted rows, that `changes` lists. */
  get changedBytes(): number {
    return this.#changedBytes + (this.#deletedBuckets.length + this.#deletedPages.length) * DELETED_ROW_BYTES
  }

  /** What was changed since `flushed`. Encode it before anything else is applied. */
  changes(): DedupChanges {
    const buckets: DedupBucketRow[] = []
    const pages: DedupPageRow[] = []
    const placed: PlacedPage[] = []
    for (const [bucket, topicId] of this.#changed) {
      const { start, widthMs, applied: count } = bucket
      buckets.push({ topicId, start, widthMs, count })
      for (let page = Math.floor(bucket.flushedIds / DEDUP_PAGE_IDS); page < bucket.appliedPages; page++) {
        const stored = storedPage(bucket, page)
        const row = { topicId, start, page, ...stored, slot: null, crc: 0 }
        if (bucket.appliedIn(page) < DEDUP_PAGE_IDS) {
          pages.push(row)
          continue
        }
        const slot = this.slots.take()
        bucket.pages[page]!.slot = slot
        pages.push({ ...row, hashes: NO_HASHES, slot, crc: crc32(stored.hashes) })
        placed.push({ slot, bytes: stored.hashes })
      }
    }
    const deletedBuckets = [...this.#deletedBuckets]
    return { buckets, pages, deletedBuckets, deletedPages: [...this.#deletedPages], placed }
  }

  /** Every row there is, for a manifest that is made anew. */
  wholeRows(): Pick<DedupChanges, 'buckets' | 'pages'> {
    const buckets: DedupBucketRow[] = []
    const pages: DedupPageRow[] = []
    for (const [topicId, table] of this.#topics) {
      for (const bucket of table.buckets) {
        const { start, widthMs, applied: count } = bucket
        if (count === 0) continue
        buckets.push({ topicId, start, widthMs, count })
        for (let page = 0; page < bucket.appliedPages; page++)
          pages.push({ topicId, start, page, ...storedPage(bucket, page), slot: null, crc: 0 })
      }
    }
    return { buckets, pages }
  }

  /** The manifest has, or is about to have, what `changes` gave, with the group of this sequence. */
  flushed(sequence: number): void {
    for (const slot of this.#deletedSlots.splice(0)) this.slots.release(slot, sequence)
    for (const bucket of this.#changed.keys()) bucket.flushedIds = bucket.applied
    this.#changed.clear()
    this.#changedBytes = 0
    this.#deletedBuckets.length = 0
    this.#deletedPages.length = 0
  }

  /**
   * Puts the manifest's rows, in the order of their keys, into an empty index. Throws when the pages are not those that
   * the buckets count.
   */
  load(
    rows: { readonly buckets: readonly DedupBucketRow[]; readonly pages: readonly DedupPageRow[] },
    windowMsOf: (topicId: TopicId) => number,
  ): void {
    const idsOfTopics = new Map<TopicId, number>()
    for (const { topicId, count } of rows.buckets)
      idsOfTopics.set(topicId, (idsOfTopics.get(topicId) ?? 0) + count)
    let next = 0
    for (const row of rows.buckets) {
      const { topicId, start, count } = row
      const table = this.#tableOf(topicId, windowMsOf(topicId))
      const { bytes } = table
      table.reserve(idsOfTopics.get(topicId) ?? 0)
      const bucket = table.addBucket(row)
      for (let page = 0; page * DEDUP_PAGE_IDS < count; page++) {
        const found = rows.pages[next++]
        const ids = Math.min(DEDUP_PAGE_IDS, count - page * DEDUP_PAGE_IDS)
        const isIt = found?.topicId === topicId && found.start === start && found.page === page
        if (!isIt || found.hashes.length !== ids * DEDUP_HASH_BYTES || !table.loadPage(found, found.slot))
          throw new Error(`page ${page} of the dedup ids of topic ${topicId} from ${start} is not whole`)
      }
      bucket.flushedIds = count
      this.#bytes += table.bytes - bytes
      this.#count(bucket, 1)
    }
    if (next < rows.pages.length) throw new Error('there are pages of dedup ids without a bucket')
    this.#findNextExpiry()
  }

  /** One value for each bucket, equal for equal contents, in a fixed order. */
  *digests(): Generator<DedupBucketRow & { readonly crc: number }> {
    for (const topicId of [...this.#topics.keys()].sort()) {
      for (const bucket of this.#topics.get(topicId)?.buckets ?? []) {
        const { start, widthMs, applied: count } = bucket
        if (count === 0) continue
        let crc = 0
        for (let page = 0; page < bucket.appliedPages; page++) {
          const { hashes, runs } = storedPage(bucket, page)
          crc = crc32(runs, crc32(hashes, crc))
        }
        yield { topicId, start, widthMs, count, crc }
      }
    }
  }

  #tableOf(topicId: TopicId, windowMs: number): DedupTable {
    let table = this.#topics.get(topicId)
    if (table === undefined) {
      table = new DedupTable({ windowMs })
      this.#topics.set(topicId, table)
      this.#bytes += table.bytes
    }
    return table
  }

  #insert(chunk: DedupChunk, group: DedupGroup): void {
    const { topicId, windowMs, time } = group
    const pending = this.#topics.get(topicId)
    if (pending !== undefined && pending.pending > 0) {
      const bucket = pending.buckets.at(-1) as DedupBucket
      const before = bucket.applied
      if (time === this.#pendingTime && bucket.apply(chunk, group)) {
        this.#applied(topicId, bucket, before)
        return
      }
      this.#withdraw(topicId, pending)
    }
    const table = this.#tableOf(topicId, windowMs)
    const { bytes } = table
    const before = table.openBucket(time)?.applied ?? 0
    table.insert(chunk, group)
    this.#bytes += table.bytes - bytes
    this.#nextExpiry = Math.min(this.#nextExpiry, table.nextExpiry)
    this.#applied(topicId, table.buckets.at(-1) as DedupBucket, before)
  }

  /** Ids of a bucket became part of the state; `before`: so many were. */
  #applied(topicId: TopicId, bucket: DedupBucket, before: number): void {
    const ids = bucket.applied - before
    if (before === 0) this.#buckets++
    this.#pages += bucket.appliedPages - Math.ceil(before / DEDUP_PAGE_IDS)
    this.#ids += ids
    if (!this.#changed.has(bucket)) {
      this.#changed.set(bucket, topicId)
      // Its last page goes to the manifest again.
      this.#changedBytes += (bucket.flushedIds % DEDUP_PAGE_IDS) * DEDUP_HASH_BYTES
    }
    this.#changedBytes += ids * DEDUP_HASH_BYTES
  }

  #withdraw(topicId: TopicId, table: DedupTable, keep = 0): void {
    const { bytes } = table
    table.withdraw(keep)
    this.#bytes -= bytes - table.bytes
    this.#dropEmpty(topicId, table)
    this.#findNextExpiry()
  }

  #dropOldest(topicId: TopicId, table: DedupTable): void {
    const { bytes } = table
    const bucket = table.dropOldest()
    this.#bytes -= bytes - table.bytes
    const { start, applied, flushedIds } = bucket
    this.#count(bucket, -1)
    if (this.#changed.delete(bucket))
      this.#changedBytes -= (applied - flushedIds + (flushedIds % DEDUP_PAGE_IDS)) * DEDUP_HASH_BYTES
    if (flushedIds > 0) this.#deletedBuckets.push({ topicId, start })
    for (let page = 0; page * DEDUP_PAGE_IDS < flushedIds; page++) {
      this.#deletedPages.push({ topicId, start, page })
      const { slot } = bucket.pages[page]!
      if (slot !== null) this.#deletedSlots.push(slot)
    }
    this.#dropEmpty(topicId, table)
  }

  /** Counts a whole bucket in, or out. */
  #count({ applied, appliedPages }: DedupBucket, sign: 1 | -1): void {
    if (applied === 0) return
    this.#buckets += sign
    this.#pages += sign * appliedPages
    this.#ids += sign * applied
  }

  #dropEmpty(topicId: TopicId, table: DedupTable): void {
    if (table.buckets.length > 0) return
    this.#topics.delete(topicId)
    this.#pending.delete(topicId)
    this.#bytes -= table.bytes
  }

  #findNextExpiry(): void {
    let next = Number.POSITIVE_INFINITY
    for (const table of this.#topics.values()) next = Math.min(next, table.nextExpiry)
    this.#nextExpiry = next
  }
}

const storedPage = (bucket: DedupBucket, page: number): DedupPageBytes =>
  bucket.pages[page]!.stored(bucket.appliedIn(page))
