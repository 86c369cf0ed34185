import { describe, expect, it } from 'vitest'
import { murmur2, partitionOfKey } from '../../protocol/murmur2.js'

const utf8 = (text: string): Uint8Array => new Uint8Array(Buffer.from(text))

describe('murmur2', () => {
  const known: [key: string, hash: number][] = [
    ['21', -973932308],
    ['foobar', -790332482],
    ['a-little-bit-long-string', -985981536],
    ['a-little-bit-longer-string', -1486304829],
    ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971],
    ['abc', 479470107],
  ]
  for (const [key, hash] of known) {
    it(`hashes ${key} as Kafka's clients do`, () => expect(murmur2(utf8(key))).toBe(hash))
  }
})

describe('the partition of a key', () => {
  it('drops the sign of the hash before it divides', () => {
    expect(partitionOfKey(utf8('foobar'), 1000)).toBe((-790332482 & 0x7fffffff) % 1000)
    expect(partitionOfKey(utf8('abc'), 1000)).toBe(107)
  })

  it('is within the partitions', () => {
    for (let i = 0; i < 1000; i++) {
      const partition = partitionOfKey(utf8(`key ${i}`), 7)
      expect(partition).toBeGreaterThanOrEqual(0)
      expect(partition).toBeLessThan(7)
    }
  })
})
