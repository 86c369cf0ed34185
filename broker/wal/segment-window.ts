import { join } from 'node:path'
import type { Disk, DiskFile } from '../platform/disk.js'
import { type SegmentHeader, segmentFileName } from './segment.js'

const WINDOW_BYTES = 4 * 1024 * 1024

/** Reads a segment through one buffer that moves along with the reader. */
export class SegmentWindow {
  readonly segment: SegmentHeader
  readonly path: string
  readonly #file: DiskFile
  #buffer = new Uint8Array(0)
  #start = 0

  private constructor(file: DiskFile, segment: SegmentHeader) {
    this.#file = file
    this.path = file.path
    this.segment = segment
  }

  static async open(disk: Disk, directory: string, segment: SegmentHeader): Promise<SegmentWindow> {
    const file = await disk.open(join(directory, segmentFileName(segment.number)), 'read')
    return new SegmentWindow(file, segment)
  }

  /** `length` bytes at `position`, fewer at the end of the file; valid until the next call. */
  async view(position: number, length: number): Promise<Uint8Array> {
    const end = Math.min(position + length, this.segment.bytes)
    if (end <= position) return new Uint8Array(0)
    const cached = position >= this.#start && end <= this.#start + this.#buffer.length
    if (!cached) {
      const want = Math.min(Math.max(WINDOW_BYTES, length), this.segment.bytes - position)
      const buffer = new Uint8Array(want)
      const read = await this.#file.read(buffer, position)
      this.#buffer = buffer.subarray(0, read)
      this.#start = position
    }
    return this.#buffer.subarray(position - this.#start, end - this.#start)
  }

  close(): Promise<void> {
    return this.#file.close()
  }
}
