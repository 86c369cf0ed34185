/** Ids in one page, the unit in which the manifest keeps them. On disk: never changed. */
export const DEDUP_PAGE_IDS = 1024
/** One id in a page: hash 16 bytes, offset u64, partition u32, all little-endian. On disk: never changed. */
export const DEDUP_ID_BYTES = 28
const PAGE_BITS = 10
const PAGE_MASK = DEDUP_PAGE_IDS - 1
const FIRST_PAGE_IDS = 16

/** Where the first record of an id stands. */
export interface DedupPlace {
  readonly partition: number
  readonly offset: number
}

/** One id's hash, read out of bytes. It is used again and again, so that looking up a million ids allocates nothing. */
export class DedupKey {
  a = 0
  b = 0
  c = 0
  d = 0
  /** All 128 bits in 32: ids need not be good hashes for a table to be even. */
  mixed = 0

  /** Reads the hash that stands at `at`. */
  read(bytes: Uint8Array, at: number): this {
    return this.set(word(bytes, at), word(bytes, at + 4), word(bytes, at + 8), word(bytes, at + 12))
  }

  set(a: number, b: number, c: number, d: number): this {
    this.a = a
    this.b = b
    this.c = c
    this.d = d
    let mixed = a ^ Math.imul(b, 0x85ebca6b) ^ Math.imul(c, 0xc2b2ae35) ^ Math.imul(d, 0x27d4eb2f)
    mixed = Math.imul(mixed ^ (mixed >>> 16), 0x21f0aaad)
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97)
    this.mixed = mixed ^ (mixed >>> 15)
    return this
  }
}

const word = (bytes: Uint8Array, at: number): number =>
  bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)

/**
 * The dedup ids of one topic that were logged in one span of time, in the order in which they came: append-only pages,
 * dropped together.
 */
export class DedupBucket {
  /** First millisecond of its span. */
  readonly start: number
  readonly widthMs: number
  /** Number of its first page among all that the topic ever had. */
  readonly firstPage: number
  /** How many of its ids the manifest holds. */
  flushedIds = 0
  #count = 0
  #bytes = 0
  readonly #pages: DataView[] = []

  constructor(options: { start: number; widthMs: number; firstPage: number }) {
    this.start = options.start
    this.widthMs = options.widthMs
    this.firstPage = options.firstPage
  }

  get count(): number {
    return this.#count
  }

  get pages(): number {
    return this.#pages.length
  }

  /** Memory of its pages as allocated. */
  get bytes(): number {
    return this.#bytes
  }

  append(key: DedupKey, { partition, offset }: DedupPlace): void {
    const position = this.#count++
    const page = this.#pageFor(position)
    const at = (position & PAGE_MASK) * DEDUP_ID_BYTES
    page.setInt32(at, key.a, true)
    page.setInt32(at + 4, key.b, true)
    page.setInt32(at + 8, key.c, true)
    page.setInt32(at + 12, key.d, true)
    page.setUint32(at + 16, offset >>> 0, true)
    page.setUint32(at + 20, Math.floor(offset / 2 ** 32), true)
    page.setUint32(at + 24, partition, true)
  }

  holds(position: number, key: DedupKey): boolean {
    const page = this.#pages[position >>> PAGE_BITS]!
    const at = (position & PAGE_MASK) * DEDUP_ID_BYTES
    return (
      page.getInt32(at, true) === key.a &&
      page.getInt32(at + 4, true) === key.b &&
      page.getInt32(at + 8, true) === key.c &&
      page.getInt32(at + 12, true) === key.d
    )
  }

  read(position: number, key: DedupKey): DedupKey {
    const page = this.#pages[position >>> PAGE_BITS]!
    const at = (position & PAGE_MASK) * DEDUP_ID_BYTES
    const [a, b] = [page.getInt32(at, true), page.getInt32(at + 4, true)]
    return key.set(a, b, page.getInt32(at + 8, true), page.getInt32(at + 12, true))
  }

  place(position: number): DedupPlace {
    const page = this.#pages[position >>> PAGE_BITS]!
    return placeAt(page, (position & PAGE_MASK) * DEDUP_ID_BYTES)
  }

  /** The ids of a page as the manifest keeps them: a view. */
  page(index: number): Uint8Array {
    const ids = Math.min(DEDUP_PAGE_IDS, this.#count - index * DEDUP_PAGE_IDS)
    return new Uint8Array(this.#pages[index]!.buffer, 0, ids * DEDUP_ID_BYTES)
  }

  /** Where there is room for `position`. A first page grows, so that a topic with few ids costs little. */
  #pageFor(position: number): DataView {
    const index = position >>> PAGE_BITS
    const page = this.#pages[index]
    if (page !== undefined && (position & PAGE_MASK) * DEDUP_ID_BYTES < page.byteLength) return page
    const bytes = pageBytesFor(position + 1) - index * DEDUP_PAGE_IDS * DEDUP_ID_BYTES
    const larger = new Uint8Array(bytes)
    if (page !== undefined) larger.set(new Uint8Array(page.buffer))
    this.#bytes += bytes - (page?.byteLength ?? 0)
    const view = new DataView(larger.buffer)
    this.#pages[index] = view
    return view
  }
}

/** The partition and offset of the id that stands at `at`. */
export const placeAt = (page: DataView, at: number): DedupPlace => ({
  offset: page.getUint32(at + 16, true) + page.getUint32(at + 20, true) * 2 ** 32,
  partition: page.getUint32(at + 24, true),
})

/** All pages of a bucket with so many ids. */
export function pageBytesFor(ids: number): number {
  if (ids === 0) return 0
  if (ids > DEDUP_PAGE_IDS / 2) return Math.ceil(ids / DEDUP_PAGE_IDS) * DEDUP_PAGE_IDS * DEDUP_ID_BYTES
  let capacity = FIRST_PAGE_IDS
  while (capacity < ids) capacity *= 2
  return capacity * DEDUP_ID_BYTES
}
