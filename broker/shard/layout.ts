import { join } from 'node:path'
import { MillraceError } from '../../protocol/error-codes.js'
import { type ClusterId, hexFromBytes } from '../../protocol/ids.js'
import type { Disk } from '../platform/disk.js'
import type { Random } from '../platform/random.js'
import type { WalIdentity } from '../wal/position.js'

/** What lies where in a data directory. */
export interface Layout {
  readonly root: string
  readonly identity: string
  readonly cleanMarker: string
  readonly wal: string
  readonly manifest: string
  readonly dedupPages: string
  readonly chunks: string
  readonly snapshots: string
}

export const layoutOf = (root: string): Layout => ({
  root,
  identity: join(root, 'identity.json'),
  cleanMarker: join(root, 'clean-stop.json'),
  wal: join(root, 'wal'),
  manifest: join(root, 'manifest'),
  dedupPages: join(root, 'dedup-pages'),
  chunks: join(root, 'chunks'),
  snapshots: join(root, 'snapshots'),
})

/** The data directory's format; a broker refuses one that is newer than itself. */
export const DATA_FORMAT = 1

const corrupt = (path: string, reason: string): MillraceError =>
  new MillraceError('CORRUPT_DATA', {
    message: `${path}: ${reason}`,
    details: { file: path, byteOffset: 0, reason },
  })

/** Who this data directory is; undefined when it was never completed. It is the last file that a first start writes. */
export async function readIdentity(disk: Disk, layout: Layout): Promise<WalIdentity | undefined> {
  if (!(await disk.exists(layout.identity))) return undefined
  const value = parseJson(await disk.readFile(layout.identity))
  const { format, clusterId, walId } = (value ?? {}) as Record<string, unknown>
  if (typeof format === 'number' && format > DATA_FORMAT) {
    throw new MillraceError('UNSUPPORTED_VERSION', {
      message: `${layout.identity}: the data directory has format ${format}, this release knows ${DATA_FORMAT}`,
    })
  }
  if (format !== DATA_FORMAT || !isId(clusterId) || !isId(walId))
    throw corrupt(layout.identity, 'it is not readable; `millrace repair` may help, or finish what it began')
  return { clusterId: clusterId as ClusterId, walId }
}

export const newIdentity = (random: Random): WalIdentity => ({
  clusterId: hexFromBytes(random.bytes(16)) as ClusterId,
  walId: hexFromBytes(random.bytes(16)),
})

export function writeIdentity(disk: Disk, layout: Layout, identity: WalIdentity): Promise<void> {
  return disk.replaceFile(layout.identity, toJson({ format: DATA_FORMAT, ...identity }))
}

/** Where a clean stop left the WAL: its end must be there at the next start. */
export interface CleanStop {
  readonly sequence: number
  readonly headerCrc: number
}

export async function readCleanStop(disk: Disk, layout: Layout): Promise<CleanStop | undefined> {
  if (!(await disk.exists(layout.cleanMarker))) return undefined
  const { sequence, headerCrc } = (parseJson(await disk.readFile(layout.cleanMarker)) ?? {}) as Record<
    string,
    unknown
  >
  if (typeof sequence !== 'number' || typeof headerCrc !== 'number')
    throw corrupt(layout.cleanMarker, 'it is not readable')
  return { sequence, headerCrc }
}

export function writeCleanStop(disk: Disk, layout: Layout, stop: CleanStop): Promise<void> {
  return disk.replaceFile(layout.cleanMarker, toJson(stop))
}

/** Before anything is written: from here on a stop is unclean until it says otherwise. */
export async function removeCleanStop(disk: Disk, layout: Layout): Promise<void> {
  await disk.remove(layout.cleanMarker)
  await disk.syncDirectory(layout.root)
}

const isId = (value: unknown): value is string => typeof value === 'string' && /^[0-9a-f]{32}$/.test(value)
const toJson = (value: unknown): Uint8Array => Buffer.from(`${JSON.stringify(value)}\n`)

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(bytes).toString('utf8'))
  } catch {
    return undefined
  }
}
