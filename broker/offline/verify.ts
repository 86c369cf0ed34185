import { basename, isAbsolute, join } from 'node:path'
import { chunkFileName, chunkIdOf } from '../chunks/format.js'
import { type ChunkReport, verifyChunk } from '../chunks/verify-chunk.js'
import type { ChunkRow, ManifestContents } from '../manifest/rows.js'
import { listSnapshots } from '../manifest/snapshot.js'
import { decodeSnapshotHeader, SNAPSHOT_HEADER_BYTES } from '../manifest/snapshot-format.js'
import { verifySnapshot } from '../manifest/snapshot-reader.js'
import type { Disk } from '../platform/disk.js'
import { type Layout, layoutOf, readCleanStop } from '../shard/layout.js'
import { replay } from '../shard/recover.js'
import type { ShardState } from '../shard/state.js'
import type { WalEnd, WalIdentity } from '../wal/position.js'
import { type ScanResult, scanWal, type TornTail } from '../wal/scan.js'
import { segmentFileName } from '../wal/segment.js'
import { chunkRowsOf, rowFault, rowsByFile } from './chunk-rows.js'
import { faultFrom, lockDataDirectory } from './directory.js'
import { examineIdentity } from './identity.js'
import { type ReadManifestRows, readManifest, rowsOfLmdb } from './manifest-rows.js'
import type { DataFault, OnProgress, VerifyReport } from './report.js'
import { listSegmentFiles } from './segment-files.js'
import { strayFiles } from './stray-files.js'

/**
 * Reads every byte of a data directory that no broker is using, and checks it as a start and every later read would.
 * Changes nothing; the one file that it touches is the lock's. Throws NotADataDirectoryError, and DirectoryLockedError
 * while a broker runs on the directory.
 */
export async function verifyDirectory(options: {
  disk: Disk
  directory: string
  onProgress?: OnProgress
}): Promise<VerifyReport> {
  const { disk, onProgress } = options
  const layout = layoutOf(options.directory)
  const lock = await lockDataDirectory(disk, layout)
  try {
    return (await examine({ disk, layout, readRows: rowsOfLmdb(disk), onProgress })).report
  } finally {
    await lock.release()
  }
}

export interface Examined {
  readonly report: VerifyReport
  /** Undefined where it cannot be known. */
  readonly identity: WalIdentity | undefined
  readonly isNew: boolean
  /** Undefined when the manifest does not verify. */
  readonly contents: ManifestContents | undefined
  /** The state that a start would have; undefined when it would refuse for the manifest's or the WAL's sake. */
  readonly state: ShardState | undefined
  /** Undefined when the WAL does not verify. */
  readonly scan: ScanResult | undefined
  readonly badChunks: ReadonlySet<number>
  readonly badSnapshots: readonly string[]
  readonly isMarkerBad: boolean
}

/** As verifyDirectory, for a directory that the caller has locked. */
export function examine(options: {
  disk: Disk
  layout: Layout
  readRows: ReadManifestRows
  onProgress?: OnProgress | undefined
}): Promise<Examined> {
  return new Examination(options).run()
}

/** One pass over a data directory. Each part is read whatever became of the others. */
class Examination {
  readonly #disk: Disk
  readonly #layout: Layout
  readonly #readRows: ReadManifestRows
  readonly #onProgress: OnProgress
  readonly #faults: DataFault[] = []
  readonly #notes: string[] = []
  readonly #badChunks = new Set<number>()
  readonly #badSnapshots: string[] = []
  #isMarkerBad = false
  #walGroups = 0
  #bytes = 0

  constructor(options: {
    disk: Disk
    layout: Layout
    readRows: ReadManifestRows
    onProgress?: OnProgress | undefined
  }) {
    this.#disk = options.disk
    this.#layout = options.layout
    this.#readRows = options.readRows
    this.#onProgress = options.onProgress ?? (() => {})
  }

  async run(): Promise<Examined> {
    const contents = await this.#manifest()
    const { identity, fault, isNew } = await examineIdentity(this.#disk, this.#layout, contents)
    if (fault !== undefined) this.#faults.push(fault)
    if (isNew)
      this.#notes.push('the first start on this directory was never finished: there is nothing in it yet')
    const scan = identity && (await this.#scan(identity))
    if (scan !== undefined) await this.#checkMarker(scan.end)
    const state = identity && contents && (await this.#replay(identity, contents, scan !== undefined))
    await this.#checkChunks(identity, state, contents)
    await this.#checkSnapshots(identity)
    this.#notes.push(...(await strayFiles(this.#disk, this.#layout, state)))
    return {
      report: this.#report(state, scan),
      identity,
      isNew,
      contents,
      state,
      scan,
      badChunks: this.#badChunks,
      badSnapshots: this.#badSnapshots,
      isMarkerBad: this.#isMarkerBad,
    }
  }

  /** An empty manifest is a young one, or one that was lost: the WAL tells. */
  async #manifest(): Promise<ManifestContents | undefined> {
    const { contents, faults } = await readManifest(this.#readRows, this.#layout)
    this.#faults.push(...faults)
    if (contents === undefined || contents.shard !== undefined) return contents
    const segments = await listSegmentFiles(this.#disk, this.#layout.wal)
    const oldest = segments[0]?.header?.firstSequence ?? 1
    if (oldest === 1) return contents
    const reason = `it is missing or empty, and the WAL begins with group ${oldest}`
    this.#faults.push({ file: this.#layout.manifest, byteOffset: 0, reason })
    return undefined
  }

  /** All segments, those too that a start would not read: they are what a lost manifest is rebuilt from. */
  async #scan(identity: WalIdentity): Promise<ScanResult | undefined> {
    const segments = await listSegmentFiles(this.#disk, this.#layout.wal)
    const oldest = Math.min(
      ...segments.map(({ header }) => header?.firstSequence ?? Number.POSITIVE_INFINITY),
    )
    try {
      return await scanWal({
        disk: this.#disk,
        directory: this.#layout.wal,
        identity,
        from: oldest,
        visit: ({ bytes }) => {
          this.#walGroups++
          this.#read('WAL', bytes.length)
        },
      })
    } catch (error) {
      this.#fault(error, this.#layout.wal)
      return undefined
    }
  }

  /**
   * The marker has no checksum: it says where the WAL ended. Where one of its two numbers is right, the other was
   * damaged; where both are wrong, the WAL has lost its end.
   */
  async #checkMarker(end: WalEnd | undefined): Promise<void> {
    const { cleanMarker, wal } = this.#layout
    try {
      const stop = await readCleanStop(this.#disk, this.#layout)
      if (stop === undefined || end === undefined) return
      const isSequenceRight = stop.sequence === end.sequence
      const isCrcRight = stop.headerCrc === end.headerCrc
      if (isSequenceRight && isCrcRight) return
      this.#isMarkerBad = true
      const reason = `the WAL ends with group ${end.sequence}, and the last clean stop was after group ${stop.sequence}`
      if (isSequenceRight || isCrcRight) {
        this.#faults.push({
          file: cleanMarker,
          byteOffset: 0,
          reason: `it does not fit the WAL: ${reason}, or the CRC differs`,
        })
      } else {
        this.#faults.push({
          file: join(wal, segmentFileName(end.segment.number)),
          byteOffset: end.position,
          reason,
        })
      }
    } catch (error) {
      this.#isMarkerBad = true
      this.#fault(error, cleanMarker)
    }
  }

  /** What a start does; the marker is judged above. */
  async #replay(
    identity: WalIdentity,
    contents: ManifestContents,
    isScanned: boolean,
  ): Promise<ShardState | undefined> {
    const layout = withoutMarker(this.#layout)
    try {
      return (await replay({ disk: this.#disk, layout, identity, contents, isThorough: true })).state
    } catch (error) {
      const fault = this.#placed(faultFrom(error, layout.wal))
      // The scan has named it already, unless the WAL is whole and does not fit the manifest.
      if (isScanned) this.#add(fault)
      return undefined
    }
  }

  async #checkChunks(
    identity: WalIdentity | undefined,
    state: ShardState | undefined,
    contents: ManifestContents | undefined,
  ): Promise<void> {
    const rows = state === undefined ? contents?.chunks : chunkRowsOf(state)
    const byFile = rowsByFile(rows ?? [])
    const { chunks } = this.#layout
    // Without a manifest nothing says which files count.
    const wanted =
      rows === undefined ? await this.#chunkIdsOnDisk() : [...byFile.keys()].sort((a, b) => a - b)
    for (const chunkId of wanted) {
      const fault = await this.#chunkFault({ chunkId, identity, rows: byFile.get(chunkId) ?? [] })
      if (fault === undefined) continue
      this.#faults.push(this.#placed(fault, chunks))
      this.#badChunks.add(chunkId)
    }
  }

  async #chunkFault(chunk: {
    chunkId: number
    identity: WalIdentity | undefined
    rows: readonly ChunkRow[]
  }): Promise<DataFault | undefined> {
    const { chunkId, identity, rows } = chunk
    const file = join(this.#layout.chunks, chunkFileName(chunkId))
    let report: ChunkReport
    try {
      report = await verifyChunk({
        disk: this.#disk,
        directory: this.#layout.chunks,
        chunkId,
        ...(identity && { clusterId: identity.clusterId }),
      })
    } catch (error) {
      return faultFrom(error, file)
    }
    this.#read('chunks', report.bytes)
    if (report.fault !== undefined) return report.fault
    for (const row of rows) {
      const reason = rowFault(row, report)
      if (reason !== undefined) return { file, byteOffset: row.section.byteStart, reason }
    }
    return undefined
  }

  async #chunkIdsOnDisk(): Promise<number[]> {
    const names = await this.#disk.list(this.#layout.chunks)
    return names.map(chunkIdOf).filter((chunkId) => chunkId !== undefined)
  }

  async #checkSnapshots(identity: WalIdentity | undefined): Promise<void> {
    for (const { path } of await listSnapshots(this.#disk, this.#layout.snapshots)) {
      try {
        const { bytes } = await verifySnapshot(this.#disk, path)
        this.#read('snapshots', bytes)
        const owner = await clusterOf(this.#disk, path)
        if (identity === undefined || owner === identity.clusterId) continue
        this.#faults.push({ file: path, byteOffset: 0, reason: `it belongs to another cluster, ${owner}` })
      } catch (error) {
        this.#fault(error, path)
      }
      this.#badSnapshots.push(path)
    }
  }

  #report(state: ShardState | undefined, scan: ScanResult | undefined): VerifyReport {
    const tornTail: TornTail | undefined = scan?.tornTail
    const status = this.#faults.length > 0 ? 'corrupt' : tornTail === undefined ? 'clean' : 'tornTail'
    return {
      status,
      faults: this.#faults,
      tornTail,
      notes: this.#notes,
      counts: {
        topics: state?.topics.size ?? 0,
        partitions: state?.partitionCount ?? 0,
        records: state === undefined ? 0 : recordsOf(state, this.#badChunks),
        chunks: state?.chunkReferences.size ?? 0,
        walGroups: this.#walGroups,
        bytes: this.#bytes,
      },
      stateHash: state?.hash(),
    }
  }

  #read(what: 'WAL' | 'chunks' | 'snapshots', bytes: number): void {
    this.#bytes += bytes
    this.#onProgress({ what, bytes: this.#bytes })
  }

  #fault(error: unknown, file: string): void {
    this.#add(this.#placed(faultFrom(error, file)))
  }

  /** Once for each place, however many checks fail over it. */
  #add(fault: DataFault): void {
    const { file, byteOffset } = fault
    const isKnown = this.#faults.some((other) => other.file === file && other.byteOffset === byteOffset)
    if (!isKnown) this.#faults.push(fault)
  }

  /** A file that is named without its directory is one of the WAL's. */
  #placed(fault: DataFault, directory = this.#layout.wal): DataFault {
    return isAbsolute(fault.file) || fault.file !== basename(fault.file)
      ? fault
      : { ...fault, file: join(directory, fault.file) }
  }
}

/** The same directory as if its last stop had been unclean. */
export const withoutMarker = (layout: Layout): Layout => ({
  ...layout,
  cleanMarker: `${layout.cleanMarker}.ignored`,
})

/** The cluster that a snapshot is of; its header was verified. */
async function clusterOf(disk: Disk, path: string): Promise<string> {
  const file = await disk.open(path, 'read')
  try {
    const bytes = Buffer.alloc(SNAPSHOT_HEADER_BYTES)
    await file.read(bytes, 0)
    const header = decodeSnapshotHeader(bytes)
    return typeof header === 'string' ? header : header.clusterId
  } finally {
    await file.close()
  }
}

function recordsOf(state: ShardState, badChunks: ReadonlySet<number>): number {
  let records = 0
  for (const topic of state.topics.values()) {
    for (const { chunks, startOffset, sealedEnd, endOffset } of topic.partitions) {
      // Offsets are dense in the WAL, but for duplicates.
      records += endOffset - Math.max(startOffset, sealedEnd)
      for (const { chunkId, section } of chunks) if (!badChunks.has(chunkId)) records += section.recordCount
    }
  }
  return records
}
