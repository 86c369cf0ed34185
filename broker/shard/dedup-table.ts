import { DEDUP_ID_HASH_BYTES } from '../../protocol/entry-section.js'
import { DEDUP_PAGE_IDS, DedupBucket, DedupKey, type DedupPlace, pageBytesFor } from './dedup-bucket.js'

/** A slot is an 8-bit tag and a 24-bit position, counted from 1: 0 is an empty slot. */
const POSITION_BITS = 24
const POSITION_MASK = 2 ** POSITION_BITS - 1
const PAGE_BITS = 10
const PAGE_MASK = DEDUP_PAGE_IDS - 1
/** Pages that positions can tell apart: about 16.7 million ids a topic. */
const PAGES_MAX = POSITION_MASK >>> PAGE_BITS

const SLOTS_MIN = 32
/** From here on the next table is filled beside this one. */
const LOAD_MAX = 0.6
/** What the next table holds at first: so there is time until the one after it, in a topic that does not grow too. */
const LOAD_FIRST = 0.4
/** Ids that go into the next table with each new one: it takes over at a load below 0.7, and no insert stalls. */
const MOVED_PER_INSERT = 8
const MOVED_AT_ONCE = 1024
/** Of a bucket's objects, beside its arrays, about. */
const BUCKET_OVERHEAD_BYTES = 1_024

/** A topic's window is held in so many buckets: an id lives for the window and at most an eighth of it more. */
const BUCKETS_PER_WINDOW = 8
const WIDTH_MS_MIN = 1_000

/**
 * The dedup ids of one topic: buckets by time, and one open-addressing table of positions over all of them, so that an
 * id that is new costs one look. Slots of a bucket that was dropped stay until the table is made anew; they point at
 * nothing, or at an id that is not theirs, which the comparison tells. About 36 bytes an id.
 */
export class DedupTable {
  windowMs: number
  /** Oldest first. */
  readonly #buckets: DedupBucket[] = []
  /** The bucket of each page, by page number modulo PAGES_MAX. */
  readonly #ring: (DedupBucket | undefined)[] = []
  #nextPage = 0
  #ids = 0
  #bytes = 0
  #slots: Uint32Array = new Uint32Array(SLOTS_MIN)
  /** Slots that are not empty. */
  #used = 0
  /** Takes the place of `#slots` once it holds every id. */
  #next: Uint32Array | undefined
  #nextUsed = 0
  /** How many are due to be moved. */
  #toMove = 0
  /** The next id to move: page number and index. */
  #movePage = 0
  #moveIndex = 0
  readonly #moving = new DedupKey()
  /** Means nothing; without it the compiler would leave out the reads of `touch`. */
  touched = 0

  constructor(options: { windowMs: number }) {
    this.windowMs = options.windowMs
  }

  get ids(): number {
    return this.#ids
  }

  /** Pages of all its buckets. */
  get pages(): number {
    return this.#nextPage - (this.#buckets[0]?.firstPage ?? this.#nextPage)
  }

  get buckets(): readonly DedupBucket[] {
    return this.#buckets
  }

  /** Memory: pages and tables as allocated, both tables while ids move from one to the other. */
  get bytes(): number {
    return this.#bytes + 4 * (this.#slots.length + (this.#next?.length ?? 0))
  }

  /** Memory once the buckets that are due at `time` are gone. */
  bytesAt(time: number): number {
    let bytes = this.bytes
    let left = this.#buckets.length
    for (const bucket of this.#buckets) {
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
    const oldest = this.#buckets[0]
    return oldest === undefined ? Number.POSITIVE_INFINITY : this.expiryOf(oldest)
  }

  /** Where an id stands; undefined when it was not seen, or too long before `time`. */
  find(key: DedupKey, time: number): DedupPlace | undefined {
    const slots = this.#slots
    const mask = slots.length - 1
    for (let slot = key.mixed & mask; ; slot = (slot + 1) & mask) {
      const value = slots[slot]!
      if (value === 0) return undefined
      if ((value ^ key.mixed) >>> POSITION_BITS !== 0) continue
      const position = (value & POSITION_MASK) - 1
      const bucket = this.#ring[position >>> PAGE_BITS]
      if (bucket === undefined) continue
      const local = localOf(bucket, position)
      if (local >= bucket.count || !bucket.holds(local, key)) continue
      // One that is due goes with the next group, which has this time.
      return this.expiryOf(bucket) <= time ? undefined : bucket.place(local)
    }
  }

  /**
   * Reads the slots of many ids, to no other end than that they are in the processor's cache then: the waits for memory
   * overlap here, and would come one after the other in `find`.
   */
  touch(hashes: Uint8Array): void {
    const slots = this.#slots
    const mask = slots.length - 1
    let touched = 0
    for (let at = 0; at < hashes.length; at += DEDUP_ID_HASH_BYTES)
      touched ^= slots[this.#moving.read(hashes, at).mixed & mask]!
    this.touched = touched
  }

  /** The bucket for ids of a group of this time; undefined when there is none yet. */
  openBucket(time: number): DedupBucket | undefined {
    const newest = this.#buckets.at(-1)
    return newest !== undefined && time < newest.start + newest.widthMs ? newest : undefined
  }

  /** Begins a bucket. Spans begin at multiples of their width, so that the buckets of many topics expire together. */
  beginBucket(time: number): DedupBucket {
    const widthMs = Math.max(WIDTH_MS_MIN, Math.ceil(this.windowMs / BUCKETS_PER_WINDOW))
    const newest = this.#buckets.at(-1)
    const earliest = newest === undefined ? 0 : newest.start + newest.widthMs
    return this.addBucket({ start: Math.max(time - (time % widthMs), earliest), widthMs })
  }

  /** Adds a bucket behind the others. */
  addBucket(span: { start: number; widthMs: number }): DedupBucket {
    const bucket = new DedupBucket({ ...span, firstPage: this.#nextPage })
    this.#buckets.push(bucket)
    this.#bytes += BUCKET_OVERHEAD_BYTES
    return bucket
  }

  /** Adds an id that is not here, to the newest bucket. */
  insert(key: DedupKey, place: DedupPlace): void {
    const bucket = this.#buckets.at(-1)!
    const bytes = bucket.bytes
    const local = bucket.count
    bucket.append(key, place)
    this.#bytes += bucket.bytes - bytes
    this.#ids++
    if ((local & PAGE_MASK) === 0) this.#ring[this.#nextPage++ % PAGES_MAX] = bucket
    const page = (this.#nextPage - 1) % PAGES_MAX
    put(this.#slots, key.mixed, (page << PAGE_BITS) | (local & PAGE_MASK))
    this.#used++
    this.#grow()
  }

  /** Drops the oldest bucket, which there must be. */
  dropOldest(): DedupBucket {
    const bucket = this.#buckets.shift()!
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
    if (this.pages + pages > PAGES_MAX) return Number.POSITIVE_INFINITY
    const forPages = pageBytesFor(count + ids) - pageBytesFor(count)
    const forBucket = bucket === undefined ? BUCKET_OVERHEAD_BYTES : 0
    return forPages + forBucket + 4 * this.#slotsGrowth(ids)
  }

  /** Slots, at the worst moment: while the last table that is needed is filled beside the one before. */
  #slotsGrowth(ids: number): number {
    const now = this.#slots.length
    const next = this.#next?.length ?? 0
    const [largest, used] = next > 0 ? [next, this.#ids] : [now, this.#used]
    if (used + ids <= largest * LOAD_MAX) return 0
    const last = slotsFor(this.#ids + ids)
    return Math.max(now, next, last) + Math.max(next, last) - now - next
  }

  /** Begins the next table when this one is loaded, and fills it: a piece now and then, since a loop runs best long. */
  #grow(): void {
    if (this.#next === undefined) {
      if (this.#used <= this.#slots.length * LOAD_MAX) return
      this.#next = new Uint32Array(slotsFor(this.#ids))
      this.#nextUsed = 0
      this.#toMove = 0
      this.#movePage = this.#buckets[0]!.firstPage
      this.#moveIndex = 0
    }
    this.#toMove += MOVED_PER_INSERT
    if (this.#toMove < MOVED_AT_ONCE && this.#toMove < this.#slots.length / 4) return
    this.#move(this.#next)
    this.#toMove = 0
    if (this.#movePage < this.#nextPage) return
    this.#slots = this.#next
    this.#used = this.#nextUsed
    this.#next = undefined
  }

  #move(next: Uint32Array): void {
    // A bucket may have been dropped since.
    if (this.#movePage < this.#buckets[0]!.firstPage) {
      this.#movePage = this.#buckets[0]!.firstPage
      this.#moveIndex = 0
    }
    for (let left = this.#toMove; left > 0 && this.#movePage < this.#nextPage; ) {
      const page = this.#movePage % PAGES_MAX
      const bucket = this.#ring[page]!
      const first = localOf(bucket, page << PAGE_BITS)
      const end = Math.min(DEDUP_PAGE_IDS, bucket.count - first)
      const until = Math.min(end, this.#moveIndex + left)
      for (let index = this.#moveIndex; index < until; index++)
        put(next, bucket.read(first + index, this.#moving).mixed, (page << PAGE_BITS) | index)
      left -= until - this.#moveIndex
      this.#nextUsed += until - this.#moveIndex
      this.#moveIndex = until
      if (until < end) return
      this.#movePage++
      this.#moveIndex = 0
    }
  }
}

function localOf(bucket: DedupBucket, position: number): number {
  const page = (position >>> PAGE_BITS) - (bucket.firstPage % PAGES_MAX)
  return ((page < 0 ? page + PAGES_MAX : page) << PAGE_BITS) | (position & PAGE_MASK)
}

function put(slots: Uint32Array, mixed: number, position: number): void {
  const mask = slots.length - 1
  let slot = mixed & mask
  while (slots[slot] !== 0) slot = (slot + 1) & mask
  slots[slot] = (mixed & ~POSITION_MASK) | (position + 1)
}

function slotsFor(ids: number): number {
  let slots = SLOTS_MIN
  while (ids > slots * LOAD_FIRST) slots *= 2
  return slots
}
