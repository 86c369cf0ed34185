import {
  BUCKET_OVERHEAD_BYTES,
  bucketSpan,
  DedupBucket,
  type DedupSpan,
  PAGE_OVERHEAD_BYTES,
} from './bucket.js'
import { DEDUP_CHUNK_IDS, type DedupChunk } from './chunk.js'
import {
  DEDUP_HASH_BYTES,
  DEDUP_PAGE_IDS,
  type DedupPage,
  type DedupPageBytes,
  type DedupPlace,
  hashBytesFor,
  runBytesFor,
} from './page.js'
import { DedupPages, indexOf, PAGES_MAX, positionOf } from './pages.js'
import {
  type IdRange,
  isTagged,
  LOAD_FULL,
  LOAD_MAX,
  POSITION_MASK,
  putPage,
  slotOf,
  slotsFor,
  touch,
} from './slots.js'

/** Ids that go into the next table with each new one: it takes over at a load below 0.7, and no insert stalls. */
const MOVED_PER_INSERT = 8
/**
 * The dedup ids of one topic: buckets by time, and one open-addressing table of positions over all of them, so that an
 * id that is new costs one look. Slots of ids that were dropped stay until the table is made anew; they point at nothing,
 * or at an id that is not theirs, which the comparison tells. About 23 bytes an id.
 */
export class DedupTable {
  windowMs: number
  /** Oldest first. */
  readonly buckets: DedupBucket[] = []
  readonly #pages = new DedupPages()
  #ids = 0
  #bytes = 0
  #slots: Uint32Array = new Uint32Array(slotsFor(0))
  /** Slots that are not empty. */
  #used = 0
  /** Takes the place of `#slots` once it holds every id. */
  #next: Uint32Array | undefined
  #nextUsed = 0
  /** The next id to move: page number and index. */
  #movePage = 0
  #moveIndex = 0

  constructor(options: { windowMs: number }) {
    this.windowMs = options.windowMs
  }

  /** Applied and pending. */
  get ids(): number {
    return this.#ids
  }

  /** How many of its newest ids are of the group that is being written. */
  get pending(): number {
    const newest = this.buckets.at(-1)
    return newest === undefined ? 0 : newest.count - newest.applied
  }

  /** Memory: pages and tables as allocated, both tables while ids move from one to the other. */
  get bytes(): number {
    return this.#bytes + 4 * (this.#slots.length + (this.#next?.length ?? 0))
  }

  /** Memory once the buckets that are due at `time` are gone. */
  bytesAt(time: number): number {
    let { bytes } = this
    for (const bucket of this.buckets) {
      if (this.expiryOf(bucket) > time) return bytes
      bytes -= bucket.bytes
    }
    // The table goes with the last of them.
    return 0
  }

  /** When a bucket goes: its newest id is out of the window then. */
  expiryOf(bucket: DedupBucket): number {
    return bucket.end + this.windowMs
  }

  get nextExpiry(): number {
    const oldest = this.buckets[0]
    return oldest === undefined ? Number.POSITIVE_INFINITY : this.expiryOf(oldest)
  }

  place(position: number): DedupPlace {
    return this.#pages.near(position)!.place(indexOf(position))
  }

  isPending(position: number): boolean {
    const newest = this.buckets.at(-1)!
    const page = this.#pages.near(position)!.number - newest.pages[0]!.number
    return page >= 0 && page * DEDUP_PAGE_IDS + indexOf(position) >= newest.applied
  }

  /**
   * Looks up the ids of a chunk: `found` gets the position of each, or -1 when it was not seen, or too long before `time`.
   * Returns how many were found.
   */
  find(chunk: DedupChunk, time: number): number {
    const { count, mixed, found } = chunk
    const slots = this.#slots
    chunk.mix()
    touch(slots, mixed, { from: 0, to: count })
    let known = 0
    for (let i = 0; i < count; i++) {
      const value = slots[this.#seek(chunk, i, time)]!
      found[i] = value === 0 ? -1 : value & POSITION_MASK
      if (value !== 0) known++
    }
    return known
  }

  /** As `find`; ids that are not here are added as pending, and whatever comes after them finds them. */
  add(chunk: DedupChunk, at: DedupSpan & { readonly time: number }): number {
    chunk.mix()
    let added = 0
    for (let from = 0; from < chunk.count; ) {
      const to = Math.min(chunk.count, from + this.#room())
      added += this.#addSome(chunk, { from, to }, at)
      from = to
    }
    return chunk.count - added
  }

  /** Adds the ids of a chunk as applied, without a look whether they are here. None may be pending. */
  insert(chunk: DedupChunk, at: DedupSpan & { readonly time: number }): void {
    chunk.mix()
    const bucket = this.openBucket(at.time) ?? this.#beginBucket(at.time)
    for (let from = 0; from < chunk.count; ) {
      const to = Math.min(chunk.count, from + this.#room())
      this.#insertSome(bucket, chunk, { from, to }, at)
      from = to
    }
    bucket.applied = bucket.count
  }

  /** Forgets the pending ids but for the first `keep`. */
  withdraw(keep = 0): void {
    const newest = this.buckets.at(-1)
    if (newest === undefined || this.pending <= keep) return
    const count = newest.applied + keep
    this.#ids -= newest.count - count
    const pages = Math.ceil(count / DEDUP_PAGE_IDS)
    for (let n = newest.pages.length - 1; n >= 0 && (n + 1) * DEDUP_PAGE_IDS > count; n--) {
      const page = newest.pages[n]!
      page.truncate(Math.max(0, count - n * DEDUP_PAGE_IDS))
    }
    for (const page of newest.pages.splice(pages)) {
      this.#bytes -= page.bytes + PAGE_OVERHEAD_BYTES
      this.#pages.dropNewest()
    }
    newest.count = count
    this.#moveBackTo(count)
    if (count > 0) return
    this.buckets.pop()
    this.#bytes -= BUCKET_OVERHEAD_BYTES
  }

  /** The bucket for ids of a group of this time; undefined when there is none yet. */
  openBucket(time: number): DedupBucket | undefined {
    const newest = this.buckets.at(-1)
    return newest !== undefined && time < newest.end ? newest : undefined
  }

  /** Adds a bucket behind the others. */
  addBucket(span: { start: number; widthMs: number }): DedupBucket {
    const bucket = new DedupBucket(span)
    this.buckets.push(bucket)
    this.#bytes += BUCKET_OVERHEAD_BYTES
    return bucket
  }

  /** Adds a page as the manifest keeps it to the newest bucket, as applied. False when it is none. */
  loadPage(stored: DedupPageBytes, slot: number | null): boolean {
    const bucket = this.buckets.at(-1)!
    const page = this.#addPage(bucket, stored.hashes.length / DEDUP_HASH_BYTES)
    const before = page.bytes
    if (!page.load(stored)) return false
    page.slot = slot
    this.#bytes += page.bytes - before
    this.#ids += page.count
    this.#used += page.count
    bucket.count += page.count
    bucket.applied = bucket.count
    putPage(this.#slots, page.words, { position: positionOf(page, 0), from: 0, to: page.count })
    return true
  }

  /** Drops the oldest bucket, which there must be. */
  dropOldest(): DedupBucket {
    const bucket = this.buckets.shift()!
    this.#pages.dropOldest(bucket.pages.length)
    this.#ids -= bucket.count
    this.#bytes -= bucket.bytes
    return bucket
  }

  /** Makes room at once for so many ids in an empty table. */
  reserve(ids: number): void {
    const slots = slotsFor(ids)
    if (this.#ids === 0 && slots > this.#slots.length) this.#slots = new Uint32Array(slots)
  }

  /** What so many ids more would add to its memory at most, at this time; infinite when there is no room for them. */
  growth(ids: number, time: number): number {
    const bucket = this.openBucket(time)
    const count = bucket?.count ?? 0
    const pages = Math.ceil((count + ids) / DEDUP_PAGE_IDS) - Math.ceil(count / DEDUP_PAGE_IDS)
    if (this.#pages.count + pages > PAGES_MAX) return Number.POSITIVE_INFINITY
    const hashes = hashBytesFor(count + ids) - hashBytesFor(count)
    // At worst each id is a run of its own.
    const runs = (bucket?.pages.at(-1)?.runGrowth(ids) ?? 0) + runBytesFor({ pages, ids })
    const forBucket = bucket === undefined ? BUCKET_OVERHEAD_BYTES : 0
    return hashes + runs + pages * PAGE_OVERHEAD_BYTES + forBucket + 4 * this.#slotsGrowth(ids)
  }

  /** The page that the next id goes into, and what follows it stands behind it. */
  #runAt(bucket: DedupBucket, place: DedupPlace): DedupPage {
    let page = bucket.pages.at(-1)
    if (page === undefined || page.count === DEDUP_PAGE_IDS) page = this.#addPage(bucket)
    const before = page.bytes
    page.grow()
    page.beginRun(place)
    this.#bytes += page.bytes - before
    return page
  }

  /** Begins a bucket. One that is due leaves it its span: it ended a window ago, and no width is larger. */
  #beginBucket(time: number): DedupBucket {
    const after = this.buckets.at(-1)?.end ?? 0
    return this.addBucket(bucketSpan({ windowMs: this.windowMs, time, after }))
  }

  /** Adds a page to the newest bucket; its first page begins small. */
  #addPage(bucket: DedupBucket, ids = 1): DedupPage {
    const capacity = bucket.pages.length === 0 ? hashBytesFor(ids) / DEDUP_HASH_BYTES : DEDUP_PAGE_IDS
    const page = this.#pages.add({ spanEnd: bucket.end, ids: capacity })
    bucket.pages.push(page)
    this.#bytes += page.bytes + PAGE_OVERHEAD_BYTES
    return page
  }

  /** Slots, at the worst moment: while the last table that is needed is filled beside the one before. */
  #slotsGrowth(ids: number): number {
    const [now, next] = [this.#slots.length, this.#next?.length ?? 0]
    const [largest, used] = next > 0 ? [next, this.#nextUsed + this.#unmoved()] : [now, this.#used]
    if (used + ids <= largest * LOAD_MAX) return 0
    const last = slotsFor(this.#ids + ids)
    return Math.max(now, next, last) + Math.max(next, last) - now - next
  }

  /** The slot that holds an id, or else the empty one where it would go. */
  #seek(chunk: DedupChunk, i: number, time: number): number {
    const slots = this.#slots
    const mask = slots.length - 1
    const mixed = chunk.mixed[i]!
    let slot = mixed & mask
    for (; ; slot = (slot + 1) & mask) {
      const value = slots[slot]!
      if (value === 0) return slot
      if (isTagged(value, mixed) && this.#isAt(value & POSITION_MASK, chunk, i, time)) return slot
    }
  }

  #isAt(position: number, chunk: DedupChunk, i: number, time: number): boolean {
    const page = this.#pages.near(position)
    const index = indexOf(position)
    if (page === undefined || index >= page.count || !page.holds(index, chunk, i)) return false
    // One that is due goes with the next group, which has this time. The id may be here again, behind it.
    return page.spanEnd + this.windowMs > time
  }

  #addSome(chunk: DedupChunk, range: IdRange, at: DedupSpan & { readonly time: number }): number {
    const { mixed, found, records } = chunk
    const slots = this.#slots
    touch(slots, mixed, range)
    let bucket = this.openBucket(at.time)
    let page = bucket?.pages.at(-1)
    /** What the record of an id and its index in the page differ by, as long as no new run begins. */
    let delta = Number.NaN
    let added = 0
    for (let i = range.from; i < range.to; i++) {
      const slot = this.#seek(chunk, i, at.time)
      const value = slots[slot]!
      found[i] = value === 0 ? -1 : value & POSITION_MASK
      if (value !== 0) continue
      const record = records[i]!
      if (page === undefined || page.isFull || record - page.count !== delta) {
        bucket ??= this.#beginBucket(at.time)
        page = this.#runAt(bucket, { partition: at.partition, offset: at.baseOffset + record })
        delta = record - page.count
      }
      slots[slot] = slotOf(mixed[i]!, positionOf(page, page.count))
      page.append(chunk, i)
      added++
    }
    if (bucket !== undefined) this.#added(bucket, added)
    return added
  }

  #insertSome(bucket: DedupBucket, chunk: DedupChunk, range: IdRange, at: DedupSpan): void {
    const { mixed, records } = chunk
    const slots = this.#slots
    const mask = slots.length - 1
    touch(slots, mixed, range)
    for (let i = range.from; i < range.to; i++) {
      let slot = mixed[i]! & mask
      while (slots[slot] !== 0) slot = (slot + 1) & mask
      const page = this.#runAt(bucket, { partition: at.partition, offset: at.baseOffset + records[i]! })
      slots[slot] = slotOf(mixed[i]!, positionOf(page, page.count))
      page.append(chunk, i)
    }
    this.#added(bucket, range.to - range.from)
  }

  #added(bucket: DedupBucket, ids: number): void {
    bucket.count += ids
    this.#ids += ids
    this.#used += ids
    if (ids > 0) this.#grow(ids * MOVED_PER_INSERT)
  }

  /** How many ids may be added before anything is moved: at least one. */
  #room(): number {
    for (;;) {
      let room = Math.floor(this.#slots.length * LOAD_FULL) - this.#used
      if (this.#next !== undefined)
        room = Math.min(room, Math.floor(this.#next.length * LOAD_FULL) - this.#nextUsed - this.#unmoved())
      if (room > 0) return room
      this.#grow(Number.POSITIVE_INFINITY)
    }
  }

  /** Begins the next table when this one is loaded, and moves so many ids into it. */
  #grow(toMove: number): void {
    if (this.#next === undefined) {
      if (this.#used <= this.#slots.length * LOAD_MAX) return
      this.#next = new Uint32Array(slotsFor(this.#ids))
      this.#nextUsed = 0
      this.#movePage = 0
      this.#moveIndex = 0
    }
    this.#move(this.#next, toMove)
    if (this.#movePage < this.#pages.end) return
    this.#slots = this.#next
    this.#used = this.#nextUsed
    this.#next = undefined
  }

  #move(next: Uint32Array, toMove: number): void {
    const { first, end } = this.#pages
    if (this.#movePage < first) {
      this.#movePage = first
      this.#moveIndex = 0
    }
    for (let left = toMove; left > 0 && this.#movePage < end; ) {
      const page = this.#pages.at(this.#movePage)
      const from = this.#moveIndex
      const to = Math.min(page.count, from + Math.min(left, DEDUP_CHUNK_IDS))
      putPage(next, page.words, { position: positionOf(page, 0), from, to })
      left -= to - from
      this.#nextUsed += to - from
      this.#moveIndex = to
      if (to < page.count) continue
      this.#movePage++
      this.#moveIndex = 0
    }
  }

  /** How many ids the next table lacks. */
  #unmoved(): number {
    let ids = 0
    for (const { pages, count } of this.buckets) {
      const moved = (this.#movePage - (pages[0]?.number ?? 0)) * DEDUP_PAGE_IDS + this.#moveIndex
      ids += Math.max(0, count - Math.max(0, moved))
    }
    return ids
  }

  /** What was moved of ids that were taken back is not to be missing among what takes their places. */
  #moveBackTo(count: number): void {
    const index = count % DEDUP_PAGE_IDS
    const page = index === 0 ? this.#pages.end : this.#pages.end - 1
    if (this.#movePage < page || (this.#movePage === page && this.#moveIndex <= index)) return
    this.#movePage = page
    this.#moveIndex = index
  }
}
