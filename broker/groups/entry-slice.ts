/**
 * Single records out of stored entries. A job is delivered alone, whatever batch it was produced in: its record's bytes
 * are cut out of the payload where they lie, and only a new array header is put before them.
 */
import { promisify } from 'node:util'
import { gunzip } from 'node:zlib'
import {
  COMPRESSION,
  COMPRESSION_MASK,
  type EntryHeader,
  entryBytes,
  entryPayload,
  readEntryHeader,
} from '../../protocol/entry.js'
import { bitAt, omittedBits } from '../../protocol/entry-section.js'
import { MillraceError } from '../../protocol/error-codes.js'
import { RecordCursor } from '../../protocol/record-cursor.js'
import { RECORD_FIELDS } from '../../protocol/records.js'
import { walkValue } from '../../protocol/walk.js'
import { joined, type OffsetRange, OffsetRanges } from '../shard/offset-ranges.js'
import { InflationGate } from './inflation-gate.js'

/** One entry of a read, where it lies. */
export interface EntryView extends OffsetRange {
  readonly header: EntryHeader
  readonly payload: Uint8Array
  /** Records of the payload that are not part of the log, one bit each. */
  readonly omitted: Uint8Array | undefined
}

/** Some records of one entry, as a payload of their own: uncompressed, offset deltas as they were. */
export interface EntrySlice {
  readonly header: EntryHeader
  readonly recordCount: number
  /** The payload, end to end: views of the entry, or of what it was inflated to. */
  readonly parts: readonly Uint8Array[]
  readonly payloadBytes: number
}

/** The entries in what a read returned, in order. Throws CORRUPT_DATA. */
export function* entriesIn(buffers: Iterable<Uint8Array>): Generator<EntryView> {
  for (const buffer of buffers) {
    for (let at = 0; at < buffer.length; ) {
      const header = readEntryHeader(buffer, at)
      const from = header.baseOffset
      yield {
        from,
        to: from + header.lastOffsetDelta + 1,
        header,
        payload: entryPayload(buffer, header, at),
        omitted: omittedBits(buffer, header, at),
      }
      at += entryBytes(header)
    }
  }
}

const inflate = promisify(gunzip)

/** The thread pool is the WAL's before it is gzip's. */
const INFLATING_MAX = 2
const INFLATING_BYTES_MAX = 8 * 1024 * 1024

/** Every so many records of a large payload it is noted where they begin. */
const MARK_EVERY = 64
/** What a cached entry costs besides its bytes. */
const CACHED_OVERHEAD_BYTES = 200

/** Every MARK_EVERYth record that was seen of a payload, so that the next look need not begin at its front. */
interface Marks {
  readonly positions: number[]
  readonly deltas: number[]
}

interface OpenPayload {
  readonly bytes: Uint8Array
  readonly marks: Marks
}

const noMarks = (): Marks => ({ positions: [], deltas: [] })
/** Uncompressed entries of which marks are kept. */
const MARKED_ENTRIES_MAX = 256

export interface EntrySlicerOptions {
  /** Of inflated payloads that are kept for the next jobs out of them. */
  readonly cacheBytesMax: number
}

/**
 * Cuts records out of entries. Compressed ones are inflated off the loop, few at once, never beyond what their header
 * says.
 */
export class EntrySlicer {
  readonly #cacheBytesMax: number
  /** The least recently used first. */
  readonly #inflated = new Map<string, Promise<OpenPayload>>()
  readonly #sizes = new Map<string, number>()
  readonly #gate = new InflationGate({ countMax: INFLATING_MAX, bytesMax: INFLATING_BYTES_MAX })
  /** Of uncompressed entries; the least recently used first. */
  readonly #marks = new Map<string, Marks>()
  #cachedBytes = 0

  constructor({ cacheBytesMax }: EntrySlicerOptions) {
    this.#cacheBytesMax = cacheBytesMax
  }

  get cachedBytes(): number {
    return this.#cachedBytes
  }

  /** The offsets at which there are records, of all entries in their order. Rejects with CORRUPT_DATA. */
  async live(entries: Iterable<EntryView>): Promise<OffsetRange[]> {
    const live: OffsetRange[] = []
    for (const entry of entries) {
      const { header, omitted, from, to } = entry
      if (header.recordCount === to - from && omitted === undefined) live.push({ from, to })
      else live.push(...(await this.#liveOf(entry)))
    }
    return joined(live)
  }

  async #liveOf(entry: EntryView): Promise<readonly OffsetRange[]> {
    const { header, omitted, from, to } = entry
    const isDense = header.recordCount === to - from
    const live = new OffsetRanges()
    const add = (delta: number): void => live.add({ from: from + delta, to: from + delta + 1 })
    if (isDense) {
      for (let i = 0; i < header.recordCount; i++) if (!bitAt(omitted as Uint8Array, i)) add(i)
    } else {
      const payload = await this.#open(entry)
      walk(payload, entry, { from: 0, to: Number.POSITIVE_INFINITY }, ({ delta }) => add(delta))
    }
    return live.ranges
  }

  /** The records at these offsets, as far as the entry has them. Rejects with CORRUPT_DATA. */
  async slice(entry: EntryView, offsets: readonly OffsetRange[]): Promise<EntrySlice> {
    const { header } = entry
    const payload = await this.#open(entry)
    const parts: Uint8Array[] = []
    let recordCount = 0
    let run: { start: number; end: number } | undefined
    const endRun = (): void => {
      if (run !== undefined) parts.push(payload.bytes.subarray(run.start, run.end))
    }
    for (const { from, to } of offsets) {
      const deltas = { from: Math.max(0, from - entry.from), to: to - entry.from }
      walk(payload, entry, deltas, ({ start, end }) => {
        recordCount++
        if (run?.end === start) {
          run.end = end
          return
        }
        endRun()
        run = { start, end }
      })
    }
    endRun()
    const head = arrayHeader(recordCount)
    const payloadBytes = parts.reduce((sum, { length }) => sum + length, head.length)
    return { header, recordCount, parts: [head, ...parts], payloadBytes }
  }

  #open(entry: EntryView): OpenPayload | Promise<OpenPayload> {
    const { topicId, partition, attributes, recordCount, inflatedBytes } = entry.header
    const key = `${topicId}/${partition}/${entry.from}`
    if ((attributes & COMPRESSION_MASK) === COMPRESSION.none) {
      const marks = recordCount > MARK_EVERY ? this.#marksOf(key) : noMarks()
      return { bytes: entry.payload, marks }
    }
    const known = this.#inflated.get(key)
    const opening = known ?? this.#gate.run(inflatedBytes, () => inflated(entry))
    this.#inflated.delete(key)
    this.#inflated.set(key, opening)
    if (known === undefined) {
      const size = inflatedBytes + CACHED_OVERHEAD_BYTES
      this.#sizes.set(key, size)
      this.#cachedBytes += size
      opening.catch(() => this.#forget(key))
      this.#evict()
    }
    return opening
  }

  #marksOf(key: string): Marks {
    const marks = this.#marks.get(key) ?? noMarks()
    this.#marks.delete(key)
    this.#marks.set(key, marks)
    for (const oldest of this.#marks.keys()) {
      if (this.#marks.size <= MARKED_ENTRIES_MAX) break
      this.#marks.delete(oldest)
    }
    return marks
  }

  #evict(): void {
    for (const key of this.#inflated.keys()) {
      if (this.#cachedBytes <= this.#cacheBytesMax) return
      this.#forget(key)
    }
  }

  #forget(key: string): void {
    if (!this.#inflated.delete(key)) return
    this.#cachedBytes -= this.#sizes.get(key) ?? 0
    this.#sizes.delete(key)
  }
}

async function inflated({ header, payload }: EntryView): Promise<OpenPayload> {
  try {
    const bytes = await inflate(payload, { maxOutputLength: Math.max(1, header.inflatedBytes) })
    // A plain view: of a Buffer, slices would be Buffers too.
    return { bytes: new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length), marks: noMarks() }
  } catch (cause) {
    throw new MillraceError('CORRUPT_DATA', {
      message: `the batch at offset ${header.baseOffset} cannot be inflated`,
      cause,
    })
  }
}

interface FoundRecord {
  readonly delta: number
  readonly start: number
  readonly end: number
}

const RECORD_WALK = { nestingMax: 3, valuesMax: Number.MAX_SAFE_INTEGER }

/** Finds the records with these offset deltas, omitted ones left out; notes on its way where records begin. */
function walk(
  payload: OpenPayload,
  { header, omitted }: EntryView,
  deltas: OffsetRange,
  found: (record: FoundRecord) => void,
): void {
  const { bytes, marks } = payload
  const cursor = new RecordCursor(bytes)
  const corrupt = (): MillraceError =>
    new MillraceError('CORRUPT_DATA', {
      message: `the batch at offset ${header.baseOffset} does not hold what its header says`,
    })
  if (cursor.arrayLength() !== header.recordCount) throw corrupt()
  const mark = lastMarkUpTo(marks, deltas.from)
  if (mark >= 0) cursor.position = marks.positions[mark] as number
  for (let i = Math.max(0, mark) * MARK_EVERY; i < header.recordCount; i++) {
    const start = cursor.position
    if (cursor.arrayLength() !== RECORD_FIELDS) throw corrupt()
    const delta = cursor.integer()
    if (!(delta >= 0)) throw corrupt()
    if (i % MARK_EVERY === 0 && i / MARK_EVERY === marks.positions.length) {
      marks.positions.push(start)
      marks.deltas.push(delta)
    }
    if (delta >= deltas.to) return
    const end = walkValue(bytes, start, RECORD_WALK)
    if (end < 0) throw corrupt()
    cursor.position = end
    if (delta >= deltas.from && !(omitted !== undefined && bitAt(omitted, i))) found({ delta, start, end })
  }
}

/** Index of the last mark whose record is not behind `delta`; -1 for none. */
function lastMarkUpTo({ deltas }: Marks, delta: number): number {
  let low = 0
  let high = deltas.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((deltas[middle] as number) <= delta) low = middle + 1
    else high = middle
  }
  return low - 1
}

/** The header of a MessagePack array. */
function arrayHeader(length: number): Uint8Array {
  if (length < 16) return Uint8Array.of(0x90 | length)
  if (length < 0x1_0000) return Uint8Array.of(0xdc, length >> 8, length)
  return Uint8Array.of(0xdd, length >> 24, length >> 16, length >> 8, length)
}
