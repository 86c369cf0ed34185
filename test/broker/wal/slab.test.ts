import { describe, expect, it } from 'vitest'
import { SlabPool } from '../../../broker/wal/slab.js'

const pool = (): SlabPool => new SlabPool({ slabBytes: 1024, freeBytesMax: 2048 })

describe('SlabPool', () => {
  it('counts the bytes of slabs in use, until the last user lets go', () => {
    const slabs = pool()
    const slab = slabs.take(10)
    slabs.retain(slab)
    expect(slabs.bytesInUse).toBe(1024)
    slabs.release(slab)
    expect(slabs.bytesInUse).toBe(1024)
    slabs.release(slab)
    expect(slabs.bytesInUse).toBe(0)
  })

  it('hands out a slab again, empty, once nobody uses it', () => {
    const slabs = pool()
    const slab = slabs.take(10)
    slab.used = 500
    slabs.release(slab)
    const again = slabs.take(1024)
    expect(again).toBe(slab)
    expect([again.used, again.free, again.users]).toEqual([0, 1024, 1])
  })

  it('makes a slab of its own for what is larger, and never pools it', () => {
    const slabs = pool()
    const large = slabs.take(5000)
    expect([large.buffer.length, slabs.bytesInUse]).toEqual([5000, 5000])
    slabs.release(large)
    expect(slabs.bytesInUse).toBe(0)
    expect(slabs.take(10).buffer.length).toBe(1024)
  })

  it('keeps free slabs up to its cap', () => {
    const slabs = pool()
    const taken = [1, 2, 3, 4].map(() => slabs.take(10))
    for (const slab of taken) slabs.release(slab)
    const again = [1, 2, 3, 4].map(() => slabs.take(10))
    expect(again.filter((slab) => taken.includes(slab))).toHaveLength(2)
  })

  it('refuses to release or retain what nobody uses', () => {
    const slabs = pool()
    const slab = slabs.take(10)
    slabs.release(slab)
    expect(() => slabs.release(slab)).toThrow('more often than retained')
    expect(() => slabs.retain(slab)).toThrow('after its last release')
    expect([slabs.bytesInUse, slab.users]).toEqual([0, 0])
  })
})
