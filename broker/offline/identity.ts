import { MillraceError } from '../../protocol/error-codes.js'
import type { ManifestContents } from '../manifest/rows.js'
import type { Disk } from '../platform/disk.js'
import { type Layout, readIdentity } from '../shard/layout.js'
import type { WalIdentity } from '../wal/position.js'
import { faultFrom } from './directory.js'
import { readJournal } from './moves.js'
import type { DataFault } from './report.js'
import { listSegmentFiles } from './segment-files.js'

export interface IdentityReading {
  /** As the file has it or, where it does not, as the WAL and the manifest agree on it. */
  readonly identity: WalIdentity | undefined
  readonly fault: DataFault | undefined
  /** The first start never came to its end: nothing was ever acknowledged here. */
  readonly isNew: boolean
}

/**
 * Reads who the data directory is. The file has no checksum, but what it says stands in every WAL segment and in the
 * manifest, so that damage to it shows.
 */
export async function examineIdentity(
  disk: Disk,
  layout: Layout,
  contents: ManifestContents | undefined,
): Promise<IdentityReading> {
  const segments = await listSegmentFiles(disk, layout.wal)
  const witnesses: WalIdentity[] = segments.flatMap(({ header }) => header ?? [])
  if (contents?.shard !== undefined) witnesses.push(contents.shard)
  const told = agreement(witnesses)
  const faulty = (reason: string, more: Partial<DataFault> = {}): IdentityReading => ({
    identity: told,
    fault: { ...more, file: layout.identity, byteOffset: 0, reason },
    isNew: false,
  })
  let identity: WalIdentity | undefined
  try {
    identity = await readIdentity(disk, layout)
  } catch (error) {
    if (!(error instanceof MillraceError)) throw error
    if (await readJournal(disk, layout))
      return faulty('a repair of this directory was interrupted: run `millrace repair` again')
    const fault = faultFrom(error, layout.identity)
    return faulty(fault.reason, fault)
  }
  if (identity === undefined) {
    const isNew = contents?.shard === undefined && segments.length <= 1
    if (isNew) return { identity: undefined, fault: undefined, isNew }
    return faulty('the file is missing, and the directory holds the data of a broker')
  }
  // A single witness may be the one that is damaged or foreign; that is said where it is read.
  const isAlone = told !== undefined && !isSame(told, identity) && witnesses.length > 1
  if (isAlone) return faulty('it names another WAL than the manifest and the WAL segments do')
  return { identity, fault: undefined, isNew: false }
}

/** What all of them say; undefined when they do not agree or there is none. */
function agreement(witnesses: readonly WalIdentity[]): WalIdentity | undefined {
  const [first] = witnesses
  if (first === undefined || !witnesses.every((each) => isSame(each, first))) return undefined
  return { clusterId: first.clusterId, walId: first.walId }
}

const isSame = (a: WalIdentity, b: WalIdentity): boolean => a.clusterId === b.clusterId && a.walId === b.walId
