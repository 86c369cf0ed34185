import { MillraceError } from '../../protocol/error-codes.js'
import { packFrameHead } from '../../protocol/frame.js'
import type { TopicId } from '../../protocol/ids.js'
import { HARD_LIMITS } from '../../protocol/limits.js'
import { deliver, type Subscribe } from '../../protocol/messages/subscribe.js'
import type { Metrics } from '../platform/metrics.js'
import type { ReadResult, ShardFace } from '../shard/shard-face.js'
import type { Rotation, Turn } from './rotation.js'

/**
 * - `turn`: there may be something to send; it waits for its turn, and so for room in the socket
 * - `reading`: a read from disk is under way, at most one
 * - `credit`: the client has to give credit first
 * - `data`: everything durable has been sent
 */
type State = 'turn' | 'reading' | 'credit' | 'data' | 'ended'

export interface SubscriptionOptions {
  readonly shard: ShardFace
  readonly rotation: Rotation
  readonly metrics: Metrics
  readonly deliverBytesMax: number
  /** The broker ends the subscription. */
  readonly onEnd: (error: unknown) => void
}

/**
 * One subscription: a position that moves on as data, credit and the socket allow. Whatever it waits for, it holds no
 * data meanwhile.
 */
export class Subscription implements Turn {
  readonly id: number
  readonly #topicId: TopicId
  readonly #partition: number
  readonly #options: SubscriptionOptions
  readonly #unfollow: () => void
  #state: State = 'turn'
  #offset: number
  #creditBytes: number
  /** Whether the partition moved since the last read began. */
  #hasMoved = false
  #lastSource: ReadResult['source'] | undefined

  /** Throws UNKNOWN_TOPIC or UNKNOWN_PARTITION. Call `start` when the client has heard of it. */
  constructor(request: Subscribe, options: SubscriptionOptions) {
    this.id = request.subscriptionId
    this.#topicId = request.topicId
    this.#partition = request.partition
    this.#offset = request.offset
    this.#creditBytes = request.creditBytes
    this.#options = options
    this.#unfollow = options.shard.follow(request, () => this.#moved())
  }

  start(): void {
    this.#enter()
  }

  addCredit(bytes: number): void {
    this.#creditBytes = Math.min(this.#creditBytes + bytes, HARD_LIMITS.creditBytesMax)
    if (this.#state === 'credit' && this.#creditBytes > 0) this.#enter()
  }

  /** Nothing of it is sent afterwards. */
  end(): void {
    if (this.#state === 'ended') return
    this.#state = 'ended'
    this.#options.rotation.leave(this)
    this.#unfollow()
  }

  turn(): void {
    if (this.#state !== 'turn') return
    if (this.#creditBytes <= 0) {
      this.#state = 'credit'
      return
    }
    const { shard, rotation, deliverBytesMax } = this.#options
    const maxBytes = rotation.readBytesMax(Math.min(this.#creditBytes, deliverBytesMax))
    this.#hasMoved = false
    try {
      const read = shard.read({
        topicId: this.#topicId,
        partition: this.#partition,
        offset: this.#offset,
        maxBytes,
      })
      if (read instanceof Promise) void this.#finishRead(read, maxBytes)
      else this.#take(read)
    } catch (error) {
      this.#fail(error)
    }
  }

  async #finishRead(read: Promise<ReadResult>, maxBytes: number): Promise<void> {
    this.#state = 'reading'
    const endReservation = this.#options.rotation.reserve(maxBytes)
    try {
      const result = await read
      if (this.#isEnded()) result.release()
      else this.#take(result)
    } catch (error) {
      this.#fail(error)
    } finally {
      endReservation()
    }
  }

  #take(result: ReadResult): void {
    this.#countDemotion(result.source)
    const records = result.nextOffset - this.#offset
    this.#offset = result.nextOffset
    if (result.bytes > 0) {
      this.#creditBytes -= result.bytes
      this.#options.metrics.count('deliveredRecords', records)
      this.#options.metrics.count('deliveredBytes', result.bytes)
      const head = packFrameHead(
        [deliver.opcode, this.id, result.startOffset, result.durableEnd],
        result.bytes,
      )
      this.#options.rotation.send(head, result)
    } else {
      result.release()
    }
    const isAtEnd = this.#offset >= result.durableEnd || (result.bytes === 0 && records === 0)
    if (isAtEnd && !this.#hasMoved) this.#state = 'data'
    else this.#enter()
  }

  #enter(): void {
    this.#state = 'turn'
    this.#options.rotation.enter(this)
  }

  #moved(): void {
    this.#hasMoved = true
    if (this.#state === 'data') this.#enter()
  }

  #fail(error: unknown): void {
    if (this.#isEnded()) return
    this.end()
    this.#options.onEnd(error)
  }

  /** A method, because the state changes during an await, which the compiler does not see. */
  #isEnded(): boolean {
    return this.#state === 'ended'
  }

  #countDemotion(source: ReadResult['source']): void {
    if (this.#lastSource === 'cache' && source !== 'cache') {
      const { metrics } = this.#options
      metrics.count('demotions')
      const at = { topicId: this.#topicId, partition: this.#partition, offset: this.#offset }
      metrics.tell?.demotion?.({ ...at, source })
    }
    this.#lastSource = source
  }
}

/** The offset as a place to begin at. Throws OFFSET_OUT_OF_RANGE with the bounds as details. */
export function assertInBounds(offset: number, bounds: { startOffset: number; durableEnd: number }): void {
  const { startOffset, durableEnd } = bounds
  if (offset >= startOffset && offset <= durableEnd) return
  throw new MillraceError('OFFSET_OUT_OF_RANGE', {
    message: `offset ${offset} is outside ${startOffset} to ${durableEnd}`,
    details: { startOffset, endOffset: durableEnd },
  })
}
