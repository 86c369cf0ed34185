/** What a member holds that the program has not seen. */
export interface WaitingJobs {
  readonly waiting: number
  readonly waitingBytes: number
}

/** Before the first delivery nobody knows how large the records are. */
const FIRST_CREDIT_MAX = 32
/** How much of the average the latest delivery is. */
const LATEST_SHARE = 0.25

/**
 * How many jobs a member tells the broker that it has room for: by their number, and by what they take at the size that jobs
 * had lately.
 */
export class QueueCredit {
  readonly #prefetch: number
  readonly #prefetchBytes: number
  /** Jobs that may still come without another word. */
  #given = 0
  #averageBytes: number | undefined

  constructor({ prefetch, prefetchBytes }: { prefetch: number; prefetchBytes: number }) {
    this.#prefetch = prefetch
    this.#prefetchBytes = prefetchBytes
  }

  /** The first credit on a new connection: what was given on the one before is void. */
  begin(held: WaitingJobs): number {
    this.#given = 0
    return this.#give(held)
  }

  /** `count` jobs have come, with so many bytes together. */
  delivered(count: number, bytes: number): void {
    this.#given = Math.max(0, this.#given - count)
    if (count === 0) return
    const average = this.#averageBytes ?? bytes / count
    this.#averageBytes = average + (bytes / count - average) * LATEST_SHARE
  }

  /** Credit to give now; 0 while that is too little for a frame of its own. */
  due(held: WaitingJobs): number {
    const isWorthIt = this.#given === 0 || 4 * this.#room(held) >= this.#prefetch
    return isWorthIt ? this.#give(held) : 0
  }

  #give(held: WaitingJobs): number {
    const room = this.#room(held)
    this.#given += room
    return room
  }

  #room({ waiting, waitingBytes }: WaitingJobs): number {
    const ahead = waiting + this.#given
    const average = this.#averageBytes
    const roomByBytes =
      average === undefined
        ? FIRST_CREDIT_MAX - ahead
        : Math.floor((this.#prefetchBytes - waitingBytes) / Math.max(1, average)) - this.#given
    // One at least, however large: else nothing would ever come.
    const leastRoom = ahead === 0 ? 1 : 0
    return Math.max(leastRoom, Math.min(this.#prefetch - ahead, roomByBytes))
  }
}
