import { crc32 } from '#crc32'
import { bitAt, DEDUP_ID_HASH_BYTES, type DedupIds } from '../../protocol/entry-section.js'
import type { TopicId } from '../../protocol/ids.js'
import type { DedupBucketKey, DedupBucketRow, DedupPageKey, DedupPageRow } from '../manifest/rows.js'
import { DEDUP_ID_BYTES, DEDUP_PAGE_IDS, type DedupBucket, DedupKey, placeAt } from './dedup-bucket.js'
import { DedupTable } from './dedup-table.js'

export interface DedupInsert {
  readonly topicId: TopicId
  /** For how long the topic holds ids; used with its first bucket, later only `setWindow` changes it. */
  readonly windowMs: number
  /** Broker time of the group that holds the ids. */
  readonly time: number
  readonly partition: number
  /** Of the batch: the offset of its record i is `baseOffset + i`. */
  readonly baseOffset: number
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
}

/** As the overlay counts a deleted row. */
const DELETED_ROW_BYTES = 160

const EMPTY_TABLE = new DedupTable({ windowMs: 0 })

/**
 * Which dedup ids each topic has seen within its window, and where their records stand. Part of the state: it changes by
 * what is logged and by logged time alone. Ids lie in buckets by the time of their group; a bucket expires whole.
 */
export class DedupIndex {
  readonly #topics = new Map<TopicId, DedupTable>()
  readonly #key = new DedupKey()
  #ids = 0
  #bytes = 0
  #buckets = 0
  #pages = 0
  #nextExpiry = Number.POSITIVE_INFINITY
  readonly #changed = new Map<DedupBucket, TopicId>()
  #changedBytes = 0
  readonly #deletedBuckets: DedupBucketKey[] = []
  readonly #deletedPages: DedupPageKey[] = []

  get ids(): number {
    return this.#ids
  }

  /** Memory of all topics. */
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

  /** Adds the ids of an entry, all but those of omitted records; none of them may be here. */
  insert({ topicId, windowMs, time, partition, baseOffset, ids, omitted }: DedupInsert): void {
    const { bitmap, hashes } = ids
    const key = this.#key
    let table: DedupTable | undefined
    let at = 0
    for (let record = 0; record < bitmap.length * 8; record++) {
      if (!bitAt(bitmap, record)) continue
      const hashAt = at
      at += DEDUP_ID_HASH_BYTES
      if (omitted !== undefined && bitAt(omitted, record)) continue
      if (table === undefined) table = this.#open(topicId, { windowMs, time })
      this.#put(table, key.read(hashes, hashAt), { partition, offset: baseOffset + record })
    }
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

  /** Bytes of all that `changes` lists. */
  get changedBytes(): number {
    return this.#changedBytes + (this.#deletedBuckets.length + this.#deletedPages.length) * DELETED_ROW_BYTES
  }

  /** What was changed since `flushed`. Encode it before anything else is applied. */
  changes(): DedupChanges {
    const buckets: DedupBucketRow[] = []
    const pages: DedupPageRow[] = []
    for (const [bucket, topicId] of this.#changed) {
      const { start, widthMs, count } = bucket
      buckets.push({ topicId, start, widthMs, count })
      for (let page = Math.floor(bucket.flushedIds / DEDUP_PAGE_IDS); page < bucket.pages; page++)
        pages.push({ topicId, start, page, bytes: bucket.page(page) })
    }
    const deletedBuckets = [...this.#deletedBuckets]
    return { buckets, pages, deletedBuckets, deletedPages: [...this.#deletedPages] }
  }

  /** Every row there is, for a manifest that is made anew. */
  wholeRows(): Pick<DedupChanges, 'buckets' | 'pages'> {
    const buckets: DedupBucketRow[] = []
    const pages: DedupPageRow[] = []
    for (const [topicId, table] of this.#topics) {
      for (const bucket of table.buckets) {
        const { start, widthMs, count } = bucket
        buckets.push({ topicId, start, widthMs, count })
        for (let page = 0; page < bucket.pages; page++)
          pages.push({ topicId, start, page, bytes: bucket.page(page) })
      }
    }
    return { buckets, pages }
  }

  /** The manifest has, or is about to have, what `changes` gave. */
  flushed(): void {
    for (const bucket of this.#changed.keys()) bucket.flushedIds = bucket.count
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
      const bytes = table.bytes
      table.reserve(idsOfTopics.get(topicId) ?? 0)
      this.#bytes += table.bytes - bytes
      const bucket = this.#add(table, () => table.addBucket(row))
      for (let page = 0; page * DEDUP_PAGE_IDS < count; page++) {
        const found = rows.pages[next++]
        const ids = Math.min(DEDUP_PAGE_IDS, count - page * DEDUP_PAGE_IDS)
        const isIt = found?.topicId === topicId && found.start === start && found.page === page
        if (!isIt || found.bytes.length !== ids * DEDUP_ID_BYTES)
          throw new Error(`page ${page} of the dedup ids of topic ${topicId} from ${start} is not whole`)
        this.#loadPage(table, found.bytes)
      }
      bucket.flushedIds = count
    }
    if (next < rows.pages.length) throw new Error('there are pages of dedup ids without a bucket')
    this.#changedBytes = 0
    this.#findNextExpiry()
  }

  /** One value for each bucket, equal for equal contents, in a fixed order. */
  *digests(): Generator<DedupBucketRow & { readonly crc: number }> {
    for (const topicId of [...this.#topics.keys()].sort()) {
      for (const bucket of this.#topics.get(topicId)?.buckets ?? []) {
        const { start, widthMs, count } = bucket
        let crc = 0
        for (let page = 0; page < bucket.pages; page++) crc = crc32(bucket.page(page), crc)
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

  /** The topic's table, ready for ids of a group of this time. */
  #open(topicId: TopicId, options: { windowMs: number; time: number }): DedupTable {
    const { windowMs, time } = options
    const table = this.#tableOf(topicId, windowMs)
    const bucket = table.openBucket(time) ?? this.#add(table, () => table.beginBucket(time))
    if (!this.#changed.has(bucket)) {
      this.#changed.set(bucket, topicId)
      // Its last page goes to the manifest again.
      this.#changedBytes += (bucket.flushedIds % DEDUP_PAGE_IDS) * DEDUP_ID_BYTES
    }
    return table
  }

  #add(table: DedupTable, add: () => DedupBucket): DedupBucket {
    const bytes = table.bytes
    const bucket = add()
    this.#bytes += table.bytes - bytes
    this.#buckets++
    this.#nextExpiry = Math.min(this.#nextExpiry, table.nextExpiry)
    return bucket
  }

  #put(table: DedupTable, key: DedupKey, place: { partition: number; offset: number }): void {
    const { bytes, pages } = table
    table.insert(key, place)
    this.#bytes += table.bytes - bytes
    this.#pages += table.pages - pages
    this.#ids++
    this.#changedBytes += DEDUP_ID_BYTES
  }

  #loadPage(table: DedupTable, bytes: Uint8Array): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
    for (let at = 0; at < bytes.length; at += DEDUP_ID_BYTES)
      this.#put(table, this.#key.read(bytes, at), placeAt(view, at))
  }

  #dropOldest(topicId: TopicId, table: DedupTable): void {
    const bytes = table.bytes
    const bucket = table.dropOldest()
    this.#bytes -= bytes - table.bytes
    const { start, count, flushedIds } = bucket
    this.#ids -= count
    this.#buckets--
    this.#pages -= bucket.pages
    if (this.#changed.delete(bucket))
      this.#changedBytes -= (count - flushedIds + (flushedIds % DEDUP_PAGE_IDS)) * DEDUP_ID_BYTES
    if (flushedIds > 0) this.#deletedBuckets.push({ topicId, start })
    for (let page = 0; page * DEDUP_PAGE_IDS < flushedIds; page++)
      this.#deletedPages.push({ topicId, start, page })
    if (table.buckets.length > 0) return
    this.#topics.delete(topicId)
    this.#bytes -= table.bytes
  }

  #findNextExpiry(): void {
    let next = Number.POSITIVE_INFINITY
    for (const table of this.#topics.values()) next = Math.min(next, table.nextExpiry)
    this.#nextExpiry = next
  }
}
