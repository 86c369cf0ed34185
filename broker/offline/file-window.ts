import type { Disk, DiskFile } from '../platform/disk.js'

const windowBytes = 1024 * 1024

/** Reads a file here and there through one buffer. */
export class FileWindow {
  readonly path: string
  readonly bytes: number
  readonly #file: DiskFile
  #buffer = new Uint8Array(0)
  #start = 0

  private constructor(file: DiskFile, bytes: number) {
    this.#file = file
    this.path = file.path
    this.bytes = bytes
  }

  static async open(disk: Disk, path: string): Promise<FileWindow> {
    const file = await disk.open(path, 'read')
    return new FileWindow(file, await file.size())
  }

  /** `length` bytes at `position`, fewer at the end of the file; valid until the next call. */
  async view(position: number, length: number): Promise<Uint8Array> {
    const end = Math.min(position + length, this.bytes)
    if (end <= position) return new Uint8Array(0)
    if (position < this.#start || end > this.#start + this.#buffer.length) {
      const buffer = new Uint8Array(Math.min(Math.max(windowBytes, length), this.bytes - position))
      this.#buffer = buffer.subarray(0, await this.#file.read(buffer, position))
      this.#start = position
    }
    return this.#buffer.subarray(position - this.#start, end - this.#start)
  }

  close(): Promise<void> {
    return this.#file.close()
  }
}
