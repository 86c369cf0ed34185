import * as fs from 'node:fs'
import { dirname } from 'node:path'
import { type Disk, DiskError, type DiskFile, type DiskOperation, type OpenMode } from './disk.js'
import { NodeFile } from './node-file.js'
import { replaceFile } from './replace-file.js'

const { O_RDONLY, O_RDWR, O_CREAT, O_EXCL, O_DSYNC } = fs.constants
/** Linux alone has it. */
const O_DIRECT = (fs.constants as { O_DIRECT?: number }).O_DIRECT ?? 0

const openFlags: Readonly<Record<OpenMode, number>> = {
  read: O_RDONLY,
  readWrite: O_RDWR,
  create: O_RDWR | O_CREAT | O_EXCL,
  createDirect: O_RDWR | O_CREAT | O_EXCL | O_DIRECT,
  durable: O_RDWR | O_DSYNC,
  durableDirect: O_RDWR | O_DSYNC | O_DIRECT,
}

/** Records are their owner's: nobody else on the machine reads them by default. */
const fileMode = 0o600
const directoryMode = 0o700

/** The machine's disk, through node:fs. */
export const nodeDisk: Disk = {
  async open(path, mode) {
    const flags = openFlags[mode]
    try {
      return await openFile(path, flags)
    } catch (error) {
      // A file system without direct writes says so here, and has made the file by then.
      if ((flags & O_DIRECT) === 0 || (error as DiskError).code !== 'EINVAL') throw error
      return await openFile(path, flags & ~(O_DIRECT | O_EXCL))
    }
  },

  list: (directory) =>
    guard('list', directory, async () => {
      try {
        return (await fs.promises.readdir(directory)).sort()
      } catch (error) {
        if (isMissing(error)) return []
        throw error
      }
    }),

  makeDirectory: (path) =>
    guard('makeDirectory', path, async () => {
      const created = await makeDirectories(path)
      // One that exists may be the work of a process that was killed before it synced: its entry is synced again.
      const last = await fs.promises.realpath(path)
      const first = created === undefined ? last : await fs.promises.realpath(created)
      for (let made = last; ; made = dirname(made)) {
        await syncEntryOf(made, { mayBeUnreadable: created === undefined })
        if (made === first) return
      }
    }),

  rename: (from, to) => guard('rename', from, () => fs.promises.rename(from, to)),

  remove: (path) =>
    guard('remove', path, async () => {
      try {
        await fs.promises.unlink(path)
      } catch (error) {
        if (!isMissing(error)) throw error
      }
    }),

  syncDirectory: (path) =>
    guard('syncDirectory', path, async () => {
      const directory = await fs.promises.open(path, O_RDONLY | fs.constants.O_DIRECTORY)
      try {
        await directory.sync()
      } finally {
        await directory.close()
      }
    }),

  exists: (path) =>
    guard('exists', path, async () => {
      try {
        await fs.promises.stat(path)
        return true
      } catch (error) {
        if (isMissing(error)) return false
        throw error
      }
    }),

  readFile: (path) => guard('readFile', path, () => fs.promises.readFile(path)),

  replaceFile: (path, bytes) => replaceFile(nodeDisk, path, bytes),

  freeBytes: (path) =>
    guard('freeBytes', path, async () => {
      const { bavail, bsize } = await fs.promises.statfs(path)
      return bavail * bsize
    }),
}

function openFile(path: string, flags: number): Promise<DiskFile> {
  return new Promise((resolve, reject) => {
    fs.open(path, flags, fileMode, (error, descriptor) => {
      if (error) reject(DiskError.from(error, { path, operation: 'open' }))
      else if ((flags & O_DIRECT) === 0) resolve(new NodeFile(path, descriptor))
      else resolve(new NodeFile(path, descriptor, { bufferedFlags: flags & (O_RDWR | O_DSYNC) }))
    })
  })
}

/**
 * Returns the first directory that was missing. Not mkdir's own recursive mode: where a directory exists and says ENOENT of all
 * that is made in it, as /proc does, that tries for ever.
 */
async function makeDirectories(path: string): Promise<string | undefined> {
  try {
    return (await makeOne(path)) ? path : undefined
  } catch (error) {
    if (!isMissing(error) || dirname(path) === path) throw error
  }
  const first = await makeDirectories(dirname(path))
  await makeOne(path)
  return first ?? path
}

/** False where it is there. */
async function makeOne(path: string): Promise<boolean> {
  try {
    await fs.promises.mkdir(path, directoryMode)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST' && (await isDirectory(path))) return false
    throw error
  }
}

const isDirectory = async (path: string): Promise<boolean> => (await fs.promises.stat(path)).isDirectory()

/** With `mayBeUnreadable`, a parent that this user must not open is left alone: it is somebody else's to keep. */
async function syncEntryOf(path: string, options: { mayBeUnreadable: boolean }): Promise<void> {
  try {
    await nodeDisk.syncDirectory(dirname(path))
  } catch (error) {
    if (!(options.mayBeUnreadable && error instanceof DiskError && error.code === 'EACCES')) throw error
  }
}

async function guard<T>(operation: DiskOperation, path: string, run: () => Promise<T>): Promise<T> {
  try {
    return await run()
  } catch (error) {
    throw DiskError.from(error, { path, operation })
  }
}

function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ENOENT'
}
