import { decodeRecords, RecordWalk, type WireRecord } from '../protocol/records.js'
import type { DecodeBatch, OpenedBatch, Reader, TakenBatch } from './reader.js'
import { type BatchPlace, decodeBatch, decodeRecord } from './record-decoder.js'
import type { ReadRecord } from './topic.js'

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

const FINISHED: IteratorResult<never, undefined> = Object.freeze({ done: true, value: undefined })

abstract class ReaderStream<T, R> implements Stream<T> {
  protected readonly reader: Reader<R>
  /** Calls before it that are not settled: each waits for its turn. */
  #turn: Promise<unknown> | undefined

  constructor(reader: Reader<R>) {
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

/** The wanted records as they travelled: what a RecordStream wants of its reader. */
export const wireRecordsOf: DecodeBatch<WireRecord> = ({ source, stored, payload, from }) => {
  const { baseOffset, recordCount } = stored.header
  const { end = Number.POSITIVE_INFINITY } = source
  const records = decodeRecords(payload, recordCount, stored.omitted)
  if (baseOffset >= from && stored.nextOffset <= end) return records
  return records.filter(({ offsetDelta }) => {
    const offset = baseOffset + offsetDelta
    return offset >= from && offset < end
  })
}

/** Record by record. Decodes each when it is taken; what is at hand is given without waiting. */
export class RecordStream extends ReaderStream<ReadRecord, WireRecord> {
  #batch: TakenBatch<WireRecord> | undefined
  #place: BatchPlace | undefined
  #index = 0

  protected take(): ReadRecord | undefined | Promise<ReadRecord | undefined> {
    const batch = this.#batch
    const place = this.#place
    if (batch !== undefined && place !== undefined && this.#index < batch.records.length) {
      return recordAt(this.reader, place, batch.records[this.#index++])
    }
    return this.#takeNext()
  }

  #takeNext(): ReadRecord | undefined | Promise<ReadRecord | undefined> {
    this.#batch = undefined
    const taken = this.reader.take()
    return taken instanceof Promise ? taken.then((batch) => this.#begin(batch)) : this.#begin(taken)
  }

  #begin(
    batch: TakenBatch<WireRecord> | undefined,
  ): ReadRecord | undefined | Promise<ReadRecord | undefined> {
    this.#batch = batch
    this.#place = batch === undefined ? undefined : placeOf(batch)
    this.#index = 0
    return batch === undefined ? undefined : this.take()
  }
}

/** The wanted records, ready for the application: what a BatchStream wants of its reader. */
export const readRecordsOf: DecodeBatch<ReadRecord> = (batch) => {
  const { source, stored, payload, from } = batch
  const walk = new RecordWalk(payload, stored.header.recordCount, stored.omitted)
  return decodeBatch(placeOf(batch), walk, { from, end: source.end })
}

/** Batch by batch, as they were written. */
export class BatchStream extends ReaderStream<ReadBatch, ReadRecord> {
  protected take(): ReadBatch | undefined | Promise<ReadBatch | undefined> {
    const taken = this.reader.take()
    return taken instanceof Promise ? taken.then(batchOf) : batchOf(taken)
  }
}

function batchOf(batch: TakenBatch<ReadRecord> | undefined): ReadBatch | undefined {
  if (batch === undefined) return undefined
  const { source, stored, records } = batch
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

function placeOf({ source, stored }: Pick<OpenedBatch, 'source' | 'stored'>): BatchPlace {
  const { baseOffset, baseTimestamp, appendTime } = stored.header
  return { topic: source.topic, partition: source.partition, baseOffset, baseTimestamp, appendTime }
}

/** What cannot be decoded ends the reading: going on would leave the record out without a word. */
function recordAt(
  reader: Reader<WireRecord>,
  place: BatchPlace,
  wire: WireRecord | undefined,
): ReadRecord | Promise<ReadRecord> {
  try {
    const record = decodeRecord(place, wire as WireRecord)
    return record instanceof Promise ? record.catch((error: unknown) => failed(reader, error)) : record
  } catch (error) {
    return failed(reader, error)
  }
}

function failed(reader: Reader<WireRecord>, error: unknown): never {
  reader.fail(error)
  throw error
}
