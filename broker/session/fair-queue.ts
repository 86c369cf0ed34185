import type { Clock } from '../platform/clock.js'

/** Something that has more to do than may be done at once. */
export interface Waiting {
  /** Does a bounded piece of it, and enters the queue again when there is more. */
  goOn(): void
}

/** After so long the event loop looks again for what is new: frames of others, finished writes. */
const TURN_MS = 1

/**
 * Who has had a share of the event loop and wants more, of all connections. They go on in rotation, a piece each, and together
 * for about `TURN_MS` in a turn of the loop: whoever asks for little, and so never waits here, is served between.
 */
export class FairQueue {
  readonly #clock: Clock
  /** In order of entry; a set, so that nobody stands in it twice. */
  readonly #waiting = new Set<Waiting>()
  #isScheduled = false
  /** Of this turn: when it began, and how many may still go on. */
  #startMs = 0
  #left = 0

  constructor(clock: Clock) {
    this.#clock = clock
  }

  enter(waiting: Waiting): void {
    this.#waiting.add(waiting)
    if (this.#isScheduled) return
    this.#isScheduled = true
    setImmediate(this.#run)
  }

  leave(waiting: Waiting): void {
    this.#waiting.delete(waiting)
  }

  readonly #run = (): void => {
    this.#startMs = this.#clock.monotonic()
    // Once round at most: a clock that stands, as a simulated one does, ends no turn.
    this.#left = this.#waiting.size
    this.#next()
  }

  /** In a tick of its own, after which what it sends has been written: that takes the longest. */
  readonly #next = (): void => {
    const [next] = this.#waiting
    if (next !== undefined && this.#left-- > 0 && this.#clock.monotonic() - this.#startMs < TURN_MS) {
      this.#waiting.delete(next)
      next.goOn()
      process.nextTick(this.#next)
      return
    }
    this.#isScheduled = this.#waiting.size > 0
    if (this.#isScheduled) setImmediate(this.#run)
  }
}
