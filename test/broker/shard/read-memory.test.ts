import { describe, expect, it } from 'vitest'
import { readMemory } from '../../../broker/shard/read-memory.js'

const MIB = 1024 * 1024

describe('memory for reads from chunks', () => {
  it('is used again once it was released, however often that was said', () => {
    const take = readMemory()
    const first = take(MIB)
    first?.bytes.fill(7)
    first?.release()
    first?.release()
    const second = take(MIB - 1)
    const third = take(MIB)
    expect(second?.bytes.buffer).toBe(first?.bytes.buffer)
    expect(second?.bytes).toHaveLength(MIB - 1)
    expect(third?.bytes.buffer).not.toBe(second?.bytes.buffer)
  })

  it('is left to the garbage collector where it is small, and where it is too large for a slab', () => {
    const take = readMemory()
    expect(take(64 * 1024)).toBeUndefined()
    expect(take(MIB + 1)).toBeUndefined()
  })
})
