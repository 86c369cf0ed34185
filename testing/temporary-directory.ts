import { rmSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const left = new Set<string>()
let isWatchingExit = false

/** A directory of its own, which goes at the latest with the process, unless that is killed. */
export async function makeTemporaryDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'millrace-test-'))
  left.add(directory)
  if (!isWatchingExit) {
    isWatchingExit = true
    process.once('exit', () => {
      for (const path of left) rmSync(path, { recursive: true, force: true })
    })
  }
  return directory
}

export async function removeTemporaryDirectory(directory: string): Promise<void> {
  await rm(directory, { recursive: true, force: true })
  left.delete(directory)
}
