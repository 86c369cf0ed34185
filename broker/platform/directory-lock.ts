import * as fs from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { DiskError } from './disk.js'

/**
 * The lock that keeps a second broker off a data directory.
 *
 * It is the kernel's lock on the open file LOCK: it belongs to the file and not to a name for it, so symlinks, other
 * paths and other containers on the machine meet the same lock; the kernel takes it back when the process dies, so
 * none is ever stale. The file's content only says who holds it. The file stays for good: were it removed, one
 * process could lock the removed file while another locks its successor.
 */
export interface DirectoryLock {
  /** Lets the next one in. Idempotent. */
  release(): Promise<void>
}

/** Another broker, in this process or another, has the data directory open. */
export class DirectoryLockedError extends Error {
  readonly code = 'DIRECTORY_LOCKED'
  readonly directory: string
  /** As the holder wrote it; undefined when it cannot be read. In another container it is that container's number. */
  readonly holderPid: number | undefined

  constructor(directory: string, holder: Holder | undefined) {
    const who = holder ? `process ${holder.pid} on ${holder.host}` : 'another process'
    super(
      `the data directory ${directory} is in use by ${who}: ` +
        'stop that broker first, or use another data directory. ' +
        `Do not delete the file ${lockFileName}: it frees nothing, the lock ends with its process`,
    )
    this.name = 'DirectoryLockedError'
    this.directory = directory
    this.holderPid = holder?.pid
  }
}

/** The directory cannot be locked at all: no lock service on its file system, or no native module for this machine. */
export class DirectoryLockUnavailableError extends Error {
  readonly code = 'DIRECTORY_LOCK_UNAVAILABLE'
  readonly directory: string

  constructor(directory: string, advice: string, cause: unknown) {
    super(`cannot lock the data directory ${directory}: ${advice}`, { cause })
    this.name = 'DirectoryLockUnavailableError'
    this.directory = directory
  }
}

interface Holder {
  readonly pid: number
  readonly host: string
}

const lockFileName = 'LOCK'

/** How long to wait for a holder that has locked but not yet written who it is. */
const introductionMsMax = 200

/**
 * Locks a directory that exists, until `release` or the end of the process.
 * Rejects with `DirectoryLockedError`, `DirectoryLockUnavailableError`, or a `DiskError` when LOCK cannot be opened.
 */
export async function lockDirectory(path: string): Promise<DirectoryLock> {
  const tryLock = await loadNativeLock(path)
  const directory = realDirectory(path)
  const lockPath = join(directory, lockFileName)
  for (;;) {
    const descriptor = openLockFile(lockPath)
    try {
      if (!takeLock(tryLock, descriptor, directory)) throw await lockedError(directory, descriptor)
      // Somebody may have deleted the file between open and lock; then the lock is on a file no one else will find.
      if (isSameFile(descriptor, lockPath)) {
        introduce(descriptor)
        return heldLock(descriptor)
      }
    } catch (error) {
      fs.closeSync(descriptor)
      throw error
    }
    fs.closeSync(descriptor)
  }
}

type TryLock = (descriptor: number) => boolean

async function loadNativeLock(directory: string): Promise<TryLock> {
  try {
    return (await import('fs-native-extensions')).tryLock
  } catch (cause) {
    const advice = `the package fs-native-extensions has no build for ${process.platform}-${process.arch}, or was not installed`
    throw new DirectoryLockUnavailableError(directory, advice, cause)
  }
}

function realDirectory(path: string): string {
  try {
    return fs.realpathSync(path)
  } catch (error) {
    throw DiskError.from(error, { path, operation: 'open' })
  }
}

function openLockFile(path: string): number {
  try {
    return fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_CREAT, 0o600)
  } catch (error) {
    throw DiskError.from(error, { path, operation: 'open' })
  }
}

function takeLock(tryLock: TryLock, descriptor: number, directory: string): boolean {
  try {
    return tryLock(descriptor)
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code
    const advice = `its file system refused the lock (${code}); put the data directory on a local disk`
    throw new DirectoryLockUnavailableError(directory, advice, cause)
  }
}

function isSameFile(descriptor: number, path: string): boolean {
  const held = fs.fstatSync(descriptor, { bigint: true })
  const named = fs.statSync(path, { bigint: true, throwIfNoEntry: false })
  return named !== undefined && named.ino === held.ino && named.dev === held.dev
}

function introduce(descriptor: number): void {
  const self: Holder = { pid: process.pid, host: hostname() }
  fs.ftruncateSync(descriptor, 0)
  try {
    fs.writeSync(descriptor, `${JSON.stringify(self)}\n`, 0)
  } catch {
    // The disk may be full. The lock holds all the same, and a broker must be able to start in order to free space.
  }
}

async function lockedError(directory: string, descriptor: number): Promise<DirectoryLockedError> {
  const deadline = performance.now() + introductionMsMax
  for (;;) {
    const holder = readHolder(descriptor)
    // The pid of a dead process on this host was written by an earlier holder: the present one is about to.
    if (holder && (holder.host !== hostname() || isAlive(holder.pid)))
      return new DirectoryLockedError(directory, holder)
    if (performance.now() > deadline) return new DirectoryLockedError(directory, undefined)
    await sleep(5)
  }
}

function readHolder(descriptor: number): Holder | undefined {
  try {
    const buffer = Buffer.alloc(1024)
    const text = buffer.toString('utf8', 0, fs.readSync(descriptor, buffer, 0, buffer.byteLength, 0))
    const { pid, host } = JSON.parse(text) as Partial<Holder>
    return Number.isInteger(pid) && typeof host === 'string' ? { pid: pid as number, host } : undefined
  } catch {
    return undefined
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

function heldLock(descriptor: number): DirectoryLock {
  let held = true
  return {
    async release() {
      if (!held) return
      held = false
      try {
        fs.ftruncateSync(descriptor, 0)
      } finally {
        fs.closeSync(descriptor)
      }
    },
  }
}
