import type { Slab, SlabPool } from '../wal/slab.js'

/** The bytes of one frame from a client. They may lie in memory that is used again once they are released. */
export class ReceivedFrame {
  readonly bytes: Buffer
  readonly #pool: SlabPool | undefined
  #slab: Slab | undefined

  constructor(bytes: Buffer, place?: { pool: SlabPool; slab: Slab }) {
    this.bytes = bytes
    this.#pool = place?.pool
    this.#slab = place?.slab
  }

  /** A frame that is safe to keep without a release; this one is released. */
  owned(): ReceivedFrame {
    if (this.#slab === undefined) return this
    const bytes = Buffer.from(this.bytes)
    this.release()
    return new ReceivedFrame(bytes)
  }

  /** After this the bytes are another frame's. A second call does nothing. */
  release(): void {
    const slab = this.#slab
    this.#slab = undefined
    if (slab !== undefined) this.#pool?.release(slab)
  }
}
