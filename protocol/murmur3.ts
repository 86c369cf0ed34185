/**
 * MurmurHash3's 128-bit variant for 32-bit machines (x86_128): what a dedup id becomes before it leaves the client.
 * Synchronous everywhere, browsers included, where the platform's own digests are not. No defence against somebody who
 * looks for collisions: whoever may write dedup ids may write anything.
 */
import { utf8 } from './utf8.js'

/** 16 bytes: the four 32-bit words of the hash, each little-endian. `seed` is a uint32. */
export function murmur3(bytes: Uint8Array, seed = 0): Uint8Array {
  const result = new Uint8Array(BLOCK_BYTES)
  hashInto(result, 0, { bytes, length: bytes.length, seed })
  return result
}

/** The hash of the first `length` bytes, written at `position`. */
function hashInto(
  target: Uint8Array,
  position: number,
  { bytes, length, seed }: { bytes: Uint8Array; length: number; seed: number },
): void {
  let [a, b, c, d] = [seed | 0, seed | 0, seed | 0, seed | 0]
  const wholeBlocks = length - (length % BLOCK_BYTES)
  for (let at = 0; at < wholeBlocks; at += BLOCK_BYTES) {
    a = (Math.imul((rotated(a ^ mixA(word(bytes, at)), 19) + b) | 0, 5) + 0x561ccd1b) | 0
    b = (Math.imul((rotated(b ^ mixB(word(bytes, at + 4)), 17) + c) | 0, 5) + 0x0bcaa747) | 0
    c = (Math.imul((rotated(c ^ mixC(word(bytes, at + 8)), 15) + d) | 0, 5) + 0x96cd1c35) | 0
    d = (Math.imul((rotated(d ^ mixD(word(bytes, at + 12)), 13) + a) | 0, 5) + 0x32ac3b17) | 0
  }
  if (wholeBlocks < length) {
    // A word of zeros mixes to zero: the reference's cases for 1 to 15 bytes are this one.
    a ^= mixA(wordUntil(bytes, wholeBlocks, length))
    b ^= mixB(wordUntil(bytes, wholeBlocks + 4, length))
    c ^= mixC(wordUntil(bytes, wholeBlocks + 8, length))
    d ^= mixD(wordUntil(bytes, wholeBlocks + 12, length))
  }
  a ^= length
  b ^= length
  c ^= length
  d ^= length
  // Every lane reaches every other, before and after each is mixed: the first gets the sum, which the rest add.
  const sum = (a + b + c + d) | 0
  const first = avalanche(sum)
  const second = avalanche((b + sum) | 0)
  const third = avalanche((c + sum) | 0)
  const fourth = avalanche((d + sum) | 0)
  const total = (first + second + third + fourth) | 0
  put(target, position, total)
  put(target, position + 4, second + total)
  put(target, position + 8, third + total)
  put(target, position + 12, fourth + total)
}

/** Up to here a loop is faster than the platform's own conversion, which takes 50 ns whatever the length (Node 20). */
const LOOP_CHARS_MAX = 20
/** Ids up to this length are read into memory that is kept; most are. */
const TEXT_CHARS_KEPT = 256
const kept = new Uint8Array(3 * TEXT_CHARS_KEPT)
const writeKept = utf8.writer(kept)

/**
 * The 16 bytes that stand for a dedup id: the hash of its UTF-8, seed 0. A lone surrogate counts as U+FFFD. The text is
 * at most HARD_LIMITS.dedupIdCharsMax long, which the caller checks.
 */
export function hashOfDedupId(id: string): Uint8Array {
  const hash = new Uint8Array(BLOCK_BYTES)
  writeDedupIdHash(id, hash, 0)
  return hash
}

/** As `hashOfDedupId`, into `target` from `position` on. */
export function writeDedupIdHash(id: string, target: Uint8Array, position: number): void {
  const { length } = id
  if (length > TEXT_CHARS_KEPT) {
    const bytes = new Uint8Array(3 * length)
    hashInto(target, position, { bytes, length: utf8.writer(bytes)(id, 0), seed: 0 })
    return
  }
  let end = 0
  if (length <= LOOP_CHARS_MAX) {
    for (; end < length; end++) {
      const unit = id.charCodeAt(end)
      if (unit >= 0x80) break
      kept[end] = unit
    }
  }
  if (end < length) end = writeKept(id, 0)
  hashInto(target, position, { bytes: kept, length: end, seed: 0 })
}

const BLOCK_BYTES = 16

const A = 0x239b961b
const B = 0xab0e9789
const C = 0x38b34ae5
const D = 0xa1e38b93

const word = (bytes: Uint8Array, at: number): number =>
  bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)

/** The same before `length`, with zeros behind it. */
function wordUntil(bytes: Uint8Array, at: number, length: number): number {
  if (at + 4 <= length) return word(bytes, at)
  let read = 0
  for (let i = length - 1; i >= at; i--) read = (read << 8) | bytes[i]!
  return read
}

const rotated = (value: number, bits: number): number => (value << bits) | (value >>> (32 - bits))

const mixA = (value: number): number => Math.imul(rotated(Math.imul(value, A), 15), B)
const mixB = (value: number): number => Math.imul(rotated(Math.imul(value, B), 16), C)
const mixC = (value: number): number => Math.imul(rotated(Math.imul(value, C), 17), D)
const mixD = (value: number): number => Math.imul(rotated(Math.imul(value, D), 18), A)

function put(target: Uint8Array, at: number, value: number): void {
  target[at] = value
  target[at + 1] = value >>> 8
  target[at + 2] = value >>> 16
  target[at + 3] = value >>> 24
}

function avalanche(value: number): number {
  let mixed = Math.imul(value ^ (value >>> 16), 0x85ebca6b)
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35)
  return mixed ^ (mixed >>> 16)
}
