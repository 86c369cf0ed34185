/** MessagePack read apart from the code under test: a second opinion on what is a frame, and on what is a batch. */
import { HARD_LIMITS } from '../../protocol/limits.js'

/** A value, and where its bytes are. */
export type Found = { readonly start: number; readonly end: number } & (
  | { readonly kind: 'nil' | 'bool' }
  /** NaN where it is not exactly a number of JavaScript. */
  | { readonly kind: 'number'; readonly value: number }
  | { readonly kind: 'text' | 'binary'; readonly bytes: Uint8Array }
  | { readonly kind: 'list'; readonly items: readonly Found[] }
  | { readonly kind: 'map'; readonly entries: readonly (readonly [Found, Found])[] }
)

/** The value at the start of `bytes`; throws when there is none of the kinds that the protocol uses. */
export const readValue = (bytes: Uint8Array): Found => new Reader(bytes).value(1)

/** PROTOCOL.md, section 2. What is none must end its connection with 1007. */
export function isFrame(bytes: Uint8Array): boolean {
  try {
    const frame = readValue(bytes)
    if (frame.kind !== 'list' || frame.end !== bytes.length || !isShallow(frame, HARD_LIMITS.nestingMax))
      return false
    const [opcode] = frame.items
    return opcode?.kind === 'number' && Number.isInteger(opcode.value) && opcode.value >= 0
  } catch {
    return false
  }
}

/** Of the records that a batch is said to hold. */
export interface Claims {
  readonly recordCount: number
  readonly keyTextual: boolean
  readonly valueTextual: boolean
  readonly recordBytesMax: number
}

/** PROTOCOL.md, section 5: whether an uncompressed payload is what is claimed of it. */
export function isPayload(payload: Uint8Array, claims: Claims): boolean {
  try {
    const list = readValue(payload)
    if (list.kind !== 'list' || list.end !== payload.length || list.items.length !== claims.recordCount)
      return false
    return list.items.every((record, i) => isRecord(record, i, claims))
  } catch {
    return false
  }
}

function isRecord(record: Found, index: number, claims: Claims): boolean {
  if (record.kind !== 'list' || record.items.length !== 5) return false
  if (record.end - record.start > claims.recordBytesMax) return false
  const [offsetDelta, timestampDelta, key, value, headers] = record.items as [
    Found,
    Found,
    Found,
    Found,
    Found,
  ]
  return (
    isWhole(offsetDelta) &&
    offsetDelta.value === index &&
    isWhole(timestampDelta) &&
    isContent(key, claims.keyTextual) &&
    isContent(value, claims.valueTextual) &&
    (headers.kind === 'nil' || isHeaders(headers))
  )
}

const isWhole = (found: Found): found is Found & { kind: 'number' } =>
  found.kind === 'number' && Number.isSafeInteger(found.value)

const isContent = (found: Found, isTextual: boolean): boolean =>
  found.kind === 'nil' || found.kind === (isTextual ? 'text' : 'binary')

const isHeaders = (found: Found): boolean =>
  found.kind === 'map' &&
  found.entries.length <= HARD_LIMITS.headersPerRecordMax &&
  found.entries.every(([, value]) => value.kind === 'text' || value.kind === 'binary')

function isShallow(found: Found, levels: number): boolean {
  if (found.kind === 'list') return levels > 0 && found.items.every((item) => isShallow(item, levels - 1))
  if (found.kind === 'map')
    return levels > 0 && found.entries.every(([, value]) => isShallow(value, levels - 1))
  return true
}

const NUMBERS: Readonly<Record<number, readonly [bytes: number, read: (data: DataView) => number | bigint]>> =
  {
    202: [4, (data) => data.getFloat32(0)],
    203: [8, (data) => data.getFloat64(0)],
    204: [1, (data) => data.getUint8(0)],
    205: [2, (data) => data.getUint16(0)],
    206: [4, (data) => data.getUint32(0)],
    207: [8, (data) => data.getBigUint64(0)],
    208: [1, (data) => data.getInt8(0)],
    209: [2, (data) => data.getInt16(0)],
    210: [4, (data) => data.getInt32(0)],
    211: [8, (data) => data.getBigInt64(0)],
  }
/** Deeper than anything legal; shallow enough for the stack. */
const DEPTH_MAX = 20

class Reader {
  readonly #bytes: Uint8Array
  #at = 0
  #values = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }

  value(depth: number): Found {
    if (++this.#values > HARD_LIMITS.valuesPerFrameMax) throw new Error('too many values')
    if (depth > DEPTH_MAX) throw new Error('too deep')
    const start = this.#at
    const found = this.#content(this.#take(1).getUint8(0), depth)
    return { start, end: this.#at, ...found } as Found
  }

  #content(type: number, depth: number): object {
    if (type < 0x80) return { kind: 'number', value: type }
    if (type < 0x90) return this.#map(type & 15, depth)
    if (type < 0xa0) return this.#list(type & 15, depth)
    if (type < 0xc0) return this.#sized('text', type & 31)
    if (type >= 0xe0) return { kind: 'number', value: type - 256 }
    const number = NUMBERS[type]
    if (number !== undefined) return { kind: 'number', value: Number(number[1](this.#take(number[0]))) }
    if (type === 0xc0) return { kind: 'nil' }
    if (type === 0xc2 || type === 0xc3) return { kind: 'bool' }
    if (type >= 0xc4 && type <= 0xc6) return this.#sized('binary', this.#length(2 ** (type - 0xc4)))
    if (type >= 0xd9 && type <= 0xdb) return this.#sized('text', this.#length(2 ** (type - 0xd9)))
    if (type === 0xdc || type === 0xdd) return this.#list(this.#length(type === 0xdc ? 2 : 4), depth)
    if (type === 0xde || type === 0xdf) return this.#map(this.#length(type === 0xde ? 2 : 4), depth)
    throw new Error('an extension, or no MessagePack')
  }

  #take(bytes: number): DataView {
    const from = this.#at
    this.#at += bytes
    if (this.#at > this.#bytes.length) throw new Error('cut short')
    return new DataView(this.#bytes.buffer, this.#bytes.byteOffset + from, bytes)
  }

  #length(bytes: number): number {
    const data = this.#take(bytes)
    return bytes === 1 ? data.getUint8(0) : bytes === 2 ? data.getUint16(0) : data.getUint32(0)
  }

  #sized(kind: 'text' | 'binary', length: number): object {
    this.#take(length)
    return { kind, bytes: this.#bytes.subarray(this.#at - length, this.#at) }
  }

  #list(length: number, depth: number): object {
    const items: Found[] = []
    for (let i = 0; i < length; i++) items.push(this.value(depth + 1))
    return { kind: 'list', items }
  }

  #map(length: number, depth: number): object {
    const entries: (readonly [Found, Found])[] = []
    for (let i = 0; i < length; i++) {
      const key = this.value(depth + 1)
      if (key.kind !== 'text' || Buffer.from(key.bytes).equals(PROTO)) throw new Error('a key')
      entries.push([key, this.value(depth + 1)])
    }
    return { kind: 'map', entries }
  }
}

const PROTO = Buffer.from('__proto__')
