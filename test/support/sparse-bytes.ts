export const pageBytes = 4096

const zeroPage = new Uint8Array(pageBytes)

/**
 * A file's content as a map of pages. Pages are never changed in place, so that copies share them and a large
 * preallocated file costs little more than its map.
 */
export class SparseBytes {
  #size = 0
  readonly #pages: Map<number, Uint8Array>

  constructor(from?: SparseBytes) {
    this.#pages = new Map(from ? from.#pages : [])
    this.#size = from ? from.#size : 0
  }

  get size(): number {
    return this.#size
  }

  /** Bytes that hold a page, as `du` would count them. */
  get allocatedBytes(): number {
    return this.#pages.size * pageBytes
  }

  /** Fills `buffer` from `position`; returns the bytes read, fewer at the end. */
  read(buffer: Uint8Array, position: number): number {
    const count = Math.max(0, Math.min(buffer.byteLength, this.#size - position))
    for (let at = 0; at < count; ) {
      const offset = (position + at) % pageBytes
      const length = Math.min(pageBytes - offset, count - at)
      const page = this.#pages.get(Math.floor((position + at) / pageBytes)) ?? zeroPage
      buffer.set(page.subarray(offset, offset + length), at)
      at += length
    }
    return count
  }

  /** The pages a write would newly allocate, in bytes. */
  growth(position: number, length: number): number {
    let pages = 0
    for (let page = Math.floor(position / pageBytes); page * pageBytes < position + length; page++) {
      if (!this.#pages.has(page)) pages++
    }
    return pages * pageBytes
  }

  /** Writes, growing the size where needed. */
  write(bytes: Uint8Array, position: number): void {
    for (let at = 0; at < bytes.byteLength; ) {
      const index = Math.floor((position + at) / pageBytes)
      const offset = (position + at) % pageBytes
      const length = Math.min(pageBytes - offset, bytes.byteLength - at)
      this.#pages.set(index, withBytes(this.#pages.get(index), offset, bytes.subarray(at, at + length)))
      at += length
    }
    if (bytes.byteLength > 0) this.#size = Math.max(this.#size, position + bytes.byteLength)
  }

  /** Sets the size; what is cut off is gone, what is gained is zeros. */
  resize(size: number): void {
    if (size < this.#size) {
      const last = Math.floor(size / pageBytes)
      for (const index of this.#pages.keys()) {
        if (index > last || (index === last && size % pageBytes === 0)) this.#pages.delete(index)
      }
      const page = this.#pages.get(last)
      if (page) this.#pages.set(last, withBytes(page, size % pageBytes, zeroPage.subarray(size % pageBytes)))
    }
    this.#size = size
  }

  toBytes(): Uint8Array {
    const bytes = new Uint8Array(this.#size)
    this.read(bytes, 0)
    return bytes
  }
}

function withBytes(page: Uint8Array | undefined, offset: number, bytes: Uint8Array): Uint8Array {
  if (bytes.byteLength === pageBytes && Buffer.compare(bytes, zeroPage) === 0) return zeroPage
  const copy = new Uint8Array(page ?? zeroPage)
  copy.set(bytes, offset)
  return copy
}
