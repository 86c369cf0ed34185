import { dirname } from 'node:path'
import type { Disk } from './disk.js'

type Primitives = Pick<Disk, 'open' | 'rename' | 'remove' | 'syncDirectory'>

/**
 * The one way to replace a small file, written over the primitives so that the simulated disk breaks the very steps
 * that the real one takes. Crash rules: before the rename is durable the old content stands; a leftover temporary
 * file is removed by the next call.
 */
export async function replaceFile(disk: Primitives, path: string, bytes: Uint8Array): Promise<void> {
  const temporary = `${path}.tmp`
  await disk.remove(temporary)
  const file = await disk.open(temporary, 'create')
  try {
    await file.write([bytes], 0)
    // Before the rename: a name must never come to stand for bytes that are not on disk.
    await file.sync()
  } finally {
    await file.close()
  }
  await disk.rename(temporary, path)
  await disk.syncDirectory(dirname(path))
}
