import { partitionOfKey } from '../protocol/murmur2.js'
import type { Wire } from '../protocol/record.js'
import { type Utf8Writer, utf8 } from '../protocol/utf8.js'
import type { Random } from './random.js'

/**
 * Which partition a record goes to, as Kafka's clients choose: by the key's hash, so that a key stays in one partition;
 * without a key, the same partition until its batch has gone out, then the next one.
 */
export class Partitioner {
  readonly #partitions: number
  #sticky: number
  #scratch = new Uint8Array(512)
  #writeUtf8: Utf8Writer = utf8.writer(this.#scratch)

  constructor(partitions: number, random: Random) {
    this.#partitions = partitions
    // Producers that start together should not all begin with the same partition.
    this.#sticky = Math.floor(random.fraction() * partitions)
  }

  partitionOf(key: Wire): number {
    if (this.#partitions === 1) return 0
    if (key === null) return this.#sticky
    return partitionOfKey(typeof key === 'string' ? this.#utf8(key) : key, this.#partitions)
  }

  batchSealed(partition: number): void {
    if (partition === this.#sticky) this.#sticky = (partition + 1) % this.#partitions
  }

  /** The key's bytes, as they stand in the record; good until the next call. */
  #utf8(key: string): Uint8Array {
    if (3 * key.length > this.#scratch.length) {
      this.#scratch = new Uint8Array(6 * key.length)
      this.#writeUtf8 = utf8.writer(this.#scratch)
    }
    for (let i = 0; i < key.length; i++) {
      const unit = key.charCodeAt(i)
      if (unit >= 0x80) return this.#scratch.subarray(0, this.#writeUtf8(key, 0))
      this.#scratch[i] = unit
    }
    return this.#scratch.subarray(0, key.length)
  }
}
