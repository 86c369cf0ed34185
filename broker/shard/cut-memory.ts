/** At first; it grows with the largest group. */
const FIRST_BYTES = 64 * 1024

/** Memory that lasts from a group's cut until it is applied, and is used again for the next group. */
export class CutMemory {
  #bytes = new Uint8Array(FIRST_BYTES)
  #used = 0

  /** So many bytes, which hold anything. */
  readonly take = (bytes: number): Uint8Array => {
    if (this.#used + bytes > this.#bytes.length) {
      // What was taken before stays where it is.
      this.#bytes = new Uint8Array(Math.max(bytes, 2 * this.#bytes.length))
      this.#used = 0
    }
    const start = this.#used
    this.#used += bytes
    return this.#bytes.subarray(start, this.#used)
  }

  /** Everything that was taken is free. */
  reset(): void {
    this.#used = 0
  }
}
