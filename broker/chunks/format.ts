/**
 * The bytes of a chunk file around the entries: header, section table, footer. README.md draws them. Little-endian.
 */
import { crc32 } from '#crc32'
import { getUint53, setUint53 } from '../../protocol/entry.js'
import { bytesFromHex, type ClusterId, hexFromBytes, type TopicId } from '../../protocol/ids.js'
import type { ChunkSection } from './section.js'

export const CHUNK_VERSION = 1
export const CHUNK_HEADER_BYTES = 64
export const CHUNK_FOOTER_BYTES = 64
export const SECTION_ROW_BYTES = 104

const HEADER_MAGIC = 0x4b43524d // "MRCK" as bytes 4d 52 43 4b
const FOOTER_MAGIC = 0x4643524d // "MRCF" as bytes 4d 52 43 46

const HEADER = { magic: 0, version: 4, clusterId: 8, chunkId: 24, indexIntervalBytes: 32, crc: 60 } as const
const FOOTER = {
  magic: 0,
  version: 4,
  sections: 8,
  tableCrc: 12,
  chunkId: 16,
  tableStart: 24,
  fileBytes: 32,
  crc: 60,
} as const
const ROW = {
  topicId: 0,
  partition: 16,
  indexBytes: 20,
  baseOffset: 24,
  endOffset: 32,
  byteStart: 40,
  byteEnd: 48,
  indexStart: 56,
  recordCount: 64,
  minAppendTime: 72,
  maxAppendTime: 80,
  digest: 88,
} as const

const fileNamePattern = /^[0-9a-f]{16}\.chunk$/

export const chunkFileName = (chunkId: number): string => `${chunkId.toString(16).padStart(16, '0')}.chunk`

/** The chunk id in a file name, or undefined when it is no chunk's. */
export function chunkIdOf(fileName: string): number | undefined {
  // Digits, as far as they go.
  const chunkId = fileNamePattern.test(fileName) ? Number.parseInt(fileName, 16) : Number.NaN
  return Number.isSafeInteger(chunkId) ? chunkId : undefined
}

export interface ChunkHeader {
  readonly clusterId: ClusterId
  readonly chunkId: number
  /** Bytes of entries between two rows of a sparse index. */
  readonly indexIntervalBytes: number
}

/** A section with its owner, as the section table lists it. */
export interface OwnedSection {
  readonly topicId: TopicId
  readonly partition: number
  readonly section: ChunkSection
}

export interface ChunkFooter {
  readonly chunkId: number
  readonly sections: number
  readonly tableStart: number
  readonly tableCrc: number
  readonly fileBytes: number
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)

export function encodeHeader({ clusterId, chunkId, indexIntervalBytes }: ChunkHeader): Uint8Array {
  const bytes = new Uint8Array(CHUNK_HEADER_BYTES)
  const data = viewOf(bytes)
  data.setUint32(HEADER.magic, HEADER_MAGIC, true)
  data.setUint16(HEADER.version, CHUNK_VERSION, true)
  bytesFromHex(clusterId, bytes, HEADER.clusterId)
  setUint53(data, HEADER.chunkId, chunkId)
  data.setUint32(HEADER.indexIntervalBytes, indexIntervalBytes, true)
  data.setUint32(HEADER.crc, crc32(bytes.subarray(0, HEADER.crc)), true)
  return bytes
}

/** The header, or why these bytes are none. */
export function decodeHeader(bytes: Uint8Array): ChunkHeader | string {
  if (bytes.length < CHUNK_HEADER_BYTES) return 'the file is shorter than a chunk header'
  const data = viewOf(bytes)
  if (data.getUint32(HEADER.magic, true) !== HEADER_MAGIC) return 'this is no chunk file (magic)'
  if (data.getUint32(HEADER.crc, true) !== crc32(bytes.subarray(0, HEADER.crc))) {
    return 'the CRC of the chunk header does not match'
  }
  const version = data.getUint16(HEADER.version, true)
  if (version !== CHUNK_VERSION) return `chunk version ${version} is not known`
  return {
    clusterId: hexFromBytes(bytes, HEADER.clusterId) as ClusterId,
    chunkId: getUint53(data, HEADER.chunkId),
    indexIntervalBytes: data.getUint32(HEADER.indexIntervalBytes, true),
  }
}

/** The table of all sections and the footer after it: the end of the file. */
export function encodeTail(
  chunkId: number,
  sections: readonly OwnedSection[],
  tableStart: number,
): Uint8Array {
  const tableBytes = sections.length * SECTION_ROW_BYTES
  const bytes = new Uint8Array(tableBytes + CHUNK_FOOTER_BYTES)
  const data = viewOf(bytes)
  sections.forEach((owned, i) => {
    writeRow(bytes, data, i * SECTION_ROW_BYTES, owned)
  })
  const footer = viewOf(bytes.subarray(tableBytes))
  footer.setUint32(FOOTER.magic, FOOTER_MAGIC, true)
  footer.setUint16(FOOTER.version, CHUNK_VERSION, true)
  footer.setUint32(FOOTER.sections, sections.length, true)
  footer.setUint32(FOOTER.tableCrc, crc32(bytes.subarray(0, tableBytes)), true)
  setUint53(footer, FOOTER.chunkId, chunkId)
  setUint53(footer, FOOTER.tableStart, tableStart)
  setUint53(footer, FOOTER.fileBytes, tableStart + bytes.length)
  footer.setUint32(FOOTER.crc, crc32(bytes.subarray(tableBytes, tableBytes + FOOTER.crc)), true)
  return bytes
}

function writeRow(
  bytes: Uint8Array,
  data: DataView,
  at: number,
  { topicId, partition, section }: OwnedSection,
): void {
  bytesFromHex(topicId, bytes, at + ROW.topicId)
  data.setUint32(at + ROW.partition, partition, true)
  data.setUint32(at + ROW.indexBytes, section.indexBytes, true)
  setUint53(data, at + ROW.baseOffset, section.baseOffset)
  setUint53(data, at + ROW.endOffset, section.endOffset)
  setUint53(data, at + ROW.byteStart, section.byteStart)
  setUint53(data, at + ROW.byteEnd, section.byteEnd)
  setUint53(data, at + ROW.indexStart, section.indexStart)
  setUint53(data, at + ROW.recordCount, section.recordCount)
  setUint53(data, at + ROW.minAppendTime, section.minAppendTime)
  setUint53(data, at + ROW.maxAppendTime, section.maxAppendTime)
  bytesFromHex(section.digest, bytes, at + ROW.digest)
}

/** The footer, or why these bytes are none. */
export function decodeFooter(bytes: Uint8Array): ChunkFooter | string {
  const data = viewOf(bytes)
  if (bytes.length < CHUNK_FOOTER_BYTES || data.getUint32(FOOTER.magic, true) !== FOOTER_MAGIC) {
    return 'the file does not end with a chunk footer: it is cut short or was never finished'
  }
  if (data.getUint32(FOOTER.crc, true) !== crc32(bytes.subarray(0, FOOTER.crc))) {
    return 'the CRC of the chunk footer does not match'
  }
  const version = data.getUint16(FOOTER.version, true)
  if (version !== CHUNK_VERSION) return `chunk version ${version} is not known`
  return {
    chunkId: getUint53(data, FOOTER.chunkId),
    sections: data.getUint32(FOOTER.sections, true),
    tableStart: getUint53(data, FOOTER.tableStart),
    tableCrc: data.getUint32(FOOTER.tableCrc, true),
    fileBytes: getUint53(data, FOOTER.fileBytes),
  }
}

/** All rows of a section table whose CRC the caller has checked. */
export function decodeTable(bytes: Uint8Array): OwnedSection[] {
  const data = viewOf(bytes)
  const sections: OwnedSection[] = []
  for (let at = 0; at < bytes.length; at += SECTION_ROW_BYTES) {
    const section = {
      baseOffset: getUint53(data, at + ROW.baseOffset),
      endOffset: getUint53(data, at + ROW.endOffset),
      byteStart: getUint53(data, at + ROW.byteStart),
      byteEnd: getUint53(data, at + ROW.byteEnd),
      indexStart: getUint53(data, at + ROW.indexStart),
      indexBytes: data.getUint32(at + ROW.indexBytes, true),
      recordCount: getUint53(data, at + ROW.recordCount),
      minAppendTime: getUint53(data, at + ROW.minAppendTime),
      maxAppendTime: getUint53(data, at + ROW.maxAppendTime),
      digest: hexFromBytes(bytes, at + ROW.digest),
    }
    const topicId = hexFromBytes(bytes, at + ROW.topicId) as TopicId
    sections.push({ topicId, partition: data.getUint32(at + ROW.partition, true), section })
  }
  return sections
}
