import { type Slab, SlabPool } from '../wal/slab.js'
import { ReceivedFrame } from './received-frame.js'

const MIB = 1024 * 1024
/** Room for a batch of 1 MiB with its frame. */
const SLAB_BYTES = 2 * MIB
const FREE_BYTES_MAX = 32 * MIB

/** A place for the bytes of one frame while they come in. */
export interface FrameRoom {
  readonly bytes: Buffer
  readonly slab: Slab
}

/**
 * Memory that frames are received into, in the order in which they begin, and that is used again once their requests
 * are answered. Shared by all connections.
 */
export class FrameMemory {
  readonly #pool = new SlabPool({ slabBytes: SLAB_BYTES, freeBytesMax: FREE_BYTES_MAX })
  readonly #bytesMax: number
  #slab: Slab | undefined

  /** `bytesMax` bounds what is set aside for frames that have only been announced, too. */
  constructor({ bytesMax }: { bytesMax: number }) {
    this.#bytesMax = bytesMax
  }

  get bytesInUse(): number {
    return this.#pool.bytesInUse
  }

  /** Undefined when there is none for so many bytes. */
  take(bytes: number): FrameRoom | undefined {
    if (bytes > SLAB_BYTES) return undefined
    let slab = this.#slab
    if (slab === undefined || slab.free < bytes) {
      if (this.#pool.bytesInUse + SLAB_BYTES > this.#bytesMax) return undefined
      if (slab !== undefined) this.#pool.release(slab)
      slab = this.#pool.take(SLAB_BYTES)
      this.#slab = slab
    }
    const start = slab.used
    slab.used += bytes
    this.#pool.retain(slab)
    return { bytes: slab.buffer.subarray(start, slab.used) as Buffer, slab }
  }

  received({ bytes, slab }: FrameRoom): ReceivedFrame {
    return new ReceivedFrame(bytes, { pool: this.#pool, slab })
  }

  release({ slab }: FrameRoom): void {
    this.#pool.release(slab)
  }
}
