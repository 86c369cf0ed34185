import type { Socket, SocketListener } from '../../client/platform/socket.js'
import type { Pipe } from './pipe.js'
import { type WebSocketMessage, WebSocketParser, webSocketMessage } from './websocket-bytes.js'
import type { WireTap } from './wire-tap.js'

const OPCODE = { text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const

const NOTHING = Buffer.alloc(0)
/** The end of the answer to the upgrade. */
const HEAD_END = Buffer.from('\r\n\r\n')

/** The client's end of a simulated connection: WebSocket framing by hand, over bytes that may end anywhere. */
export class ClientSocket implements Socket {
  readonly #listener: SocketListener
  readonly #frameBytesMax: number
  readonly #onGone: () => void
  readonly #tap: WireTap | undefined
  #out: Pipe | undefined
  #state: 'connecting' | 'open' | 'closing' | 'closed' = 'connecting'
  #head: Buffer = NOTHING
  #closing = { code: 1006, reason: '' }
  readonly #parser: WebSocketParser

  constructor(options: {
    listener: SocketListener
    frameBytesMax: number
    onGone: () => void
    tap: WireTap | undefined
  }) {
    this.#listener = options.listener
    this.#frameBytesMax = options.frameBytesMax
    this.#onGone = options.onGone
    this.#tap = options.tap
    this.#parser = new WebSocketParser((message) => this.#message(message))
  }

  /** The connection is made; the answer to the upgrade comes through it. */
  connected(out: Pipe): void {
    this.#out = out
  }

  // What the client does.

  send(message: Uint8Array): void {
    if (this.#state !== 'open') return
    this.#tap?.sent(message)
    this.#write(OPCODE.binary, message)
  }

  close(code: number, reason: string): void {
    if (this.#state === 'closed') return
    if (this.#state === 'connecting') {
      this.terminate()
      return
    }
    if (this.#state === 'closing') return
    this.#state = 'closing'
    const body = Buffer.alloc(2 + Buffer.byteLength(reason))
    body.writeUInt16BE(code, 0)
    body.write(reason, 2)
    this.#write(OPCODE.close, body)
  }

  terminate(): void {
    if (this.#state === 'closed') return
    this.#out?.end()
    this.#gone()
  }

  // What the network does.

  received(bytes: Buffer): void {
    if (this.#state === 'closed') return
    if (this.#state !== 'connecting') {
      this.#parser.take(bytes)
      return
    }
    this.#head = Buffer.concat([this.#head, bytes])
    const end = this.#head.indexOf(HEAD_END)
    if (end < 0) return
    const rest = this.#head.subarray(end + HEAD_END.length)
    const status = Number(this.#head.toString('latin1', 9, 12))
    this.#head = NOTHING
    if (status !== 101) {
      this.#gone(status)
      return
    }
    this.#state = 'open'
    this.#listener.onOpen()
    if (rest.length > 0) this.received(rest)
  }

  ended(): void {
    this.#out?.end()
    this.#gone()
  }

  reset(): void {
    this.#gone()
  }

  #message({ opcode, payload }: WebSocketMessage): void {
    if (this.#state === 'closed') return
    if (payload.length > this.#frameBytesMax) throw new Error('a message is larger than the client takes')
    if (opcode === OPCODE.binary) {
      this.#tap?.received(payload)
      this.#listener.onMessage(payload)
    } else if (opcode === OPCODE.ping) this.#write(OPCODE.pong, payload)
    else if (opcode === OPCODE.close) {
      this.#closing = {
        code: payload.length >= 2 ? ((payload[0] as number) << 8) | (payload[1] as number) : 1005,
        reason: Buffer.from(payload.subarray(2)).toString(),
      }
      if (this.#state === 'open') this.#write(OPCODE.close, payload)
      this.#state = 'closing'
      this.#out?.end()
    } else if (opcode !== OPCODE.pong) throw new Error(`the broker sent a message of kind ${opcode}`)
  }

  #write(opcode: number, payload: Uint8Array): void {
    this.#out?.send(webSocketMessage(opcode, payload))
  }

  #gone(httpStatus?: number): void {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.#onGone()
    this.#listener.onClose({ ...this.#closing, ...(httpStatus === undefined ? {} : { httpStatus }) })
  }
}
