import type { StreamProducerRow } from '../manifest/rows.js'
import type { StreamMoved } from './command-codec/streams.js'

/** The producers of all streams together, the longest silent first. What each wrote last stands in its stream. */
export class StreamProducers {
  readonly #rows = new Set<StreamProducerRow>()

  // Below: not state, but what groups that are not applied yet will change.
  readonly #coming = new Set<StreamMoved>()
  readonly #going = new Set<StreamProducerRow>()

  /** How many there are. */
  get size(): number {
    return this.#rows.size
  }

  /** How many there will be when all that is decided is applied. */
  get decided(): number {
    return this.#rows.size + this.#coming.size - this.#going.size
  }

  load(rows: readonly StreamProducerRow[]): void {
    for (const row of [...rows].sort((a, b) => a.lastSeen - b.lastSeen)) this.#rows.add(row)
  }

  /** Takes the place of `before`, if the producer was known. */
  keep(row: StreamProducerRow, before: StreamProducerRow | undefined): void {
    if (before !== undefined) this.forget(before)
    this.#rows.add(row)
  }

  forget(row: StreamProducerRow): void {
    this.#rows.delete(row)
    this.#going.delete(row)
  }

  /** A write is decided on that brings a producer. */
  expect(move: StreamMoved): void {
    this.#coming.add(move)
  }

  /** This one is applied. */
  arrived(move: StreamMoved): void {
    this.#coming.delete(move)
  }

  /** It is decided that these are forgotten. */
  release(rows: Iterable<StreamProducerRow>): void {
    for (const row of rows) this.#going.add(row)
  }

  isGoing(row: StreamProducerRow): boolean {
    return this.#going.has(row)
  }

  /** The longest silent of those that were last seen before `time`, `countMax` at most. */
  silent(
    time: number,
    { countMax, isKept }: { countMax: number; isKept: (row: StreamProducerRow) => boolean },
  ): StreamProducerRow[] {
    const found: StreamProducerRow[] = []
    for (const row of this.#rows) {
      if (found.length >= countMax || row.lastSeen >= time) break
      if (!this.#going.has(row) && !isKept(row)) found.push(row)
    }
    return found
  }
}
