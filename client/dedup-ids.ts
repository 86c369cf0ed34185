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
  readonly #indexes: number[] = []
  #hashes = new Uint8Array(FIRST_IDS * DEDUP_ID_HASH_BYTES)

  /** What they add to the frame, nearly. */
  get bytes(): number {
    return this.#indexes.length * DEDUP_ID_HASH_BYTES
  }

  /** `index` is the record's in the batch; they rise. */
  add(index: number, dedupId: string): void {
    const at = this.bytes
    if (at === this.#hashes.length) {
      const grown = new Uint8Array(GROWTH * at)
      grown.set(this.#hashes)
      this.#hashes = grown
    }
    writeDedupIdHash(dedupId, this.#hashes, at)
    this.#indexes.push(index)
  }

  finish(recordCount: number): DedupIds {
    const bitmap = new Uint8Array(bitmapBytes(recordCount))
    for (const index of this.#indexes) setBit(bitmap, index)
    return { bitmap, hashes: this.#hashes.subarray(0, this.bytes) }
  }
}
