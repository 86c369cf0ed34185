import { MillraceError } from '../protocol/error-codes.js'
import type { Connection, LinkWatcher } from './connection.js'
import { asMillraceError, illegalArgument } from './errors.js'
import type { ClientEvents } from './events.js'
import { ChunkServer } from './history/chunk-server.js'
import { historyUrl } from './history/history-url.js'
import type { Link } from './link.js'
import type { Metadata } from './metadata.js'
import { PartitionSource, type SourceHost } from './partition-source.js'
import { type AnyReadOptions, type PartitionRange, rangesOf } from './read-options.js'
import { payloadOf, type StoredBatch } from './stored-batch.js'
import type { AnyTopic } from './topic.js'
import { Turn } from './turn.js'

/** A batch that was found to be what is due, before its records are read. */
export interface OpenedBatch {
  readonly source: PartitionSource
  readonly stored: StoredBatch
  /** Inflated. */
  readonly payload: Uint8Array
  /** The first offset that is wanted; those from `source.end` on are not either. */
  readonly from: number
}

/** Reads the records of a batch that are wanted. What it throws or rejects with ends the reading. */
export type DecodeBatch<R> = (batch: OpenedBatch) => readonly R[] | Promise<readonly R[]>

export interface ReaderOptions<R> {
  readonly connection: Connection
  readonly metadata: Metadata
  readonly topics: readonly AnyTopic[]
  readonly options: AnyReadOptions
  readonly decode: DecodeBatch<R>
  /** Where WebSockets are. */
  readonly socketUrl: string
  readonly onClosed: () => void
  readonly onHistoryFallback: (event: ClientEvents['historyFallback']) => void
}

/** A batch in the hands of a stream: its records, those outside the wanted range cut off. */
export interface TakenBatch<R> {
  readonly source: PartitionSource
  readonly stored: StoredBatch
  readonly records: readonly R[]
}

const MIB = 1024 * 1024

/**
 * What stands behind a stream: the partitions, the order in which their deliveries came, and the one place where the
 * stream waits. It begins by itself; nobody else starts anything.
 */
export class Reader<R> implements LinkWatcher, SourceHost {
  readonly connection: Connection
  /** Resolves when the start is known: what is written from then on is read. Rejects when the reader cannot begin. */
  readonly ready: Promise<void>
  /** Resolves when the application has taken everything there was, for the first time; rejects when it ends before. */
  readonly caughtUp: Promise<void>
  readonly #options: ReaderOptions<R>
  readonly #turn: Turn
  readonly #sources: PartitionSource[] = []
  /** A source for each delivery that has not been taken whole, in the order of arrival. */
  readonly #turns: PartitionSource[] = []
  readonly #behind = new Set<PartitionSource>()
  readonly #unfinished = new Set<PartitionSource>()
  #inHand: { source: PartitionSource; bytes: number } | undefined
  #state: 'starting' | 'running' | 'finished' = 'starting'
  #failure: unknown
  #wake: (() => void) | undefined
  #caughtUp: { resolve(): void; reject(error: unknown): void }

  constructor(options: ReaderOptions<R>) {
    this.#options = options
    this.connection = options.connection
    this.#turn = new Turn(options.connection.settings.clock)
    let caughtUp = { resolve: (): void => {}, reject: (_: unknown): void => {} }
    this.caughtUp = new Promise((resolve, reject) => {
      caughtUp = { resolve, reject }
    })
    this.#caughtUp = caughtUp
    // Whoever does not ask need not hear.
    this.caughtUp.catch(() => {})
    this.ready = this.#start()
    this.ready.catch(() => {})
    options.options.signal?.addEventListener('abort', this.#aborted, { once: true })
  }

  readonly #aborted = (): void => this.fail(this.#options.options.signal?.reason)

  async #start(): Promise<void> {
    try {
      // Whoever makes the reader shall know of it before it may end.
      await undefined
      const { topics, options } = this.#options
      options.signal?.throwIfAborted()
      const history = this.#chunkServer()
      const all = await Promise.all(topics.map((topic) => this.#rangesOf(topic)))
      const count = all.reduce((sum, { ranges }) => sum + ranges.length, 0)
      const creditBytes = Math.max(1, Math.floor(bufferBytesOf(options) / Math.max(1, count)))
      if (this.#state !== 'starting') throw this.#failure
      this.#state = 'running'
      for (const { topic, topicId, ranges } of all) {
        for (const range of ranges) this.#addSource({ topic, topicId, creditBytes, history }, range)
      }
      this.#wakeUp()
      this.connection.watch(this)
      this.moved()
    } catch (error) {
      this.fail(error)
      throw error
    }
  }

  /** Throws ILLEGAL_ARGUMENT. */
  #chunkServer(): ChunkServer | undefined {
    const { options, socketUrl, connection } = this.#options
    if (options.history === undefined) return undefined
    const { clock, fetch, requestTimeoutMs: stallMsMax } = connection.settings
    return new ChunkServer({ url: historyUrl(options.history, socketUrl), fetch, clock, stallMsMax })
  }

  async #rangesOf(topic: AnyTopic) {
    const { metadata, options, topics } = this.#options
    const ask = async () => {
      const description = await metadata.resolve(topic, options.signal)
      const ranges = await rangesOf(this.connection, description, options, topics.length === 1)
      return { topic, topicId: description.topicId, ranges }
    }
    try {
      return await ask()
    } catch (error) {
      // What was known of the topic may be of one that was deleted and made anew: before the beginning that is no matter.
      if (!(error instanceof MillraceError) || error.code !== 'UNKNOWN_TOPIC') throw error
      metadata.forget(topic.name)
      return ask()
    }
  }

  #addSource(
    shared: {
      topic: AnyTopic
      topicId: Awaited<ReturnType<Metadata['resolve']>>['topicId']
      creditBytes: number
      history: ChunkServer | undefined
    },
    range: PartitionRange,
  ): void {
    const { onOutOfRange = 'throw', from } = this.#options.options
    const source = new PartitionSource(
      { ...shared, ...range, onOutOfRange, isEarliest: from === 'earliest' },
      this,
    )
    this.#sources.push(source)
    if (source.isFinished) return
    this.#unfinished.add(source)
    this.#behind.add(source)
  }

  /**
   * The next batch; undefined at the end. At once where it can be, else a promise. Throws or rejects with what ended the
   * reading. Not re-entrant: one call at a time.
   */
  take(): TakenBatch<R> | undefined | Promise<TakenBatch<R> | undefined> {
    this.#putDown()
    // What is at hand could last for megabytes, and nothing would come meanwhile to follow it.
    if (this.#turns.length > 0 && this.#turn.isOver) return this.#takeInNextTurn()
    for (;;) {
      if (this.#state === 'finished') return this.#ending()
      const source = this.#turns[0]
      if (source === undefined) {
        if (this.#failure !== undefined) return this.#finish()
        for (const one of this.#unfinished) if (one.isFinished) this.#sourceFinished(one)
        if (this.#state === 'running' && this.#unfinished.size === 0) return this.#finish()
        this.moved()
        return this.#waitForMore()
      }
      const taken = this.#takeFrom(source)
      if (taken !== undefined) return taken
    }
  }

  async #takeInNextTurn(): Promise<TakenBatch<R> | undefined> {
    await this.#turn.next()
    return this.take()
  }

  async #waitForMore(): Promise<TakenBatch<R> | undefined> {
    await new Promise<void>((resolve) => {
      this.#wake = resolve
    })
    return this.take()
  }

  #takeFrom(source: PartitionSource): TakenBatch<R> | Promise<TakenBatch<R> | undefined> | undefined {
    try {
      const next = source.take()
      if (next === undefined) {
        this.#turns.shift()
        return undefined
      }
      const { batch: stored, place } = next
      this.#inHand = { source, bytes: stored.bytes }
      const payload = payloadOf(stored, place, this.connection.settings.frameBytesMax)
      if (source.isFinished) this.#sourceFinished(source)
      const decode = (payload: Uint8Array) =>
        this.#options.decode({ source, stored, payload, from: place.offset })
      const records = payload instanceof Promise ? payload.then(decode) : decode(payload)
      if (records instanceof Promise) {
        return records.then(
          (records) => this.#taken({ source, stored, records }) ?? this.take(),
          this.#failed,
        )
      }
      return this.#taken({ source, stored, records })
    } catch (error) {
      return this.#failed(error)
    }
  }

  /** Undefined when the batch has no record that is wanted. */
  #taken(taken: TakenBatch<R>): TakenBatch<R> | undefined {
    if (taken.records.length > 0) return taken
    this.#putDown()
    return undefined
  }

  readonly #failed = (error: unknown): never => {
    this.fail(error)
    this.#finish()
    throw error
  }

  /** The application is done with the last batch. */
  #putDown(): void {
    const inHand = this.#inHand
    if (inHand === undefined) return
    this.#inHand = undefined
    inHand.source.consumed(inHand.bytes)
  }

  #sourceFinished(source: PartitionSource): void {
    source.close()
    this.#unfinished.delete(source)
    for (let i = this.#turns.length - 1; i >= 0; i--) if (this.#turns[i] === source) this.#turns.splice(i, 1)
  }

  /** All is taken or nothing more will come. */
  #finish(): undefined {
    this.#close()
    return this.#ending()
  }

  #ending(): undefined {
    if (this.#failure !== undefined) throw this.#failure
    return undefined
  }

  #close(): void {
    if (this.#state === 'finished') return
    this.#state = 'finished'
    this.#options.options.signal?.removeEventListener('abort', this.#aborted)
    this.connection.unwatch(this)
    this.#turns.length = 0
    for (const source of this.#sources) source.close()
    if (this.#failure === undefined) this.#caughtUp.resolve()
    else this.#caughtUp.reject(this.#failure)
    this.#options.onClosed()
    this.#wakeUp()
  }

  #wakeUp(): void {
    const wake = this.#wake
    this.#wake = undefined
    wake?.()
  }

  // What the sources and the connection tell.

  arrived(source: PartitionSource): void {
    this.#turns.push(source)
    this.#wakeUp()
  }

  moved(): void {
    if (this.#state !== 'running' || this.#turns.length > 0 || this.#inHand !== undefined) return
    for (const source of this.#behind) if (source.isAtEnd) this.#behind.delete(source)
    // A jump past the given end finishes a partition without a delivery.
    for (const source of this.#unfinished) if (source.isFinished) this.#wakeUp()
    if (this.#behind.size === 0) this.#caughtUp.resolve()
  }

  historyFailed(source: PartitionSource, failure: { offset: number; error: MillraceError }): void {
    this.#options.onHistoryFallback({ topic: source.topic.name, partition: source.partition, ...failure })
  }

  /** What has been delivered before is still taken, then the iterator throws. */
  failed(error: MillraceError): void {
    this.#failure ??= error
    this.#wakeUp()
  }

  /** Ends at once: what has been delivered is dropped. */
  fail(error: unknown): void {
    if (this.#state === 'finished') return
    this.#failure = error ?? asMillraceError(error)
    this.#close()
  }

  /** The application wants nothing more. */
  stop(): void {
    this.#inHand = undefined
    if (this.#state === 'finished') return
    this.#caughtUp.reject(
      new MillraceError('CLOSED', { message: 'the reader was stopped before it had caught up' }),
    )
    this.#close()
  }

  linkUp(link: Link): void {
    for (const source of this.#sources) source.subscribe(link)
  }

  linkDown(): void {
    for (const source of this.#sources) source.linkDown()
  }

  refused(error: MillraceError): void {
    this.failed(error)
  }
}

function bufferBytesOf({ bufferBytes = 4 * MIB }: AnyReadOptions): number {
  if (!(bufferBytes >= 1)) throw illegalArgument(`bufferBytes is 1 or more, not ${bufferBytes}`)
  return bufferBytes
}
