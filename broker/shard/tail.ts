import type { Slab } from '../wal/slab.js'

/** One stored entry that is still in the WAL or in the tail cache. Recovery may move it to another segment. */
export interface TailEntry {
  readonly baseOffset: number
  /** Behind its last offset. */
  readonly endOffset: number
  readonly appendTime: number
  readonly bytes: number
  /** Of its WAL group. */
  readonly sequence: number
  segment: number
  /** Of its first byte in the segment. */
  position: number
  /** The slab that still holds it; undefined once the cache let go of it. */
  slab: Slab | undefined
  readonly slabPosition: number
}

/** The newest entries of one partition in the order of their offsets: what is unsealed, and what is cached. */
export class Tail {
  #entries: TailEntry[] = []
  #head = 0
  /** Bytes of entries at or above the sealed end. */
  unsealedBytes = 0

  get length(): number {
    return this.#entries.length - this.#head
  }

  at(index: number): TailEntry | undefined {
    return this.#entries[this.#head + index]
  }

  push(entry: TailEntry): void {
    this.#entries.push(entry)
    this.unsealedBytes += entry.bytes
  }

  /** Index of the first entry that ends above `offset`; `length` when there is none. */
  indexOf(offset: number): number {
    return this.#search((entry) => entry.endOffset > offset)
  }

  /** Index of the first entry appended at or after `time`. */
  indexAtTime(time: number): number {
    return this.#search((entry) => entry.appendTime >= time)
  }

  #search(isAtOrBehind: (entry: TailEntry) => boolean): number {
    let low = this.#head
    let high = this.#entries.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (isAtOrBehind(this.#entries[middle] as TailEntry)) high = middle
      else low = middle + 1
    }
    return low - this.#head
  }

  /** The first entry that is not in a chunk yet. */
  firstUnsealed(sealedEnd: number): TailEntry | undefined {
    return this.at(this.indexOf(sealedEnd))
  }

  /** Counts the entries of a sealed range out. */
  sealed(range: { from: number; to: number }): void {
    for (let i = this.indexOf(range.from); i < this.length; i++) {
      const entry = this.at(i) as TailEntry
      if (entry.endOffset > range.to) break
      this.unsealedBytes -= entry.bytes
    }
  }

  /** Lets go of leading entries that are in a chunk and not in the cache. */
  trim(sealedEnd: number): void {
    while (this.#head < this.#entries.length) {
      const entry = this.#entries[this.#head] as TailEntry
      if (entry.slab !== undefined || entry.endOffset > sealedEnd) break
      this.#head++
    }
    // Empty, or worth the copying.
    if (this.#head === this.#entries.length || (this.#head > 64 && this.#head * 2 > this.#entries.length)) {
      this.#entries = this.#entries.slice(this.#head)
      this.#head = 0
    }
  }
}
