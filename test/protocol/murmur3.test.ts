import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { hashOfDedupId, murmur3 } from '../../protocol/murmur3.js'

const utf8 = (text: string): Uint8Array => new Uint8Array(Buffer.from(text))
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

describe('murmur3', () => {
  it("gives the value that SMHasher, the reference's own test, verifies the algorithm by", () => {
    // The hash of the hashes of 0, 01, 0102 ... with falling seeds: every length of the last block, every constant.
    const key = Uint8Array.from({ length: 256 }, (_, i) => i)
    const hashes = new Uint8Array(256 * 16)
    for (let i = 0; i < 256; i++) hashes.set(murmur3(key.subarray(0, i), 256 - i), i * 16)
    const verification = new DataView(murmur3(hashes).buffer).getUint32(0, true)
    expect(verification).toBe(0xb3ece62a)
  })

  it('gives the hashes that other implementations publish', () => {
    // They print the four words as numbers, so each word's bytes come in the other order here.
    const known: [text: string, words: string][] = [
      ['Test', '1bccc514 16e53d6c 16e53d6c 16e53d6c'],
      ["I will not buy this tobacconist's, it is scratched.", '9b5b7ba2 ef3f7866 889adeaf 00f3f98e'],
    ]
    for (const [text, words] of known) {
      const data = new DataView(murmur3(utf8(text)).buffer)
      const found = [0, 4, 8, 12].map((at) => data.getUint32(at, true).toString(16).padStart(8, '0'))
      expect(found.join(' ')).toBe(words)
    }
  })

  it('is 0 of nothing', () => {
    expect(hex(murmur3(new Uint8Array(0)))).toBe('0'.repeat(32))
  })

  it('is what the words of the reference say, computed without 32-bit tricks', () => {
    const input = fc.tuple(fc.uint8Array({ maxLength: 100, size: 'max' }), fc.nat({ max: 0xffffffff }))
    fc.assert(
      fc.property(input, ([bytes, seed]) => {
        expect(hex(murmur3(bytes, seed))).toBe(hex(inBigInts(bytes, BigInt(seed))))
      }),
    )
  })

  it('is the same wherever in memory the bytes lie', () => {
    const bytes = Uint8Array.from({ length: 50 }, (_, i) => i * 7)
    const inside = new Uint8Array(64).fill(0xee)
    inside.set(bytes, 5)
    expect(murmur3(inside.subarray(5, 55))).toEqual(murmur3(bytes))
  })
})

describe('the hash of a dedup id', () => {
  it('is that of its UTF-8', () => {
    for (const id of ['', 'order-1', 'größer', '💥', 'x'.repeat(1024)]) {
      expect(hashOfDedupId(id), id).toEqual(murmur3(utf8(id)))
    }
  })

  it('takes a lone surrogate for U+FFFD', () => {
    expect(hashOfDedupId('a\ud800')).toEqual(hashOfDedupId('a\ufffd'))
  })
})

/** The reference's text, statement by statement, in unbounded integers cut to 32 bits. */
function inBigInts(bytes: Uint8Array, seed: bigint): Uint8Array {
  const mask = 0xffffffffn
  const rotl = (x: bigint, r: bigint): bigint => ((x << r) | (x >> (32n - r))) & mask
  const c = [0x239b961bn, 0xab0e9789n, 0x38b34ae5n, 0xa1e38b93n]
  const wordRotations = [15n, 16n, 17n, 18n]
  const laneRotations = [19n, 17n, 15n, 13n]
  const additions = [0x561ccd1bn, 0x0bcaa747n, 0x96cd1c35n, 0x32ac3b17n]
  const h = [seed, seed, seed, seed]
  const word = (at: number): bigint => {
    let value = 0n
    for (let i = 3; i >= 0; i--) value = (value << 8n) | BigInt(bytes[at + i] ?? 0)
    return value
  }
  const mixed = (value: bigint, lane: number): bigint =>
    (rotl((value * c[lane]!) & mask, wordRotations[lane]!) * c[(lane + 1) % 4]!) & mask

  const blocks = Math.floor(bytes.length / 16)
  for (let block = 0; block < blocks; block++) {
    for (let lane = 0; lane < 4; lane++) {
      h[lane] = h[lane]! ^ mixed(word(block * 16 + lane * 4), lane)
      h[lane] = rotl(h[lane]!, laneRotations[lane]!)
      h[lane] = (h[lane]! + h[(lane + 1) % 4]!) & mask
      h[lane] = (h[lane]! * 5n + additions[lane]!) & mask
    }
  }
  for (let lane = 3; lane >= 0; lane--) h[lane] = h[lane]! ^ mixed(word(blocks * 16 + lane * 4), lane)
  for (let lane = 0; lane < 4; lane++) h[lane] = h[lane]! ^ BigInt(bytes.length)
  const sum = (): void => {
    for (let lane = 1; lane < 4; lane++) h[0] = (h[0]! + h[lane]!) & mask
    for (let lane = 1; lane < 4; lane++) h[lane] = (h[lane]! + h[0]!) & mask
  }
  sum()
  for (let lane = 0; lane < 4; lane++) {
    let value = h[lane]!
    value ^= value >> 16n
    value = (value * 0x85ebca6bn) & mask
    value ^= value >> 13n
    value = (value * 0xc2b2ae35n) & mask
    h[lane] = value ^ (value >> 16n)
  }
  sum()
  const result = new Uint8Array(16)
  for (let i = 0; i < 16; i++) result[i] = Number((h[i >> 2]! >> BigInt(8 * (i & 3))) & 0xffn)
  return result
}
