/**
 * The bytes of a snapshot file: header, blocks of rows, footer. README.md draws them. Little-endian; keys and values
 * inside are the manifest's own.
 */
import { crc32 } from '#crc32'
import { MillraceError } from '../../protocol/error-codes.js'
import { bytesFromHex, type ClusterId, hexFromBytes } from '../../protocol/ids.js'
import type { AppliedPosition } from './rows.js'
import type { StoreEntry } from './store.js'

export const SNAPSHOT_VERSION = 1
export const SNAPSHOT_HEADER_BYTES = 64
export const BLOCK_HEADER_BYTES = 16
export const SNAPSHOT_FOOTER_BYTES = 64
/** Before each row: u16 length of the key, u32 length of the value. */
const ROW_PREFIX_BYTES = 6
const BLOCK_BYTES_FIRST = 128 * 1024

const HEADER_MAGIC = 0x4e53524d // "MRSN" as bytes 4d 52 53 4e
const BLOCK_MAGIC = 0x4253524d // "MRSB" as bytes 4d 52 53 42
const FOOTER_MAGIC = 0x4553524d // "MRSE" as bytes 4d 52 53 45

const HEADER = { magic: 0, version: 4, clusterId: 8, sequence: 24, headerCrc: 32, crc: 60 } as const
const BLOCK = { magic: 0, bytes: 4, rows: 8, crc: 12 } as const
const FOOTER = { magic: 0, version: 4, rows: 8, fileBytes: 16, contentCrc: 24, crc: 60 } as const

/** A snapshot that cannot be restored; the manifest itself may be whole. */
export class SnapshotCorruption extends MillraceError {
  readonly file: string
  readonly byteOffset: number
  readonly reason: string

  constructor(at: { file: string; byteOffset: number; reason: string; cause?: unknown }) {
    super('CORRUPT_DATA', {
      message: `a manifest snapshot is damaged: ${at.file} at byte ${at.byteOffset}: ${at.reason}`,
      details: { file: at.file, byteOffset: at.byteOffset, reason: at.reason },
      cause: at.cause,
    })
    this.file = at.file
    this.byteOffset = at.byteOffset
    this.reason = at.reason
  }
}

export interface SnapshotHeader {
  readonly clusterId: ClusterId
  readonly applied: AppliedPosition
}

export interface SnapshotFooter {
  readonly rows: number
  readonly fileBytes: number
  /** CRC of everything before the footer. */
  readonly contentCrc: number
}

const fileNamePattern = /^(\d{16})\.snapshot$/

export const snapshotFileName = (sequence: number): string => `${String(sequence).padStart(16, '0')}.snapshot`

/** The sequence of the last applied WAL group in a file name, or undefined when it is no snapshot's. */
export function snapshotSequenceOf(fileName: string): number | undefined {
  const digits = fileNamePattern.exec(fileName)?.[1]
  return digits === undefined ? undefined : Number(digits)
}

export function encodeSnapshotHeader({ clusterId, applied }: SnapshotHeader): Buffer {
  const bytes = Buffer.alloc(SNAPSHOT_HEADER_BYTES)
  bytes.writeUInt32LE(HEADER_MAGIC, HEADER.magic)
  bytes.writeUInt16LE(SNAPSHOT_VERSION, HEADER.version)
  bytesFromHex(clusterId, bytes, HEADER.clusterId)
  bytes.writeBigUInt64LE(BigInt(applied.sequence), HEADER.sequence)
  bytes.writeUInt32LE(applied.headerCrc, HEADER.headerCrc)
  bytes.writeUInt32LE(crc32(bytes.subarray(0, HEADER.crc)), HEADER.crc)
  return bytes
}

/** The header, or why these bytes are none. */
export function decodeSnapshotHeader(bytes: Buffer): SnapshotHeader | string {
  if (bytes.length < SNAPSHOT_HEADER_BYTES) return 'the file is shorter than a snapshot header'
  if (bytes.readUInt32LE(HEADER.magic) !== HEADER_MAGIC) return 'this is no manifest snapshot (magic)'
  if (bytes.readUInt32LE(HEADER.crc) !== crc32(bytes.subarray(0, HEADER.crc))) {
    return 'the CRC of the header does not match'
  }
  const version = bytes.readUInt16LE(HEADER.version)
  if (version !== SNAPSHOT_VERSION) return `snapshot version ${version} is not known`
  return {
    clusterId: hexFromBytes(bytes, HEADER.clusterId) as ClusterId,
    applied: {
      sequence: Number(bytes.readBigUInt64LE(HEADER.sequence)),
      headerCrc: bytes.readUInt32LE(HEADER.headerCrc),
    },
  }
}

export function encodeSnapshotFooter({ rows, fileBytes, contentCrc }: SnapshotFooter): Buffer {
  const bytes = Buffer.alloc(SNAPSHOT_FOOTER_BYTES)
  bytes.writeUInt32LE(FOOTER_MAGIC, FOOTER.magic)
  bytes.writeUInt16LE(SNAPSHOT_VERSION, FOOTER.version)
  bytes.writeBigUInt64LE(BigInt(rows), FOOTER.rows)
  bytes.writeBigUInt64LE(BigInt(fileBytes), FOOTER.fileBytes)
  bytes.writeUInt32LE(contentCrc, FOOTER.contentCrc)
  bytes.writeUInt32LE(crc32(bytes.subarray(0, FOOTER.crc)), FOOTER.crc)
  return bytes
}

/** The footer, or why these bytes are none. */
export function decodeSnapshotFooter(bytes: Buffer): SnapshotFooter | string {
  if (bytes.length < SNAPSHOT_FOOTER_BYTES || bytes.readUInt32LE(FOOTER.magic) !== FOOTER_MAGIC) {
    return 'the file does not end with a snapshot footer: it is cut short or was never finished'
  }
  if (bytes.readUInt32LE(FOOTER.crc) !== crc32(bytes.subarray(0, FOOTER.crc))) {
    return 'the CRC of the footer does not match'
  }
  return {
    rows: Number(bytes.readBigUInt64LE(FOOTER.rows)),
    fileBytes: Number(bytes.readBigUInt64LE(FOOTER.fileBytes)),
    contentCrc: bytes.readUInt32LE(FOOTER.contentCrc),
  }
}

/** Collects rows into blocks, one after the other in the same memory. */
export class BlockBuilder {
  #block = Buffer.alloc(BLOCK_BYTES_FIRST)
  #end = BLOCK_HEADER_BYTES
  #rows = 0

  /** Bytes of the rows so far. */
  get bytes(): number {
    return this.#end - BLOCK_HEADER_BYTES
  }

  add([key, value]: StoreEntry): void {
    const at = this.#end
    const end = at + ROW_PREFIX_BYTES + key.length + value.length
    if (end > this.#block.length) {
      const larger = Buffer.alloc(Math.max(end, 2 * this.#block.length))
      larger.set(this.#block.subarray(0, at))
      this.#block = larger
    }
    this.#block.writeUInt16LE(key.length, at)
    this.#block.writeUInt32LE(value.length, at + 2)
    this.#block.set(key, at + ROW_PREFIX_BYTES)
    this.#block.set(value, end - value.length)
    this.#end = end
    this.#rows++
  }

  /** The block with its header, as a view that the next row changes; the builder is empty then. */
  take(): Buffer {
    const block = this.#block.subarray(0, this.#end)
    block.fill(0, 0, BLOCK_HEADER_BYTES)
    block.writeUInt32LE(BLOCK_MAGIC, BLOCK.magic)
    block.writeUInt32LE(this.bytes, BLOCK.bytes)
    block.writeUInt32LE(this.#rows, BLOCK.rows)
    block.writeUInt32LE(crcOfBlock(block), BLOCK.crc)
    this.#end = BLOCK_HEADER_BYTES
    this.#rows = 0
    return block
  }
}

/** Length of the block that begins with this header, or why none does. */
export function blockLength(header: Buffer): number | string {
  if (header.length < BLOCK_HEADER_BYTES) return 'a block header is cut short'
  if (header.readUInt32LE(BLOCK.magic) !== BLOCK_MAGIC) return 'no block begins here (magic)'
  return BLOCK_HEADER_BYTES + header.readUInt32LE(BLOCK.bytes)
}

/** The rows of a whole block, as views, or why it does not verify. */
export function rowsOfBlock(block: Buffer): StoreEntry[] | string {
  if (crcOfBlock(block) !== block.readUInt32LE(BLOCK.crc)) return 'the CRC of a block does not match'
  const rows: StoreEntry[] = []
  let at = BLOCK_HEADER_BYTES
  while (at + ROW_PREFIX_BYTES <= block.length) {
    const keyAt = at + ROW_PREFIX_BYTES
    const valueAt = keyAt + block.readUInt16LE(at)
    at = valueAt + block.readUInt32LE(at + 2)
    rows.push([block.subarray(keyAt, valueAt), block.subarray(valueAt, at)])
  }
  if (at !== block.length || rows.length !== block.readUInt32LE(BLOCK.rows)) {
    return 'a block does not hold the rows that its header says'
  }
  return rows
}

const crcOfBlock = (block: Buffer): number =>
  crc32(block.subarray(BLOCK_HEADER_BYTES), crc32(block.subarray(0, BLOCK.crc)))
