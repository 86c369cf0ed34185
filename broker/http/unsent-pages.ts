import type { ServerResponse } from 'node:http'
import { whenClosed } from './response-end.js'

/** What a page may have while clients have not taken those before. */
const SMALL_PAGE_BYTES = 64 * 1024

/** Pages that are on their way to clients: what they take in memory decides how large the next ones are. */
export class UnsentPages {
  readonly #bytesMax: number
  #bytes = 0

  constructor({ bytesMax }: { bytesMax: number }) {
    this.#bytesMax = bytesMax
  }

  get bytes(): number {
    return this.#bytes
  }

  /** How much may be read for one that asks for `bytes`. */
  readBytesMax(bytes: number): number {
    return this.#bytes < this.#bytesMax ? bytes : Math.min(bytes, SMALL_PAGE_BYTES)
  }

  /** A page is handed to `response`; it counts until that is sent, or its client gone. */
  add(bytes: number, response: ServerResponse): void {
    this.#bytes += bytes
    whenClosed(response, () => {
      this.#bytes -= bytes
    })
  }
}
