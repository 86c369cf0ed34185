/** How much is inflated at once. */
export interface InflationBounds {
  /** Of what comes out; one that is larger goes alone. */
  readonly bytesMax: number
  readonly countMax: number
}

interface Waiting {
  readonly bytes: number
  readonly enter: () => void
}

/** Lets work that inflates begin in the order in which it comes, only so much of it at once. */
export class InflationGate {
  readonly #bounds: InflationBounds
  readonly #waiting: Waiting[] = []
  #bytes = 0
  #count = 0

  constructor(bounds: InflationBounds) {
    this.#bounds = bounds
  }

  /** Runs `inflate`, whose result will have about so many bytes, when there is room for it. */
  async run<T>(bytes: number, inflate: () => Promise<T>): Promise<T> {
    if (this.#waiting.length > 0 || !this.#hasRoom(bytes)) {
      await new Promise<void>((enter) => this.#waiting.push({ bytes, enter }))
    } else this.#take(bytes)
    try {
      return await inflate()
    } finally {
      this.#bytes -= bytes
      this.#count--
      this.#next()
    }
  }

  #hasRoom(bytes: number): boolean {
    const { bytesMax, countMax } = this.#bounds
    return this.#count === 0 || (this.#count < countMax && this.#bytes + bytes <= bytesMax)
  }

  #take(bytes: number): void {
    this.#bytes += bytes
    this.#count++
  }

  #next(): void {
    for (
      let next = this.#waiting[0];
      next !== undefined && this.#hasRoom(next.bytes);
      next = this.#waiting[0]
    ) {
      this.#waiting.shift()
      this.#take(next.bytes)
      next.enter()
    }
  }
}
