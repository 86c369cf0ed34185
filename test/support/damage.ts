import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { LmdbStore } from '../../broker/manifest/lmdb-store.js'
import type { StoreEntry } from '../../broker/manifest/store.js'
import { listSegmentFiles } from '../../broker/offline/segment-files.js'
import type { Disk } from '../../broker/platform/disk.js'
import { nodeDisk } from '../../broker/platform/node-disk.js'
import { layoutOf, readIdentity } from '../../broker/shard/layout.js'
import type { DirectoryRow, GroupHeader } from '../../broker/wal/group.js'
import type { WalIdentity } from '../../broker/wal/position.js'
import { scanWal } from '../../broker/wal/scan.js'
import { segmentFileName } from '../../broker/wal/segment.js'

/** One group of an undamaged WAL, and where it stands. */
export interface GroupPlace {
  readonly file: string
  readonly position: number
  readonly header: GroupHeader
  readonly rows: readonly DirectoryRow[]
}

/** All groups of an undamaged WAL, in their order. */
export async function groupsOf(directory: string, disk: Disk = nodeDisk): Promise<GroupPlace[]> {
  const layout = layoutOf(directory)
  const identity = (await readIdentity(disk, layout)) as WalIdentity
  const groups: GroupPlace[] = []
  const [oldest] = await listSegmentFiles(disk, layout.wal)
  await scanWal({
    disk,
    directory: layout.wal,
    identity,
    from: oldest?.header?.firstSequence ?? 1,
    visit: ({ header, rows, segment, position }) => {
      groups.push({ file: join(layout.wal, segmentFileName(segment.number)), position, header, rows })
    },
  })
  return groups
}

/** Changes one byte of a file. */
export async function flip(path: string, offset: number, mask = 0x10): Promise<void> {
  const bytes = await readFile(path)
  bytes[offset] = (bytes[offset] as number) ^ mask
  await writeFile(path, bytes)
}

/** Paths of the files in a part of a data directory, in the order of their names. */
export async function filesIn(directory: string, part: 'wal' | 'chunks' | 'snapshots'): Promise<string[]> {
  const names = (await readdir(join(directory, part))).filter((name) => !name.startsWith('spare-')).sort()
  return names.map((name) => join(directory, part, name))
}

/** Damages the value of the first manifest row in a keyspace. Returns its key. */
export async function flipManifestValue(
  directory: string,
  keyspace: number,
  offset = 6,
): Promise<Uint8Array> {
  const store = await LmdbStore.open({ disk: nodeDisk, directory: join(directory, 'manifest') })
  try {
    const [key, value] = [...store.entries()].find(([each]) => each[0] === keyspace) as StoreEntry
    const damaged = value.slice()
    damaged[offset] = (damaged[offset] as number) ^ 0x10
    await store.commit({ deletes: [], puts: [[key.slice(), damaged]] })
    return key
  } finally {
    await store.close()
  }
}
