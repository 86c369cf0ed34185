/** The 32-bit MurmurHash2 that Kafka's clients choose partitions with: same seed, same result, signed. */
export function murmur2(bytes: Uint8Array): number {
  const length = bytes.length
  const wholeWords = length - (length % 4)
  let hash = SEED ^ length
  for (let i = 0; i < wholeWords; i += 4) {
    let word = bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24)
    word = Math.imul(word, MULTIPLIER)
    word ^= word >>> 24
    hash = Math.imul(hash, MULTIPLIER) ^ Math.imul(word, MULTIPLIER)
  }
  const rest = length - wholeWords
  if (rest === 3) hash ^= bytes[wholeWords + 2]! << 16
  if (rest >= 2) hash ^= bytes[wholeWords + 1]! << 8
  if (rest >= 1) hash = Math.imul(hash ^ bytes[wholeWords]!, MULTIPLIER)
  hash = Math.imul(hash ^ (hash >>> 13), MULTIPLIER)
  return hash ^ (hash >>> 15)
}

const SEED = 0x9747b28c | 0
const MULTIPLIER = 0x5bd1e995

/** The partition of a record with this key, as encoded on the wire: Kafka's `toPositive(murmur2(key)) % partitions`. */
export const partitionOfKey = (key: Uint8Array, partitions: number): number =>
  (murmur2(key) & 0x7fffffff) % partitions
