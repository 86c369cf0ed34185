import { type OffsetRange, OffsetRanges } from '../shard/offset-ranges.js'

/** Jobs of a work queue whose dead letters are being written, and what is answered once they are. */
export class BuriedJobs<Item> {
  /** No lease of these runs out meanwhile. */
  readonly offsets = new OffsetRanges()
  /** The nack that buried a job: it is answered when all its jobs are done. */
  readonly #buriedBy = new Map<number, Item>()
  readonly #unanswered = new Map<Item, number>()

  /** What of a range is neither being buried nor among `taken`. */
  untouched(range: OffsetRange, taken: OffsetRanges): OffsetRange[] {
    return [...this.offsets.outside(range)].flatMap((rest) => [...taken.outside(rest)])
  }

  answerLater(item: Item, offsets: readonly number[]): void {
    this.#unanswered.set(item, offsets.length)
    for (const offset of offsets) this.#buriedBy.set(offset, item)
  }

  /** The dead letter is written, or was not needed any more: what is answered with it. */
  done(offset: number): Item[] {
    this.offsets.delete({ from: offset, to: offset + 1 })
    const item = this.#buriedBy.get(offset)
    if (item === undefined) return []
    this.#buriedBy.delete(offset)
    const left = (this.#unanswered.get(item) ?? 1) - 1
    if (left > 0) {
      this.#unanswered.set(item, left)
      return []
    }
    this.#unanswered.delete(item)
    return [item]
  }
}
