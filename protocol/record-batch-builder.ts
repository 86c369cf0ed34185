import { MillraceError } from './error-codes.js'
import { HARD_LIMITS } from './limits.js'
import type { Wire, WireHeaders } from './record.js'
import { type Utf8Writer, utf8 } from './utf8.js'

/** What a producer appends. */
export interface RecordToAppend {
  key: Wire
  value: Wire
  headers?: WireHeaders | null
  /** Milliseconds since 1970, a whole number. */
  timestamp: number
}

/** The payload's array header is written last, when the count is known, right before the first record. */
const ARRAY_HEADER_BYTES_MAX = 5
/** A record's array header, two 9-byte deltas and a map32 header. */
const RECORD_OVERHEAD_BYTES_MAX = 1 + 9 + 9 + 5
const LENGTH_HEADER_BYTES_MAX = 5
const UTF8_BYTES_PER_UNIT_MAX = 3

const DEFAULT_INITIAL_BYTES = 4096
const TWO_32 = 0x1_0000_0000

/**
 * Builds one payload after the other in a buffer that grows and is kept. Headers of strings, arrays and numbers are the
 * shortest that MessagePack has. Not re-entrant.
 */
export class RecordBatchBuilder {
  #buffer: Uint8Array
  #writeUtf8: Utf8Writer
  #position = ARRAY_HEADER_BYTES_MAX
  #count = 0
  #baseTimestamp = 0

  constructor(options: { initialBytes?: number } = {}) {
    this.#buffer = new Uint8Array(Math.max(64, options.initialBytes ?? DEFAULT_INITIAL_BYTES))
    this.#writeUtf8 = utf8.writer(this.#buffer)
  }

  /** Bytes that the payload will have, or up to 4 less; 0 while it is empty. */
  get bytes(): number {
    return this.#count === 0 ? 0 : this.#position
  }

  get count(): number {
    return this.#count
  }

  /**
   * Adds a record and returns the bytes it took, which is what `recordBytesMax` bounds. Throws ILLEGAL_ARGUMENT (a key,
   * value, header or timestamp that cannot be written) or BATCH_TOO_LARGE (too many records); then nothing was added.
   */
  append(record: RecordToAppend): number {
    const { key, value, timestamp } = record
    const headers = record.headers ?? null
    const names = headers === null ? undefined : Object.keys(headers)
    let bytesMax = RECORD_OVERHEAD_BYTES_MAX + wireBytesMax(key, 'key') + wireBytesMax(value, 'value')
    if (headers !== null && names !== undefined) bytesMax += headersBytesMax(headers, names)
    if (this.#count === HARD_LIMITS.recordsPerBatchMax) {
      throw new MillraceError('BATCH_TOO_LARGE', { message: `a batch holds at most ${this.#count} records` })
    }
    const baseTimestamp = this.#count === 0 ? Math.max(0, timestamp) : this.#baseTimestamp
    const timestampDelta = timestamp - baseTimestamp
    if (!Number.isSafeInteger(timestamp) || !Number.isSafeInteger(timestampDelta)) {
      throw illegal(`a timestamp is a whole number of milliseconds, not ${timestamp}`)
    }
    this.#reserve(bytesMax)

    const start = this.#position
    this.#baseTimestamp = baseTimestamp
    this.#buffer[this.#position++] = 0x95
    this.#writeInteger(this.#count)
    this.#writeInteger(timestampDelta)
    this.#writeWire(key)
    this.#writeWire(value)
    if (headers === null || names === undefined) this.#buffer[this.#position++] = 0xc0
    else this.#writeHeaders(headers, names)
    this.#count++
    return this.#position - start
  }

  /**
   * The payload so far; the builder is empty afterwards. `payload` is a view that the next append overwrites.
   * `baseTimestamp` is what PRODUCE must carry: the first record's, or 0 if that lies before 1970.
   */
  finish(): { payload: Uint8Array; recordCount: number; baseTimestamp: number } {
    const recordCount = this.#count
    const headerBytes = recordCount < 16 ? 1 : recordCount < 0x1_0000 ? 3 : 5
    const start = ARRAY_HEADER_BYTES_MAX - headerBytes
    const end = this.#position
    this.#position = start
    if (headerBytes === 1) this.#put1(0x90 | recordCount)
    else if (headerBytes === 3) this.#put1and2(0xdc, recordCount)
    else this.#put1and4(0xdd, recordCount)
    const finished = {
      payload: this.#buffer.subarray(start, end),
      recordCount,
      baseTimestamp: this.#baseTimestamp,
    }
    this.reset()
    return finished
  }

  /** Forgets the records appended since the last finish(). */
  reset(): void {
    this.#position = ARRAY_HEADER_BYTES_MAX
    this.#count = 0
    this.#baseTimestamp = 0
  }

  #reserve(bytes: number): void {
    const needed = this.#position + bytes
    if (needed <= this.#buffer.length) return
    const grown = new Uint8Array(Math.max(needed, 2 * this.#buffer.length))
    grown.set(this.#buffer.subarray(0, this.#position))
    this.#buffer = grown
    this.#writeUtf8 = utf8.writer(grown)
  }

  #writeWire(wire: Wire): void {
    if (wire === null) this.#buffer[this.#position++] = 0xc0
    else if (typeof wire === 'string') this.#writeText(wire)
    else this.#writeBinary(wire)
  }

  #writeHeaders(headers: WireHeaders, names: readonly string[]): void {
    if (names.length < 16) this.#put1(0x80 | names.length)
    else this.#put1and2(0xde, names.length)
    for (const name of names) {
      this.#writeText(name)
      this.#writeWire(headers[name] as string | Uint8Array)
    }
  }

  /** The header's size follows from the size in bytes, known only afterwards: guess ASCII, and move the text if not. */
  #writeText(text: string): void {
    const headerStart = this.#position
    const guessedHeaderBytes = strHeaderBytes(text.length)
    const guessedStart = headerStart + guessedHeaderBytes
    const guessedEnd = this.#writeUtf8(text, guessedStart)
    const length = guessedEnd - guessedStart
    const headerBytes = strHeaderBytes(length)
    if (headerBytes !== guessedHeaderBytes) {
      this.#buffer.copyWithin(headerStart + headerBytes, guessedStart, guessedEnd)
    }
    if (headerBytes === 1) this.#put1(0xa0 | length)
    else if (headerBytes === 2) this.#put1and1(0xd9, length)
    else if (headerBytes === 3) this.#put1and2(0xda, length)
    else this.#put1and4(0xdb, length)
    this.#position += length
  }

  #writeBinary(bytes: Uint8Array): void {
    if (bytes.length < 0x100) this.#put1and1(0xc4, bytes.length)
    else if (bytes.length < 0x1_0000) this.#put1and2(0xc5, bytes.length)
    else this.#put1and4(0xc6, bytes.length)
    this.#buffer.set(bytes, this.#position)
    this.#position += bytes.length
  }

  #writeInteger(value: number): void {
    if (value >= 0) {
      if (value < 0x80) this.#put1(value)
      else if (value < 0x100) this.#put1and1(0xcc, value)
      else if (value < 0x1_0000) this.#put1and2(0xcd, value)
      else if (value < TWO_32) this.#put1and4(0xce, value)
      else this.#put1and8(0xcf, value)
    } else if (value >= -0x20) this.#put1(value & 0xff)
    else if (value >= -0x80) this.#put1and1(0xd0, value)
    else if (value >= -0x8000) this.#put1and2(0xd1, value)
    else if (value >= -0x8000_0000) this.#put1and4(0xd2, value)
    else this.#put1and8(0xd3, value)
  }

  #put1(byte: number): void {
    this.#buffer[this.#position++] = byte
  }

  #put1and1(type: number, value: number): void {
    const at = this.#position
    this.#buffer[at] = type
    this.#buffer[at + 1] = value
    this.#position = at + 2
  }

  #put1and2(type: number, value: number): void {
    const at = this.#position
    this.#buffer[at] = type
    this.#buffer[at + 1] = value >> 8
    this.#buffer[at + 2] = value
    this.#position = at + 3
  }

  #put1and4(type: number, value: number): void {
    const at = this.#position
    this.#buffer[at] = type
    this.#putWord(at + 1, value)
    this.#position = at + 5
  }

  #put1and8(type: number, value: number): void {
    const at = this.#position
    this.#buffer[at] = type
    this.#putWord(at + 1, Math.floor(value / TWO_32))
    this.#putWord(at + 5, value)
    this.#position = at + 9
  }

  /** The low 32 bits: `|` and `>>` take a number modulo 2^32, of negative ones too. */
  #putWord(at: number, value: number): void {
    this.#buffer[at] = value >> 24
    this.#buffer[at + 1] = value >> 16
    this.#buffer[at + 2] = value >> 8
    this.#buffer[at + 3] = value
  }
}

const strHeaderBytes = (length: number): number =>
  length < 32 ? 1 : length < 0x100 ? 2 : length < 0x1_0000 ? 3 : 5

function wireBytesMax(wire: Wire, what: string): number {
  if (wire === null) return 1
  if (typeof wire === 'string') return LENGTH_HEADER_BYTES_MAX + UTF8_BYTES_PER_UNIT_MAX * wire.length
  if (wire instanceof Uint8Array) return LENGTH_HEADER_BYTES_MAX + wire.length
  throw illegal(`a ${what} is text, bytes or null, not ${typeof wire}`)
}

function headersBytesMax(headers: WireHeaders, names: readonly string[]): number {
  if (names.length > HARD_LIMITS.headersPerRecordMax) {
    throw illegal(`a record has at most ${HARD_LIMITS.headersPerRecordMax} headers, not ${names.length}`)
  }
  let bytesMax = 0
  for (const name of names) {
    if (name === '__proto__') throw illegal('a header cannot be named "__proto__"')
    const value: unknown = headers[name]
    if (typeof value !== 'string' && !(value instanceof Uint8Array)) {
      throw illegal(`header "${name}" is text or bytes, not ${value === null ? 'null' : typeof value}`)
    }
    bytesMax += wireBytesMax(name, 'header name') + wireBytesMax(value, 'header')
  }
  return bytesMax
}

const illegal = (message: string): MillraceError => new MillraceError('ILLEGAL_ARGUMENT', { message })
