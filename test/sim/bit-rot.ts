import { posix } from 'node:path'
import type { SeededRandom } from '../support/seeded-random.js'

interface StoredFile {
  readonly path: string
  readonly bytes: number
  readonly settledBytes: number
}

/** How many bytes of one directory rot together: a single one of a chunk is seldom read before it is mended. */
const TOGETHER = [1, 4, 32]

/**
 * Bytes that a broker must miss when they are wrong, or that nobody needs. Not of the newest WAL groups: until the next ones prove that
 * they were written whole, damage there cannot be told from a torn write, and is cut.
 */
export function placesToRot(
  files: readonly StoredFile[],
  random: SeededRandom,
): readonly { path: string; offset: number }[] {
  // A directory first: most files are chunks, which in turn are what is read most.
  const byDirectory = new Map<string, { path: string; bytes: number }[]>()
  for (const { path, bytes, settledBytes } of files) {
    const usable = path.endsWith('.wal') ? settledBytes : bytes
    if (usable === 0) continue
    const directory = posix.dirname(path)
    const known = byDirectory.get(directory) ?? []
    byDirectory.set(directory, known)
    known.push({ path, bytes: usable })
  }
  if (byDirectory.size === 0) return []
  const chunks = [...byDirectory].find(([directory]) => directory.endsWith('/chunks'))?.[1]
  const isOfChunks = chunks !== undefined && random.chance(0.5)
  const rotten = isOfChunks ? chunks : random.pick([...byDirectory.values()])
  return Array.from({ length: random.pick(TOGETHER) }, () => {
    const { path, bytes } = random.pick(rotten)
    return { path, offset: random.below(bytes) }
  })
}
