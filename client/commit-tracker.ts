/** Which records of one partition are finished, and so how far its cursor may go. Offsets rise; they may have gaps. */
export interface CommitTracker {
  /** Everything below is finished: where the cursor may be. */
  readonly floor: number
  /** A record was given to the application. `next`: where the partition goes on behind it. */
  give(offset: number, next: number): void
  /** There is no record below `next` that was not given. */
  skip(next: number): void
  /** The application is done with a record that it was given. Returns whether the floor rose. */
  finish(offset: number, next: number): boolean
}

/** For loops that take one record after the other: who finishes a record finishes all before it. */
export class LoopTracker implements CommitTracker {
  #floor: number
  /** Behind the last record given. */
  #given: number
  /** That, and behind what has no records that follows it. */
  #position: number

  constructor(offset: number) {
    this.#floor = offset
    this.#given = offset
    this.#position = offset
  }

  get floor(): number {
    return this.#floor
  }

  give(_: number, next: number): void {
    this.#given = next
    this.#position = next
  }

  skip(next: number): void {
    if (this.#floor === this.#position) this.#floor = next
    this.#position = next
  }

  finish(_: number, next: number): boolean {
    const reached = next === this.#given ? this.#position : next
    if (reached <= this.#floor) return false
    this.#floor = reached
    return true
  }
}

/** Finished offsets that stand behind an unfinished one are kept; past so many the list is looked through. */
const SPARSE_MIN = 64

/**
 * For records that are finished in any order: the floor is the lowest that is not. Its memory goes with what is unfinished,
 * however long one record holds up the others.
 */
export class RunTracker implements CommitTracker {
  /** Given, from #head on; the first of them is not finished. */
  #offsets: number[] = []
  #head = 0
  /** Those of them that are finished. */
  #finished = new Set<number>()
  #position: number

  constructor(offset: number) {
    this.#position = offset
  }

  get floor(): number {
    return this.#offsets[this.#head] ?? this.#position
  }

  give(offset: number, next: number): void {
    this.#offsets.push(offset)
    this.#position = next
  }

  skip(next: number): void {
    this.#position = next
  }

  finish(offset: number): boolean {
    if (offset !== this.#offsets[this.#head]) {
      if (offset > this.floor) this.#finished.add(offset)
      this.#thin()
      return false
    }
    do this.#head++
    while (this.#finished.delete(this.#offsets[this.#head] ?? -1))
    this.#trim()
    return true
  }

  /** Behind a record that stays unfinished the others come and go. */
  #thin(): void {
    const kept = this.#offsets.length - this.#head
    if (this.#finished.size < SPARSE_MIN || 2 * this.#finished.size < kept) return
    this.#offsets = this.#offsets.slice(this.#head).filter((offset) => !this.#finished.has(offset))
    this.#head = 0
    this.#finished.clear()
  }

  #trim(): void {
    if (this.#head < SPARSE_MIN || 2 * this.#head < this.#offsets.length) return
    this.#offsets = this.#offsets.slice(this.#head)
    this.#head = 0
  }
}
