import type { TakeMemory } from '../chunks/section-reader.js'
import { SlabPool } from '../wal/slab.js'

const MIB = 1024 * 1024
/** What a reader that is far behind gets in one read. */
const SLAB_BYTES = 1 * MIB
const FREE_BYTES_MAX = 8 * MIB

/**
 * Memory for reads from chunks, used again: a fresh megabyte for each would keep the garbage collector marking. Small
 * reads get none of it, since a slow socket may hold on to what was read, and with it to the whole slab.
 */
export function readMemory(): TakeMemory {
  const pool = new SlabPool({ slabBytes: SLAB_BYTES, freeBytesMax: FREE_BYTES_MAX })
  return (bytes) => {
    if (bytes < SLAB_BYTES / 2 || bytes > SLAB_BYTES) return undefined
    const slab = pool.take(bytes)
    let isHeld = true
    return {
      bytes: slab.buffer.subarray(0, bytes),
      release: () => {
        if (isHeld) pool.release(slab)
        isHeld = false
      },
    }
  }
}
