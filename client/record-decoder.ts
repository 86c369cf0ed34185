import { MillraceError } from '../protocol/error-codes.js'
import type { Wire, WireRecord } from '../protocol/records.js'
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

const NO_HEADERS: Headers = Object.freeze({})

/** Throws, or rejects, with ENCODING_MISMATCH or SCHEMA_MISMATCH and the record's place. */
export function decodeRecord(place: BatchPlace, wire: WireRecord): ReadRecord | Promise<ReadRecord> {
  try {
    const key = decoded(place.topic.key, wire.key)
    const value = decoded(place.topic.value, wire.value)
    if (!(key instanceof Promise) && !(value instanceof Promise)) return record(place, wire, key, value)
    return Promise.all([key, value]).then(
      ([key, value]) => record(place, wire, key, value),
      (error: unknown) => {
        throw undecodable(place, wire, error)
      },
    )
  } catch (error) {
    throw undecodable(place, wire, error)
  }
}

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
