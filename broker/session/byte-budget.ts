/** However little room is left, one of those who share it may have so much: it then goes on slowly, and not never. */
const SHARE_BYTES_MIN = 64 * 1024
/** Of the room that is left, for one of them. */
const SHARE = 1 / 8

/** Bytes of one kind that all connections together hold, so that a thousand peers that do not read cannot fill memory. */
export class ByteBudget {
  readonly #bytesMax: number
  #bytes = 0

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  get bytes(): number {
    return this.#bytes
  }

  add(bytes: number): void {
    this.#bytes += bytes
  }

  /** How much one may have: less, the less room is left, but never nothing. */
  share(wantedBytes: number): number {
    const share = Math.max(SHARE_BYTES_MIN, Math.floor((this.#bytesMax - this.#bytes) * SHARE))
    return Math.min(wantedBytes, share)
  }
}
