import { join } from 'node:path'
import { MillraceError } from '../../protocol/error-codes.js'
import { ManifestCorruption } from '../manifest/corruption.js'
import { readContents } from '../manifest/manifest.js'
import { decodeRow } from '../manifest/row-codec.js'
import type { ManifestContents } from '../manifest/rows.js'
import type { StoreEntry } from '../manifest/store.js'
import { type Disk, DiskError } from '../platform/disk.js'
import type { Layout } from '../shard/layout.js'
import { faultFrom } from './directory.js'
import { LmdbFileFault, readLmdbFile } from './lmdb-file.js'
import type { DataFault } from './report.js'

/** A row of the manifest, and where its value stands in the file. */
export interface ManifestRow {
  readonly entry: StoreEntry
  readonly byteOffset: number
}

/** Reads all rows of a manifest, unchecked. Throws LmdbFileFault. */
export type ReadManifestRows = (layout: Layout) => Promise<readonly ManifestRow[]>

const dataFile = 'data.mdb'

/** Reads the file that LMDB wrote. A missing one has no rows, as it has for a broker that starts. */
export const rowsOfLmdb =
  (disk: Disk): ReadManifestRows =>
  async ({ manifest }) => {
    const path = join(manifest, dataFile)
    if (!(await disk.exists(path))) return []
    const rows = await readLmdbFile(disk, path)
    return rows.map(({ key, value, byteOffset }) => ({ entry: [key, value], byteOffset }))
  }

/**
 * Throws MillraceError CORRUPT_DATA, with file and byte, for a manifest on which LMDB would end the process. For a start,
 * before it opens the store.
 */
export async function refuseDamagedManifest(disk: Disk, layout: Layout): Promise<void> {
  try {
    await rowsOfLmdb(disk)(layout)
  } catch (error) {
    if (!(error instanceof LmdbFileFault)) throw error
    const { file, byteOffset, reason } = error.fault
    throw new MillraceError('CORRUPT_DATA', {
      message: `the manifest is damaged: ${file} at byte ${byteOffset}: ${reason}`,
      details: { file, byteOffset, reason },
      cause: error,
    })
  }
}

export interface ManifestReading {
  /** Undefined when anything about the manifest is wrong. */
  readonly contents: ManifestContents | undefined
  readonly faults: readonly DataFault[]
}

/** Reads and checks a whole manifest, every damaged row of it. */
export async function readManifest(readRows: ReadManifestRows, layout: Layout): Promise<ManifestReading> {
  const file = join(layout.manifest, dataFile)
  let rows: readonly ManifestRow[]
  try {
    rows = await readRows(layout)
  } catch (error) {
    if (error instanceof LmdbFileFault) return { contents: undefined, faults: [error.fault] }
    if (error instanceof DiskError) return { contents: undefined, faults: [faultFrom(error, file)] }
    throw error
  }
  const faults = rows.flatMap(({ entry, byteOffset }) => {
    const fault = faultOf(() => decodeRow(entry), { file, byteOffset })
    return fault === undefined ? [] : [fault]
  })
  if (faults.length > 0) return { contents: undefined, faults }
  let contents: ManifestContents | undefined
  const fault = faultOf(
    () => {
      contents = readContents(rows.map(({ entry }) => entry)).contents
    },
    { file, byteOffset: 0 },
  )
  return { contents, faults: fault === undefined ? [] : [fault] }
}

function faultOf(check: () => void, at: { file: string; byteOffset: number }): DataFault | undefined {
  try {
    check()
    return undefined
  } catch (error) {
    const fault = { ...faultFrom(error, at.file), ...at }
    if (!(error instanceof ManifestCorruption)) return fault
    return {
      ...fault,
      reason: `${error.keyspace}${error.key === '' ? '' : ` ${error.key}`}: ${error.reason}`,
    }
  }
}
