import type { DedupChunk } from './dedup-chunk.js'

/** Ids in one page, the unit in which the manifest keeps them. On disk: never changed. */
export const DEDUP_PAGE_IDS = 1024
/** One id in a page: hash 16 bytes, offset u64, partition u32, all little-endian. On disk: never changed. */
export const DEDUP_ID_BYTES = 28
/** The same in words. */
export const DEDUP_ID_WORDS = 7
const PAGE_BITS = 10
const PAGE_MASK = DEDUP_PAGE_IDS - 1
const FIRST_PAGE_IDS = 16

/** A topic's window is held in so many buckets: an id lives for the window and at most an eighth of it more. */
const BUCKETS_PER_WINDOW = 8
const WIDTH_MS_MIN = 1_000

/** Where the first record of an id stands. */
export interface DedupPlace {
  readonly partition: number
  readonly offset: number
}

/** Where the records of a batch stand: that of record i at `baseOffset + i`. */
export interface DedupSpan {
  readonly partition: number
  readonly baseOffset: number
}

/**
 * The dedup ids of one topic that were logged in one span of time, in the order in which they came: append-only pages,
 * dropped together. Ids of the group that is being written stand here already, behind those that are applied.
 */
export class DedupBucket {
  /** First millisecond of its span. */
  readonly start: number
  readonly widthMs: number
  /** Number of its first page among all that the topic ever had. */
  readonly firstPage: number
  /** How many of its ids are part of the state; those behind them are pending. */
  applied = 0
  /** How many of its ids the manifest holds. */
  flushedIds = 0
  #count = 0
  #bytes = 0
  readonly #pages: Int32Array[] = []

  constructor(options: { start: number; widthMs: number; firstPage: number }) {
    this.start = options.start
    this.widthMs = options.widthMs
    this.firstPage = options.firstPage
  }

  /** Applied and pending. */
  get count(): number {
    return this.#count
  }

  /** Those of all ids. */
  get pages(): number {
    return this.#pages.length
  }

  get appliedPages(): number {
    return Math.ceil(this.applied / DEDUP_PAGE_IDS)
  }

  /** Memory of its pages as allocated. */
  get bytes(): number {
    return this.#bytes
  }

  /** The words of a page, 7 an id; the last one may have room behind its ids. */
  words(page: number): Int32Array {
    return this.#pages[page]!
  }

  /** Adds id `i` of a chunk. */
  append({ words, records }: DedupChunk, i: number, { partition, baseOffset }: DedupSpan): void {
    const position = this.#count++
    let to = (position & PAGE_MASK) * DEDUP_ID_WORDS
    const page = this.#pageFor(position, to)
    const from = 4 * i
    const offset = baseOffset + records[i]!
    page[to++] = words[from]!
    page[to++] = words[from + 1]!
    page[to++] = words[from + 2]!
    page[to++] = words[from + 3]!
    page[to++] = offset | 0
    page[to++] = Math.floor(offset / 2 ** 32)
    page[to] = partition
  }

  /** Adds a whole page as the manifest keeps it; all pages before it are full. */
  load(bytes: Uint8Array): void {
    const position = this.#count
    this.#count += bytes.length / DEDUP_ID_BYTES
    const page = this.#grownPage(position >>> PAGE_BITS, this.#count)
    new Uint8Array(page.buffer).set(bytes)
    this.applied = this.#count
  }

  /** Whether the id at `position` is id `i` of a chunk. */
  holds(position: number, { words }: DedupChunk, i: number): boolean {
    const page = this.#pages[position >>> PAGE_BITS]!
    const at = (position & PAGE_MASK) * DEDUP_ID_WORDS
    return (
      page[at] === words[4 * i] &&
      page[at + 1] === words[4 * i + 1] &&
      page[at + 2] === words[4 * i + 2] &&
      page[at + 3] === words[4 * i + 3]
    )
  }

  /** Applies the first pending ids if they are those of a chunk, all of them and at their places. */
  apply(chunk: DedupChunk, { partition, baseOffset }: DedupSpan): boolean {
    const { count, records } = chunk
    const first = this.applied
    if (first + count > this.#count) return false
    for (let i = 0; i < count; i++) {
      const position = first + i
      const page = this.#pages[position >>> PAGE_BITS]!
      const at = (position & PAGE_MASK) * DEDUP_ID_WORDS + 4
      const offset = baseOffset + records[i]!
      if (!this.holds(position, chunk, i) || page[at] !== (offset | 0)) return false
      if (page[at + 1] !== Math.floor(offset / 2 ** 32) || page[at + 2] !== (partition | 0)) return false
    }
    this.applied = first + count
    return true
  }

  /** Forgets the newest pending ids, until so many are left. */
  truncate(count: number): void {
    this.#count = count
    for (const page of this.#pages.splice(Math.ceil(count / DEDUP_PAGE_IDS))) this.#bytes -= page.byteLength
  }

  place(position: number): DedupPlace {
    const page = this.#pages[position >>> PAGE_BITS]!
    const at = (position & PAGE_MASK) * DEDUP_ID_WORDS + 4
    return { offset: (page[at]! >>> 0) + page[at + 1]! * 2 ** 32, partition: page[at + 2]! >>> 0 }
  }

  /** The applied ids of a page as the manifest keeps them: a view. */
  page(index: number): Uint8Array {
    const ids = Math.min(DEDUP_PAGE_IDS, this.applied - index * DEDUP_PAGE_IDS)
    return new Uint8Array(this.#pages[index]!.buffer, 0, ids * DEDUP_ID_BYTES)
  }

  #pageFor(position: number, word: number): Int32Array {
    const page = this.#pages[position >>> PAGE_BITS]
    if (page !== undefined && word < page.length) return page
    return this.#grownPage(position >>> PAGE_BITS, position + 1)
  }

  /** A page with room for its share of so many ids. A first page grows, so that a topic with few ids costs little. */
  #grownPage(index: number, count: number): Int32Array {
    const page = this.#pages[index]
    const bytes = pageBytesFor(count) - index * DEDUP_PAGE_IDS * DEDUP_ID_BYTES
    const larger = new Int32Array(bytes / 4)
    if (page !== undefined) larger.set(page)
    this.#bytes += bytes - (page?.byteLength ?? 0)
    this.#pages[index] = larger
    return larger
  }
}

/** All pages of a bucket with so many ids. */
export function pageBytesFor(ids: number): number {
  if (ids === 0) return 0
  if (ids > DEDUP_PAGE_IDS / 2) return Math.ceil(ids / DEDUP_PAGE_IDS) * DEDUP_PAGE_IDS * DEDUP_ID_BYTES
  let capacity = FIRST_PAGE_IDS
  while (capacity < ids) capacity *= 2
  return capacity * DEDUP_ID_BYTES
}

/**
 * The span of a new bucket for a group of this time. Spans begin at multiples of their width, so that the buckets of many
 * topics expire together, but not before the end of the bucket `after` which it comes.
 */
export function bucketSpan({ windowMs, time, after }: { windowMs: number; time: number; after: number }): {
  start: number
  widthMs: number
} {
  const widthMs = Math.max(WIDTH_MS_MIN, Math.ceil(windowMs / BUCKETS_PER_WINDOW))
  return { start: Math.max(time - (time % widthMs), after), widthMs }
}
