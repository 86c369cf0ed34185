import { crc32 as zlibCrc32 } from 'node:zlib'
import { crc32 as portableCrc32 } from './crc32-portable.js'

/** Up to here the portable one is faster than the way into native code and back, which takes 0.2 µs (measured on Node 20). */
const SHORT_BYTES_MAX = 128

/** CRC-32 (IEEE 802.3, as in gzip) of `bytes` from `start` on, going on from `seed`: crc32(b, crc32(a)) is the CRC of a then b. */
export function crc32(bytes: Uint8Array, seed = 0, start = 0): number {
  if (bytes.length - start <= SHORT_BYTES_MAX) return portableCrc32(bytes, seed, start)
  return zlibCrc32(start === 0 ? bytes : bytes.subarray(start), seed)
}
