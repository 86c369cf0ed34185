import { MillraceError } from '../../protocol/error-codes.js'
import { packFrameHead } from '../../protocol/frame.js'
import { type Fetch, fetched } from '../../protocol/messages/fetch.js'
import type { Clock, Timer } from '../platform/clock.js'
import type { Metrics } from '../platform/metrics.js'
import type { ReadResult, ShardFace } from '../shard/shard-face.js'
import type { SessionLimits } from './limits.js'
import type { Rotation, Turn } from './rotation.js'

export interface FetchesOptions {
  readonly shard: ShardFace
  readonly rotation: Rotation
  readonly clock: Clock
  readonly metrics: Metrics
  readonly limits: SessionLimits
  readonly onFail: (correlationId: number, error: unknown) => void
}

/** The FETCH requests of one connection that are not answered: each waits for data, for time or for its turn. */
export class Fetches {
  readonly #options: FetchesOptions
  readonly #open = new Set<WaitingFetch>()
  #isHurried = false

  constructor(options: FetchesOptions) {
    this.#options = options
  }

  get count(): number {
    return this.#open.size
  }

  /** Throws LIMIT_REACHED. */
  add(request: Fetch): void {
    const { fetchesPerConnectionMax } = this.#options.limits
    if (this.#open.size >= fetchesPerConnectionMax) {
      throw new MillraceError('LIMIT_REACHED', {
        message: `a connection may have ${fetchesPerConnectionMax} unanswered FETCH requests`,
      })
    }
    const fetch = new WaitingFetch(request, this.#options, () => this.#open.delete(fetch))
    this.#open.add(fetch)
    if (this.#isHurried) fetch.expire()
    this.#options.rotation.enter(fetch)
  }

  /** From now on each is answered with what there is, those that wait too. */
  hurry(): void {
    this.#isHurried = true
    for (const fetch of this.#open) fetch.expire()
  }

  closeAll(): void {
    for (const fetch of this.#open) fetch.end()
  }
}

class WaitingFetch implements Turn {
  readonly #request: Fetch
  readonly #options: FetchesOptions
  readonly #onEnd: () => void
  readonly #deadlineMs: number
  readonly #maxBytes: number
  #isExpired: boolean
  #isEnded = false
  #isReading = false
  #hasMoved = false
  #readStartMs = 0
  #timer: Timer | undefined
  #unfollow: (() => void) | undefined

  constructor(request: Fetch, options: FetchesOptions, onEnd: () => void) {
    this.#request = request
    this.#options = options
    this.#onEnd = onEnd
    this.#maxBytes = Math.min(request.maxBytes, options.limits.fetchBytesMax)
    this.#deadlineMs = options.clock.monotonic() + request.maxWaitMs
    this.#isExpired = request.maxWaitMs === 0
  }

  turn(): void {
    if (this.#isEnded) return
    const { shard, rotation, clock } = this.#options
    const { topicId, partition, offset } = this.#request
    this.#readStartMs = clock.monotonic()
    const maxBytes = rotation.readBytesMax(this.#maxBytes)
    this.#hasMoved = false
    try {
      const read = shard.read({ topicId, partition, offset, maxBytes })
      if (read instanceof Promise) void this.#finishRead(read, maxBytes)
      else this.#take(read)
    } catch (error) {
      this.#fail(error)
    }
  }

  /** The time is over: it is answered with what there is. */
  expire(): void {
    this.#isExpired = true
    this.#reenter()
  }

  end(): void {
    if (this.#isEnded) return
    this.#isEnded = true
    this.#timer?.cancel()
    this.#unfollow?.()
    this.#options.rotation.leave(this)
    this.#onEnd()
  }

  async #finishRead(read: Promise<ReadResult>, maxBytes: number): Promise<void> {
    this.#isReading = true
    const endReservation = this.#options.rotation.reserve(maxBytes)
    try {
      const result = await read
      this.#isReading = false
      if (this.#isEnded) result.release()
      else this.#take(result)
    } catch (error) {
      this.#fail(error)
    } finally {
      endReservation()
    }
  }

  #take(result: ReadResult): void {
    // More is there than fits: waiting would not make the answer larger.
    const isCut = result.bytes > 0 && result.nextOffset < result.durableEnd
    if (this.#isExpired || isCut || result.bytes >= this.#request.minBytes) this.#answer(result)
    else this.#wait(result)
  }

  #answer(result: ReadResult): void {
    const { metrics, rotation, clock } = this.#options
    const { correlationId, offset } = this.#request
    metrics.observe('fetchMs', clock.monotonic() - this.#readStartMs)
    if (result.bytes > 0) metrics.count('deliveredRecords', result.nextOffset - offset)
    metrics.count('deliveredBytes', result.bytes)
    this.end()
    const head = packFrameHead(
      [fetched.opcode, correlationId, result.startOffset, result.durableEnd],
      result.bytes,
    )
    rotation.send(head, result)
  }

  #wait(result: ReadResult): void {
    result.release()
    const { shard, clock } = this.#options
    if (this.#unfollow === undefined) {
      // What came between a read from disk and this moment woke nobody: look once more.
      this.#hasMoved = true
      this.#unfollow = shard.follow(this.#request, () => this.#reenter())
      this.#timer = clock.setTimer(() => this.expire(), Math.max(0, this.#deadlineMs - clock.monotonic()), {
        unref: true,
      })
    }
    if (this.#hasMoved) this.#options.rotation.enter(this)
  }

  #reenter(): void {
    this.#hasMoved = true
    if (!this.#isReading && !this.#isEnded) this.#options.rotation.enter(this)
  }

  #fail(error: unknown): void {
    if (this.#isEnded) return
    this.end()
    this.#options.onFail(this.#request.correlationId, error)
  }
}
