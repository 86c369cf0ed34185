import type { DedupChunk } from './chunk.js'

/** Ids in one page, the unit in which the manifest keeps them. On disk: never changed. */
export const DEDUP_PAGE_IDS = 1024
/** The hash of an id in a page. */
export const DEDUP_HASH_BYTES = 16
/** A run in a page, little-endian: the index of its first id u32, partition u32, offset of that id u64. On disk: never changed. */
export const DEDUP_RUN_BYTES = 16
/** The same in words. */
export const DEDUP_HASH_WORDS = 4
const RUN_WORDS = 4
const FIRST_IDS = 16
const FIRST_RUNS = 2

/** Where the first record of an id stands. */
export interface DedupPlace {
  readonly partition: number
  readonly offset: number
}

/** A page as the manifest keeps it. */
export interface DedupPageBytes {
  readonly hashes: Uint8Array
  readonly runs: Uint8Array
}

/**
 * Up to 1,024 dedup ids in the order in which they came: their hashes, and where their records stand, as runs of ids
 * whose records stand one behind the other. The ids of a batch are mostly one run; at worst each id is one.
 */
export class DedupPage {
  /** Among all pages that the topic ever had. */
  readonly number: number
  /** When the span of its bucket ends. */
  readonly spanEnd: number
  count = 0
  /** Where it stands in the page file; null as long as it does not. */
  slot: number | null = null
  #words: Int32Array
  #runs = new Int32Array(RUN_WORDS * FIRST_RUNS)
  #runCount = 0

  /** A bucket's first page grows, so that a topic with few ids costs little; `ids`: what it has room for from the start. */
  constructor(options: { number: number; spanEnd: number; ids: number }) {
    this.number = options.number
    this.spanEnd = options.spanEnd
    this.#words = new Int32Array(DEDUP_HASH_WORDS * options.ids)
  }

  /** Memory as allocated. */
  get bytes(): number {
    return this.#words.byteLength + this.#runs.byteLength
  }

  /** Whether there is no room for an id more before it has grown. */
  get isFull(): boolean {
    return DEDUP_HASH_WORDS * this.count === this.#words.length
  }

  /** What so many runs more would add to its memory at most. */
  runGrowth(runs: number): number {
    const capacity = this.#runs.length / RUN_WORDS
    const wanted = Math.min(this.#runCount + runs, DEDUP_PAGE_IDS)
    if (wanted <= capacity) return 0
    return (Math.min(2 * wanted, DEDUP_PAGE_IDS) - capacity) * DEDUP_RUN_BYTES
  }

  /** Four words of hash an id. */
  get words(): Int32Array {
    return this.#words
  }

  /** Adds id `i` of a chunk to the newest run. There must be one, and room: see `beginRun`. */
  append({ words }: DedupChunk, i: number): void {
    const from = 4 * i
    const to = 4 * this.count++
    const own = this.#words
    own[to] = words[from]!
    own[to + 1] = words[from + 1]!
    own[to + 2] = words[from + 2]!
    own[to + 3] = words[from + 3]!
  }

  /** Makes room for one id more, or all that there may be. */
  grow(): void {
    if (!this.isFull || this.count === DEDUP_PAGE_IDS) return
    const ids = Math.min(DEDUP_PAGE_IDS, 2 * this.count)
    const larger = new Int32Array(DEDUP_HASH_WORDS * ids)
    larger.set(this.#words)
    this.#words = larger
  }

  /** The next id stands here, and those that follow it behind. Goes on with the newest run where that says the same. */
  beginRun({ partition, offset }: DedupPlace): void {
    const { count } = this
    if (this.#runCount > 0) {
      const last = this.#placeIn(this.#runCount - 1, count)
      if (last.partition === partition && last.offset === offset) return
    }
    this.#addRun({ index: count, partition, offset })
  }

  /** Whether the id at `index` is id `i` of a chunk. */
  holds(index: number, { words }: DedupChunk, i: number): boolean {
    const own = this.#words
    const at = 4 * index
    const from = 4 * i
    return (
      own[at] === words[from] &&
      own[at + 1] === words[from + 1] &&
      own[at + 2] === words[from + 2] &&
      own[at + 3] === words[from + 3]
    )
  }

  place(index: number): DedupPlace {
    return this.#placeIn(this.#runOf(index), index)
  }

  /** How many ids from `index` on stand one behind the other. */
  runLength(index: number): number {
    const next = this.#runOf(index) + 1
    return (next < this.#runCount ? this.#runs[RUN_WORDS * next]! : this.count) - index
  }

  /** Forgets all but the first `count` ids. */
  truncate(count: number): void {
    this.count = count
    while (this.#runCount > 0 && this.#runs[RUN_WORDS * (this.#runCount - 1)]! >= count) this.#runCount--
  }

  /** Its first ids, as the manifest keeps them: views. */
  stored(count: number): DedupPageBytes {
    const runs = count === 0 ? 0 : this.#runOf(count - 1) + 1
    return {
      hashes: new Uint8Array(this.#words.buffer, 0, count * DEDUP_HASH_BYTES),
      runs: new Uint8Array(this.#runs.buffer, 0, runs * DEDUP_RUN_BYTES),
    }
  }

  /** Takes over what the manifest keeps; it is empty. False when the runs are none. */
  load({ hashes, runs }: DedupPageBytes): boolean {
    const count = hashes.length / DEDUP_HASH_BYTES
    const runCount = runs.length / DEDUP_RUN_BYTES
    if (!Number.isInteger(runCount) || runCount > count) return false
    new Uint8Array(this.#words.buffer).set(hashes)
    if (runs.length > this.#runs.byteLength) this.#runs = new Int32Array(RUN_WORDS * runCount)
    new Uint8Array(this.#runs.buffer).set(runs)
    this.count = count
    this.#runCount = runCount
    for (let run = 0, before = -1; run < runCount; run++) {
      const index = this.#runs[RUN_WORDS * run]!
      if (run === 0 ? index !== 0 : index <= before || index >= count) return false
      before = index
    }
    return count === 0 || runCount > 0
  }

  #addRun({ index, partition, offset }: DedupPlace & { index: number }): void {
    const at = RUN_WORDS * this.#runCount++
    if (at === this.#runs.length) {
      const larger = new Int32Array(Math.min(2 * at, RUN_WORDS * DEDUP_PAGE_IDS))
      larger.set(this.#runs)
      this.#runs = larger
    }
    const runs = this.#runs
    runs[at] = index
    runs[at + 1] = partition
    runs[at + 2] = offset | 0
    runs[at + 3] = Math.floor(offset / 2 ** 32)
  }

  /** The run that holds the id at `index`. */
  #runOf(index: number): number {
    let low = 0
    for (let high = this.#runCount - 1; low < high; ) {
      const middle = (low + high + 1) >>> 1
      if (this.#runs[RUN_WORDS * middle]! <= index) low = middle
      else high = middle - 1
    }
    return low
  }

  #placeIn(run: number, index: number): DedupPlace {
    const at = RUN_WORDS * run
    const runs = this.#runs
    const offset = (runs[at + 2]! >>> 0) + runs[at + 3]! * 2 ** 32 + (index - runs[at]!)
    return { partition: runs[at + 1]! >>> 0, offset }
  }
}

/** Memory of all pages of a bucket with so many ids, without their runs. */
export function hashBytesFor(ids: number): number {
  if (ids === 0) return 0
  if (ids > DEDUP_PAGE_IDS / 2) return Math.ceil(ids / DEDUP_PAGE_IDS) * DEDUP_PAGE_IDS * DEDUP_HASH_BYTES
  let capacity = FIRST_IDS
  while (capacity < ids) capacity *= 2
  return capacity * DEDUP_HASH_BYTES
}

/** Memory for the runs of new pages, with so many ids in all, at most. */
export function runBytesFor({ pages, ids }: { pages: number; ids: number }): number {
  return Math.min(pages * DEDUP_PAGE_IDS, pages * FIRST_RUNS + 2 * ids) * DEDUP_RUN_BYTES
}
