import { MillraceError } from '../protocol/error-codes.js'
import type { Wire, WireHeaders } from '../protocol/record.js'
import { RecordBatchBuilder } from '../protocol/records.js'
import type { OutgoingRecord } from './batch.js'
import type { Clock } from './clock.js'
import { checkedDedupId } from './dedup-ids.js'
import { type AnyCodec, isWellFormed } from './encodings.js'
import { illegalArgument } from './errors.js'
import type { AnyTopic, Headers } from './topic.js'

/** What a caller gives; the compiler has checked it against the topic, and JavaScript has not. */
interface Given {
  readonly key?: unknown
  readonly value: unknown
  readonly headers?: Headers | undefined
  readonly timestamp?: number | Date | undefined
  readonly dedupId?: string | undefined
  readonly expectedOffset?: number | undefined
}

/**
 * The record as it travels; a promise where a schema validates asynchronously. Throws what the codecs throw, and
 * ILLEGAL_ARGUMENT. `expectedOffset` overrules the record's own.
 */
export function encodedRecord(
  topic: AnyTopic,
  record: Given,
  clock: Clock,
  expectedOffset: number | undefined = record.expectedOffset,
): OutgoingRecord | Promise<OutgoingRecord> {
  const dedupId = record.dedupId === undefined ? null : checkedDedupId(record.dedupId)
  const offset = expectedOffset === undefined ? null : checkedOffset(expectedOffset)
  const timestamp = timestampOf(record.timestamp, clock)
  const headers = record.headers === undefined ? null : checkedHeaders(record.headers)
  const key = wireOf(topic.key, record.key)
  const value = wireOf(topic.value, record.value)
  if (key instanceof Promise || value instanceof Promise) {
    const rest = { headers, timestamp, dedupId, expectedOffset: offset }
    return Promise.all([key, value]).then(([key, value]) => ({ key, value, ...rest }))
  }
  return { key, value, headers, timestamp, dedupId, expectedOffset: offset }
}

function checkedOffset(expectedOffset: number): number {
  if (!(Number.isSafeInteger(expectedOffset) && expectedOffset >= 0)) {
    throw illegalArgument(`expectedOffset is a whole number from 0 on, not ${expectedOffset}`)
  }
  return expectedOffset
}

function wireOf(codec: AnyCodec, value: unknown): Wire | Promise<Wire> {
  if ((value === null || value === undefined) && !codec.hasSchema) return null
  return codec.encode(value as never)
}

function timestampOf(given: number | Date | undefined, clock: Clock): number {
  if (given === undefined) return clock.now()
  const timestamp = typeof given === 'number' ? given : given.getTime()
  if (!Number.isSafeInteger(timestamp)) {
    throw illegalArgument(
      `a timestamp is a valid Date or a whole number of milliseconds, not ${String(given)}`,
    )
  }
  return timestamp
}

/** The batch builder checks the rest, but by then the record would be far from its sender. */
function checkedHeaders(headers: Headers): WireHeaders | null {
  for (const name in headers) {
    const value: unknown = headers[name]
    const isText = typeof value === 'string'
    if (!isText && !(value instanceof Uint8Array)) {
      throw illegalArgument(
        `header "${name}" is text or bytes, not ${value === null ? 'null' : typeof value}`,
      )
    }
    if (!isWellFormed(name) || (isText && !isWellFormed(value))) {
      throw illegalArgument(`header "${name}" has a lone surrogate, which UTF-8 cannot carry`)
    }
  }
  return headers
}

/** Array header, deltas, lengths. */
const FRAMING_BYTES_MAX = 64

/** What the record has at least: exact but for text beyond ASCII. */
export function recordBytesMin({ key, value, headers }: OutgoingRecord): number {
  let bytes = (key?.length ?? 0) + (value?.length ?? 0)
  if (headers !== null) for (const name in headers) bytes += name.length + (headers[name]?.length ?? 0)
  return bytes
}

/** What a record has beside key, value and headers. */
const RECORD_BYTES = 24

/** A guess that decides when a batch is full. Three times as much is more than the record can have. */
export function recordUnits({ key, value, headers }: OutgoingRecord): number {
  let units = (key?.length ?? 0) + (value?.length ?? 0) + RECORD_BYTES
  if (headers !== null) for (const name in headers) units += name.length + (headers[name]?.length ?? 0) + 4
  return units
}

/** Throws RECORD_TOO_LARGE. Measures exactly only what might be too large. */
export function refuseTooLarge(record: OutgoingRecord, recordBytesMax: number): void {
  const units = recordBytesMin(record)
  const names = record.headers === null ? 0 : Object.keys(record.headers).length
  if (3 * units + FRAMING_BYTES_MAX + 10 * names <= recordBytesMax) return
  if (units <= recordBytesMax) {
    const measured = new RecordBatchBuilder({ initialBytes: units }).append(record)
    if (measured <= recordBytesMax) return
    throw tooLarge(measured, recordBytesMax)
  }
  throw tooLarge(units, recordBytesMax)
}

const tooLarge = (bytes: number, recordBytesMax: number): MillraceError =>
  new MillraceError('RECORD_TOO_LARGE', {
    message: `the record has ${bytes} bytes, at most ${recordBytesMax} are allowed`,
    details: { recordBytes: bytes, recordBytesMax },
  })
