import type { ChunkRow } from '../manifest/rows.js'
import type { PartitionState } from '../shard/state.js'
import { endOffsetOf, type FoundEntry } from './find-entries.js'

/** Offsets from `from` to `to`, not included. */
export interface OffsetRange {
  readonly from: number
  readonly to: number
}

/** What is to stand in a range of offsets again: entries that were found, and ranges that were not. */
export type Stretch = FoundEntry | OffsetRange

export const isLost = (stretch: Stretch): stretch is OffsetRange => !('header' in stretch)

/** The offsets of a partition that the rows do not hold, up to `end`. */
export function uncovered(partition: PartitionState, rows: readonly ChunkRow[], end: number): OffsetRange[] {
  const ranges: OffsetRange[] = []
  // The start may lie within an entry, and entries are written whole.
  const { startOffset, chunks, sealedEnd } = partition
  let from = Math.min(startOffset, chunks[0]?.section.baseOffset ?? sealedEnd)
  for (const { section } of rows) {
    if (section.baseOffset > from) ranges.push({ from, to: section.baseOffset })
    from = Math.max(from, section.endOffset)
  }
  if (end > from) ranges.push({ from, to: end })
  return ranges
}

/** Entries that may fill the ranges of one partition, from wherever they come: copies of one entry are equal. */
export class Filling {
  readonly ranges: readonly OffsetRange[]
  readonly #entries = new Map<number, FoundEntry>()
  readonly #uncertain = new Set<number>()

  constructor(ranges: readonly OffsetRange[]) {
    this.ranges = ranges
  }

  /** An uncertain one may be of a write that never finished, and whose offsets another write got. */
  offer(entry: FoundEntry, isCertain: boolean): void {
    const { baseOffset } = entry.header
    const isKnown = this.#entries.has(baseOffset)
    if (isKnown && !(isCertain && this.#uncertain.has(baseOffset))) return
    const fits = this.ranges.some(({ from, to }) => baseOffset >= from && endOffsetOf(entry) <= to)
    if (!fits) return
    this.#entries.set(baseOffset, entry)
    if (isCertain) this.#uncertain.delete(baseOffset)
    else this.#uncertain.add(baseOffset)
  }

  /** Each range without a gap. */
  stretches(): Stretch[][] {
    const entries = [...this.#entries.values()].sort((a, b) => a.header.baseOffset - b.header.baseOffset)
    return this.ranges.map(({ from, to }) => {
      const stretches: Stretch[] = []
      let offset = from
      for (const entry of entries) {
        const { baseOffset } = entry.header
        if (baseOffset < offset || endOffsetOf(entry) > to) continue
        if (baseOffset > offset) stretches.push({ from: offset, to: baseOffset })
        stretches.push(entry)
        offset = endOffsetOf(entry)
      }
      if (offset < to) stretches.push({ from: offset, to })
      return stretches
    })
  }
}
