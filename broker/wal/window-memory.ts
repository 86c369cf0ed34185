/** What two windows are read into in turn: one is looked at while the other is filled. Made once, for all segments of a scan. */
export class WindowMemory {
  readonly #halves: Uint8Array[] = []

  /** At least `bytes` of memory that is not `used`; what was in it is lost. */
  other(used: Uint8Array | undefined, bytes: number): Uint8Array {
    const index = used !== undefined && this.#halves[0] === used ? 1 : 0
    let half = this.#halves[index]
    if (half === undefined || half.length < bytes) {
      // No Buffer: `slice` of one is no copy.
      half = new Uint8Array(bytes)
      this.#halves[index] = half
    }
    return half
  }
}
