import { describe, expect, it, vi } from 'vitest'
import { alignedMemory } from '../../../broker/platform/aligned-memory.js'

describe('aligned memory', () => {
  it('has the bytes that were asked for, and nobody else has them', () => {
    const [a, b] = [alignedMemory(100_000), alignedMemory(100_000)]
    expect(a.length).toBe(100_000)
    a.fill(1)
    expect(b.every((byte) => byte === 0)).toBe(true)
  })

  it('is ordinary memory where address space is short', () => {
    const memory = vi.spyOn(WebAssembly, 'Memory').mockImplementation(() => {
      throw new RangeError('WebAssembly.Memory(): could not allocate memory')
    })
    try {
      expect(alignedMemory(5_000).length).toBe(5_000)
    } finally {
      memory.mockRestore()
    }
  })
})
