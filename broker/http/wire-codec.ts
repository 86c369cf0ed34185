/**
 * Keys and values on their way between requests and the log. A topic's encoding says what they are in the log; JSON says
 * what it cannot express by an object with one field: `{"base64": "AAE="}` for bytes, `{"int64": "9007199254740993"}` for a
 * whole number beyond 2^53, `{"float64": "NaN"}`, `"Infinity"` and `"-Infinity"`.
 */
import { isUtf8 } from 'node:buffer'
import { Packr, Unpackr } from 'msgpackr'
import type { Encoding } from '../../protocol/encodings.js'
import { MillraceError } from '../../protocol/error-codes.js'
import type { Wire } from '../../protocol/record.js'
import { walkFaultText, walkValue } from '../../protocol/walk.js'

const PLAIN = { useRecords: false, variableMapSize: true, encodeUndefinedAsNil: true } as const
const packr = new Packr(PLAIN)
// The types lag behind: 'auto' is a number where that is exact, else a bigint.
const int64AsType = 'auto' as unknown as 'number'
const unpackr = new Unpackr({ ...PLAIN, mapsAsObjects: true, int64AsType, copyBuffers: true })
/** Deep enough for any document, shallow enough for the stack. */
const VALUE_LIMITS = { nestingMax: 100, valuesMax: 10_000_000 }

const mismatch = (message: string): MillraceError => new MillraceError('ENCODING_MISMATCH', { message })

/** A value out of a JSON request as it is written; null is none. `what` names it in errors. Throws ENCODING_MISMATCH. */
export function wireOfJson(value: unknown, encoding: Encoding, what: string): Wire {
  if (value === null || value === undefined) return null
  switch (encoding) {
    case 'text':
      if (typeof value !== 'string') throw mismatch(`${what}: the topic holds text, and this is none`)
      return wellFormed(value, what)
    case 'json':
      return wellFormed(jsonText(value, what), what)
    case 'bytes': {
      const bytes = bytesMarkedIn(value)
      if (bytes === undefined) throw mismatch(`${what}: the topic holds bytes: send {"base64": "..."}`)
      return bytes
    }
    case 'msgpack':
      return packed(unmarked(value, what, 0), what)
  }
}

/** A value out of a MessagePack request, given as its bytes. Throws ENCODING_MISMATCH. */
export function wireOfMsgpack(value: Uint8Array, encoding: Encoding, what: string): Wire {
  if (value[0] === 0xc0 && value.length === 1) return null
  if (encoding === 'msgpack') return value
  const plain: unknown = unpackr.unpack(value)
  if (encoding === 'bytes') {
    if (!(plain instanceof Uint8Array)) throw mismatch(`${what}: the topic holds bytes, and this is no bin`)
    return plain
  }
  if (encoding === 'json') assertJson(plain, what, 0)
  return wireOfJson(plain, encoding, what)
}

/** A body, or what stands for one, as a value of the topic: the bytes must be what the topic holds. Throws ENCODING_MISMATCH. */
export function wireOfBytes(bytes: Uint8Array, encoding: Encoding, what: string): Wire {
  if (encoding === 'bytes') return bytes
  if (encoding === 'msgpack') {
    assertMsgpack(bytes, what)
    return bytes[0] === 0xc0 ? null : bytes
  }
  if (!isUtf8(bytes)) throw mismatch(`${what}: not UTF-8, and the topic holds ${encoding}`)
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString()
  return encoding === 'json' && jsonIn(text, what) === null ? null : text
}

/** A text, such as a query parameter or a header, as a key of the topic. */
export function wireOfText(text: string, encoding: Encoding, what: string): Wire {
  if (encoding === 'bytes') return Buffer.from(text)
  return wireOfJson(text, encoding, what)
}

/** `stored`: text as text and bytes as bytes, whatever they stand for. */
export type ReadAs = Encoding | 'stored'

/** A key or value as JSON text on one line. Throws ENCODING_MISMATCH where what is stored is not what the topic says. */
export function jsonOfWire(wire: Wire, encoding: ReadAs): string {
  if (wire === null) return 'null'
  if (typeof wire === 'string') {
    if (encoding !== 'json') return JSON.stringify(wire)
    jsonIn(wire, 'the stored value')
    // As it is stored, so that no digit is lost; between tokens a line break is as good as a space.
    return wire.replace(/[\r\n]/g, ' ')
  }
  if (encoding !== 'msgpack') return JSON.stringify(marked(wire))
  assertMsgpack(wire, 'the stored value')
  return JSON.stringify(marked(unpackr.unpack(wire)))
}

/** The same value with what JSON cannot say replaced. */
export function marked(value: unknown): unknown {
  if (value instanceof Uint8Array)
    return { base64: Buffer.from(value.buffer, value.byteOffset, value.length).toString('base64') }
  if (typeof value === 'bigint') return { int64: value.toString() }
  if (typeof value === 'number') return Number.isFinite(value) ? value : { float64: String(value) }
  if (Array.isArray(value)) return value.map(marked)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, marked(item)]))
}

/** The bytes of `{"base64": "..."}`; undefined for anything else, text that is no base64 included. */
export function bytesMarkedIn(value: unknown): Uint8Array | undefined {
  const base64 = onlyFieldOf(value, 'base64')
  if (typeof base64 !== 'string' || !BASE64.test(base64)) return undefined
  return new Uint8Array(Buffer.from(base64, 'base64'))
}

const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/

function onlyFieldOf(value: unknown, name: string): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
  if (!Object.hasOwn(value, name) || Object.keys(value).length !== 1) return undefined
  return (value as Record<string, unknown>)[name]
}

function unmarked(value: unknown, what: string, depth: number): unknown {
  if (typeof value !== 'object' || value === null) return value
  if (depth > VALUE_LIMITS.nestingMax) throw mismatch(`${what}: nested too deeply`)
  if (Array.isArray(value)) return value.map((item) => unmarked(item, what, depth + 1))
  const bytes = bytesMarkedIn(value)
  if (bytes !== undefined) return bytes
  const digits = onlyFieldOf(value, 'int64')
  if (typeof digits === 'string' && /^-?\d{1,20}$/.test(digits)) return BigInt(digits)
  const float = onlyFieldOf(value, 'float64')
  if (float === 'NaN' || float === 'Infinity' || float === '-Infinity') return Number(float)
  return Object.fromEntries(
    Object.entries(value).map(([name, item]) => [name, unmarked(item, what, depth + 1)]),
  )
}

function packed(value: unknown, what: string): Uint8Array {
  let bytes: Uint8Array
  try {
    bytes = new Uint8Array(packr.pack(value))
  } catch (cause) {
    throw mismatch(`${what}: cannot be written as MessagePack: ${(cause as Error).message}`)
  }
  assertMsgpack(bytes, what)
  return bytes
}

function assertMsgpack(bytes: Uint8Array, what: string): void {
  const end = walkValue(bytes, 0, VALUE_LIMITS)
  if (end === bytes.length) return
  throw mismatch(`${what}: not plain MessagePack: ${end < 0 ? walkFaultText(end) : 'bytes follow the value'}`)
}

function jsonIn(text: string, what: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw mismatch(`${what}: not JSON: ${(cause as Error).message}`)
  }
}

/** What JSON.stringify would silently make something else of. */
function assertJson(value: unknown, what: string, depth: number): void {
  if (typeof value === 'bigint') throw mismatch(`${what}: JSON has no whole number beyond 2^53`)
  if (typeof value === 'number' && !Number.isFinite(value)) throw mismatch(`${what}: JSON has no ${value}`)
  if (value instanceof Uint8Array) throw mismatch(`${what}: JSON has no bytes`)
  if (typeof value !== 'object' || value === null) return
  for (const item of Object.values(value)) assertJson(item, what, depth + 1)
}

function jsonText(value: unknown, what: string): string {
  try {
    return JSON.stringify(value)
  } catch (cause) {
    throw mismatch(`${what}: cannot be written as JSON: ${(cause as Error).message}`)
  }
}

/** UTF-8 would turn a lone surrogate into U+FFFD without a word. */
function wellFormed(text: string, what: string): string {
  const isWellFormed = (text as string & { isWellFormed?(): boolean }).isWellFormed?.() ?? true
  if (!isWellFormed) throw mismatch(`${what}: has a lone surrogate, which UTF-8 cannot carry`)
  return text
}
