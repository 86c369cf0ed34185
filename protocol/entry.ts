/**
 * The stored entry: one record batch as it stands in the WAL, in a chunk, in a DELIVER frame. 112 bytes of header, an
 * uncompressed section (dedup ids, omitted records: entry-section.ts), the producer's payload byte for byte.
 * PROTOCOL.md draws the bytes. Little-endian.
 */
import { crc32 } from '#crc32'
import { bytesFromHex, hexFromBytes, type TopicId } from './ids.js'

export const ENTRY_MAGIC = 0x5245524d // "MRER" as bytes 4d 52 45 52
export const ENTRY_VERSION = 1
export const ENTRY_HEADER_BYTES = 112

/** Attribute bits. On disk: never renumbered. */
export const COMPRESSION_MASK = 0b111
export const COMPRESSION = { none: 0, gzip: 1 } as const
export type Compression = keyof typeof COMPRESSION

/** Field positions; the order is the format. */
const AT = {
  magic: 0,
  version: 4,
  attributes: 6,
  headerCrc: 8,
  payloadCrc: 12,
  topicId: 16,
  partition: 32,
  lastOffsetDelta: 36,
  baseOffset: 40,
  appendTime: 48,
  baseTimestamp: 56,
  producerId: 64,
  baseSequence: 72,
  producerEpoch: 80,
  recordCount: 84,
  sectionBytes: 88,
  payloadBytes: 92,
  inflatedBytes: 96,
  sectionCrc: 100,
  reserved: 104,
} as const

/** Producer id of a batch that is not idempotent. */
export const NO_PRODUCER_ID = 0

export interface EntryHeader {
  readonly attributes: number
  readonly payloadCrc: number
  readonly topicId: TopicId
  readonly partition: number
  readonly baseOffset: number
  /** Last offset minus base offset. */
  readonly lastOffsetDelta: number
  /** Records in the payload, omitted ones too: fewer than lastOffsetDelta + 1 where some were compacted away. */
  readonly recordCount: number
  /** Broker time, milliseconds; never falls within a partition. */
  readonly appendTime: number
  /** The producer's clock, milliseconds; records carry deltas to it. */
  readonly baseTimestamp: number
  /** NO_PRODUCER_ID when the batch was not idempotent. */
  readonly producerId: number
  readonly producerEpoch: number
  readonly baseSequence: number
  readonly sectionBytes: number
  /** CRC-32 of the section; 0 when it is empty. */
  readonly sectionCrc: number
  readonly payloadBytes: number
  /** Payload bytes before compression. */
  readonly inflatedBytes: number
}

const view = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)

const TWO_32 = 0x1_0000_0000
/** The upper half of the largest number below 2^53. */
const HIGH_WORD_MAX = 0x1f_ffff

/** Writes a 53-bit number as u64. */
export function setUint53(data: DataView, position: number, value: number): void {
  data.setUint32(position, value % TWO_32, true)
  data.setUint32(position + 4, Math.floor(value / TWO_32), true)
}

/** Reads a u64 that was written as a 53-bit number; what does not fit comes out as NaN and fails every check. */
export function getUint53(data: DataView, position: number): number {
  const high = data.getUint32(position + 4, true)
  return high > HIGH_WORD_MAX ? Number.NaN : high * TWO_32 + data.getUint32(position, true)
}

export const entryBytes = (header: { sectionBytes: number; payloadBytes: number }): number =>
  ENTRY_HEADER_BYTES + header.sectionBytes + header.payloadBytes

/** Writes the header with its CRC at `position`; section and payload follow it, written by the caller. */
export function writeEntryHeader(target: Uint8Array, position: number, header: EntryHeader): number {
  const data = new DataView(target.buffer, target.byteOffset + position, ENTRY_HEADER_BYTES)
  data.setUint32(AT.magic, ENTRY_MAGIC, true)
  data.setUint16(AT.version, ENTRY_VERSION, true)
  data.setUint16(AT.attributes, header.attributes, true)
  data.setUint32(AT.payloadCrc, header.payloadCrc, true)
  bytesFromHex(header.topicId, target, position + AT.topicId)
  data.setUint32(AT.partition, header.partition, true)
  data.setUint32(AT.lastOffsetDelta, header.lastOffsetDelta, true)
  setUint53(data, AT.baseOffset, header.baseOffset)
  setUint53(data, AT.appendTime, header.appendTime)
  setUint53(data, AT.baseTimestamp, header.baseTimestamp)
  setUint53(data, AT.producerId, header.producerId)
  setUint53(data, AT.baseSequence, header.baseSequence)
  data.setUint32(AT.producerEpoch, header.producerEpoch, true)
  data.setUint32(AT.recordCount, header.recordCount, true)
  data.setUint32(AT.sectionBytes, header.sectionBytes, true)
  data.setUint32(AT.payloadBytes, header.payloadBytes, true)
  data.setUint32(AT.inflatedBytes, header.inflatedBytes, true)
  data.setUint32(AT.sectionCrc, header.sectionCrc, true)
  target.fill(0, position + AT.reserved, position + ENTRY_HEADER_BYTES)
  const headerCrc = crc32(
    target.subarray(position + AT.payloadCrc, position + ENTRY_HEADER_BYTES),
    crcOfPrefix(header.attributes),
  )
  data.setUint32(AT.headerCrc, headerCrc, true)
  return headerCrc
}

/** Magic, version and attributes stand before the CRC field: they seed it, so that no header byte is uncovered. */
function crcOfPrefix(attributes: number): number {
  return (ENTRY_MAGIC ^ ((attributes << 16) | ENTRY_VERSION)) >>> 0
}

/** Why bytes at `position` are no valid entry header; undefined when they are one. */
export function entryHeaderFault(source: Uint8Array, position = 0): string | undefined {
  if (source.length - position < ENTRY_HEADER_BYTES) return 'an entry header is cut short'
  const data = new DataView(source.buffer, source.byteOffset + position, ENTRY_HEADER_BYTES)
  if (data.getUint32(AT.magic, true) !== ENTRY_MAGIC) return 'no entry begins here (magic)'
  const version = data.getUint16(AT.version, true)
  if (version !== ENTRY_VERSION) return `entry version ${version} is not known`
  const headerCrc = crc32(
    source.subarray(position + AT.payloadCrc, position + ENTRY_HEADER_BYTES),
    crcOfPrefix(data.getUint16(AT.attributes, true)),
  )
  if (headerCrc !== data.getUint32(AT.headerCrc, true)) return 'the CRC of an entry header does not match'
  // Else a number would come out as NaN, of which no comparison says that it is out of its place.
  for (let at = AT.baseOffset; at <= AT.baseSequence; at += 8)
    if (data.getUint32(at + 4, true) > HIGH_WORD_MAX) return 'a number in an entry header is not below 2^53'
  return undefined
}

/** The header at `position`, unchecked: see entryHeaderFault. */
export function readEntryHeader(source: Uint8Array, position = 0): EntryHeader {
  const data = new DataView(source.buffer, source.byteOffset + position, ENTRY_HEADER_BYTES)
  return {
    attributes: data.getUint16(AT.attributes, true),
    payloadCrc: data.getUint32(AT.payloadCrc, true),
    topicId: hexFromBytes(source, position + AT.topicId) as TopicId,
    partition: data.getUint32(AT.partition, true),
    baseOffset: getUint53(data, AT.baseOffset),
    lastOffsetDelta: data.getUint32(AT.lastOffsetDelta, true),
    recordCount: data.getUint32(AT.recordCount, true),
    appendTime: getUint53(data, AT.appendTime),
    baseTimestamp: getUint53(data, AT.baseTimestamp),
    producerId: getUint53(data, AT.producerId),
    producerEpoch: data.getUint32(AT.producerEpoch, true),
    baseSequence: getUint53(data, AT.baseSequence),
    sectionBytes: data.getUint32(AT.sectionBytes, true),
    payloadBytes: data.getUint32(AT.payloadBytes, true),
    inflatedBytes: data.getUint32(AT.inflatedBytes, true),
    sectionCrc: data.getUint32(AT.sectionCrc, true),
  }
}

/** What checks an entry on its way, without the rest of its header. */
export type EntryPlace = Pick<
  EntryHeader,
  | 'partition'
  | 'baseOffset'
  | 'lastOffsetDelta'
  | 'sectionBytes'
  | 'sectionCrc'
  | 'payloadBytes'
  | 'payloadCrc'
>

/** A part of the header at `position`, unchecked, for half the time that all of it takes. */
export function readEntryPlace(source: Uint8Array, position = 0): EntryPlace {
  const data = new DataView(source.buffer, source.byteOffset + position, ENTRY_HEADER_BYTES)
  return {
    partition: data.getUint32(AT.partition, true),
    baseOffset: getUint53(data, AT.baseOffset),
    lastOffsetDelta: data.getUint32(AT.lastOffsetDelta, true),
    sectionBytes: data.getUint32(AT.sectionBytes, true),
    sectionCrc: data.getUint32(AT.sectionCrc, true),
    payloadBytes: data.getUint32(AT.payloadBytes, true),
    payloadCrc: data.getUint32(AT.payloadCrc, true),
  }
}

/** Whether the entry at `position` belongs to the topic of this id, as `bytesFromHex` gives it. */
export function isEntryOf(topicId: Uint8Array, source: Uint8Array, position = 0): boolean {
  for (let i = 0; i < topicId.length; i++) if (topicId[i] !== source[position + AT.topicId + i]) return false
  return true
}

export const readHeaderCrc = (source: Uint8Array, position = 0): number =>
  view(source).getUint32(position + AT.headerCrc, true)

/** The payload of the entry at `position` as a view. */
export function entryPayload(source: Uint8Array, header: EntryHeader, position = 0): Uint8Array {
  const start = position + ENTRY_HEADER_BYTES + header.sectionBytes
  return source.subarray(start, start + header.payloadBytes)
}
