import { MillraceError } from '../protocol/error-codes.js'
import type { RecordWalk, Wire, WireRecord } from '../protocol/records.js'
import type { AnyCodec } from './encodings.js'
import type { AnyTopic, Headers, ReadRecord } from './topic.js'

/** What a record shares with the others of its batch. */
export interface BatchPlace {
  readonly topic: AnyTopic
  readonly partition: number
  readonly baseOffset: number
  readonly baseTimestamp: number
  readonly appendTime: number
}

/** Offsets from `from` on and below `end`; undefined: no end. */
export interface WantedRange {
  readonly from: number
  readonly end: number | undefined
}

const NO_HEADERS: Headers = Object.freeze({})

/**
 * The records of a batch that are wanted, each decoded as it is read: nothing is made in between. A promise where a
 * schema validates asynchronously. Throws or rejects with BAD_BATCH, and as decodeRecord.
 */
export function decodeBatch(
  place: BatchPlace,
  walk: RecordWalk,
  { from, end = Number.POSITIVE_INFINITY }: WantedRange,
): ReadRecord[] | Promise<ReadRecord[]> {
  const records: (ReadRecord | Promise<ReadRecord>)[] = []
  let isAsync = false
  while (walk.next()) {
    const offset = place.baseOffset + walk.offsetDelta
    if (offset < from || offset >= end) continue
    const record = decodeRecord(place, walk)
    if (record instanceof Promise) isAsync = true
    records.push(record)
  }
  return isAsync ? Promise.all(records) : (records as ReadRecord[])
}

/** Throws, or rejects, with ENCODING_MISMATCH or SCHEMA_MISMATCH and the record's place. */
export function decodeRecord(place: BatchPlace, wire: WireRecord): ReadRecord | Promise<ReadRecord> {
  try {
    const key = decoded(place.topic.key, wire.key)
    const value = decoded(place.topic.value, wire.value)
    if (!isPromise(key) && !isPromise(value)) return record(place, wire, key, value)
    // A walk goes on meanwhile.
    const kept = { ...wire }
    return Promise.all([key, value]).then(
      ([key, value]) => record(place, kept, key, value),
      (error: unknown) => {
        throw undecodable(place, kept, error)
      },
    )
  } catch (error) {
    throw undecodable(place, wire, error)
  }
}

/** Text, the usual case, is told apart at once. */
const isPromise = (value: unknown): value is Promise<unknown> =>
  typeof value === 'object' && value instanceof Promise

function decoded(codec: AnyCodec, wire: Wire): unknown {
  return wire === null && !codec.hasSchema ? null : codec.decode(wire)
}

function record(place: BatchPlace, wire: WireRecord, key: unknown, value: unknown): ReadRecord {
  return {
    topic: place.topic.name,
    partition: place.partition,
    offset: place.baseOffset + wire.offsetDelta,
    timestamp: place.baseTimestamp + wire.timestampDelta,
    appendTime: place.appendTime,
    key,
    value,
    headers: wire.headers ?? NO_HEADERS,
  }
}

function undecodable(place: BatchPlace, wire: WireRecord, error: unknown): MillraceError {
  const offset = place.baseOffset + wire.offsetDelta
  const details = { topic: place.topic.name, partition: place.partition, offset }
  const message = error instanceof Error ? error.message : String(error)
  return new MillraceError(error instanceof MillraceError ? error.code : 'SCHEMA_MISMATCH', {
    message: `topic "${details.topic}", partition ${details.partition}, offset ${offset}: ${message}`,
    details: { ...(error instanceof MillraceError ? error.details : {}), ...details },
    cause: error,
  })
}
