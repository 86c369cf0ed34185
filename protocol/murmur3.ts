/**
 * MurmurHash3's 128-bit variant for 32-bit machines (x86_128): what a dedup id becomes before it leaves the client.
 * Synchronous everywhere, browsers included, where the platform's own digests are not. No defence against somebody who
 * looks for collisions: whoever may write dedup ids may write anything.
 */
import { utf8 } from './utf8.js'

/** 16 bytes: the four 32-bit words of the hash, each little-endian. `seed` is a uint32. */
export function murmur3(bytes: Uint8Array, seed = 0): Uint8Array {
  const { length } = bytes
  const data = new DataView(bytes.buffer, bytes.byteOffset, length)
  const hash: Words = { a: seed | 0, b: seed | 0, c: seed | 0, d: seed | 0 }
  const wholeBlocks = length - (length % BLOCK_BYTES)
  for (let at = 0; at < wholeBlocks; at += BLOCK_BYTES) {
    hash.a = step(hash.a ^ mixA(data.getInt32(at, true)), { rotate: 19, next: hash.b, add: 0x561ccd1b })
    hash.b = step(hash.b ^ mixB(data.getInt32(at + 4, true)), { rotate: 17, next: hash.c, add: 0x0bcaa747 })
    hash.c = step(hash.c ^ mixC(data.getInt32(at + 8, true)), { rotate: 15, next: hash.d, add: 0x96cd1c35 })
    hash.d = step(hash.d ^ mixD(data.getInt32(at + 12, true)), { rotate: 13, next: hash.a, add: 0x32ac3b17 })
  }
  if (wholeBlocks < length) {
    const rest = new DataView(new ArrayBuffer(BLOCK_BYTES))
    for (let i = wholeBlocks; i < length; i++) rest.setUint8(i - wholeBlocks, bytes[i]!)
    // A word of zeros mixes to zero: the reference's cases for 1 to 15 bytes are this one.
    hash.a ^= mixA(rest.getInt32(0, true))
    hash.b ^= mixB(rest.getInt32(4, true))
    hash.c ^= mixC(rest.getInt32(8, true))
    hash.d ^= mixD(rest.getInt32(12, true))
  }
  return finished(hash, length)
}

/**
 * The 16 bytes that stand for a dedup id: the hash of its UTF-8, seed 0. A lone surrogate counts as U+FFFD. The text is
 * at most HARD_LIMITS.dedupIdCharsMax long, which the caller checks.
 */
export function hashOfDedupId(id: string): Uint8Array {
  const bytes = new Uint8Array(3 * id.length)
  return murmur3(bytes.subarray(0, utf8.writer(bytes)(id, 0)))
}

interface Words {
  a: number
  b: number
  c: number
  d: number
}

const BLOCK_BYTES = 16

const A = 0x239b961b
const B = 0xab0e9789
const C = 0x38b34ae5
const D = 0xa1e38b93

const rotated = (word: number, bits: number): number => (word << bits) | (word >>> (32 - bits))

const mixA = (word: number): number => Math.imul(rotated(Math.imul(word, A), 15), B)
const mixB = (word: number): number => Math.imul(rotated(Math.imul(word, B), 16), C)
const mixC = (word: number): number => Math.imul(rotated(Math.imul(word, C), 17), D)
const mixD = (word: number): number => Math.imul(rotated(Math.imul(word, D), 18), A)

/** A lane after a whole block: `next` is the lane after it, as it stands at that moment. */
const step = (word: number, { rotate, next, add }: { rotate: number; next: number; add: number }): number =>
  (Math.imul((rotated(word, rotate) + next) | 0, 5) + add) | 0

function finished({ a, b, c, d }: Words, length: number): Uint8Array {
  const sums = spread({ a: a ^ length, b: b ^ length, c: c ^ length, d: d ^ length })
  const words = spread({
    a: avalanche(sums.a),
    b: avalanche(sums.b),
    c: avalanche(sums.c),
    d: avalanche(sums.d),
  })
  const result = new Uint8Array(BLOCK_BYTES)
  const data = new DataView(result.buffer)
  data.setInt32(0, words.a, true)
  data.setInt32(4, words.b, true)
  data.setInt32(8, words.c, true)
  data.setInt32(12, words.d, true)
  return result
}

/** Every lane reaches every other: the first gets the sum, which is added to the rest. */
function spread({ a, b, c, d }: Words): Words {
  const sum = (a + b + c + d) | 0
  return { a: sum, b: (b + sum) | 0, c: (c + sum) | 0, d: (d + sum) | 0 }
}

function avalanche(word: number): number {
  let mixed = Math.imul(word ^ (word >>> 16), 0x85ebca6b)
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35)
  return mixed ^ (mixed >>> 16)
}
