import { crc32 } from '#crc32'
import type { DiskFile } from '../platform/disk.js'

const windowBytes = 1024 * 1024

/** Reads a range of a file from start to end through one window. What it returns is valid until the next call. */
export class ForwardReader {
  readonly #file: DiskFile
  readonly #end: number
  readonly #buffer: Uint8Array
  /** Unread bytes of the buffer. */
  #window: Uint8Array
  #position: number

  constructor(file: DiskFile, range: { start: number; end: number }) {
    this.#file = file
    this.#position = range.start
    this.#end = range.end
    this.#buffer = Buffer.allocUnsafeSlow(Math.max(Math.min(windowBytes, range.end - range.start), 0))
    this.#window = this.#buffer.subarray(0, 0)
  }

  /** File position of the next byte. */
  get position(): number {
    return this.#position
  }

  /** The next `length` bytes, which must fit the window; fewer at the end. */
  async peek(length: number): Promise<Uint8Array> {
    if (this.#window.length < length) await this.#fill()
    return this.#window.subarray(0, length)
  }

  /** At least one of the next `length` bytes and as many as are at hand; none at the end. */
  async peekUpTo(length: number): Promise<Uint8Array> {
    if (this.#window.length === 0) await this.#fill()
    return this.#window.subarray(0, length)
  }

  /** Passes over bytes that were peeked. */
  skip(length: number): void {
    if (length > this.#window.length) throw new RangeError('skipped further than was peeked')
    this.#window = this.#window.subarray(length)
    this.#position += length
  }

  /** CRC-32 of the next `length` bytes, or of what is left of them, which are passed over. */
  async crc(length: number): Promise<number> {
    let crc = 0
    for (let left = length; left > 0; ) {
      const part = await this.peekUpTo(left)
      if (part.length === 0) return crc
      crc = crc32(part, crc)
      this.skip(part.length)
      left -= part.length
    }
    return crc
  }

  async #fill(): Promise<void> {
    const kept = this.#window.length
    this.#buffer.set(this.#window)
    const wanted = Math.min(this.#buffer.length - kept, this.#end - this.#position - kept)
    const target = this.#buffer.subarray(kept, kept + Math.max(wanted, 0))
    const filled = target.length === 0 ? 0 : await this.#file.read(target, this.#position + kept)
    this.#window = this.#buffer.subarray(0, kept + filled)
  }
}
