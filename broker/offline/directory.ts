import { MillraceError } from '../../protocol/error-codes.js'
import { type DirectoryLock, lockDirectory } from '../platform/directory-lock.js'
import { type Disk, DiskError } from '../platform/disk.js'
import type { Layout } from '../shard/layout.js'
import { type DataFault, NotADataDirectoryError } from './report.js'

/**
 * Takes the lock of a data directory that no broker may be using. Throws NotADataDirectoryError, and
 * DirectoryLockedError while a broker runs on it.
 */
export async function lockDataDirectory(disk: Disk, layout: Layout): Promise<DirectoryLock> {
  await refuseOtherDirectories(disk, layout)
  return await lockDirectory(layout.root)
}

/** Before anything is written there, the lock file included. */
export async function refuseOtherDirectories(disk: Disk, { root, ...parts }: Layout): Promise<void> {
  if (!(await disk.exists(root))) throw new NotADataDirectoryError(`there is no directory ${root}`)
  for (const path of [parts.identity, parts.wal, parts.manifest]) if (await disk.exists(path)) return
  throw new NotADataDirectoryError(
    `${root} is no data directory of Millrace: it has no identity.json, wal or manifest`,
  )
}

/** The fault that an error of a reading part stands for; rethrows what is none. */
export function faultFrom(error: unknown, file: string): DataFault {
  if (error instanceof DiskError)
    return { file: error.path, byteOffset: 0, reason: `it cannot be read: ${error.message}` }
  if (!(error instanceof MillraceError)) throw error
  const { details } = error
  return {
    file: typeof details?.file === 'string' ? details.file : file,
    byteOffset: typeof details?.byteOffset === 'number' ? details.byteOffset : 0,
    reason: typeof details?.reason === 'string' ? details.reason : error.message,
    ...(error.code === 'UNSUPPORTED_VERSION' && { isNewer: true }),
  }
}
