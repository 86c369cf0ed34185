/** A message in one fragment, as the broker sends all of its. */
export interface WebSocketMessage {
  readonly opcode: number
  readonly payload: Uint8Array
}

const FINAL = 0x80
const MASKED = 0x80
const NOTHING = Buffer.alloc(0)

/** A client's message (RFC 6455): masked with zeros, as the client does on its own machine. */
export function webSocketMessage(opcode: number, payload: Uint8Array): Buffer {
  const lengthBytes = payload.length < 126 ? 0 : payload.length < 65_536 ? 2 : 8
  const head = 2 + lengthBytes + 4
  const message = Buffer.alloc(head + payload.length)
  message[0] = FINAL | opcode
  message[1] = MASKED | (lengthBytes === 0 ? payload.length : lengthBytes === 2 ? 126 : 127)
  if (lengthBytes === 2) message.writeUInt16BE(payload.length, 2)
  else if (lengthBytes === 8) message.writeBigUInt64BE(BigInt(payload.length), 2)
  message.set(payload, head)
  return message
}

/** Finds a server's messages in bytes that come in any pieces. */
export class WebSocketParser {
  readonly #onMessage: (message: WebSocketMessage) => void
  #bytes: Buffer = NOTHING

  constructor(onMessage: (message: WebSocketMessage) => void) {
    this.#onMessage = onMessage
  }

  take(bytes: Buffer): void {
    this.#bytes = this.#bytes.length === 0 ? bytes : Buffer.concat([this.#bytes, bytes])
    for (;;) {
      const message = this.#next()
      if (message === undefined) return
      this.#onMessage(message)
    }
  }

  #next(): WebSocketMessage | undefined {
    const bytes = this.#bytes
    if (bytes.length < 2) return undefined
    const [first, second] = [bytes[0] as number, bytes[1] as number]
    if ((first & FINAL) === 0 || (second & MASKED) !== 0)
      throw new Error('the broker sent what no server sends')
    const short = second & 0x7f
    const head = short === 126 ? 4 : short === 127 ? 10 : 2
    if (bytes.length < head) return undefined
    const length =
      short === 126 ? bytes.readUInt16BE(2) : short === 127 ? Number(bytes.readBigUInt64BE(2)) : short
    if (bytes.length < head + length) return undefined
    this.#bytes = bytes.subarray(head + length)
    return { opcode: first & 0x0f, payload: new Uint8Array(bytes.subarray(head, head + length)) }
  }
}
