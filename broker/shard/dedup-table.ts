import {
  bucketSpan,
  DEDUP_PAGE_IDS,
  DedupBucket,
  type DedupPlace,
  type DedupSpan,
  pageBytesFor,
} from './dedup-bucket.js'
import { DEDUP_CHUNK_IDS, type DedupChunk } from './dedup-chunk.js'
import {
  type IdRange,
  LOAD_FULL,
  LOAD_MAX,
  POSITION_BITS,
  POSITION_MASK,
  putPage,
  slotOf,
  slotsFor,
  touch,
} from './dedup-slots.js'

const PAGE_BITS = 10
const PAGE_MASK = DEDUP_PAGE_IDS - 1
/** Pages that positions can tell apart: about 16.7 million ids a topic. */
const PAGES_MAX = POSITION_MASK >>> PAGE_BITS

/** Ids that go into the next table with each new one: it takes over at a load below 0.7, and no insert stalls. */
const MOVED_PER_INSERT = 8
/** Of a bucket's objects, beside its arrays, about. */
const BUCKET_OVERHEAD_BYTES = 1_024

/**
 * The dedup ids of one topic: buckets by time, and one open-addressing table of positions over all of them, so that an
 * id that is new costs one look. Slots of ids that were dropped stay until the table is made anew; they point at nothing,
 * or at an id that is not theirs, which the comparison tells. About 36 bytes an id.
 */
export class DedupTable {
  windowMs: number
  /** Oldest first. */
  readonly buckets: DedupBucket[] = []
  /** The bucket of each page, by page number modulo PAGES_MAX. */
  readonly #ring: (DedupBucket | undefined)[] = []
  #nextPage = 0
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
    let bytes = this.bytes
    let left = this.buckets.length
    for (const bucket of this.buckets) {
      if (this.expiryOf(bucket) > time) break
      bytes -= bucket.bytes + BUCKET_OVERHEAD_BYTES
      left--
    }
    return left === 0 ? 0 : bytes
  }

  /** When a bucket goes: its newest id is out of the window then. */
  expiryOf(bucket: DedupBucket): number {
    return bucket.start + bucket.widthMs + this.windowMs
  }

  get nextExpiry(): number {
    const oldest = this.buckets[0]
    return oldest === undefined ? Number.POSITIVE_INFINITY : this.expiryOf(oldest)
  }

  /** Where the id at a position stands. */
  place(position: number): DedupPlace {
    const bucket = this.#bucketAt(position)!
    return bucket.place(localOf(bucket, position))
  }

  isPending(position: number): boolean {
    const bucket = this.#bucketAt(position)!
    return localOf(bucket, position) >= bucket.applied
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
      found[i] = (value & POSITION_MASK) - 1
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
    this.#bytes -= newest.bytes
    newest.truncate(count)
    this.#bytes += newest.bytes
    const endPage = newest.firstPage + newest.pages
    for (; this.#nextPage > endPage; this.#nextPage--)
      this.#ring[(this.#nextPage - 1) % PAGES_MAX] = undefined
    // What was moved of them is not to be missing among what takes their places.
    const index = count & PAGE_MASK
    const page = index === 0 ? endPage : endPage - 1
    if (this.#movePage > page || (this.#movePage === page && this.#moveIndex > index)) {
      this.#movePage = page
      this.#moveIndex = index
    }
    if (count > 0) return
    this.buckets.pop()
    this.#bytes -= BUCKET_OVERHEAD_BYTES
  }

  /** The bucket for ids of a group of this time; undefined when there is none yet. */
  openBucket(time: number): DedupBucket | undefined {
    const newest = this.buckets.at(-1)
    return newest !== undefined && time < newest.start + newest.widthMs ? newest : undefined
  }

  /** Adds a bucket behind the others. */
  addBucket(span: { start: number; widthMs: number }): DedupBucket {
    const bucket = new DedupBucket({ ...span, firstPage: this.#nextPage })
    this.buckets.push(bucket)
    this.#bytes += BUCKET_OVERHEAD_BYTES
    return bucket
  }

  /** Adds a page as the manifest keeps it to the newest bucket, as applied. There must be room: see `reserve`. */
  loadPage(bytes: Uint8Array): void {
    const bucket = this.buckets.at(-1)!
    const ids = bucket.count
    const before = bucket.bytes
    bucket.load(bytes)
    this.#bytes += bucket.bytes - before
    const position = this.#beginPage(bucket)
    const count = bucket.count - ids
    putPage(this.#slots, bucket.words(bucket.pages - 1), { position, from: 0, to: count })
    this.#ids += count
    this.#used += count
  }

  /** Drops the oldest bucket, which there must be. */
  dropOldest(): DedupBucket {
    const bucket = this.buckets.shift()!
    for (let i = 0; i < bucket.pages; i++) this.#ring[(bucket.firstPage + i) % PAGES_MAX] = undefined
    this.#ids -= bucket.count
    this.#bytes -= bucket.bytes + BUCKET_OVERHEAD_BYTES
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
    const firstPage = this.buckets[0]?.firstPage ?? this.#nextPage
    if (this.#nextPage - firstPage + pages > PAGES_MAX) return Number.POSITIVE_INFINITY
    const forPages = pageBytesFor(count + ids) - pageBytesFor(count)
    const forBucket = bucket === undefined ? BUCKET_OVERHEAD_BYTES : 0
    return forPages + forBucket + 4 * this.#slotsGrowth(ids)
  }

  /** Slots, at the worst moment: while the last table that is needed is filled beside the one before. */
  #slotsGrowth(ids: number): number {
    const now = this.#slots.length
    const next = this.#next?.length ?? 0
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
      if ((value ^ mixed) >>> POSITION_BITS === 0 && this.#isAt((value & POSITION_MASK) - 1, chunk, i, time))
        return slot
    }
  }

  #isAt(position: number, chunk: DedupChunk, i: number, time: number): boolean {
    const bucket = this.#bucketAt(position)
    if (bucket === undefined) return false
    const local = localOf(bucket, position)
    if (local >= bucket.count || !bucket.holds(local, chunk, i)) return false
    // One that is due goes with the next group, which has this time. The id may be here again, behind it.
    return this.expiryOf(bucket) > time
  }

  #addSome(chunk: DedupChunk, range: IdRange, at: DedupSpan & { readonly time: number }): number {
    const { mixed, found } = chunk
    const slots = this.#slots
    touch(slots, mixed, range)
    let bucket = this.openBucket(at.time)
    let page = this.#newestPage()
    let added = 0
    const before = bucket?.bytes ?? 0
    for (let i = range.from; i < range.to; i++) {
      const slot = this.#seek(chunk, i, at.time)
      const value = slots[slot]!
      found[i] = (value & POSITION_MASK) - 1
      if (value !== 0) continue
      bucket ??= this.#beginBucket(at.time)
      const index = bucket.count & PAGE_MASK
      if (index === 0) page = this.#beginPage(bucket)
      slots[slot] = slotOf(mixed[i]!, page | index)
      bucket.append(chunk, i, at)
      added++
    }
    if (bucket !== undefined) this.#added(added, bucket.bytes - before)
    return added
  }

  #insertSome(bucket: DedupBucket, chunk: DedupChunk, range: IdRange, at: DedupSpan): void {
    const { mixed } = chunk
    const slots = this.#slots
    const mask = slots.length - 1
    touch(slots, mixed, range)
    let page = this.#newestPage()
    const before = bucket.bytes
    for (let i = range.from; i < range.to; i++) {
      let slot = mixed[i]! & mask
      while (slots[slot] !== 0) slot = (slot + 1) & mask
      const index = bucket.count & PAGE_MASK
      if (index === 0) page = this.#beginPage(bucket)
      slots[slot] = slotOf(mixed[i]!, page | index)
      bucket.append(chunk, i, at)
    }
    this.#added(range.to - range.from, bucket.bytes - before)
  }

  #added(ids: number, bytes: number): void {
    this.#ids += ids
    this.#used += ids
    this.#bytes += bytes
    if (ids > 0) this.#grow(ids * MOVED_PER_INSERT)
  }

  /** Begins a bucket. One that is due leaves it its span: it ended a window ago, and no width is larger. */
  #beginBucket(time: number): DedupBucket {
    const newest = this.buckets.at(-1)
    const after = newest === undefined ? 0 : newest.start + newest.widthMs
    return this.addBucket(bucketSpan({ windowMs: this.windowMs, time, after }))
  }

  /** Gives the newest bucket's next page its number; returns the position of its first id. */
  #beginPage(bucket: DedupBucket): number {
    this.#ring[this.#nextPage++ % PAGES_MAX] = bucket
    return this.#newestPage()
  }

  #newestPage(): number {
    return ((this.#nextPage - 1) % PAGES_MAX) << PAGE_BITS
  }

  #bucketAt(position: number): DedupBucket | undefined {
    return this.#ring[position >>> PAGE_BITS]
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
    if (this.#movePage < this.#nextPage) return
    this.#slots = this.#next
    this.#used = this.#nextUsed
    this.#next = undefined
  }

  #move(next: Uint32Array, toMove: number): void {
    const firstPage = this.buckets[0]?.firstPage ?? this.#nextPage
    if (this.#movePage < firstPage) {
      this.#movePage = firstPage
      this.#moveIndex = 0
    }
    for (let left = toMove; left > 0 && this.#movePage < this.#nextPage; ) {
      const page = this.#movePage % PAGES_MAX
      const bucket = this.#ring[page]!
      const local = this.#movePage - bucket.firstPage
      const end = Math.min(DEDUP_PAGE_IDS, bucket.count - local * DEDUP_PAGE_IDS)
      const from = this.#moveIndex
      const to = Math.min(end, from + Math.min(left, DEDUP_CHUNK_IDS))
      putPage(next, bucket.words(local), { position: page << PAGE_BITS, from, to })
      left -= to - from
      this.#nextUsed += to - from
      this.#moveIndex = to
      if (to < end) continue
      this.#movePage++
      this.#moveIndex = 0
    }
  }

  /** How many ids the next table lacks. */
  #unmoved(): number {
    let ids = 0
    for (const { firstPage, count } of this.buckets) {
      const moved = (this.#movePage - firstPage) * DEDUP_PAGE_IDS + this.#moveIndex
      ids += Math.max(0, count - Math.max(0, moved))
    }
    return ids
  }
}

function localOf({ firstPage }: DedupBucket, position: number): number {
  const page = (position >>> PAGE_BITS) - (firstPage % PAGES_MAX)
  return ((page < 0 ? page + PAGES_MAX : page) << PAGE_BITS) | (position & PAGE_MASK)
}
