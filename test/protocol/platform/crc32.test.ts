import { crc32 as zlibCrc32 } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { crc32 as nodeCrc32 } from '../../../protocol/platform/crc32-node.js'
import { crc32 as portableCrc32 } from '../../../protocol/platform/crc32-portable.js'

const ascii = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'latin1'))

for (const [name, crc32] of [
  ['node', nodeCrc32],
  ['portable', portableCrc32],
] as const) {
  describe(`crc32 (${name})`, () => {
    it('is the CRC-32 of IEEE 802.3', () => {
      expect(crc32(ascii('123456789'))).toBe(0xcbf43926)
      expect(crc32(ascii(''))).toBe(0)
      expect(crc32(ascii('a'))).toBe(0xe8b7be43)
      expect(crc32(ascii('The quick brown fox jumps over the lazy dog'))).toBe(0x414fa339)
      expect(crc32(new Uint8Array(32))).toBe(0x190a55ad)
      expect(crc32(new Uint8Array(32).fill(0xff))).toBe(0xff6cab0b)
    })

    it('goes on from the CRC of what came before', () => {
      expect(crc32(ascii('456789'), crc32(ascii('123')))).toBe(0xcbf43926)
      // Of an empty buffer zlib sees no address, and forgets the seed.
      expect(crc32(new Uint8Array(new ArrayBuffer(0)), 0xcbf43926)).toBe(0xcbf43926)
    })

    it('agrees with zlib for any bytes, any seed and any place in memory', () => {
      const bytes = fc.uint8Array({ minLength: 10, maxLength: 100 })
      fc.assert(
        fc.property(bytes, fc.nat(0xffffffff), fc.nat(9), (array, seed, shift) => {
          const view = array.subarray(shift)
          expect(crc32(view, seed)).toBe(zlibCrc32(view, seed))
          expect(crc32(array, seed, shift)).toBe(zlibCrc32(view, seed))
        }),
        { numRuns: 1000 },
      )
    })

    it('agrees with zlib at any length, where another way begins too', () => {
      const all = new Uint8Array(8192).map((_, i) => (i * 2654435761) >>> 24)
      const seed = 0x89abcdef
      const lengths = [...Array(300).keys(), ...Array.from({ length: 300 }, (_, i) => 900 + i), 4097, 8189]
      for (const length of lengths) {
        const view = all.subarray(3, 3 + length)
        const expected = length === 0 ? seed : zlibCrc32(view, seed)
        expect(crc32(view, seed)).toBe(expected)
        expect(crc32(all.subarray(0, 3 + length), seed, 3)).toBe(expected)
      }
    })

    it('agrees with zlib on a megabyte', () => {
      const megabyte = new Uint8Array(1 << 20).map((_, i) => (i * 2654435761) >>> 24)
      expect(crc32(megabyte)).toBe(zlibCrc32(megabyte))
    })
  })
}
