/**
 * So many reads from disk at a time, first come, first served, and what they bring comes one by one: each in a turn of the event
 * loop of its own, because sending it on takes as long as much else does in a turn. All share the loop with acknowledgements and
 * libuv's threads with the WAL: three hundred readers who ask at once must not hold up a write.
 */
export class DiskReads {
  readonly #max: number
  readonly #waiting: (() => void)[] = []
  #count = 0
  /** Those whose bytes have come, for the turns after this one. */
  readonly #arrived: (() => void)[] = []
  /** Whether one has come in this turn. */
  #isTurnTaken = false

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
      const result = await read()
      if (this.#isTurnTaken) await new Promise<void>((letOn) => this.#arrived.push(letOn))
      else this.#takeTurn()
      return result
    } finally {
      const next = this.#waiting.shift()
      if (next === undefined) this.#count--
      else next()
    }
  }

  #takeTurn(): void {
    this.#isTurnTaken = true
    setImmediate(this.#nextTurn)
  }

  readonly #nextTurn = (): void => {
    this.#isTurnTaken = false
    const letOn = this.#arrived.shift()
    if (letOn === undefined) return
    this.#takeTurn()
    letOn()
  }
}
