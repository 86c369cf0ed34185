/**
 * Checksummed copies of the whole manifest beside it, for the day when LMDB's file is lost or damaged.
 */
import { dirname, join } from 'node:path'
import { crc32 } from '#crc32'
import { DirectWriter, directPieces } from '../platform/direct-writer.js'
import type { Disk, DiskFile } from '../platform/disk.js'
import { type Failpoints, noFailpoints } from '../platform/failpoints.js'
import { decodeRow, encodeRowKey } from './row-codec.js'
import type { AppliedPosition, ShardRow } from './rows.js'
import { SHARD_KEYSPACE } from './schema.js'
import {
  BlockBuilder,
  encodeSnapshotFooter,
  encodeSnapshotHeader,
  SNAPSHOT_FOOTER_BYTES,
  snapshotFileName,
  snapshotSequenceOf,
} from './snapshot-format.js'
import { readSnapshot, verifySnapshot } from './snapshot-reader.js'
import type { Store, StoreEntry, StoreView } from './store.js'

/** Rows of a block: what is read from the store, and checked, in one turn of the loop. */
const blockBytes = 64 * 1024
/** Between two syncs, so that no single one keeps the disk from the WAL for long. */
const syncEveryBytes = 4 * 1024 * 1024
/** Between two turns of the event loop so much is encoded. */
const pieceBytes = 128 * 1024
/** Rows of one transaction while restoring. */
const restoreBatchBytes = 1024 * 1024
const snapshotsKept = 2
const temporarySuffix = '.tmp'

export interface WrittenSnapshot {
  readonly path: string
  /** The last WAL group whose effects it holds. */
  readonly applied: AppliedPosition
  readonly rows: number
  readonly bytes: number
}

export interface ListedSnapshot {
  readonly path: string
  readonly sequence: number
}

/**
 * Writes what the store holds now into `<sequence>.snapshot`, while commits go on, and removes all but the newest
 * two. Memory stays flat, the loop is yielded to every 128 KiB. Every row is checked on its way. Throws
 * ManifestCorruption for a damaged row, a DiskError when the disk fails; nothing but a `.tmp` file can be left then.
 * One at a time.
 */
export async function writeSnapshot(options: {
  disk: Disk
  directory: string
  store: Store
  failpoints?: Failpoints
}): Promise<WrittenSnapshot> {
  const { disk, directory, store, failpoints = noFailpoints } = options
  await disk.makeDirectory(directory)
  const view = store.view()
  let written: WrittenSnapshot
  try {
    const { applied, clusterId } = shardOf(view)
    const path = join(directory, snapshotFileName(applied.sequence))
    const temporary = path + temporarySuffix
    await disk.remove(temporary)
    const file = await disk.open(temporary, 'createDirect')
    try {
      const { rows, bytes } = await writeRows(file, encodeSnapshotHeader({ clusterId, applied }), view)
      written = { path, applied, rows, bytes }
    } finally {
      await file.close()
    }
    await failpoints.hit('snapshotBeforeRename')
    await disk.rename(temporary, path)
    await disk.syncDirectory(directory)
  } finally {
    view.close()
  }
  await sweep(disk, directory)
  return written
}

/** Snapshots in the directory, the newest first; whether they verify is another question. */
export async function listSnapshots(disk: Disk, directory: string): Promise<ListedSnapshot[]> {
  const found: ListedSnapshot[] = []
  for (const name of await disk.list(directory)) {
    const sequence = snapshotSequenceOf(name)
    if (sequence !== undefined) found.push({ path: join(directory, name), sequence })
  }
  return found.reverse()
}

/**
 * Fills an empty store from a snapshot, which is verified first. The rows that say what the store holds go last: a
 * restore that a crash cut off leaves a store that does not load. Throws SnapshotCorruption.
 */
export async function restoreSnapshot(options: {
  disk: Disk
  path: string
  store: Store
}): Promise<WrittenSnapshot> {
  const { disk, path, store } = options
  for (const _ of store.entries()) throw new Error(`${path} is restored into an empty store only`)
  const report = await verifySnapshot(disk, path)
  const last: StoreEntry[] = []
  let puts: StoreEntry[] = []
  let bytes = 0
  for await (const rows of readSnapshot(disk, path)) {
    for (const row of rows) {
      const { kind } = decodeRow(row)
      ;(kind === 'format' || kind === 'shard' ? last : puts).push(row)
      bytes += row[0].length + row[1].length
    }
    if (bytes < restoreBatchBytes) continue
    await store.commit({ deletes: [], puts })
    puts = []
    bytes = 0
  }
  await store.commit({ deletes: [], puts: [...puts, ...last] })
  return { path, applied: report.applied, rows: report.rows, bytes: report.bytes }
}

async function writeRows(
  file: DiskFile,
  header: Buffer,
  view: StoreView,
): Promise<{ rows: number; bytes: number }> {
  const writer = new DirectWriter(file, { pieces: directPieces(pieceBytes), syncEveryBytes })
  let contentCrc = 0
  let rows = 0
  const write = (part: Buffer): Promise<void> | undefined => {
    contentCrc = crc32(part, contentCrc)
    return writer.put(part)
  }
  await write(header)
  const block = new BlockBuilder()
  for (const row of view.entries()) {
    decodeRow(row)
    block.add(row)
    rows++
    if (block.bytes >= blockBytes) await write(block.take())
  }
  if (block.bytes > 0) await write(block.take())
  const bytes = writer.bytes + SNAPSHOT_FOOTER_BYTES
  await writer.put(encodeSnapshotFooter({ rows, fileBytes: bytes, contentCrc }))
  await writer.end()
  await file.sync()
  return { rows, bytes }
}

/** Its own position comes from the same view as the rows: a flush between the two cannot part them. */
function shardOf(view: StoreView): ShardRow {
  const key = encodeRowKey(SHARD_KEYSPACE, {})
  const value = view.get(key)
  if (!value) throw new Error('a manifest that was never flushed has no snapshot')
  return decodeRow([key, value]).row as ShardRow
}

/** Removes all but the newest snapshots, and what a crash left of an unfinished one. */
async function sweep(disk: Disk, directory: string): Promise<void> {
  const old = (await listSnapshots(disk, directory)).slice(snapshotsKept).map(({ path }) => path)
  for (const name of await disk.list(directory)) {
    if (name.endsWith(`.snapshot${temporarySuffix}`)) old.push(join(directory, name))
  }
  for (const path of old) await disk.remove(path)
  const [first] = old
  if (first !== undefined) await disk.syncDirectory(dirname(first))
}
