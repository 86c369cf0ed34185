import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, rm, statfs } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/**
 * A directory on a file system that others leave alone, so that its free bytes are the broker's doing: a small one made for it
 * where this process may do so, else the machine's memory, else the disk like everything.
 */
export class SmallFileSystem {
  readonly directory: string
  readonly #isMounted: boolean

  /** Whether it is a small one, which can be full or read-only. */
  get isMounted(): boolean {
    return this.#isMounted
  }

  private constructor(directory: string, isMounted: boolean) {
    this.directory = directory
    this.#isMounted = isMounted
  }

  static async make(megabytes: number): Promise<SmallFileSystem> {
    const directory = await mkdtemp(join(tmpdir(), 'millrace-small-'))
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m`, 'tmpfs', directory], {
        stdio: 'ignore',
      })
      return new SmallFileSystem(directory, true)
    } catch {
      if (!existsSync('/dev/shm')) return new SmallFileSystem(directory, false)
      await rm(directory, { recursive: true })
      return new SmallFileSystem(await mkdtemp('/dev/shm/millrace-small-'), false)
    }
  }

  /** Of a mounted one that no process writes to. */
  remount(how: 'ro' | 'rw'): void {
    execFileSync('mount', ['-o', `remount,${how}`, this.directory])
  }

  async freeBytes(): Promise<number> {
    const { bavail, bsize } = await statfs(this.directory)
    return bavail * bsize
  }

  async remove(): Promise<void> {
    if (this.#isMounted) execFileSync('umount', [this.directory])
    await rm(this.directory, { recursive: true })
  }
}
