/**
 * The section of a stored entry: what the broker knows of single records of a payload that it stores as it came. Blocks
 * end to end, each `kind` (1 byte), 3 zero bytes, the length of its data (u32, little-endian), the data. Most entries
 * have none. PROTOCOL.md draws the bytes.
 */
import { ENTRY_HEADER_BYTES, type EntryHeader } from './entry.js'
import { MillraceError } from './error-codes.js'

/** On disk: never renumbered. A kind that a reader does not know is passed over. */
export const SECTION_KIND = { ids: 1, omitted: 2 } as const

export const DEDUP_ID_HASH_BYTES = 16

const BLOCK_HEADER_BYTES = 8

/** The dedup ids of a batch, as PRODUCE_CHECKED carries them and as a section holds them. */
export interface DedupIds {
  /** One bit for each record of the payload, least significant first: whether it has an id. */
  readonly bitmap: Uint8Array
  /** 16 bytes for each bit that is set, in the order of the records. */
  readonly hashes: Uint8Array
}

export interface EntrySection {
  readonly ids: DedupIds | undefined
  /** One bit for each record of the payload: those set are not part of the log, though the payload holds them. */
  readonly omitted: Uint8Array | undefined
}

/** Bytes of a bitmap over so many records. */
export const bitmapBytes = (recordCount: number): number => Math.ceil(recordCount / 8)

export const bitAt = (bitmap: Uint8Array, index: number): boolean =>
  ((bitmap[index >> 3] ?? 0) & (1 << (index & 7))) !== 0

export function setBit(bitmap: Uint8Array, index: number): void {
  bitmap[index >> 3] = (bitmap[index >> 3] ?? 0) | (1 << (index & 7))
}

/** How many bits are set. */
export function bitsSet(bitmap: Uint8Array): number {
  let count = 0
  for (let i = 0; i < bitmap.length; i++) {
    let byte = bitmap[i]!
    // Mostly every record has an id.
    if (byte === 0xff) count += 8
    else for (; byte !== 0; byte &= byte - 1) count++
  }
  return count
}

/** The bytes of a section, in memory from `allocate`; none when there is nothing to say. */
export function writeSection(
  { ids, omitted }: EntrySection,
  allocate = (bytes: number): Uint8Array => new Uint8Array(bytes),
): Uint8Array {
  const blocks: [kind: number, ...data: Uint8Array[]][] = []
  if (ids !== undefined) blocks.push([SECTION_KIND.ids, ids.bitmap, ids.hashes])
  if (omitted !== undefined) blocks.push([SECTION_KIND.omitted, omitted])
  const dataBytes = blocks.map(([, ...data]) => data.reduce((sum, { length }) => sum + length, 0))
  const section = allocate(dataBytes.reduce((sum, bytes) => sum + BLOCK_HEADER_BYTES + bytes, 0))
  const view = new DataView(section.buffer, section.byteOffset, section.length)
  let at = 0
  for (const [i, [kind, ...data]] of blocks.entries()) {
    view.setUint32(at, kind, true)
    view.setUint32(at + 4, dataBytes[i]!, true)
    at += BLOCK_HEADER_BYTES
    for (const bytes of data) {
      section.set(bytes, at)
      at += bytes.length
    }
  }
  return section
}

/**
 * What a section says of a payload of `recordCount` records, as views into it. Throws CORRUPT_DATA when it is none; its
 * CRC is not checked here.
 */
export function readSection(section: Uint8Array, recordCount: number): EntrySection {
  const read = parsed(section, recordCount)
  if (typeof read === 'string') throw new MillraceError('CORRUPT_DATA', { message: read })
  return read
}

/** Why bytes are no section of a payload of `recordCount` records, or undefined when they are one. */
export function sectionFault(section: Uint8Array, recordCount: number): string | undefined {
  const read = parsed(section, recordCount)
  return typeof read === 'string' ? read : undefined
}

/** Why dedup ids do not fit a batch of `recordCount` records, or undefined when they do. */
export function dedupIdsFault({ bitmap, hashes }: DedupIds, recordCount: number): string | undefined {
  const fault = bitmapFault(bitmap, recordCount)
  if (fault !== undefined) return `of the records with dedup ids, ${fault}`
  const idsBytes = bitsSet(bitmap) * DEDUP_ID_HASH_BYTES
  if (idsBytes === 0) return 'no record has a dedup id'
  return hashes.length === idsBytes
    ? undefined
    : `dedup ids have ${hashes.length} bytes instead of ${idsBytes}`
}

/**
 * Which records of the payload of the entry at `position` are not part of the log; undefined when all of them are. Whoever
 * decodes a payload asks, and leaves those out. Throws CORRUPT_DATA.
 */
export function omittedBits(
  source: Uint8Array,
  header: Pick<EntryHeader, 'sectionBytes' | 'recordCount'>,
  position = 0,
): Uint8Array | undefined {
  if (header.sectionBytes === 0) return undefined
  return readSection(entrySection(source, header, position), header.recordCount).omitted
}

/** The section of the entry at `position` as a view. */
export function entrySection(
  source: Uint8Array,
  { sectionBytes }: Pick<EntryHeader, 'sectionBytes'>,
  position = 0,
): Uint8Array {
  const start = position + ENTRY_HEADER_BYTES
  return source.subarray(start, start + sectionBytes)
}

function parsed(section: Uint8Array, recordCount: number): EntrySection | string {
  const view = new DataView(section.buffer, section.byteOffset, section.byteLength)
  let ids: DedupIds | undefined
  let omitted: Uint8Array | undefined
  for (let at = 0; at < section.length; ) {
    if (section.length - at < BLOCK_HEADER_BYTES) return "a block of an entry's section is cut short"
    const kind = view.getUint8(at)
    const start = at + BLOCK_HEADER_BYTES
    at = start + view.getUint32(at + 4, true)
    if (at > section.length) return "a block of an entry's section is cut short"
    const data = section.subarray(start, at)
    if (kind === SECTION_KIND.ids) {
      if (ids !== undefined) return 'a section has dedup ids twice'
      const bytes = bitmapBytes(recordCount)
      ids = { bitmap: data.subarray(0, bytes), hashes: data.subarray(bytes) }
      const fault = dedupIdsFault(ids, recordCount)
      if (fault !== undefined) return fault
    } else if (kind === SECTION_KIND.omitted) {
      if (omitted !== undefined) return 'a section has omitted records twice'
      omitted = data
      const fault = bitmapFault(omitted, recordCount)
      if (fault !== undefined) return `of omitted records, ${fault}`
    }
  }
  return { ids, omitted }
}

function bitmapFault(bitmap: Uint8Array, recordCount: number): string | undefined {
  const bytes = bitmapBytes(recordCount)
  if (bitmap.length !== bytes) return `the bitmap has ${bitmap.length} bytes instead of ${bytes}`
  const bitsInLast = recordCount & 7
  if (bitsInLast !== 0 && bitmap[bytes - 1]! >> bitsInLast !== 0) return 'a bit is set past the last record'
  return undefined
}
