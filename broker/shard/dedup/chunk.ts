import { bitAt, DEDUP_ID_HASH_BYTES, type DedupIds } from '../../../protocol/entry-section.js'

/** So many ids at a time: their slots stay in the processor's nearest caches from the first look to the second. */
export const DEDUP_CHUNK_IDS = 512

// Hashes are read and pages are kept as words of the processor, and on disk they are little-endian.
if (new Uint8Array(Uint16Array.of(1).buffer)[0] !== 1)
  throw new Error('the dedup index needs a little-endian processor')

const NO_IDS: DedupIds = { bitmap: new Uint8Array(0), hashes: new Uint8Array(0) }

/**
 * Dedup ids of a batch, some hundred at a time, in the form that loops run fastest over. One is used for all batches, so
 * that looking up a million ids allocates nothing.
 */
export class DedupChunk {
  /** How many ids there are, of those `DEDUP_CHUNK_IDS` that there may be. */
  count = 0
  /** Four words of hash an id. */
  readonly words = new Int32Array(4 * DEDUP_CHUNK_IDS)
  /** The index of its record in the batch. */
  readonly records = new Int32Array(DEDUP_CHUNK_IDS)
  /** After `mix`: the hash in one word. */
  readonly mixed = new Int32Array(DEDUP_CHUNK_IDS)
  /** After a look-up: its position in the table, or -1. */
  readonly found = new Int32Array(DEDUP_CHUNK_IDS)
  readonly #bytes = new Uint8Array(this.words.buffer)
  #ids = NO_IDS
  #omitted: Uint8Array | undefined
  #record = 0
  #hashAt = 0

  /** Begins with the ids of a batch, all but those of omitted records; `next` gives them. */
  begin(ids: DedupIds, omitted?: Uint8Array): void {
    this.#ids = ids
    this.#omitted = omitted
    this.#record = 0
    this.#hashAt = 0
  }

  /** Takes in the next ids; false when there are no more. */
  next(): boolean {
    const { bitmap, hashes } = this.#ids
    const { records } = this
    const omitted = this.#omitted
    const recordsEnd = bitmap.length * 8
    let record = this.#record
    let count = 0
    if (omitted === undefined) {
      for (; record < recordsEnd && count < DEDUP_CHUNK_IDS; record++)
        if (((bitmap[record >> 3]! >> (record & 7)) & 1) !== 0) records[count++] = record
      const end = this.#hashAt + count * DEDUP_ID_HASH_BYTES
      this.#bytes.set(hashes.subarray(this.#hashAt, end))
      this.#hashAt = end
    } else {
      for (; record < recordsEnd && count < DEDUP_CHUNK_IDS; record++) {
        if (!bitAt(bitmap, record)) continue
        const from = this.#hashAt
        this.#hashAt += DEDUP_ID_HASH_BYTES
        if (bitAt(omitted, record)) continue
        const to = count * DEDUP_ID_HASH_BYTES
        for (let i = 0; i < DEDUP_ID_HASH_BYTES; i++) this.#bytes[to + i] = hashes[from + i]!
        records[count++] = record
      }
    }
    this.#record = record
    this.count = count
    if (count > 0) return true
    // They are views of what came from the network: not to be held.
    this.begin(NO_IDS)
    return false
  }

  mix(): void {
    const { words, mixed, count } = this
    for (let i = 0, at = 0; i < count; i++, at += 4)
      mixed[i] = mixedOf(words[at]!, words[at + 1]!, words[at + 2]!, words[at + 3]!)
  }
}

/** All 128 bits of an id in 32: ids need not be good hashes for a table to be even. */
export function mixedOf(a: number, b: number, c: number, d: number): number {
  let mixed = a ^ Math.imul(b, 0x85ebca6b) ^ Math.imul(c, 0xc2b2ae35) ^ Math.imul(d, 0x27d4eb2f)
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x21f0aaad)
  mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97)
  return mixed ^ (mixed >>> 15)
}
