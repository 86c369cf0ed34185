/** What a member holds that the program has not seen. */
export interface WaitingJobs {
  readonly waiting: number
  readonly waitingBytes: number
}

/** Before the first delivery nobody knows how large the records are. */
const FIRST_CREDIT_MAX = 32
/** How much of the average the latest delivery is. */
const LATEST_SHARE = 0.25

/** Without another word a member has room for so many jobs, at first. */
const PREFETCH_FIRST = 32
/** What it grows to where that is not enough. */
const PREFETCH_MAX = 4096
/** Jobs that last shorter do not bridge the way to the broker, its disk and back; longer ones are kept from others for nothing. */
const PREFETCH_MS = { min: 40, max: 200 } as const

export interface QueueCreditOptions {
  /** Undefined: as many as the program works off in a while. */
  readonly prefetch: number | undefined
  readonly prefetchBytes: number
  /** Monotonic. */
  readonly nowMs: () => number
}

/**
 * How many jobs a member tells the broker that it has room for: by their number, and by what they take at the size that jobs
 * had lately.
 */
export class QueueCredit {
  readonly #isFixed: boolean
  readonly #prefetchBytes: number
  readonly #nowMs: () => number
  #prefetch: number
  /** Of the jobs that are room for, those that were not started since `#sinceMs`. */
  #left: number
  #sinceMs: number
  /** Jobs that may still come without another word. */
  #given = 0
  #averageBytes: number | undefined

  constructor({ prefetch, prefetchBytes, nowMs }: QueueCreditOptions) {
    this.#isFixed = prefetch !== undefined
    this.#prefetch = prefetch ?? PREFETCH_FIRST
    this.#prefetchBytes = prefetchBytes
    this.#nowMs = nowMs
    this.#left = this.#prefetch
    this.#sinceMs = nowMs()
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

  /** The program has taken one. */
  started(): void {
    if (--this.#left === 0 && !this.#isFixed) this.#adapt()
  }

  /** As many as there was room for are started: how long did they last? */
  #adapt(): void {
    const nowMs = this.#nowMs()
    const lastedMs = nowMs - this.#sinceMs
    if (lastedMs < PREFETCH_MS.min) this.#prefetch = Math.min(PREFETCH_MAX, 2 * this.#prefetch)
    else if (lastedMs > PREFETCH_MS.max) {
      const inTime = Math.floor((this.#prefetch * PREFETCH_MS.max) / lastedMs)
      this.#prefetch = Math.max(PREFETCH_FIRST, inTime)
    }
    this.#left = this.#prefetch
    this.#sinceMs = nowMs
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
