/**
 * The disk as the broker sees it. Everything durable goes through this interface, so that tests can put a disk
 * beneath the broker that drops, tears and reorders what was not synced.
 */

/**
 * How a file is opened. All but `create` need the file to exist.
 * - `read`: reading only.
 * - `readWrite`: writes are in the page cache until `sync`.
 * - `create`: a new file, open for reading and writing; fails with EEXIST if the name is taken. Its directory entry
 *   is durable only after `syncDirectory`.
 * - `createDirect`: as `create`, but writes go past the page cache where the file system can do that. Every write is one
 *   buffer from `alignedMemory`, a whole multiple of `DIRECT_ALIGN_BYTES`, at such a position. New blocks reach the disk
 *   several times as fast; whoever reads them soon reads the disk.
 * - `durable`: as `readWrite`, but a write returns only once its bytes, and the size they need, are on disk (O_DSYNC).
 * - `durableDirect`: as `durable`, and past the page cache under the rules of `createDirect`.
 */
export type OpenMode = 'read' | 'readWrite' | 'create' | 'createDirect' | 'durable' | 'durableDirect'

/** The unit of sizes and positions for files that are written past the page cache. */
export const DIRECT_ALIGN_BYTES = 4096

/** An open file. All positions are explicit, so any number of reads and writes may be under way at once. */
export interface DiskFile {
  readonly path: string
  /** Fills `buffer` from `position` on. Returns the bytes read: fewer than asked only at the end of the file. */
  read(buffer: Uint8Array, position: number): Promise<number>
  /**
   * Writes the buffers one after the other from `position` on, all of them or an error. They must not change until
   * the promise settles. After an error any part of the range may have been written.
   */
  write(buffers: readonly Uint8Array[], position: number): Promise<void>
  /** Makes all earlier writes and truncations of this file durable (fdatasync). Never retry it after an error. */
  sync(): Promise<void>
  /** Sets the size; bytes gained read as zeros. Durable only after `sync`, in every mode. */
  truncate(bytes: number): Promise<void>
  /** Current size in bytes. */
  size(): Promise<number>
  /** Waits for operations under way, then closes. Idempotent. Does not sync. */
  close(): Promise<void>
}

/** Files by path. Every method rejects with a `DiskError`. */
export interface Disk {
  open(path: string, mode: OpenMode): Promise<DiskFile>
  /** Names in a directory, sorted by code unit; empty when the directory is missing. */
  list(directory: string): Promise<string[]>
  /** Creates a directory and its missing parents, and syncs the directories that hold the new entries. */
  makeDirectory(path: string): Promise<void>
  /** Replaces `to` atomically. Durable only after `syncDirectory`. */
  rename(from: string, to: string): Promise<void>
  /** Unlinks a file; a missing one is no error. Durable only after `syncDirectory`. */
  remove(path: string): Promise<void>
  /** Makes the creations, renames and removals in this directory durable. */
  syncDirectory(path: string): Promise<void>
  exists(path: string): Promise<boolean>
  /** The whole of a small file. */
  readFile(path: string): Promise<Uint8Array>
  /**
   * Puts `bytes` at `path` so that a crash leaves either the old content or the new, never a mixture; durable on
   * return. One call at a time for a path: they share the temporary name `<path>.tmp`.
   */
  replaceFile(path: string, bytes: Uint8Array): Promise<void>
  /** Bytes that an unprivileged process can still write on the file system of `path`. */
  freeBytes(path: string): Promise<number>
}

export type DiskOperation = keyof Omit<DiskFile, 'path'> | keyof Disk | 'failpoint'

/** What the operating system refused: `code` is its errno name (`ENOSPC`, `EIO`, …). */
export class DiskError extends Error {
  readonly code: string
  readonly path: string
  readonly operation: DiskOperation

  constructor(options: { code: string; path: string; operation: DiskOperation; cause?: unknown }) {
    const { code, path, operation, cause } = options
    super(`${operation} ${path}: ${describe(code, cause)}`, cause === undefined ? undefined : { cause })
    this.name = 'DiskError'
    this.code = code
    this.path = path
    this.operation = operation
  }

  /** Wraps what a node:fs call threw; a `DiskError` passes through. */
  static from(cause: unknown, at: { path: string; operation: DiskOperation }): DiskError {
    if (cause instanceof DiskError) return cause
    const code = (cause as NodeJS.ErrnoException | null)?.code ?? 'UNKNOWN'
    return new DiskError({ ...at, code, cause })
  }
}

const meanings: Readonly<Record<string, string>> = {
  EIO: 'input/output error',
  ENOSPC: 'no space left on the disk',
  ENOENT: 'no such file or directory',
  EEXIST: 'exists already',
  EACCES: 'permission denied',
  EROFS: 'the file system is read-only',
  EMFILE: 'too many open files in this process',
  ENFILE: 'too many open files on this machine',
  EDQUOT: 'disk quota exceeded',
  EBADF: 'the file is closed',
}

function describe(code: string, cause: unknown): string {
  const meaning = meanings[code] ?? (cause instanceof Error ? cause.message : 'failed')
  return `${code}, ${meaning}`
}
