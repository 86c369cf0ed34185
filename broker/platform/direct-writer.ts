import { alignedMemory } from './aligned-memory.js'
import { DIRECT_ALIGN_BYTES, type DiskFile } from './disk.js'

const PIECE_BYTES = 1024 * 1024
const SYNC_EVERY_BYTES = 8 * 1024 * 1024

/** Two pieces of a file: one is filled while the other is written. */
export type DirectPieces = readonly [Uint8Array, Uint8Array]

/** Memory for a writer, and the next one after it. */
export const directPieces = (bytes = PIECE_BYTES): DirectPieces => [
  alignedMemory(bytes),
  alignedMemory(bytes),
]

/** Fills a `createDirect` file from start to end. Not re-entrant: await each call before the next. */
export class DirectWriter {
  readonly #file: DiskFile
  readonly #syncEveryBytes: number
  /** The piece that is filled. */
  #piece: Uint8Array
  /** The piece that was filled before. */
  #otherPiece: Uint8Array
  /** The write of the other piece. */
  #writing: Promise<void> | undefined
  /** Bytes in the file. */
  #written = 0
  #synced = 0
  /** Bytes in the piece. */
  #filled = 0

  /**
   * `pieces`: all the memory that it holds, for one writer at a time. `syncEveryBytes`: a sync each time that so much was
   * written, so that no single sync keeps the disk from the WAL for long.
   */
  constructor(file: DiskFile, options: { pieces?: DirectPieces; syncEveryBytes?: number } = {}) {
    const [piece, otherPiece] = options.pieces ?? directPieces()
    this.#file = file
    this.#piece = piece
    this.#otherPiece = otherPiece
    this.#syncEveryBytes = options.syncEveryBytes ?? SYNC_EVERY_BYTES
    if (piece.length === 0 || piece.length % DIRECT_ALIGN_BYTES !== 0)
      throw new RangeError(`a piece is a multiple of ${DIRECT_ALIGN_BYTES} bytes`)
  }

  /** Bytes so far, those in memory included. */
  get bytes(): number {
    return this.#written + this.#filled
  }

  /** Copies at once what fits; the rest goes to disk piece by piece. The bytes may change once it is done. */
  put(bytes: Uint8Array): Promise<void> | undefined {
    if (bytes.length >= this.#piece.length - this.#filled) return this.#putLarge(bytes)
    this.#piece.set(bytes, this.#filled)
    this.#filled += bytes.length
    return undefined
  }

  /** Writes what is left. It fills no block: the rest of the last one is written and cut off again. Does not sync. */
  async end(): Promise<void> {
    const bytes = this.bytes
    const blocks = Math.ceil(this.#filled / DIRECT_ALIGN_BYTES)
    this.#piece.fill(0, this.#filled, blocks * DIRECT_ALIGN_BYTES)
    this.#filled = blocks * DIRECT_ALIGN_BYTES
    if (blocks > 0) await this.#flush()
    await this.#writing
    if (this.#written === bytes) return
    await this.#file.truncate(bytes)
    this.#written = bytes
  }

  /** Waits for what is under way, whatever becomes of it: then the pieces are free. */
  async settle(): Promise<void> {
    await this.#writing?.catch(() => {})
  }

  async #putLarge(bytes: Uint8Array): Promise<void> {
    let at = 0
    while (at < bytes.length) {
      const part = bytes.subarray(at, at + this.#piece.length - this.#filled)
      this.#piece.set(part, this.#filled)
      this.#filled += part.length
      at += part.length
      if (this.#filled === this.#piece.length) await this.#flush()
    }
  }

  /** Begins to write the piece, once the one before is written. */
  async #flush(): Promise<void> {
    await this.#writing
    const piece = this.#piece
    this.#piece = this.#otherPiece
    this.#otherPiece = piece
    this.#writing = this.#write(piece.subarray(0, this.#filled), this.#written)
    // Awaited with the next piece or at the end.
    this.#writing.catch(() => {})
    this.#written += this.#filled
    this.#filled = 0
  }

  async #write(piece: Uint8Array, position: number): Promise<void> {
    await this.#file.write([piece], position)
    if (position + piece.length - this.#synced < this.#syncEveryBytes) return
    await this.#file.sync()
    this.#synced = position + piece.length
  }
}
