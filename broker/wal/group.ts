/**
 * The bytes of a group: header, directory, command bodies, zeros up to the next 4 KiB boundary. README.md draws them.
 *
 * The header's CRC is seeded with the salt of its segment and covers the directory's CRC; the directory holds the CRC
 * of every body; the body of an append is a stored entry whose header CRC covers its payload's. So one short checksum
 * chains to every byte, and a payload is summed once in its life, by its producer.
 */
import { crc32 } from '#crc32'
import { getUint53, setUint53 } from '../../protocol/entry.js'
import { bytesFromHex, type ClusterId, hexFromBytes, type TopicId } from '../../protocol/ids.js'

/** Groups begin here, so that a torn write never touches a sector that another group was acknowledged in. */
export const GROUP_ALIGN_BYTES = 4096
export const GROUP_HEADER_BYTES = 128
export const DIRECTORY_ROW_BYTES = 64

const MAGIC = 0x5057524d // "MRWP"
const VERSION = 1

/** Header flags. On disk: never renumbered. */
export const GROUP_FLAG = { segmentEnd: 1 } as const

export interface GroupHeader {
  readonly clusterId: ClusterId
  readonly walId: string
  readonly shardEpoch: number
  /** Counts the groups of a WAL from 1, over all segments. */
  readonly sequence: number
  readonly flags: number
  /** Bytes before the padding. */
  readonly bytes: number
  readonly commandCount: number
  /** Broker time of all its commands, milliseconds. */
  readonly time: number
  /** The header CRC of the group before: a group proves that the one before it was written. */
  readonly previousCrc: number
  readonly directoryCrc: number
  readonly headerCrc: number
}

/** Where a command lies in its group, and what it is about. */
export interface DirectoryRow {
  readonly opcode: number
  /** Commands of one WAL record share this index: they are applied whole or not at all. */
  readonly record: number
  /** From the first byte of the group. */
  readonly byteStart: number
  readonly byteLength: number
  /** CRC-32 of the body; of an append, the entry's header CRC. */
  readonly bodyCrc: number
  /** Of an append; 32 zeros elsewhere. */
  readonly topicId: TopicId
  readonly partition: number
  readonly baseOffset: number
  readonly recordCount: number
}

export const NO_TOPIC = '00000000000000000000000000000000' as TopicId

export const alignUp = (bytes: number): number => Math.ceil(bytes / GROUP_ALIGN_BYTES) * GROUP_ALIGN_BYTES

/** Bytes of a group with these bodies, before padding. */
export const groupBytes = (commandCount: number, bodyBytes: number): number =>
  GROUP_HEADER_BYTES + commandCount * DIRECTORY_ROW_BYTES + bodyBytes

const dataView = (bytes: Uint8Array, position: number, length: number): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset + position, length)

/** Writes one row of the directory at `position`. */
export function writeDirectoryRow(target: Uint8Array, position: number, row: DirectoryRow): void {
  const data = dataView(target, position, DIRECTORY_ROW_BYTES)
  data.setUint16(0, row.opcode, true)
  data.setUint16(2, 0, true)
  data.setUint32(4, row.record, true)
  data.setUint32(8, row.byteStart, true)
  data.setUint32(12, row.byteLength, true)
  if (row.topicId === NO_TOPIC) target.fill(0, position + 16, position + 32)
  else bytesFromHex(row.topicId, target, position + 16)
  data.setUint32(32, row.partition, true)
  data.setUint32(36, row.recordCount, true)
  setUint53(data, 40, row.baseOffset)
  data.setUint32(48, row.bodyCrc, true)
  target.fill(0, position + 52, position + DIRECTORY_ROW_BYTES)
}

export function readDirectoryRow(source: Uint8Array, position: number): DirectoryRow {
  const data = dataView(source, position, DIRECTORY_ROW_BYTES)
  return {
    opcode: data.getUint16(0, true),
    record: data.getUint32(4, true),
    byteStart: data.getUint32(8, true),
    byteLength: data.getUint32(12, true),
    topicId: hexFromBytes(source, position + 16) as TopicId,
    partition: data.getUint32(32, true),
    recordCount: data.getUint32(36, true),
    baseOffset: getUint53(data, 40),
    bodyCrc: data.getUint32(48, true),
  }
}

/**
 * Writes the header at `position` over a directory that is already there; returns the header's CRC.
 * Magic, version and flags stand before the CRC and seed it together with the salt.
 */
export function writeGroupHeader(
  target: Uint8Array,
  position: number,
  header: Omit<GroupHeader, 'headerCrc' | 'directoryCrc'>,
  salt: number,
): number {
  const directoryStart = position + GROUP_HEADER_BYTES
  const directory = target.subarray(
    directoryStart,
    directoryStart + header.commandCount * DIRECTORY_ROW_BYTES,
  )
  const data = dataView(target, position, GROUP_HEADER_BYTES)
  data.setUint32(0, MAGIC, true)
  data.setUint16(4, VERSION, true)
  data.setUint16(6, header.flags, true)
  data.setUint32(12, crc32(directory, salt), true)
  bytesFromHex(header.clusterId, target, position + 16)
  bytesFromHex(header.walId, target, position + 32)
  setUint53(data, 48, header.sequence)
  data.setUint32(56, header.shardEpoch, true)
  data.setUint32(60, header.previousCrc, true)
  data.setUint32(64, header.bytes, true)
  data.setUint32(68, header.commandCount, true)
  setUint53(data, 72, header.time)
  target.fill(0, position + 80, position + GROUP_HEADER_BYTES)
  const headerCrc = crcOfHeader(target, position, salt)
  data.setUint32(8, headerCrc, true)
  return headerCrc
}

function crcOfHeader(source: Uint8Array, position: number, salt: number): number {
  const prefix = crc32(source.subarray(position, position + 8), salt)
  return crc32(source.subarray(position + 12, position + GROUP_HEADER_BYTES), prefix)
}

/** A whole group that ends a segment: padded, without commands. Returns its bytes and the CRC of its header. */
export function encodeSegmentEnd(
  header: Omit<GroupHeader, 'headerCrc' | 'directoryCrc' | 'flags' | 'bytes' | 'commandCount'>,
  salt: number,
  group: Uint8Array = new Uint8Array(GROUP_ALIGN_BYTES),
): { group: Uint8Array; headerCrc: number } {
  group.fill(0)
  const flags = GROUP_FLAG.segmentEnd
  const headerCrc = writeGroupHeader(
    group,
    0,
    { ...header, flags, bytes: GROUP_HEADER_BYTES, commandCount: 0 },
    salt,
  )
  return { group, headerCrc }
}

/** The header at `position` if its CRC holds under this salt; its directory and bodies are not checked. */
export function readGroupHeader(source: Uint8Array, position: number, salt: number): GroupHeader | undefined {
  if (source.length - position < GROUP_HEADER_BYTES) return undefined
  const data = dataView(source, position, GROUP_HEADER_BYTES)
  if (data.getUint32(0, true) !== MAGIC || data.getUint16(4, true) !== VERSION) return undefined
  const headerCrc = data.getUint32(8, true)
  if (crcOfHeader(source, position, salt) !== headerCrc) return undefined
  return {
    flags: data.getUint16(6, true),
    headerCrc,
    directoryCrc: data.getUint32(12, true),
    clusterId: hexFromBytes(source, position + 16) as ClusterId,
    walId: hexFromBytes(source, position + 32),
    sequence: getUint53(data, 48),
    shardEpoch: data.getUint32(56, true),
    previousCrc: data.getUint32(60, true),
    bytes: data.getUint32(64, true),
    commandCount: data.getUint32(68, true),
    time: getUint53(data, 72),
  }
}

/**
 * Whether damaged bytes at `position` were meant to be the group `sequence` of this WAL: at least two of the fields
 * that tell are right. Leftovers of a recycled segment carry older sequences and other CRCs.
 */
export function resemblesGroup(
  source: Uint8Array,
  position: number,
  expect: { walId: string; sequence: number; previousCrc: number },
): boolean {
  if (source.length - position < GROUP_HEADER_BYTES) return false
  const data = dataView(source, position, GROUP_HEADER_BYTES)
  const signs = [
    data.getUint32(0, true) === MAGIC && hexFromBytes(source, position + 32) === expect.walId,
    getUint53(data, 48) === expect.sequence,
    data.getUint32(60, true) === expect.previousCrc,
  ]
  return signs.filter(Boolean).length >= 2
}

/** What a damaged header says of its group's length, padding included: a guess, for the copy that people look at. */
export function claimedBytes(source: Uint8Array, position: number): number {
  const bytes = dataView(source, position, GROUP_HEADER_BYTES).getUint32(64, true)
  return Math.max(GROUP_ALIGN_BYTES, alignUp(bytes))
}

/** The rows of a whole group in `source`, or the first fault: every byte of the group is accounted for. */
export function checkGroup(
  source: Uint8Array,
  position: number,
  header: GroupHeader,
  options: { salt: number; bodyFault: (row: DirectoryRow, body: Uint8Array) => string | undefined },
): { rows: DirectoryRow[] } | { fault: string; at: number } {
  const directoryBytes = header.commandCount * DIRECTORY_ROW_BYTES
  const bodiesStart = GROUP_HEADER_BYTES + directoryBytes
  if (bodiesStart > header.bytes) return { fault: 'the directory is larger than its group', at: position }
  const directory = source.subarray(position + GROUP_HEADER_BYTES, position + bodiesStart)
  if (directory.length < directoryBytes || crc32(directory, options.salt) !== header.directoryCrc) {
    return { fault: 'the CRC of the directory does not match', at: position + GROUP_HEADER_BYTES }
  }
  const rows: DirectoryRow[] = []
  let next = bodiesStart
  for (let i = 0; i < header.commandCount; i++) {
    const row = readDirectoryRow(directory, i * DIRECTORY_ROW_BYTES)
    if (row.byteStart !== next || next + row.byteLength > header.bytes) {
      return {
        fault: 'the directory does not describe the bodies',
        at: position + GROUP_HEADER_BYTES + i * DIRECTORY_ROW_BYTES,
      }
    }
    const body = source.subarray(position + next, position + next + row.byteLength)
    const fault = body.length < row.byteLength ? 'a body is cut short' : options.bodyFault(row, body)
    if (fault !== undefined) return { fault, at: position + next }
    rows.push(row)
    next += row.byteLength
  }
  if (next !== header.bytes)
    return { fault: 'bytes behind the last body belong to none', at: position + next }
  const padding = source.subarray(position + next, position + alignUp(header.bytes))
  if (Buffer.compare(padding, ZEROS.subarray(0, padding.length)) !== 0) {
    return { fault: 'the padding is not zero', at: position + next + padding.findIndex((byte) => byte !== 0) }
  }
  return { rows }
}

const ZEROS = new Uint8Array(GROUP_ALIGN_BYTES)
