/**
 * A section's sparse index: one row for the first entry and one for the first entry after each interval of bytes.
 * README.md draws the bytes. Little-endian.
 */
import { crc32 } from '#crc32'
import { type EntryHeader, getUint53, setUint53 } from '../../protocol/entry.js'
import { bytesFromHex, hexFromBytes, type TopicId } from '../../protocol/ids.js'

const INDEX_MAGIC = 0x5849524d // "MRIX" as bytes 4d 52 49 58
const INDEX_HEADER_BYTES = 32
const INDEX_ROW_BYTES = 24
const AT = { magic: 0, rows: 4, topicId: 8, partition: 24, crc: 28 } as const
const ROW = { offset: 0, appendTime: 8, position: 16 } as const

/** Bytes of entries between two rows. */
export const defaultIndexIntervalBytes = 64 * 1024

interface Owner {
  readonly topicId: TopicId
  readonly partition: number
}

export class SparseIndexBuilder {
  readonly #owner: Owner
  readonly #intervalBytes: number
  readonly #rows: { offset: number; appendTime: number; position: number }[] = []
  #nextRowAt = 0

  constructor({ intervalBytes, ...owner }: Owner & { intervalBytes: number }) {
    this.#owner = owner
    this.#intervalBytes = intervalBytes
  }

  /** Called for every entry; `position` is its place in the file. */
  add({ baseOffset, appendTime }: EntryHeader, position: number): void {
    if (position < this.#nextRowAt) return
    this.#rows.push({ offset: baseOffset, appendTime, position })
    this.#nextRowAt = position + this.#intervalBytes
  }

  encode(): Uint8Array {
    const bytes = new Uint8Array(INDEX_HEADER_BYTES + this.#rows.length * INDEX_ROW_BYTES)
    const data = new DataView(bytes.buffer)
    data.setUint32(AT.magic, INDEX_MAGIC, true)
    data.setUint32(AT.rows, this.#rows.length, true)
    bytesFromHex(this.#owner.topicId, bytes, AT.topicId)
    data.setUint32(AT.partition, this.#owner.partition, true)
    let at = INDEX_HEADER_BYTES
    for (const { offset, appendTime, position } of this.#rows) {
      setUint53(data, at + ROW.offset, offset)
      setUint53(data, at + ROW.appendTime, appendTime)
      setUint53(data, at + ROW.position, position)
      at += INDEX_ROW_BYTES
    }
    data.setUint32(AT.crc, crcOf(bytes), true)
    return bytes
  }
}

/** A place to start reading from. */
export interface IndexRow {
  readonly offset: number
  readonly position: number
}

/** A loaded index: about as large in memory as on disk. */
export class SparseIndex {
  readonly bytes: number
  readonly #offsets: Float64Array
  readonly #appendTimes: Float64Array
  readonly #positions: Float64Array

  private constructor(bytes: Uint8Array, rows: number) {
    this.bytes = bytes.length
    this.#offsets = new Float64Array(rows)
    this.#appendTimes = new Float64Array(rows)
    this.#positions = new Float64Array(rows)
    const data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    for (let i = 0, at = INDEX_HEADER_BYTES; i < rows; i++, at += INDEX_ROW_BYTES) {
      this.#offsets[i] = getUint53(data, at + ROW.offset)
      this.#appendTimes[i] = getUint53(data, at + ROW.appendTime)
      this.#positions[i] = getUint53(data, at + ROW.position)
    }
  }

  /** The index in these bytes, or why they are not the index of `owner`. */
  static decode(bytes: Uint8Array, owner: Owner): SparseIndex | string {
    if (bytes.length < INDEX_HEADER_BYTES) return 'a sparse index is cut short'
    const data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    if (data.getUint32(AT.magic, true) !== INDEX_MAGIC) return 'no sparse index begins here (magic)'
    if (data.getUint32(AT.crc, true) !== crcOf(bytes)) return 'the CRC of a sparse index does not match'
    const rows = data.getUint32(AT.rows, true)
    if (rows === 0 || bytes.length !== INDEX_HEADER_BYTES + rows * INDEX_ROW_BYTES) {
      return `a sparse index of ${bytes.length} bytes cannot hold ${rows} rows`
    }
    if (
      hexFromBytes(bytes, AT.topicId) !== owner.topicId ||
      data.getUint32(AT.partition, true) !== owner.partition
    ) {
      return 'a sparse index belongs to another partition'
    }
    return new SparseIndex(bytes, rows)
  }

  /** The last row at or before `offset`; the first one when there is none. */
  atOffset(offset: number): IndexRow {
    return this.#row(countWhere(this.#offsets, (each) => each <= offset) - 1)
  }

  /** The last row at or before a position in the file; the first one when there is none. */
  atPosition(position: number): IndexRow {
    return this.#row(countWhere(this.#positions, (each) => each <= position) - 1)
  }

  /**
   * Where to end a read of up to `bytes` from `position` on, where an entry begins, so that little of it is for nothing: short of an
   * entry that would be cut off, behind one that is somewhat larger than the read. The section goes on behind these bytes.
   */
  readEnd({ position, bytes, sectionEnd }: { position: number; bytes: number; sectionEnd: number }): number {
    const end = position + bytes
    const row = Math.max(countWhere(this.#positions, (each) => each <= end) - 1, 0)
    const last = this.#positions[row] as number
    const next = this.#positions[row + 1] ?? sectionEnd
    // Between there and the next row no entry begins: the one that goes past it ends behind the read.
    const useful = last + defaultIndexIntervalBytes
    if (useful <= position || useful >= end) return end
    // Small ones without rows of their own may come before the large one: what is read for nothing keeps within bounds.
    return last === position && next - position <= 2 * bytes ? next : useful
  }

  /** A row before which no entry was appended at or after `time`. */
  beforeTime(time: number): IndexRow {
    return this.#row(countWhere(this.#appendTimes, (each) => each < time) - 1)
  }

  #row(index: number): IndexRow {
    const i = Math.max(index, 0)
    return { offset: this.#offsets[i] as number, position: this.#positions[i] as number }
  }
}

/** Length of the leading run of `values`, which are sorted, that fulfils the condition. */
function countWhere(values: Float64Array, holds: (value: number) => boolean): number {
  let low = 0
  let high = values.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (holds(values[middle] as number)) low = middle + 1
    else high = middle
  }
  return low
}

/** Over everything but the CRC itself. */
const crcOf = (bytes: Uint8Array): number =>
  crc32(bytes.subarray(INDEX_HEADER_BYTES), crc32(bytes.subarray(0, AT.crc)))
