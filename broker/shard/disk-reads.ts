/**
 * So many reads from disk at a time, first come, first served. What they bring is sent on in one turn of the event loop, and all
 * share libuv's threads with the WAL: three hundred readers who ask at once must not hold up a write.
 */
export class DiskReads {
  readonly #max: number
  readonly #waiting: (() => void)[] = []
  #count = 0

  constructor({ max }: { max: number }) {
    this.#max = max
  }

  /** Whether a read that is asked for now has to wait. */
  get isBusy(): boolean {
    return this.#count === this.#max
  }

  async run<T>(read: () => Promise<T>): Promise<T> {
    // Whoever is let in by another takes its place: the count stays.
    if (this.#count < this.#max) this.#count++
    else await new Promise<void>((letIn) => this.#waiting.push(letIn))
    try {
      return await read()
    } finally {
      const next = this.#waiting.shift()
      if (next === undefined) this.#count--
      else next()
    }
  }
}
