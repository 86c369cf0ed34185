import { bitmapBytes, DEDUP_ID_HASH_BYTES, type DedupIds, setBit } from '../protocol/entry-section.js'
import { HARD_LIMITS } from '../protocol/limits.js'
import { writeDedupIdHash } from '../protocol/murmur3.js'
import { isWellFormed } from './encodings.js'
import { illegalArgument } from './errors.js'

/** Throws ILLEGAL_ARGUMENT. */
export function checkedDedupId(dedupId: unknown): string {
  const { dedupIdCharsMax } = HARD_LIMITS
  if (typeof dedupId !== 'string' || dedupId.length === 0 || dedupId.length > dedupIdCharsMax) {
    throw illegalArgument(`a dedupId is a text of 1 to ${dedupIdCharsMax} characters`)
  }
  // Each lone surrogate would become the same U+FFFD, and two ids one.
  if (!isWellFormed(dedupId))
    throw illegalArgument('a dedupId has a lone surrogate, which UTF-8 cannot carry')
  return dedupId
}

/** Room for so many at first, and so many times more each time that it is full. */
const FIRST_IDS = 16
const GROWTH = 4

/** The dedup ids of a batch while it is being filled: 16 bytes stand for each. */
export class DedupIdsBuilder {
  #bitmap: Uint8Array = new Uint8Array(FIRST_IDS)
  #hashes: Uint8Array = new Uint8Array(FIRST_IDS * DEDUP_ID_HASH_BYTES)
  #bytes = 0

  /** What they add to the frame, nearly. */
  get bytes(): number {
    return this.#bytes
  }

  /** `index` is the record's in the batch; they rise. */
  add(index: number, dedupId: string): void {
    if (this.#bytes === this.#hashes.length) this.#hashes = grown(this.#hashes, GROWTH * this.#bytes)
    if (index >= 8 * this.#bitmap.length) this.#bitmap = grown(this.#bitmap, GROWTH * bitmapBytes(index + 1))
    writeDedupIdHash(dedupId, this.#hashes, this.#bytes)
    this.#bytes += DEDUP_ID_HASH_BYTES
    setBit(this.#bitmap, index)
  }

  finish(recordCount: number): DedupIds {
    const bytes = bitmapBytes(recordCount)
    if (bytes > this.#bitmap.length) this.#bitmap = grown(this.#bitmap, bytes)
    return { bitmap: this.#bitmap.subarray(0, bytes), hashes: this.#hashes.subarray(0, this.#bytes) }
  }
}

function grown(bytes: Uint8Array, length: number): Uint8Array {
  const larger = new Uint8Array(length)
  larger.set(bytes)
  return larger
}
