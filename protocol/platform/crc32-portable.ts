/**
 * CRC-32 for where there is no zlib: slicing by 8, so that eight table look-ups, independent of each other, take eight
 * bytes at a time.
 */
const POLYNOMIAL = 0xedb88320
const SLICES = 8

/** Table k at k * 256: what a byte does to the CRC when k more bytes follow it. */
const TABLES = buildTables()

function buildTables(): Int32Array {
  const tables = new Int32Array(SLICES * 256)
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1
    tables[byte] = crc
  }
  for (let i = 256; i < tables.length; i++) {
    const previous = tables[i - 256] as number
    tables[i] = (previous >>> 8) ^ (tables[previous & 0xff] as number)
  }
  return tables
}

/** CRC-32 (IEEE 802.3, as in gzip) of `bytes` from `start` on, going on from `seed`: crc32(b, crc32(a)) is the CRC of a then b. */
export function crc32(bytes: Uint8Array, seed = 0, start = 0): number {
  const tables = TABLES
  const eights = bytes.length - ((bytes.length - start) % SLICES)
  let crc = ~seed
  let i = start
  for (; i < eights; i += SLICES) {
    // Every index is below bytes.length, and every table index below 2048.
    crc ^= bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24)
    crc =
      tables[1792 + (crc & 0xff)]! ^
      tables[1536 + ((crc >>> 8) & 0xff)]! ^
      tables[1280 + ((crc >>> 16) & 0xff)]! ^
      tables[1024 + (crc >>> 24)]! ^
      tables[768 + bytes[i + 4]!]! ^
      tables[512 + bytes[i + 5]!]! ^
      tables[256 + bytes[i + 6]!]! ^
      tables[bytes[i + 7]!]!
  }
  for (; i < bytes.length; i++) crc = (crc >>> 8) ^ tables[(crc ^ bytes[i]!) & 0xff]!
  return ~crc >>> 0
}
