import type { ServerResponse } from 'node:http'
import { whenClosed } from '../response-end.js'

/** Where bytes come from: the next ones, as a view of the given buffer; none at the end. */
export interface Pieces {
  next(buffer: Uint8Array): Promise<Uint8Array>
}

/**
 * Sends pieces to a response: one is read while the one before goes out, and none is read before the client has taken the last but
 * one. It holds two buffers and nothing else.
 */
export class PiecePump {
  readonly #response: ServerResponse
  readonly #pieces: Pieces
  #buffer: Uint8Array
  #spare: Uint8Array
  #piece: Uint8Array | undefined
  #isGone = false
  #wake: (() => void) | undefined

  constructor(response: ServerResponse, pieces: Pieces, { pieceBytes }: { pieceBytes: number }) {
    this.#response = response
    this.#pieces = pieces
    this.#buffer = Buffer.allocUnsafeSlow(pieceBytes)
    this.#spare = Buffer.allocUnsafeSlow(pieceBytes)
    whenClosed(response, () => {
      this.#isGone = true
      this.#wake?.()
    })
  }

  /** Reads the first piece. */
  async prepare(): Promise<void> {
    this.#piece = await this.#pieces.next(this.#buffer)
  }

  /**
   * Sends everything, behind a head that was written; resolves with the bytes when they are sent, or the client is gone. Rejects when
   * reading fails: then the response must be cut, so that nobody takes it for whole.
   */
  async run(): Promise<number> {
    let bytes = 0
    let piece = this.#piece ?? (await this.#pieces.next(this.#buffer))
    while (piece.length > 0 && !this.#isGone) {
      bytes += piece.length
      const [next] = await Promise.all([this.#pieces.next(this.#spare), this.#send(piece)])
      const sent = this.#buffer
      this.#buffer = this.#spare
      this.#spare = sent
      piece = next
    }
    if (!this.#isGone) this.#response.end()
    return bytes
  }

  /** Resolves when the buffer may be used again. */
  #send(piece: Uint8Array): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve
      // A client that is gone may never be heard of here.
      this.#response.write(piece, () => resolve())
    })
  }
}
