import { alignedMemory } from '../platform/aligned-memory.js'

/**
 * Buffers that groups are built in, and that the tail cache and deliveries read from: a batch is copied once, into a
 * slab. A slab is counted by those who use it (the writer, the cache, each send) and returns to the pool with the last.
 */
export class Slab {
  readonly buffer: Uint8Array
  readonly pooled: boolean
  /** Bytes taken from the front. */
  used = 0
  users = 0

  constructor(buffer: Uint8Array, pooled: boolean) {
    this.buffer = buffer
    this.pooled = pooled
  }

  get free(): number {
    return this.buffer.length - this.used
  }
}

/** Not re-entrant. Free slabs are kept up to a cap; what is beyond goes to the garbage collector. */
export class SlabPool {
  readonly slabBytes: number
  readonly #allocate: (bytes: number) => Uint8Array
  readonly #freeMax: number
  readonly #free: Slab[] = []
  #bytesInUse = 0

  /** `isAligned`: memory that can be written past the page cache. */
  constructor(options: { slabBytes: number; freeBytesMax: number; isAligned?: boolean }) {
    this.slabBytes = options.slabBytes
    this.#allocate = options.isAligned ? alignedMemory : Buffer.allocUnsafeSlow
    this.#freeMax = Math.max(1, Math.floor(options.freeBytesMax / options.slabBytes))
  }

  /** Bytes of slabs that someone uses. */
  get bytesInUse(): number {
    return this.#bytesInUse
  }

  /** A slab with room for `bytes`, used by the caller; larger than usual where the bytes are. */
  take(bytes: number): Slab {
    const fits = bytes <= this.slabBytes
    const slab =
      (fits ? this.#free.pop() : undefined) ?? new Slab(this.#allocate(fits ? this.slabBytes : bytes), fits)
    slab.used = 0
    slab.users = 1
    this.#bytesInUse += slab.buffer.length
    return slab
  }

  retain(slab: Slab): void {
    if (slab.users === 0) throw new Error('a slab was retained after its last release')
    slab.users++
  }

  release(slab: Slab): void {
    if (slab.users === 0) throw new Error('a slab was released more often than retained')
    slab.users--
    if (slab.users > 0) return
    this.#bytesInUse -= slab.buffer.length
    if (slab.pooled && this.#free.length < this.#freeMax) this.#free.push(slab)
  }
}
