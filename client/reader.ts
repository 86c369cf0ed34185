import { MillraceError } from '../protocol/error-codes.js'
import type { WireRecord } from '../protocol/records.js'
import type { Connection, LinkWatcher } from './connection.js'
import { asMillraceError, illegalArgument } from './errors.js'
import type { Link } from './link.js'
import type { Metadata } from './metadata.js'
import { PartitionSource, type SourceHost } from './partition-source.js'
import { type AnyReadOptions, type PartitionRange, rangesOf } from './read-options.js'
import { recordsOf, type StoredBatch } from './stored-batch.js'
import type { AnyTopic } from './topic.js'

export interface ReaderOptions {
  readonly connection: Connection
  readonly metadata: Metadata
  readonly topics: readonly AnyTopic[]
  readonly options: AnyReadOptions
  readonly onClosed: () => void
}

/** A batch in the hands of a stream: its records as they travelled, those outside the wanted range cut off. */
export interface TakenBatch {
  readonly source: PartitionSource
  readonly stored: StoredBatch
  readonly records: readonly WireRecord[]
}

const MIB = 1024 * 1024

/**
 * What stands behind a stream: the partitions, the order in which their deliveries came, and the one place where the
 * stream waits. It begins by itself; nobody else starts anything.
 */
export class Reader implements LinkWatcher, SourceHost {
  readonly connection: Connection
  /** Resolves when the start is known: what is written from then on is read. Rejects when the reader cannot begin. */
  readonly ready: Promise<void>
  /** Resolves when the application has taken everything there was, for the first time; rejects when it ends before. */
  readonly caughtUp: Promise<void>
  readonly #options: ReaderOptions
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

  constructor(options: ReaderOptions) {
    this.#options = options
    this.connection = options.connection
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
      const all = await Promise.all(topics.map((topic) => this.#rangesOf(topic)))
      const count = all.reduce((sum, { ranges }) => sum + ranges.length, 0)
      const creditBytes = Math.max(1, Math.floor(bufferBytesOf(options) / Math.max(1, count)))
      if (this.#state !== 'starting') throw this.#failure
      this.#state = 'running'
      for (const { topic, topicId, ranges } of all) {
        for (const range of ranges) this.#addSource({ topic, topicId, creditBytes }, range)
      }
      this.#wakeUp()
      this.connection.watch(this)
      this.moved()
    } catch (error) {
      this.fail(error)
      throw error
    }
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
  take(): TakenBatch | undefined | Promise<TakenBatch | undefined> {
    this.#putDown()
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

  async #waitForMore(): Promise<TakenBatch | undefined> {
    await new Promise<void>((resolve) => {
      this.#wake = resolve
    })
    return this.take()
  }

  #takeFrom(source: PartitionSource): TakenBatch | Promise<TakenBatch | undefined> | undefined {
    try {
      const next = source.take()
      if (next === undefined) {
        this.#turns.shift()
        return undefined
      }
      const { batch: stored, place } = next
      this.#inHand = { source, bytes: stored.bytes }
      const records = recordsOf(stored, place, this.connection.settings.frameBytesMax)
      if (source.isFinished) this.#sourceFinished(source)
      if (records instanceof Promise) {
        return records.then(
          (inflated) => this.#taken({ source, stored, records: inflated }, place.offset) ?? this.take(),
          this.#failed,
        )
      }
      return this.#taken({ source, stored, records }, place.offset)
    } catch (error) {
      return this.#failed(error)
    }
  }

  /** Undefined when the batch has no record that is wanted. */
  #taken(batch: TakenBatch, offset: number): TakenBatch | undefined {
    const taken = cut(batch, offset)
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

/** Without the records before the first wanted offset and from the end on. */
function cut(taken: TakenBatch, offset: number): TakenBatch {
  const { source, stored, records } = taken
  const { baseOffset } = stored.header
  const { end } = source
  const isWhole = baseOffset >= offset && (end === undefined || stored.nextOffset <= end)
  if (isWhole) return taken
  const wanted = records.filter(({ offsetDelta }) => {
    const own = baseOffset + offsetDelta
    return own >= offset && (end === undefined || own < end)
  })
  return { source, stored, records: wanted }
}

function bufferBytesOf({ bufferBytes = 4 * MIB }: AnyReadOptions): number {
  if (!(bufferBytes >= 1)) throw illegalArgument(`bufferBytes is 1 or more, not ${bufferBytes}`)
  return bufferBytes
}
