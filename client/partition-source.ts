import { MillraceError } from '../protocol/error-codes.js'
import type { TopicId } from '../protocol/ids.js'
import {
  credit,
  type Deliver,
  subscribe,
  subscribed,
  unsubscribe,
  unsubscribed,
} from '../protocol/messages/subscribe.js'
import { Backoff } from './backoff.js'
import type { Timer } from './clock.js'
import type { Connection } from './connection.js'
import { ChunkHistory, type HistoryTarget } from './history/chunk-history.js'
import type { ChunkServer } from './history/chunk-server.js'
import type { DeliveryTarget, Link } from './link.js'
import { PolledPartitions, type PolledTarget } from './polled-partitions.js'
import { type EntryPlace, nextOffsetAfter, type StoredBatch, storedBatchAt } from './stored-batch.js'
import type { AnyTopic } from './topic.js'

export interface SourceOptions {
  readonly topic: AnyTopic
  readonly topicId: TopicId
  readonly partition: number
  readonly offset: number
  /** Exclusive; undefined: no end. */
  readonly end: number | undefined
  /** Bytes that the broker may send ahead of the application. */
  readonly creditBytes: number
  readonly onOutOfRange: 'earliest' | 'latest' | 'throw'
  /** Whether the offset means "the first there is", wherever that is by the time the subscription begins. */
  readonly isEarliest: boolean
  /** Where sealed records are read before the subscription begins; undefined: nowhere. */
  readonly history?: ChunkServer | undefined
}

/** The reader, as its partitions know it. */
export interface SourceHost {
  readonly connection: Connection
  /** A delivery has come: there is one more turn for this source. */
  arrived(source: PartitionSource): void
  /** Whether it has caught up may have changed. */
  moved(): void
  failed(error: MillraceError): void
  /** Records from `offset` on could not be read over HTTP: they come by the WebSocket. */
  historyFailed?(source: PartitionSource, failure: { offset: number; error: MillraceError }): void
}

interface Delivery {
  readonly entries: Uint8Array
  readonly isFirst: boolean
  /** The offsets go on here, and not behind the delivery before. */
  readonly jumpTo: number | undefined
}

const RETRY_BASE_MS = 50
const RETRY_CAP_MS = 2_000

/**
 * One partition of a reader: a subscription on the present link, and what it has brought and the application has not taken.
 * That is kept when a link is lost; the next subscription begins behind it. Where the broker has no subscription left for the
 * connection, the partition is polled. History that is read over HTTP comes before the first subscription.
 */
export class PartitionSource implements DeliveryTarget, PolledTarget, HistoryTarget {
  readonly topic: AnyTopic
  readonly partition: number
  readonly #options: SourceOptions
  readonly #host: SourceHost
  readonly #backoff: Backoff
  readonly #deliveries: Delivery[] = []
  #at = 0
  /** The first offset that has not been taken. */
  #offset: number
  /** Where the next subscription begins, when it is not behind what has been delivered. */
  #jumpTo: number | undefined
  #link: Link | undefined
  #subscriptionId: number | undefined
  /** Instead of a subscription. */
  #polls: PolledPartitions | undefined
  #history: ChunkHistory | 'before' | 'behind'
  #isFirstDelivery = false
  #hasReceived = false
  #creditBytes: number
  /** Bytes delivered and not given back as credit. */
  #heldBytes = 0
  /** Bytes of credit to give; below 0: to keep back. */
  #owedBytes = 0
  #durableEnd: number | undefined
  #retryTimer: Timer | undefined

  constructor(options: SourceOptions, host: SourceHost) {
    this.topic = options.topic
    this.partition = options.partition
    this.#options = options
    this.#host = host
    this.#offset = options.offset
    this.#creditBytes = options.creditBytes
    this.#history = options.history === undefined ? 'behind' : 'before'
    const { random } = host.connection.settings
    this.#backoff = new Backoff({ random, baseMs: RETRY_BASE_MS, capMs: RETRY_CAP_MS })
  }

  /** Exclusive; undefined: no end. */
  get end(): number | undefined {
    return this.#options.end
  }

  /** Whether everything up to the given end has been taken. */
  get isFinished(): boolean {
    return this.#options.end !== undefined && this.#offset >= this.#options.end
  }

  /** Whether everything has been taken that the broker is known to have. */
  get isAtEnd(): boolean {
    return this.isFinished || (this.#durableEnd !== undefined && this.#offset >= this.#durableEnd)
  }

  /** The end as the broker last told it. */
  get durableEnd(): number {
    return this.#durableEnd ?? this.#offset
  }

  get place(): EntryPlace {
    return {
      topicName: this.topic.name,
      topicId: this.#options.topicId,
      partition: this.partition,
      offset: this.#offset,
      mayBeginBelow: this.#at === 0 && this.#deliveries[0]?.isFirst === true,
    }
  }

  /** The next batch of the delivery whose turn it is; undefined when that has been taken whole. Throws CORRUPT_DATA. */
  take(): { batch: StoredBatch; place: EntryPlace } | undefined {
    const delivery = this.#deliveries[0]
    if (delivery === undefined) return undefined
    if (this.#at >= delivery.entries.length) {
      this.#deliveries.shift()
      this.#at = 0
      return undefined
    }
    if (this.#at === 0 && delivery.jumpTo !== undefined) this.#offset = delivery.jumpTo
    const { place } = this
    const batch = storedBatchAt(delivery.entries, this.#at, place)
    this.#at += batch.bytes
    this.#offset = batch.nextOffset
    return { batch, place }
  }

  /** The application is done with so many bytes: the broker may send as many again. */
  consumed(bytes: number): void {
    this.#heldBytes -= bytes
    this.#owedBytes += bytes
    this.#giveCredit()
  }

  /** Changes how many bytes may be sent ahead. Fewer are so as soon as what is there has been consumed. */
  resize(creditBytes: number): void {
    this.#owedBytes += creditBytes - this.#creditBytes
    this.#creditBytes = creditBytes
    this.#giveCredit()
  }

  #giveCredit(): void {
    if (this.#history instanceof ChunkHistory) this.#history.hasRoom()
    if (4 * this.#owedBytes < this.#creditBytes) return
    if (this.#polls !== undefined) {
      this.#owedBytes = 0
      this.#polls.hasRoom(this)
    }
    if (this.#subscriptionId === undefined) return
    this.#link?.send(credit.write({ subscriptionId: this.#subscriptionId, bytes: this.#owedBytes }))
    this.#owedBytes = 0
  }

  /** Begins on this link behind what has been delivered. */
  subscribe(link: Link): void {
    if (this.isFinished) return
    if (this.#history === 'before') this.#readHistory()
    if (this.#history !== 'behind') return
    const subscriptionId = this.#host.connection.newSubscriptionId()
    this.#link = link
    this.#subscriptionId = subscriptionId
    this.#isFirstDelivery = true
    const { roomBytes, nextOffset: offset } = this
    this.#owedBytes = Math.min(0, roomBytes)
    const fields = {
      subscriptionId,
      topicId: this.#options.topicId,
      partition: this.partition,
      offset,
      creditBytes: Math.max(0, roomBytes),
    }
    link.deliverTo(subscriptionId, this)
    link.request((correlationId) => subscribe.write({ correlationId, ...fields }), {
      answered: (frame) => {
        if (frame[0] !== subscribed.opcode) throw badAnswer('SUBSCRIBE', frame)
        if (this.#subscriptionId !== subscriptionId) return
        this.#backoff.reset()
        this.#durableEnd = subscribed.read(frame).durableEnd
        this.#host.moved()
      },
      failed: (error) => {
        if (this.#subscriptionId !== subscriptionId || !link.isOpen) return
        if (error.code === 'LIMIT_REACHED') this.#poll(link)
        else this.ended(error)
      },
    })
  }

  /** It needs no link, and goes on without one. */
  #readHistory(): void {
    const { history: server } = this.#options
    if (server === undefined) return
    const { connection } = this.#host
    this.#isFirstDelivery = true
    this.#history = new ChunkHistory(this, { server, connection })
    void this.#history.run()
  }

  historyEnded(error: MillraceError | undefined): void {
    this.#history = 'behind'
    if (error !== undefined) this.#host.historyFailed?.(this, { offset: this.nextOffset, error })
    this.#subscribeAgain()
    this.#host.moved()
  }

  #poll(link: Link): void {
    link.deliverNoMore(this.#subscriptionId as number)
    this.#subscriptionId = undefined
    this.#owedBytes = 0
    this.#polls = PolledPartitions.of(link, this.#host.connection.settings.clock)
    this.#polls.add(this)
  }

  get topicId(): TopicId {
    return this.#options.topicId
  }

  get topicName(): string {
    return this.topic.name
  }

  /** What may be sent ahead of the application by now; below 0 when that was overdrawn. */
  get roomBytes(): number {
    return this.#creditBytes - this.#heldBytes
  }

  endIs(durableEnd: number): void {
    this.#backoff.reset()
    this.#durableEnd = durableEnd
    this.#host.moved()
  }

  /** Where the last delivery ends, or the next begins otherwise. */
  get nextOffset(): number {
    if (this.#jumpTo !== undefined) return this.#jumpTo
    let offset = this.#offset
    let at = this.#at
    for (const { entries } of this.#deliveries) {
      offset = nextOffsetAfter(entries, at, offset)
      at = 0
    }
    return offset
  }

  delivered({ entries, durableEnd }: Pick<Deliver, 'entries' | 'durableEnd'>): void {
    this.#durableEnd = durableEnd
    this.#heldBytes += entries.length
    this.#hasReceived = true
    this.#deliveries.push({ entries, isFirst: this.#isFirstDelivery, jumpTo: this.#jumpTo })
    this.#isFirstDelivery = false
    this.#jumpTo = undefined
    this.#host.arrived(this)
  }

  /** The broker ended the subscription or did not begin it. */
  ended(error: MillraceError): void {
    this.linkDown()
    if (error.code === 'OFFSET_OUT_OF_RANGE' && this.#jump(error)) return
    if (!error.retriable) {
      this.#host.failed(withPlace(error, this.place))
      return
    }
    const delayMs = error.retryAfterMs ?? this.#backoff.nextDelayMs()
    this.#retryTimer = this.#host.connection.settings.clock.setTimer(() => this.#subscribeAgain(), delayMs)
  }

  #jump({ details }: MillraceError): boolean {
    const { onOutOfRange, isEarliest } = this.#options
    const policy = isEarliest && !this.#hasReceived ? 'earliest' : onOutOfRange
    const target = policy === 'earliest' ? details?.startOffset : details?.endOffset
    if (policy === 'throw' || typeof target !== 'number') return false
    this.#jumpTo = target
    if (this.#deliveries.length === 0) this.#offset = target
    this.#subscribeAgain()
    this.#host.moved()
    return true
  }

  #subscribeAgain(): void {
    const { link } = this.#host.connection
    // Without a link, linkUp will do it.
    if (link !== undefined) this.subscribe(link)
  }

  linkDown(): void {
    this.#retryTimer?.cancel()
    this.#link = undefined
    this.#subscriptionId = undefined
    this.#polls?.remove(this)
    this.#polls = undefined
  }

  /** Wants nothing more; what has been delivered is dropped. */
  close(): void {
    if (this.#history instanceof ChunkHistory) this.#history.stop()
    this.#history = 'behind'
    const link = this.#link
    const subscriptionId = this.#subscriptionId
    this.linkDown()
    this.#deliveries.length = 0
    if (link === undefined || subscriptionId === undefined) return
    link.deliverNoMore(subscriptionId)
    if (!link.isOpen) return
    link.request((correlationId) => unsubscribe.write({ correlationId, subscriptionId }), {
      answered: (frame) => {
        if (frame[0] !== unsubscribed.opcode) throw badAnswer('UNSUBSCRIBE', frame)
      },
      // The broker ended it first, or the link did.
      failed: () => {},
    })
  }
}

const badAnswer = (request: string, frame: readonly unknown[]): MillraceError =>
  new MillraceError('BAD_FRAME', { message: `${request} was answered with opcode ${String(frame[0])}` })

function withPlace(error: MillraceError, { topicName, partition, offset }: EntryPlace): MillraceError {
  return new MillraceError(error.code, {
    message: `topic "${topicName}", partition ${partition}: ${error.message}`,
    retriable: error.retriable,
    outcome: error.outcome,
    details: { topic: topicName, partition, offset, ...error.details },
    cause: error,
  })
}
