import { basename } from 'node:path'
import { crc32 } from '#crc32'
import type { Disk, DiskFile } from '../platform/disk.js'
import { decodeRow } from './row-codec.js'
import type { AppliedPosition, RowKind, ShardRow } from './rows.js'
import { KEYSPACES, ROW_KINDS } from './schema.js'
import {
  BLOCK_HEADER_BYTES,
  blockLength,
  decodeSnapshotFooter,
  decodeSnapshotHeader,
  rowsOfBlock,
  SNAPSHOT_FOOTER_BYTES,
  SNAPSHOT_HEADER_BYTES,
  SnapshotCorruption,
  type SnapshotHeader,
  snapshotFileName,
} from './snapshot-format.js'
import type { StoreEntry } from './store.js'

export interface SnapshotReport {
  readonly applied: AppliedPosition
  readonly rows: number
  readonly bytes: number
  /** Places in the page file that it refers to. */
  readonly pageSlots: ReadonlySet<number>
}

/**
 * Reads a snapshot and accounts for every byte and every row of it, with flat memory. Throws SnapshotCorruption (code
 * CORRUPT_DATA) for the first thing that does not verify, a DiskError when the disk cannot be read, the reason of `signal`.
 */
export async function verifySnapshot(
  disk: Disk,
  path: string,
  { signal }: { signal?: AbortSignal } = {},
): Promise<SnapshotReport> {
  const counts = new Map<string, number>()
  let shard: ShardRow | undefined
  let rows = 0
  let last: Uint8Array | undefined
  const pageSlots = new Set<number>()
  const fail = (reason: string, cause?: unknown): never => {
    throw new SnapshotCorruption({ file: path, byteOffset: 0, reason, cause })
  }
  const reader = await SnapshotReader.open(disk, path)
  try {
    for await (const block of reader.blocks()) {
      signal?.throwIfAborted()
      for (const row of block) {
        if (last && Buffer.compare(last, row[0]) >= 0) fail('its rows are out of order')
        last = row[0]
        rows++
        try {
          const decoded = decodeRow(row)
          if (decoded.kind === 'shard') shard = decoded.row
          else if (decoded.kind === 'dedupPages' && decoded.row.slot !== null) pageSlots.add(decoded.row.slot)
          counts.set(decoded.kind, (counts.get(decoded.kind) ?? 0) + 1)
        } catch (cause) {
          fail((cause as Error).message, cause)
        }
      }
    }
    if (!shard || counts.get('format') !== 1) return fail('the row of the shard or the format is missing')
    const { applied, clusterId } = reader.header
    if (shard.applied.sequence !== applied.sequence || shard.applied.headerCrc !== applied.headerCrc) {
      fail('its header says another position than its row of the shard')
    }
    if (shard.clusterId !== clusterId) fail('its header says another cluster than its row of the shard')
    for (const kind of ROW_KINDS) checkCount(kind, counts.get(kind) ?? 0, shard, fail)
    return { applied, rows, bytes: reader.bytes, pageSlots }
  } finally {
    await reader.close()
  }
}

/** The rows of a snapshot, block by block. Throws SnapshotCorruption where a block does not verify. */
export async function* readSnapshot(disk: Disk, path: string): AsyncGenerator<StoreEntry[], void, undefined> {
  const reader = await SnapshotReader.open(disk, path)
  try {
    yield* reader.blocks()
  } finally {
    await reader.close()
  }
}

function checkCount(kind: RowKind, found: number, shard: ShardRow, fail: (reason: string) => never): void {
  const written = shard.counts[kind]
  if (found !== written) fail(`it holds ${found} ${KEYSPACES[kind].name} rows where ${written} were written`)
}

class SnapshotReader {
  readonly header: SnapshotHeader
  readonly bytes: number
  readonly #file: DiskFile
  readonly #headerCrc: number

  private constructor(file: DiskFile, bytes: number, header: SnapshotHeader, headerCrc: number) {
    this.#file = file
    this.bytes = bytes
    this.header = header
    this.#headerCrc = headerCrc
  }

  static async open(disk: Disk, path: string): Promise<SnapshotReader> {
    const file = await disk.open(path, 'read')
    try {
      const bytes = await readAt(file, 0, SNAPSHOT_HEADER_BYTES)
      const header = decodeSnapshotHeader(bytes)
      if (typeof header === 'string')
        throw new SnapshotCorruption({ file: path, byteOffset: 0, reason: header })
      if (basename(path) !== snapshotFileName(header.applied.sequence)) {
        throw new SnapshotCorruption({ file: path, byteOffset: 0, reason: 'its name says another position' })
      }
      return new SnapshotReader(file, await file.size(), header, crc32(bytes))
    } catch (error) {
      await file.close()
      throw error
    }
  }

  /** The rows of each block; the footer and the CRC of the whole are checked after the last one. */
  async *blocks(): AsyncGenerator<StoreEntry[], void, undefined> {
    const footerAt = Math.max(this.bytes - SNAPSHOT_FOOTER_BYTES, 0)
    const footer = decodeSnapshotFooter(await readAt(this.#file, footerAt, SNAPSHOT_FOOTER_BYTES))
    if (typeof footer === 'string') this.#fail(footerAt, footer)
    if (footer.fileBytes !== this.bytes) {
      this.#fail(footerAt, `the file has ${this.bytes} bytes, its footer says ${footer.fileBytes}`)
    }
    let contentCrc = this.#headerCrc
    let rowCount = 0
    for (let at = SNAPSHOT_HEADER_BYTES; at < footerAt; ) {
      const length = blockLength(await readAt(this.#file, at, BLOCK_HEADER_BYTES))
      if (typeof length === 'string') this.#fail(at, length)
      if (at + length > footerAt) this.#fail(at, 'a block goes past the footer')
      const block = await readAt(this.#file, at, length)
      const rows = rowsOfBlock(block)
      if (typeof rows === 'string') this.#fail(at, rows)
      contentCrc = crc32(block, contentCrc)
      rowCount += rows.length
      yield rows
      at += length
    }
    if (contentCrc !== footer.contentCrc) this.#fail(footerAt, 'the CRC of the whole does not match')
    if (rowCount !== footer.rows)
      this.#fail(footerAt, `it holds ${rowCount} rows, its footer says ${footer.rows}`)
  }

  close(): Promise<void> {
    return this.#file.close()
  }

  #fail(byteOffset: number, reason: string): never {
    throw new SnapshotCorruption({ file: this.#file.path, byteOffset, reason })
  }
}

async function readAt(file: DiskFile, position: number, length: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(length)
  return bytes.subarray(0, await file.read(bytes, position))
}
