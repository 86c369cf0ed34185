import { MillraceError } from '../protocol/error-codes.js'
import type { Wire, WireRecord } from '../protocol/records.js'
import type { AnyCodec } from './encodings.js'
import type { Reader, TakenBatch } from './reader.js'
import type { Headers, ReadRecord } from './topic.js'

/** Records or batches as they come, for `for await`. It can be iterated once; `break` and `return` end it. */
export interface Stream<T> extends AsyncIterable<T>, AsyncDisposable {
  next(): Promise<IteratorResult<T, undefined>>
  return(): Promise<IteratorResult<T, undefined>>
  [Symbol.asyncIterator](): this
  /**
   * Resolves when the starting offsets are known: a reader `from: 'latest'` reads all that is written from then on. Rejects
   * when the reading cannot begin.
   */
  readonly ready: Promise<void>
  /**
   * Resolves when, for the first time, the loop has taken every record there was. Rejects when the reading ends before. It is the
   * loop that gets there: without one, this waits for ever.
   */
  readonly caughtUp: Promise<void>
}

/** Some records of one partition that were written together. */
export interface ReadBatch<R = ReadRecord> {
  readonly topic: R extends { readonly topic: infer Name } ? Name : string
  readonly partition: number
  /** At least one; offsets rise, with gaps where records were removed. */
  readonly records: readonly R[]
  /** The offset to go on from. */
  readonly nextOffset: number
  /** Broker time, milliseconds since 1970. */
  readonly appendTime: number
  /** The partition's end as the broker last told it: `endOffset - nextOffset` is how far behind this is. */
  readonly endOffset: number
}

const NO_HEADERS: Headers = Object.freeze({})
const FINISHED: IteratorResult<never, undefined> = Object.freeze({ done: true, value: undefined })

abstract class ReaderStream<T> implements Stream<T> {
  protected readonly reader: Reader
  /** Calls before it that are not settled: each waits for its turn. */
  #turn: Promise<unknown> | undefined

  constructor(reader: Reader) {
    this.reader = reader
  }

  get ready(): Promise<void> {
    return this.reader.ready
  }

  get caughtUp(): Promise<void> {
    return this.reader.caughtUp
  }

  /** At once, or a promise; undefined at the end. May throw. */
  protected abstract take(): T | undefined | Promise<T | undefined>

  next(): Promise<IteratorResult<T, undefined>> {
    if (this.#turn !== undefined) return this.#later(this.#turn)
    try {
      const taken = this.take()
      if (taken instanceof Promise) return this.#later(undefined, taken)
      return Promise.resolve(taken === undefined ? FINISHED : { done: false, value: taken })
    } catch (error) {
      return Promise.reject(error)
    }
  }

  async #later(before: Promise<unknown> | undefined, taking?: Promise<T | undefined>) {
    const turn = (async () => {
      if (before !== undefined) await before.catch(() => {})
      return await (taking ?? this.take())
    })()
    this.#turn = turn
    try {
      const taken = await turn
      return taken === undefined ? FINISHED : { done: false as const, value: taken }
    } finally {
      if (this.#turn === turn) this.#turn = undefined
    }
  }

  async return(): Promise<IteratorResult<T, undefined>> {
    this.reader.stop()
    return FINISHED
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.reader.stop()
  }

  [Symbol.asyncIterator](): this {
    return this
  }
}

/** Record by record. Decodes each when it is taken; what is at hand is given without waiting. */
export class RecordStream extends ReaderStream<ReadRecord> {
  #batch: TakenBatch | undefined
  #index = 0

  protected take(): ReadRecord | undefined | Promise<ReadRecord | undefined> {
    const batch = this.#batch
    if (batch !== undefined && this.#index < batch.records.length) {
      return recordAt(this.reader, batch, this.#index++)
    }
    return this.#takeNext()
  }

  #takeNext(): ReadRecord | undefined | Promise<ReadRecord | undefined> {
    this.#batch = undefined
    const taken = this.reader.take()
    return taken instanceof Promise ? taken.then((batch) => this.#begin(batch)) : this.#begin(taken)
  }

  #begin(batch: TakenBatch | undefined): ReadRecord | undefined | Promise<ReadRecord | undefined> {
    this.#batch = batch
    this.#index = 0
    return batch === undefined ? undefined : this.take()
  }
}

/** Batch by batch, as they were written. */
export class BatchStream extends ReaderStream<ReadBatch> {
  protected take(): ReadBatch | undefined | Promise<ReadBatch | undefined> {
    const taken = this.reader.take()
    return taken instanceof Promise ? taken.then((batch) => this.#decoded(batch)) : this.#decoded(taken)
  }

  #decoded(batch: TakenBatch | undefined): ReadBatch | undefined | Promise<ReadBatch | undefined> {
    if (batch === undefined) return undefined
    const records = batch.records.map((_, index) => recordAt(this.reader, batch, index))
    if (!records.some((record) => record instanceof Promise)) return batchOf(batch, records as ReadRecord[])
    return Promise.all(records).then((settled) => batchOf(batch, settled))
  }
}

function batchOf({ source, stored }: TakenBatch, records: readonly ReadRecord[]): ReadBatch {
  const { end } = source
  return {
    topic: source.topic.name,
    partition: source.partition,
    records,
    nextOffset: end === undefined ? stored.nextOffset : Math.min(end, stored.nextOffset),
    appendTime: stored.header.appendTime,
    endOffset: source.durableEnd,
  }
}

/** Throws, or rejects, with ENCODING_MISMATCH or SCHEMA_MISMATCH, which end the reading. */
function recordAt(reader: Reader, batch: TakenBatch, index: number): ReadRecord | Promise<ReadRecord> {
  const wire = batch.records[index] as WireRecord
  const { key: keyCodec, value: valueCodec } = batch.source.topic
  try {
    const key = decoded(keyCodec, wire.key)
    const value = decoded(valueCodec, wire.value)
    if (!(key instanceof Promise) && !(value instanceof Promise)) return record(batch, wire, key, value)
    return Promise.all([key, value]).then(
      ([key, value]) => record(batch, wire, key, value),
      (error: unknown) => undecodable(reader, batch, wire, error),
    )
  } catch (error) {
    return undecodable(reader, batch, wire, error)
  }
}

function decoded(codec: AnyCodec, wire: Wire): unknown {
  return wire === null && !codec.hasSchema ? null : codec.decode(wire)
}

function record({ source, stored }: TakenBatch, wire: WireRecord, key: unknown, value: unknown): ReadRecord {
  const { header } = stored
  return {
    topic: source.topic.name,
    partition: source.partition,
    offset: header.baseOffset + wire.offsetDelta,
    timestamp: header.baseTimestamp + wire.timestampDelta,
    appendTime: header.appendTime,
    key,
    value,
    headers: wire.headers ?? NO_HEADERS,
  }
}

/** The reading ends here: going on would leave the record out without a word. Its place is in the details. */
function undecodable(reader: Reader, batch: TakenBatch, wire: WireRecord, error: unknown): never {
  const { source, stored } = batch
  const offset = stored.header.baseOffset + wire.offsetDelta
  const place = { topic: source.topic.name, partition: source.partition, offset }
  const message = error instanceof Error ? error.message : String(error)
  const placed = new MillraceError(error instanceof MillraceError ? error.code : 'SCHEMA_MISMATCH', {
    message: `topic "${place.topic}", partition ${place.partition}, offset ${offset}: ${message}`,
    details: { ...(error instanceof MillraceError ? error.details : {}), ...place },
    cause: error,
  })
  reader.fail(placed)
  throw placed
}
