/** Offsets `from` up to, not including, `to`. */
export interface OffsetRange {
  readonly from: number
  readonly to: number
}

/** A set of offsets, held as sorted ranges of which no two touch. */
export class OffsetRanges {
  readonly #ranges: { from: number; to: number }[] = []

  get ranges(): readonly OffsetRange[] {
    return this.#ranges
  }

  get isEmpty(): boolean {
    return this.#ranges.length === 0
  }

  get first(): OffsetRange | undefined {
    return this.#ranges[0]
  }

  /** How many offsets it holds. */
  get size(): number {
    let size = 0
    for (const { from, to } of this.#ranges) size += to - from
    return size
  }

  has(offset: number): boolean {
    const range = this.#ranges[this.#indexOf(offset)]
    return range !== undefined && range.from <= offset
  }

  covers({ from, to }: OffsetRange): boolean {
    const range = this.#ranges[this.#indexOf(from)]
    return from >= to || (range !== undefined && range.from <= from && range.to >= to)
  }

  overlaps({ from, to }: OffsetRange): boolean {
    const range = this.#ranges[this.#indexOf(from)]
    return from < to && range !== undefined && range.from < to
  }

  add({ from, to }: OffsetRange): void {
    if (!(from < to)) return
    // Neighbours that only touch are taken in as well.
    const start = this.#indexOf(from - 1)
    let end = start
    const grown = { from, to }
    for (
      let range = this.#ranges[end];
      range !== undefined && range.from <= to;
      range = this.#ranges[++end]
    ) {
      grown.from = Math.min(grown.from, range.from)
      grown.to = Math.max(grown.to, range.to)
    }
    this.#ranges.splice(start, end - start, grown)
  }

  delete({ from, to }: OffsetRange): void {
    if (!(from < to)) return
    const start = this.#indexOf(from)
    let end = start
    const left: { from: number; to: number }[] = []
    for (let range = this.#ranges[end]; range !== undefined && range.from < to; range = this.#ranges[++end]) {
      if (range.from < from) left.push({ from: range.from, to: from })
      if (range.to > to) left.push({ from: to, to: range.to })
    }
    this.#ranges.splice(start, end - start, ...left)
  }

  /** What the set holds of `range`, in order. */
  *within({ from, to }: OffsetRange): Generator<OffsetRange> {
    for (let i = this.#indexOf(from); i < this.#ranges.length; i++) {
      const range = this.#ranges[i] as OffsetRange
      if (range.from >= to) return
      yield { from: Math.max(from, range.from), to: Math.min(to, range.to) }
    }
  }

  /** What the set does not hold of `range`, in order. */
  *outside({ from, to }: OffsetRange): Generator<OffsetRange> {
    let at = from
    for (let i = this.#indexOf(from); i < this.#ranges.length && at < to; i++) {
      const range = this.#ranges[i] as OffsetRange
      if (range.from >= to) break
      if (at < range.from) yield { from: at, to: range.from }
      at = range.to
    }
    if (at < to) yield { from: at, to }
  }

  clear(): void {
    this.#ranges.length = 0
  }

  /** Index of the first range that ends above `offset`. */
  #indexOf(offset: number): number {
    let low = 0
    let high = this.#ranges.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#ranges[middle] as OffsetRange).to > offset) high = middle
      else low = middle + 1
    }
    return low
  }
}

/** What `range` and `within` share; empty ranges may come out turned round. */
export const clip = (range: OffsetRange, within: OffsetRange): OffsetRange => ({
  from: Math.max(range.from, within.from),
  to: Math.min(range.to, within.to),
})

/** `range` cut where it enters and leaves the set. */
export function split(range: OffsetRange, set: OffsetRanges): OffsetRange[] {
  const parts = [...set.within(range), ...set.outside(range)]
  return parts.sort((a, b) => a.from - b.from)
}

/** Ranges in their order, those that follow on each other as one. */
export function joined(ranges: readonly OffsetRange[]): OffsetRange[] {
  const result: { from: number; to: number }[] = []
  for (const { from, to } of [...ranges].sort((a, b) => a.from - b.from)) {
    const last = result.at(-1)
    if (last?.to === from) last.to = to
    else result.push({ from, to })
  }
  return result
}
