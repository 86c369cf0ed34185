/**
 * A WAL segment: a preallocated file of fixed size whose first 4 KiB name it and whose groups follow. Once it holds
 * nothing that is needed it is recycled under a new name, header and salt; its old bytes stay and are told apart by
 * the salt.
 */
import { crc32 } from '#crc32'
import { getUint53, setUint53 } from '../../protocol/entry.js'
import { bytesFromHex, type ClusterId, hexFromBytes } from '../../protocol/ids.js'

export const SEGMENT_HEADER_BYTES = 4096
const MAGIC = 0x5357524d // "MRWS"
const VERSION = 1

export interface SegmentHeader {
  readonly clusterId: ClusterId
  readonly walId: string
  /** Counts segments from 1, with gaps where one was made and never used. */
  readonly number: number
  /** The sequence of its first group: groups of this or a later sequence in earlier segments are superseded. */
  readonly firstSequence: number
  /** The header CRC of group firstSequence - 1. */
  readonly previousCrc: number
  /** The last group that was on disk for certain when this segment was made: no crash takes it away. */
  readonly provenSequence: number
  /** Size of the file. */
  readonly bytes: number
  readonly shardEpoch: number
  /** Seeds the CRCs of its groups. */
  readonly salt: number
}

export const segmentFileName = (number: number): string => `${number.toString(16).padStart(16, '0')}.wal`
export const spareFileName = (number: number): string => `spare-${segmentFileName(number)}`

/** The number in a segment's file name; undefined for any other file. */
export const segmentNumber = (name: string): number | undefined => numberIn(name, /^([0-9a-f]{16})\.wal$/)

/** The number in a spare's file name; undefined for any other file. */
export const spareNumber = (name: string): number | undefined => numberIn(name, /^spare-([0-9a-f]{16})\.wal$/)

function numberIn(name: string, pattern: RegExp): number | undefined {
  const digits = pattern.exec(name)?.[1]
  return digits === undefined ? undefined : Number.parseInt(digits, 16)
}

export function encodeSegmentHeader(header: SegmentHeader): Uint8Array {
  const bytes = new Uint8Array(SEGMENT_HEADER_BYTES)
  const data = new DataView(bytes.buffer)
  data.setUint32(0, MAGIC, true)
  data.setUint16(4, VERSION, true)
  data.setUint32(12, header.salt, true)
  bytesFromHex(header.clusterId, bytes, 16)
  bytesFromHex(header.walId, bytes, 32)
  setUint53(data, 48, header.number)
  setUint53(data, 56, header.firstSequence)
  setUint53(data, 64, header.bytes)
  data.setUint32(72, header.shardEpoch, true)
  data.setUint32(76, header.previousCrc, true)
  setUint53(data, 80, header.provenSequence)
  data.setUint32(8, crcOfHeader(bytes), true)
  return bytes
}

const crcOfHeader = (bytes: Uint8Array): number =>
  crc32(bytes.subarray(12, SEGMENT_HEADER_BYTES), crc32(bytes.subarray(0, 8)))

/** The header, or what is wrong with it. */
export function decodeSegmentHeader(bytes: Uint8Array): SegmentHeader | { fault: string } {
  if (bytes.length < SEGMENT_HEADER_BYTES) return { fault: 'the segment header is cut short' }
  const data = new DataView(bytes.buffer, bytes.byteOffset, SEGMENT_HEADER_BYTES)
  if (data.getUint32(0, true) !== MAGIC) return { fault: 'this is no WAL segment (magic)' }
  const version = data.getUint16(4, true)
  if (version !== VERSION) return { fault: `WAL version ${version} is not known to this release` }
  if (crcOfHeader(bytes) !== data.getUint32(8, true))
    return { fault: 'the CRC of the segment header does not match' }
  return {
    salt: data.getUint32(12, true),
    clusterId: hexFromBytes(bytes, 16) as ClusterId,
    walId: hexFromBytes(bytes, 32),
    number: getUint53(data, 48),
    firstSequence: getUint53(data, 56),
    bytes: getUint53(data, 64),
    shardEpoch: data.getUint32(72, true),
    previousCrc: data.getUint32(76, true),
    provenSequence: getUint53(data, 80),
  }
}
