import { crc32 as zlibCrc32 } from 'node:zlib'
import { crc32 as portableCrc32 } from './crc32-portable.js'

/** Up to here the portable one is faster than the way into native code and back, which takes 0.2 µs (measured on Node 20). */
const SHORT_BYTES_MAX = 128

/** CRC-32 (IEEE 802.3, as in gzip) of `bytes`, going on from `seed`: crc32(b, crc32(a)) is the CRC of a then b. */
export function crc32(bytes: Uint8Array, seed = 0): number {
  return bytes.length <= SHORT_BYTES_MAX ? portableCrc32(bytes, seed) : zlibCrc32(bytes, seed)
}
