import type { TakeMemory } from '../chunks/section-reader.js'

const KIB = 1024
const MIB = 1024 * KIB
/** Least and most of one read; what is smaller or larger is the garbage collector's. */
const READ_BYTES = { min: 8 * KIB, max: 4 * MIB }
const FREE_BYTES_MAX = 8 * MIB

/**
 * Memory for reads from chunks, used again. Fresh memory for each read counts as pressure on the heap: while 60 readers began at the
 * front, the garbage collector marked all of it a dozen times, and everybody's acknowledgements waited. A slow socket
 * holds on to what it was sent: so a read gets memory of about its own size.
 */
export function readMemory(): TakeMemory {
  const free = new FreeMemory(FREE_BYTES_MAX)
  return (bytes) => {
    if (bytes < READ_BYTES.min || bytes > READ_BYTES.max) return undefined
    const memory = free.take(sizeFor(bytes))
    let isHeld = true
    return {
      bytes: memory.subarray(0, bytes),
      release: () => {
        if (isHeld) free.put(memory)
        isHeld = false
      },
    }
  }
}

/** Four sizes for each doubling: at most a fifth of what is taken goes unused. */
function sizeFor(bytes: number): number {
  const step = 2 ** (29 - Math.clz32(bytes - 1))
  return Math.ceil(bytes / step) * step
}

/** What was used, by size; beyond the cap the size goes that was not asked for the longest. */
class FreeMemory {
  readonly #bytesMax: number
  /** The least recently used size first. */
  readonly #bySize = new Map<number, Uint8Array[]>()
  #bytes = 0

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  take(size: number): Uint8Array {
    const memory = this.#of(size).pop()
    if (memory === undefined) return Buffer.allocUnsafeSlow(size)
    this.#bytes -= size
    return memory
  }

  put(memory: Uint8Array): void {
    this.#of(memory.length).push(memory)
    this.#bytes += memory.length
    while (this.#bytes > this.#bytesMax) this.#drop()
  }

  /** Now the most recently used. */
  #of(size: number): Uint8Array[] {
    const list = this.#bySize.get(size) ?? []
    this.#bySize.delete(size)
    this.#bySize.set(size, list)
    return list
  }

  #drop(): void {
    for (const [size, list] of this.#bySize) {
      if (list.pop() !== undefined) {
        this.#bytes -= size
        return
      }
      this.#bySize.delete(size)
    }
  }
}
