import { MillraceError } from '../../protocol/error-codes.js'
import type { Clock } from '../platform/clock.js'
import type { Failpoints } from '../platform/failpoints.js'
import type { ShardFace, TopicInfo } from '../shard/shard-face.js'
import { errorAnswer } from './error-reply.js'
import { eventId } from './event-id.js'
import type { Page, PageReader } from './page-reader.js'

export interface EventStreamOptions {
  readonly shard: ShardFace
  readonly topic: TopicInfo
  /** The next offset of each partition that is followed. */
  readonly positions: ReadonlyMap<number, number>
  readonly pages: PageReader
  readonly clock: Clock
  readonly requestId: string
  readonly failpoints?: Failpoints | undefined
  /** The client is gone, or the broker drains. */
  readonly signal: AbortSignal
}

/** What is read at once: a slow client holds one such page, and the next is read when it has taken that. */
const PAGE_RECORDS = 500
const PAGE_BYTES = 256 * 1024
/** Keeps proxies from taking a quiet stream for a dead one. */
const COMMENT_EVERY_MS = 15_000
const RECONNECT_AFTER_MS = 1_000

/**
 * Records as server-sent events, as they become durable. Each event's id says where to go on, so that a client that comes back
 * with the last one misses nothing and gets nothing twice. An error ends the stream: an event `error` says which.
 */
export class EventStream {
  readonly #options: EventStreamOptions
  readonly #positions: Map<number, number>
  /** Partitions that may have records that were not sent. */
  readonly #moved: Set<number>
  #wake: () => void = () => {}

  constructor(options: EventStreamOptions) {
    this.#options = options
    this.#positions = new Map(options.positions)
    this.#moved = new Set(options.positions.keys())
  }

  /** The bytes of the stream, piece by piece, until the signal, or an error. */
  async *read(): AsyncGenerator<Buffer, void, undefined> {
    const { signal, requestId } = this.#options
    const undo: (() => void)[] = []
    try {
      this.#follow(undo)
      yield Buffer.from(`retry: ${RECONNECT_AFTER_MS}\n\n`)
      while (!signal.aborted) {
        const [partition] = this.#moved
        if (partition === undefined) yield* this.#pause()
        else yield* this.#drainOf(partition)
      }
    } catch (error) {
      const said = error instanceof MillraceError ? error : new MillraceError('INTERNAL', { cause: error })
      yield Buffer.from(`event: error\ndata: ${JSON.stringify(errorAnswer(said, requestId))}\n\n`)
    } finally {
      for (const each of undo) each()
    }
  }

  #follow(undo: (() => void)[]): void {
    const { shard, topic, signal } = this.#options
    for (const partition of this.#positions.keys()) {
      const wake = (): void => {
        this.#moved.add(partition)
        this.#wake()
      }
      undo.push(shard.follow({ topicId: topic.topicId, partition }, wake))
    }
    const stop = (): void => this.#wake()
    signal.addEventListener('abort', stop)
    undo.push(() => signal.removeEventListener('abort', stop))
  }

  /** A page of a partition, which comes round again while it has more: no partition waits for the end of another. */
  async *#drainOf(partition: number): AsyncGenerator<Buffer, void, undefined> {
    const { pages, shard, topic } = this.#options
    // Whatever happens from here on is looked at again.
    this.#moved.delete(partition)
    const page = await pages.read({
      shard,
      topic,
      partition,
      offset: this.#positions.get(partition) ?? 0,
      limit: PAGE_RECORDS,
      maxBytes: PAGE_BYTES,
    })
    if (page.nextOffset < page.endOffset) this.#moved.add(partition)
    if (page.records.length > 0) yield Buffer.from(this.#eventsOf(partition, page))
    this.#positions.set(partition, page.nextOffset)
  }

  #eventsOf(partition: number, { records, offsets, nextOffset }: Page): string {
    const { topic, failpoints } = this.#options
    const isHasty = failpoints?.planted === 'eventIdNamesPageEnd'
    let events = ''
    for (const [index, record] of records.entries()) {
      this.#positions.set(partition, isHasty ? nextOffset : (offsets[index] as number) + 1)
      events += `id: ${eventId(topic.topicId, this.#positions.values())}\ndata: ${record}\n\n`
    }
    return events
  }

  /** Until there may be something, or the client is gone; with a comment when that takes long. */
  async *#pause(): AsyncGenerator<Buffer, void, undefined> {
    const { clock, signal } = this.#options
    let isLate = false
    await new Promise<void>((resolve) => {
      const late = clock.setTimer(
        () => {
          isLate = true
          this.#wake()
        },
        COMMENT_EVERY_MS,
        { unref: true },
      )
      this.#wake = () => {
        late.cancel()
        resolve()
      }
      if (this.#moved.size > 0 || signal.aborted) this.#wake()
    })
    if (isLate) yield Buffer.from(':\n\n')
  }
}
