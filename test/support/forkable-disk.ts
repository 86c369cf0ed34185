import { readdir, readFile } from 'node:fs/promises'
import { dirname, join, posix } from 'node:path'
import {
  type Disk,
  DiskError,
  type DiskFile,
  type DiskOperation,
  type OpenMode,
} from '../../broker/platform/disk.js'

/**
 * Files in memory that can be copied in no time, for tests that need a fresh directory thousands of times over. It
 * loses nothing and breaks nothing: SimulatedDisk does that.
 */
export class ForkableDisk implements Disk {
  readonly #files: Map<string, Uint8Array>
  readonly #directories: Set<string>
  /** Files whose bytes belong to this disk alone. */
  readonly #own = new Set<string>()

  private constructor(files: Map<string, Uint8Array>, directories: Set<string>) {
    this.#files = files
    this.#directories = directories
  }

  /** A disk that holds, at "/", what stands in a real directory. */
  static async load(directory: string): Promise<ForkableDisk> {
    const disk = new ForkableDisk(new Map(), new Set(['/']))
    for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
      const real = join(entry.parentPath, entry.name)
      const path = posix.join('/', real.slice(directory.length))
      if (entry.isDirectory()) disk.#directories.add(path)
      else disk.#files.set(path, new Uint8Array(await readFile(real)))
    }
    return disk
  }

  /** A copy: neither sees what is written to the other from now on. */
  fork(): ForkableDisk {
    this.#own.clear()
    return new ForkableDisk(new Map(this.#files), new Set(this.#directories))
  }

  /** The paths of all files. */
  get paths(): string[] {
    return [...this.#files.keys()].sort()
  }

  bytesOf(path: string): Uint8Array {
    return this.#file(path, 'readFile')
  }

  flip(path: string, offset: number, mask: number): void {
    const bytes = this.#writable(path)
    bytes[offset] = (bytes[offset] as number) ^ mask
  }

  /** Puts a file there, in place of what there was. */
  put(path: string, bytes: Uint8Array): void {
    this.#files.set(path, new Uint8Array(bytes))
    this.#own.add(path)
  }

  /** Takes a file away. */
  take(path: string): void {
    this.#files.delete(path)
    this.#own.delete(path)
  }

  async open(path: string, mode: OpenMode): Promise<DiskFile> {
    if (mode === 'create' || mode === 'createDirect') {
      if (this.#files.has(path)) throw new DiskError({ code: 'EEXIST', path, operation: 'open' })
      this.#files.set(path, new Uint8Array(0))
    } else this.#file(path, 'open')
    return new MemoryFile(path, {
      bytes: () => this.#file(path, 'read'),
      writable: () => this.#writable(path),
      replace: (bytes) => {
        this.#files.set(path, bytes)
        this.#own.add(path)
      },
    })
  }

  async list(directory: string): Promise<string[]> {
    const names = [...this.#files.keys(), ...this.#directories].filter(
      (path) => path !== '/' && dirname(path) === directory,
    )
    return names.map((path) => posix.basename(path)).sort()
  }

  async makeDirectory(path: string): Promise<void> {
    for (let made = path; made !== '/'; made = dirname(made)) this.#directories.add(made)
  }

  async rename(from: string, to: string): Promise<void> {
    this.#files.set(to, this.#file(from, 'rename'))
    if (this.#own.delete(from)) this.#own.add(to)
    this.#files.delete(from)
  }

  async remove(path: string): Promise<void> {
    this.take(path)
  }

  async syncDirectory(): Promise<void> {}

  async exists(path: string): Promise<boolean> {
    return this.#files.has(path) || this.#directories.has(path)
  }

  async readFile(path: string): Promise<Uint8Array> {
    return new Uint8Array(this.#file(path, 'readFile'))
  }

  async replaceFile(path: string, bytes: Uint8Array): Promise<void> {
    this.put(path, bytes)
  }

  async freeBytes(): Promise<number> {
    return 2 ** 40
  }

  #file(path: string, operation: DiskOperation): Uint8Array {
    const bytes = this.#files.get(path)
    if (bytes === undefined) throw new DiskError({ code: 'ENOENT', path, operation })
    return bytes
  }

  #writable(path: string): Uint8Array {
    const bytes = this.#file(path, 'write')
    if (this.#own.has(path)) return bytes
    // Not slice: of a Buffer that is no copy.
    const copy = new Uint8Array(bytes)
    this.#files.set(path, copy)
    this.#own.add(path)
    return copy
  }
}

interface FileAccess {
  bytes(): Uint8Array
  writable(): Uint8Array
  replace(bytes: Uint8Array): void
}

class MemoryFile implements DiskFile {
  readonly path: string
  readonly #access: FileAccess

  constructor(path: string, access: FileAccess) {
    this.path = path
    this.#access = access
  }

  async read(buffer: Uint8Array, position: number): Promise<number> {
    const part = this.#access.bytes().subarray(position, position + buffer.length)
    buffer.set(part)
    return part.length
  }

  async write(buffers: readonly Uint8Array[], position: number): Promise<void> {
    const bytes = Buffer.concat(buffers)
    const end = position + bytes.length
    if (this.#access.bytes().length < end) await this.truncate(end)
    this.#access.writable().set(bytes, position)
  }

  async sync(): Promise<void> {}

  async truncate(length: number): Promise<void> {
    const bytes = new Uint8Array(length)
    bytes.set(this.#access.bytes().subarray(0, length))
    this.#access.replace(bytes)
  }

  async size(): Promise<number> {
    return this.#access.bytes().length
  }

  async close(): Promise<void> {}
}
