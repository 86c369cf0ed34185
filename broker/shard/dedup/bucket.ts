import type { DedupChunk } from './chunk.js'
import { DEDUP_PAGE_IDS, type DedupPage } from './page.js'

const PAGE_BITS = 10
const PAGE_MASK = DEDUP_PAGE_IDS - 1

/** A topic's window is held in so many buckets: an id lives for the window and at most an eighth of it more. */
const BUCKETS_PER_WINDOW = 8
const WIDTH_MS_MIN = 1_000

/** Of a bucket's objects, about. */
export const BUCKET_OVERHEAD_BYTES = 1_024
/** Of a page's objects, beside its arrays, about. */
export const PAGE_OVERHEAD_BYTES = 256

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
  readonly pages: DedupPage[] = []
  /** Applied and pending. */
  count = 0
  /** How many of its ids are part of the state; those behind them are pending. */
  applied = 0
  /** How many of its ids the manifest holds. */
  flushedIds = 0

  constructor(options: { start: number; widthMs: number }) {
    this.start = options.start
    this.widthMs = options.widthMs
  }

  /** After the last millisecond of its span. */
  get end(): number {
    return this.start + this.widthMs
  }

  /** Memory. */
  get bytes(): number {
    let bytes = BUCKET_OVERHEAD_BYTES
    for (const page of this.pages) bytes += page.bytes + PAGE_OVERHEAD_BYTES
    return bytes
  }

  get appliedPages(): number {
    return Math.ceil(this.applied / DEDUP_PAGE_IDS)
  }

  /** How many of the ids in a page are applied. */
  appliedIn(page: number): number {
    return Math.min(DEDUP_PAGE_IDS, this.applied - page * DEDUP_PAGE_IDS)
  }

  /** Applies the first pending ids if they are those of a chunk, all of them and at their places. */
  apply(chunk: DedupChunk, { partition, baseOffset }: DedupSpan): boolean {
    const { count, records } = chunk
    const first = this.applied
    if (first + count > this.count) return false
    for (let i = 0; i < count; ) {
      const position = first + i
      const page = this.pages[position >>> PAGE_BITS]!
      const index = position & PAGE_MASK
      const place = page.place(index)
      if (place.partition !== partition) return false
      // What stands in one run has records in a row too.
      const delta = place.offset - baseOffset - i
      const end = Math.min(count, i + page.runLength(index))
      for (let at = index; i < end; i++, at++)
        if (records[i] !== delta + i || !page.holds(at, chunk, i)) return false
    }
    this.applied = first + count
    return true
  }
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
