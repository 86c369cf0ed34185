import { MillraceError } from '../../protocol/error-codes.js'
import type { Subscribe } from '../../protocol/messages/subscribe.js'
import type { Bounds, ShardFace } from '../shard/shard-face.js'
import { assertInBounds, Subscription, type SubscriptionOptions } from './subscription.js'

/** The subscriptions of one connection. */
export class Subscriptions {
  readonly #shard: ShardFace
  readonly #options: Omit<SubscriptionOptions, 'onEnd'>
  readonly #countMax: number
  readonly #onEnd: (subscriptionId: number, error: unknown) => void
  readonly #byId = new Map<number, Subscription>()

  constructor(
    options: Omit<SubscriptionOptions, 'onEnd'> & {
      countMax: number
      /** The broker ended one. */
      onEnd: (subscriptionId: number, error: unknown) => void
    },
  ) {
    this.#shard = options.shard
    this.#options = options
    this.#countMax = options.countMax
    this.#onEnd = options.onEnd
  }

  get count(): number {
    return this.#byId.size
  }

  /**
   * Opens a subscription and calls `opened` before anything of it is sent. Throws SUBSCRIPTION_EXISTS, LIMIT_REACHED,
   * UNKNOWN_TOPIC, UNKNOWN_PARTITION, OFFSET_OUT_OF_RANGE.
   */
  open(request: Subscribe, opened: (bounds: Bounds) => void): void {
    const id = request.subscriptionId
    if (this.#byId.has(id)) {
      throw new MillraceError('SUBSCRIPTION_EXISTS', {
        message: `subscription ${id} exists on this connection`,
      })
    }
    if (this.#byId.size >= this.#countMax) {
      throw new MillraceError('LIMIT_REACHED', {
        message: `a connection may have ${this.#countMax} subscriptions`,
      })
    }
    const bounds = this.#shard.bounds(request.topicId, request.partition)
    assertInBounds(request.offset, bounds)
    const onEnd = (error: unknown): void => {
      this.#byId.delete(id)
      this.#onEnd(id, error)
    }
    const subscription = new Subscription(request, { ...this.#options, onEnd })
    this.#byId.set(id, subscription)
    opened(bounds)
    subscription.start()
  }

  /** Credit for a subscription that is gone is passed over: it may have crossed the end on its way. */
  addCredit(id: number, bytes: number): void {
    this.#byId.get(id)?.addCredit(bytes)
  }

  /** Throws UNKNOWN_SUBSCRIPTION. */
  close(id: number): void {
    const subscription = this.#byId.get(id)
    if (!subscription) {
      throw new MillraceError('UNKNOWN_SUBSCRIPTION', { message: `there is no subscription ${id}` })
    }
    this.#byId.delete(id)
    subscription.end()
  }

  closeAll(): void {
    for (const subscription of this.#byId.values()) subscription.end()
    this.#byId.clear()
  }
}
