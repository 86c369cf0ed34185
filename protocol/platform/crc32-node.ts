import { crc32 as zlibCrc32 } from 'node:zlib'

/** CRC-32 (IEEE 802.3, as in gzip) of `bytes`, going on from `seed`: crc32(b, crc32(a)) is the CRC of a then b. */
export function crc32(bytes: Uint8Array, seed = 0): number {
  // Of an empty buffer zlib may see a null address, which to it asks for the initial value: 0, whatever the seed.
  return bytes.length === 0 ? seed : zlibCrc32(bytes, seed)
}
