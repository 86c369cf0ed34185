import type { Disk, DiskFile, OpenMode } from '../broker/platform/disk.js'
import { replaceFile } from '../broker/platform/replace-file.js'
import { forever, type MortalOperations } from './mortal-operations.js'

const FREE_BYTES_AGE_MS_MAX = 100

/** A disk for one life of a broker, which holds its open files as the kernel does. */
export class MortalDisk implements Disk {
  readonly #disk: Disk
  readonly #operations: MortalOperations
  readonly #files = new Set<DiskFile>()
  #freeBytes: Promise<number> = Promise.resolve(0)
  #freeBytesAtMs = Number.NEGATIVE_INFINITY

  constructor(disk: Disk, operations: MortalOperations) {
    this.#disk = disk
    this.#operations = operations
  }

  open(path: string, mode: OpenMode): Promise<DiskFile> {
    return this.#operations.run(async () => {
      const file = await this.#disk.open(path, mode)
      this.#files.add(file)
      return new MortalFile(file, { operations: this.#operations, onClose: () => this.#files.delete(file) })
    })
  }

  list(directory: string): Promise<string[]> {
    return this.#operations.run(() => this.#disk.list(directory))
  }

  makeDirectory(path: string): Promise<void> {
    return this.#operations.run(() => this.#disk.makeDirectory(path))
  }

  rename(from: string, to: string): Promise<void> {
    return this.#operations.run(() => this.#disk.rename(from, to))
  }

  remove(path: string): Promise<void> {
    return this.#operations.run(() => this.#disk.remove(path))
  }

  syncDirectory(path: string): Promise<void> {
    return this.#operations.run(() => this.#disk.syncDirectory(path))
  }

  exists(path: string): Promise<boolean> {
    return this.#operations.run(() => this.#disk.exists(path))
  }

  readFile(path: string): Promise<Uint8Array> {
    return this.#operations.run(() => this.#disk.readFile(path))
  }

  /** Step by step: the life may end between any two. */
  replaceFile(path: string, bytes: Uint8Array): Promise<void> {
    return replaceFile(this, path, bytes)
  }

  freeBytes(path: string): Promise<number> {
    const nowMs = performance.now()
    // The broker looks every second of its time, which may be a thousand times a second of the machine's.
    if (nowMs - this.#freeBytesAtMs > FREE_BYTES_AGE_MS_MAX) {
      this.#freeBytesAtMs = nowMs
      this.#freeBytes = this.#operations.run(() => this.#disk.freeBytes(path))
    }
    return this.#operations.isOver ? forever() : this.#freeBytes
  }

  /** Closes what the life left open; call it when its operations have settled. */
  async closeFiles(): Promise<void> {
    await Promise.all([...this.#files].map((file) => file.close()))
    this.#files.clear()
  }
}

class MortalFile implements DiskFile {
  readonly path: string
  readonly #file: DiskFile
  readonly #operations: MortalOperations
  readonly #onClose: () => void

  constructor(file: DiskFile, life: { operations: MortalOperations; onClose: () => void }) {
    this.path = file.path
    this.#file = file
    this.#operations = life.operations
    this.#onClose = life.onClose
  }

  read(buffer: Uint8Array, position: number): Promise<number> {
    return this.#operations.run(() => this.#file.read(buffer, position))
  }

  write(buffers: readonly Uint8Array[], position: number): Promise<void> {
    return this.#operations.run(() => this.#file.write(buffers, position))
  }

  sync(): Promise<void> {
    return this.#operations.run(() => this.#file.sync())
  }

  truncate(bytes: number): Promise<void> {
    return this.#operations.run(() => this.#file.truncate(bytes))
  }

  size(): Promise<number> {
    return this.#operations.run(() => this.#file.size())
  }

  close(): Promise<void> {
    return this.#operations.run(async () => {
      await this.#file.close()
      this.#onClose()
    })
  }
}
