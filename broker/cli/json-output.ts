import { msgpack } from '../../client/encodings.js'
import type { Encoding } from '../../protocol/encodings.js'
import type { Wire } from '../../protocol/record.js'

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

/** The whole record as one line of JSON. Bytes become `{"base64":"…"}`, wherever they stand. */
export function recordAsJson(record: TravelledRecord, { keyEncoding, valueEncoding }: Encodings): string {
  return JSON.stringify({
    topic: record.topic,
    partition: record.partition,
    offset: record.offset,
    timestamp: new Date(record.timestamp).toISOString(),
    appendTime: new Date(record.appendTime).toISOString(),
    key: marked(decoded(record.key, keyEncoding)),
    value: marked(decoded(record.value, valueEncoding)),
    headers: marked(record.headers),
  })
}

/** A key or value alone: text, JSON and bytes as they are, MessagePack as JSON, nothing for none. */
export function printable(wire: Wire, encoding: Encoding): string | Uint8Array {
  if (wire === null) return ''
  return encoding === 'msgpack' ? JSON.stringify(marked(msgpack().decode(wire))) : wire
}

function decoded(wire: Wire, encoding: Encoding): unknown {
  if (wire === null) return null
  if (encoding === 'json') return JSON.parse(wire as string)
  return encoding === 'msgpack' ? msgpack().decode(wire) : wire
}

/** The same value with what JSON cannot say replaced: bytes by an object, 64-bit integers by their digits. */
function marked(value: unknown): unknown {
  if (ArrayBuffer.isView(value)) {
    return { base64: Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64') }
  }
  if (typeof value === 'bigint') return value.toString()
  if (Array.isArray(value)) return value.map(marked)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, marked(item)]))
}
