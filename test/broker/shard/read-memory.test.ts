import { describe, expect, it, vi } from 'vitest'
import type { ReadMemory } from '../../../broker/chunks/section-reader.js'
import { readMemory } from '../../../broker/shard/read-memory.js'

const KIB = 1024
const MIB = 1024 * KIB

describe('memory for reads from chunks', () => {
  it.each([16 * KIB, 100_000, 256 * KIB, MIB, 4 * MIB])(
    'of %i bytes is used again once it was released, however often that was said',
    (bytes) => {
      const take = taker()
      const first = take(bytes)
      first.release()
      first.release()
      const second = take(bytes - 1)
      const third = take(bytes)
      expect(second.bytes.buffer).toBe(first.bytes.buffer)
      expect(second.bytes).toHaveLength(bytes - 1)
      expect(third.bytes.buffer).not.toBe(second.bytes.buffer)
    },
  )

  it('is hardly larger than the read: a slow socket may hold on to it', () => {
    const take = taker()
    for (let bytes = 8 * KIB; bytes <= 4 * MIB; bytes += 49_999) {
      const memory = take(bytes)
      expect(memory.bytes).toHaveLength(bytes)
      expect(memory.bytes.buffer.byteLength).toBeLessThan(1.25 * bytes)
      memory.release()
    }
  })

  it('is left to the garbage collector where it is very small or large', () => {
    const take = readMemory()
    expect(take(4 * KIB)).toBeUndefined()
    expect(take(4 * MIB + 1)).toBeUndefined()
  })

  it('is kept up to a cap: what goes first is of a size that nobody asks for any more', () => {
    const take = taker()
    for (const memory of Array.from({ length: 8 }, () => take(MIB))) memory.release()
    const allocate = vi.spyOn(Buffer, 'allocUnsafeSlow')
    try {
      const readers = Array.from({ length: 16 }, () => take(256 * KIB))
      expect(allocate).toHaveBeenCalledTimes(16)
      for (const reader of readers) reader.release()
      for (const reader of Array.from({ length: 16 }, () => take(256 * KIB))) reader.release()
      expect(allocate).toHaveBeenCalledTimes(16)
      // Four of them are left.
      for (let i = 0; i < 5; i++) take(MIB)
      expect(allocate).toHaveBeenCalledTimes(17)
    } finally {
      allocate.mockRestore()
    }
  })
})

function taker(): (bytes: number) => ReadMemory {
  const take = readMemory()
  return (bytes) => {
    const memory = take(bytes)
    if (memory === undefined) throw new Error(`no memory for ${bytes} bytes`)
    return memory
  }
}
