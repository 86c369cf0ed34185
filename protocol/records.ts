/**
 * The payload of a batch: a MessagePack array of records, each `[offsetDelta, timestampDelta, key, value, headers]`.
 * Written by producers, checked by the broker without building anything, read by consumers.
 */
import { bitAt } from './entry-section.js'
import { type ErrorCode, MillraceError } from './error-codes.js'
import { HARD_LIMITS } from './limits.js'
import type { Wire, WireHeaders, WireRecord } from './record.js'
import { FIELD, RecordCursor } from './record-cursor.js'
import { type Utf8Reader, utf8 } from './utf8.js'

export type { Wire, WireHeaders, WireRecord } from './record.js'
export { RecordBatchBuilder, type RecordToAppend } from './record-batch-builder.js'

/** Elements of a record's array. */
export const RECORD_FIELDS = 5

/** Reads the records of an uncompressed payload one after the other, without an object for each. */
export class RecordWalk implements WireRecord {
  offsetDelta = 0
  timestampDelta = 0
  key: Wire = null
  value: Wire = null
  headers: WireHeaders | null = null
  readonly #cursor: RecordCursor
  readonly #textAt: Utf8Reader
  readonly #recordCount: number
  readonly #omitted: Uint8Array | undefined
  #next = 0

  /**
   * Binary keys and values will be views into the payload. Records whose bit is set in `omitted` (see omittedBits) are
   * left out. Throws BAD_BATCH.
   */
  constructor(payload: Uint8Array, recordCount: number, omitted?: Uint8Array | undefined) {
    // A plain view: of a Buffer, slices would be Buffers too, and those behave otherwise.
    const bytes = new Uint8Array(payload.buffer, payload.byteOffset, payload.byteLength)
    this.#cursor = new RecordCursor(bytes)
    this.#textAt = utf8.reader(bytes)
    this.#recordCount = recordCount
    this.#omitted = omitted
    if (this.#cursor.arrayLength() !== recordCount)
      throw badBatch(`the payload is no array of ${recordCount} records`)
  }

  /** Goes on to the next record; false when there is none. Throws BAD_BATCH. */
  next(): boolean {
    while (this.#next < this.#recordCount) {
      const i = this.#next++
      this.#read(i)
      if (this.#omitted === undefined || !bitAt(this.#omitted, i)) return true
    }
    const cursor = this.#cursor
    if (cursor.position !== cursor.bytes.length) throw badBatch('bytes follow the last record')
    return false
  }

  #read(i: number): void {
    const cursor = this.#cursor
    const textAt = this.#textAt
    if (cursor.arrayLength() !== RECORD_FIELDS) throw badBatch(`record ${i} is no array of ${RECORD_FIELDS}`)
    const offsetDelta = cursor.integer()
    const timestampDelta = cursor.integer()
    // NaN, too, is not >= 0.
    if (!(offsetDelta >= 0) || Number.isNaN(timestampDelta))
      throw badBatch(`record ${i}: a delta is no whole number`)
    this.offsetDelta = offsetDelta
    this.timestampDelta = timestampDelta
    this.key = readWire(cursor, textAt, i)
    this.value = readWire(cursor, textAt, i)
    this.headers = readHeaders(cursor, textAt, i)
  }
}

/** All records of a payload, as RecordWalk reads them. Throws BAD_BATCH. */
export function decodeRecords(
  payload: Uint8Array,
  recordCount: number,
  omitted?: Uint8Array | undefined,
): WireRecord[] {
  const walk = new RecordWalk(payload, recordCount, omitted)
  const records: WireRecord[] = []
  while (walk.next()) {
    const { offsetDelta, timestampDelta, key, value, headers } = walk
    records.push({ offsetDelta, timestampDelta, key, value, headers })
  }
  return records
}

function readWire(cursor: RecordCursor, textAt: Utf8Reader, index: number): Wire {
  switch (cursor.field()) {
    case FIELD.none:
      return null
    case FIELD.str:
      return textAt(cursor.contentStart, cursor.position)
    case FIELD.bin:
      return cursor.bytes.subarray(cursor.contentStart, cursor.position)
    default:
      throw badBatch(`record ${index}: a key or value is neither nil, str nor bin, or is cut short`)
  }
}

function readHeaders(cursor: RecordCursor, textAt: Utf8Reader, index: number): WireHeaders | null {
  if (cursor.bytes[cursor.position] === 0xc0) {
    cursor.position++
    return null
  }
  const count = cursor.mapLength()
  if (count < 0 || count > HARD_LIMITS.headersPerRecordMax)
    throw badBatch(`record ${index}: ${HEADERS_FAULT}`)
  const headers: WireHeaders = {}
  for (let i = 0; i < count; i++) {
    if (!cursor.headerName()) throw badBatch(`record ${index}: ${HEADERS_FAULT}`)
    const name = textAt(cursor.contentStart, cursor.position)
    const value = readWire(cursor, textAt, index)
    if (value === null) throw badBatch(`record ${index}: ${HEADERS_FAULT}`)
    headers[name] = value
  }
  return headers
}

const HEADERS_FAULT = `headers must be nil or a map of at most ${HARD_LIMITS.headersPerRecordMax}, from str other than "__proto__" to str or bin`

const badBatch = (message: string): MillraceError => new MillraceError('BAD_BATCH', { message })

export interface RecordsExpectation {
  readonly recordCount: number
  readonly keyTextual: boolean
  readonly valueTextual: boolean
  readonly recordBytesMax: number
}

export interface RecordsFault {
  readonly code: ErrorCode
  readonly message: string
}

/**
 * Why an uncompressed payload may not be written, or undefined when it may: it must hold exactly the expected records,
 * their offset deltas counting from 0, keys and values by the topic's encoding. Text is not checked to be UTF-8, nor
 * json to be JSON.
 */
export function recordsFault(payload: Uint8Array, expect: RecordsExpectation): RecordsFault | undefined {
  const { recordCount, recordBytesMax } = expect
  if (recordCount < 1) return fault('BAD_BATCH', 'a batch holds at least one record')
  const keyKind = expect.keyTextual ? FIELD.str : FIELD.bin
  const valueKind = expect.valueTextual ? FIELD.str : FIELD.bin
  const cursor = new RecordCursor(payload)
  if (cursor.arrayLength() !== recordCount)
    return fault('BAD_BATCH', `the payload is no array of ${recordCount} records`)
  for (let i = 0; i < recordCount; i++) {
    const start = cursor.position
    if (cursor.arrayLength() !== RECORD_FIELDS)
      return fault('BAD_BATCH', `record ${i} is no array of ${RECORD_FIELDS}`)
    if (cursor.integer() !== i) return fault('BAD_BATCH', `record ${i}: its offset delta is not ${i}`)
    if (Number.isNaN(cursor.integer()))
      return fault('BAD_BATCH', `record ${i}: its timestamp delta is no whole number`)
    const key = cursor.field()
    if (key !== keyKind && key !== FIELD.none) return wireFault(i, 'key', key, expect.keyTextual)
    const value = cursor.field()
    if (value !== valueKind && value !== FIELD.none) return wireFault(i, 'value', value, expect.valueTextual)
    if (!passHeaders(cursor)) return fault('BAD_BATCH', `record ${i}: ${HEADERS_FAULT}`)
    const recordBytes = cursor.position - start
    if (recordBytes > recordBytesMax) {
      return fault(
        'RECORD_TOO_LARGE',
        `record ${i} has ${recordBytes} bytes, at most ${recordBytesMax} are allowed`,
      )
    }
  }
  if (cursor.position !== payload.length) return fault('BAD_BATCH', 'bytes follow the last record')
  return undefined
}

function passHeaders(cursor: RecordCursor): boolean {
  if (cursor.bytes[cursor.position] === 0xc0) {
    cursor.position++
    return true
  }
  const count = cursor.mapLength()
  if (count < 0 || count > HARD_LIMITS.headersPerRecordMax) return false
  for (let i = 0; i < count; i++) {
    if (!cursor.headerName() || cursor.field() <= FIELD.none) return false
  }
  return true
}

const fault = (code: ErrorCode, message: string): RecordsFault => ({ code, message })

function wireFault(index: number, name: 'key' | 'value', kind: number, textual: boolean): RecordsFault {
  if (kind === FIELD.fault) {
    return fault('BAD_BATCH', `record ${index}: its ${name} is neither nil, str nor bin, or is cut short`)
  }
  const wanted = textual ? 'str' : 'bin'
  const found = textual ? 'bin' : 'str'
  return fault(
    'ENCODING_MISMATCH',
    `record ${index}: its ${name} is ${found}, and the topic's encoding wants ${wanted}`,
  )
}
