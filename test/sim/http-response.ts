/** What stands above the body of an answer. */
export interface HttpHead {
  readonly status: number
  /** By names in lower case. */
  readonly headers: ReadonlyMap<string, string>
}

const NOTHING = Buffer.alloc(0)
const HEAD_END = '\r\n\r\n'
const LINE_END = '\r\n'

/** Reads one answer of HTTP/1.1, however its bytes are cut: with a length, in pieces that say how long they are, or without a body. */
export class HttpResponse {
  head: HttpHead | undefined
  /** All of it has come. */
  isWhole = false
  readonly #isBodyless: boolean
  readonly #onBody: (bytes: Buffer) => void
  #rest: Buffer = NOTHING
  /** Bytes of the body, or of its piece under way, that are still to come. */
  #left = 0
  #isInPieces = false

  /** `isHead`: HEAD was asked, so that lengths are said of what does not come. */
  constructor({ isHead, onBody }: { isHead: boolean; onBody: (bytes: Buffer) => void }) {
    this.#isBodyless = isHead
    this.#onBody = onBody
  }

  /** Throws when more comes than one answer. */
  take(bytes: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, bytes])
    if (this.head === undefined && !this.#takeHead()) return
    if (this.#isInPieces) while (this.#takePiece());
    else this.#takeBody()
    if (this.isWhole && this.#rest.length > 0) throw new Error('the broker answers what it was not asked')
  }

  #takeHead(): boolean {
    const end = this.#rest.indexOf(HEAD_END)
    if (end < 0) return false
    const [first = '', ...lines] = this.#rest.toString('latin1', 0, end).split(LINE_END)
    const headers = new Map<string, string>()
    for (const line of lines) {
      const colon = line.indexOf(':')
      headers.set(line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim())
    }
    const status = Number(first.slice(9, 12))
    this.head = { status, headers }
    this.#rest = this.#rest.subarray(end + HEAD_END.length)
    const hasBody = !this.#isBodyless && status !== 204 && status !== 304
    this.#isInPieces = hasBody && headers.get('transfer-encoding') === 'chunked'
    this.#left = hasBody ? Number(headers.get('content-length') ?? 0) : 0
    return true
  }

  #takeBody(): void {
    const bytes = this.#rest.subarray(0, this.#left)
    this.#rest = this.#rest.subarray(bytes.length)
    this.#left -= bytes.length
    if (bytes.length > 0) this.#onBody(bytes)
    this.isWhole = this.#left === 0
  }

  /** False when it needs more bytes, or none. */
  #takePiece(): boolean {
    if (this.isWhole) return false
    if (this.#left === 0) {
      const end = this.#rest.indexOf(LINE_END)
      if (end < 0) return false
      const length = Number.parseInt(this.#rest.toString('latin1', 0, end), 16)
      // With the line end behind the piece; behind the last one stands nothing else.
      const begin = end + LINE_END.length
      if (length === 0) {
        if (this.#rest.length < begin + LINE_END.length) return false
        this.#rest = this.#rest.subarray(begin + LINE_END.length)
        this.isWhole = true
        return false
      }
      this.#left = length + LINE_END.length
      this.#rest = this.#rest.subarray(begin)
    }
    const taken = this.#rest.subarray(0, this.#left)
    const isData = Math.max(0, Math.min(taken.length, this.#left - LINE_END.length))
    this.#rest = this.#rest.subarray(taken.length)
    this.#left -= taken.length
    if (isData > 0) this.#onBody(taken.subarray(0, isData))
    return this.#left === 0
  }
}
