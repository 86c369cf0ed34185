import { join } from 'node:path'
import { open, type RootDatabase } from 'lmdb'
import { decodeRow } from '../manifest/row-codec.js'
import { readContents } from '../manifest/manifest.js'
import { ManifestCorruption } from '../manifest/corruption.js'
import type { ManifestContents } from '../manifest/rows.js'
import type { StoreEntry } from '../manifest/store.js'
import type { Disk } from '../platform/disk.js'
import type { Layout } from '../shard/layout.js'
import { faultFrom } from './directory.js'
import type { DataFault } from './report.js'

/** The rows of a manifest, for reading only. */
export interface ManifestRows {
  entries(): Iterable<StoreEntry>
  close(): Promise<void>
}

export type OpenManifestRows = (layout: Layout) => Promise<ManifestRows>

/** LMDB's file. Where it is missing, LMDB would make a new one. */
const dataFile = 'data.mdb'

/**
 * Opens LMDB without writing to its data. It insists on its lock file, where it counts readers and which holds nothing
 * else. A missing database has no rows, as it has for a broker that starts.
 */
export const lmdbRows =
  (disk: Disk): OpenManifestRows =>
  async ({ manifest }) => {
    if (!(await disk.exists(join(manifest, dataFile)))) return { entries: () => [], close: async () => {} }
    const database: RootDatabase<Uint8Array, Uint8Array> = open({
      path: manifest,
      noSubdir: false,
      encoding: 'binary',
      keyEncoding: 'binary',
      readOnly: true,
    })
    return {
      *entries() {
        for (const { key, value } of database.getRange({})) yield [key as unknown as Uint8Array, value]
      },
      close: () => database.close(),
    }
  }

export interface ManifestReading {
  /** Undefined when anything about the manifest is wrong. */
  readonly contents: ManifestContents | undefined
  readonly faults: readonly DataFault[]
}

/** Reads and checks a whole manifest, every damaged row of it. */
export async function readManifest(openRows: OpenManifestRows, layout: Layout): Promise<ManifestReading> {
  const file = join(layout.manifest, dataFile)
  let rows: ManifestRows
  try {
    rows = await openRows(layout)
  } catch (error) {
    // LMDB says in words of its own what it makes of a file; whatever it is, there is no manifest.
    return { contents: undefined, faults: [{ file, byteOffset: 0, reason: `it cannot be opened: ${(error as Error).message}` }] }
  }
  try {
    const entries = [...rows.entries()]
    const faults = entries.flatMap((entry) => {
      try {
        decodeRow(entry)
        return []
      } catch (error) {
        return [rowFault(error, file)]
      }
    })
    if (faults.length > 0) return { contents: undefined, faults }
    return { contents: readContents(entries).contents, faults }
  } catch (error) {
    return { contents: undefined, faults: [rowFault(error, file)] }
  } finally {
    await rows.close()
  }
}

/** A row has a name and no place in the file. */
function rowFault(error: unknown, file: string): DataFault {
  const fault = faultFrom(error, file)
  if (!(error instanceof ManifestCorruption)) return fault
  return { ...fault, reason: `${error.keyspace}${error.key === '' ? '' : ` ${error.key}`}: ${error.reason}` }
}
