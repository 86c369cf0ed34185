import type { Encoding } from '../../protocol/encodings.js'
import type { Wire } from '../../protocol/record.js'
import { recordWriter } from '../http/record-text.js'
import { jsonOfWire } from '../http/wire-codec.js'

/** A record with its key and value as they travelled. */
export interface TravelledRecord {
  readonly topic: string
  readonly partition: number
  readonly offset: number
  readonly timestamp: number
  readonly appendTime: number
  readonly key: Wire
  readonly value: Wire
  readonly headers: Readonly<Record<string, string | Uint8Array>>
}

export interface Encodings {
  readonly keyEncoding: Encoding
  readonly valueEncoding: Encoding
}

/** The whole record as one line of JSON: the one that HTTP answers with. Throws ENCODING_MISMATCH. */
export function recordAsJson(record: TravelledRecord, encodings: Encodings): string {
  const { topic, partition, offset, timestamp, appendTime, key, value, headers } = record
  const place = { ...encodings, topic, partition, baseOffset: offset, baseTimestamp: timestamp, appendTime }
  return recordWriter(place)({ offsetDelta: 0, timestampDelta: 0, key, value, headers })
}

/**
 * A key or value alone: text, JSON and bytes as they are, MessagePack as JSON. None is `null` where lines are JSON, else
 * nothing. Throws ENCODING_MISMATCH.
 */
export function printable(wire: Wire, encoding: Encoding): string | Uint8Array {
  if (encoding === 'msgpack') return jsonOfWire(wire, encoding)
  if (wire === null) return encoding === 'json' ? 'null' : ''
  return wire
}
