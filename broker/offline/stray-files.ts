import { basename, join } from 'node:path'
import { chunkIdOf } from '../chunks/format.js'
import { snapshotSequenceOf } from '../manifest/snapshot-format.js'
import type { Disk } from '../platform/disk.js'
import type { Layout } from '../shard/layout.js'
import type { ShardState } from '../shard/state.js'
import { segmentNumber, spareNumber } from '../wal/segment.js'

/** A line for each file of a data directory that means nothing to a start. */
export async function strayFiles(
  disk: Disk,
  layout: Layout,
  state: ShardState | undefined,
): Promise<string[]> {
  const { root, chunks, wal, snapshots } = layout
  const notes: string[] = []
  const note = async (directory: string, describe: (name: string) => string | undefined): Promise<void> => {
    for (const name of await disk.list(directory)) {
      const about = describe(name)
      if (about !== undefined) notes.push(`${join(directory, name)}: ${about}`)
    }
  }
  const known = new Set(['LOCK', ...Object.values(layout).map((path: string) => basename(path))])
  await note(chunks, (name) => {
    const chunkId = chunkIdOf(name)
    const isUsed = chunkId !== undefined && (state === undefined || state.chunkReferences.has(chunkId))
    return isUsed ? undefined : 'nothing refers to this file, the next start removes it'
  })
  await note(wal, (name) =>
    segmentNumber(name) === undefined && spareNumber(name) === undefined ? describe(name) : undefined,
  )
  await note(snapshots, (name) => (snapshotSequenceOf(name) === undefined ? describe(name) : undefined))
  await note(root, (name) => (known.has(name) ? undefined : describe(name)))
  return notes
}

function describe(name: string): string {
  if (name.endsWith('.broken')) return 'a copy of what a start or a repair has cut'
  if (name.endsWith('.tmp')) return 'left by a crash, it means nothing'
  return 'this file is none of Millrace'
}
