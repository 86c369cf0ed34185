import type { IncomingMessage } from 'node:http'
import type { Socket as TcpSocket } from 'node:net'
import { type ClientOptions, WebSocket } from 'ws'
import type { Socket, SocketListener, SocketOptions } from './socket.js'

const CLOSE_TIMEOUT_MS = 2_000

/** A WebSocket by the `ws` package. */
export function openSocket(options: SocketOptions, listener: SocketListener): Socket {
  // The types lag behind: they do not know closeTimeout.
  const webSocketOptions: ClientOptions & { closeTimeout: number } = {
    perMessageDeflate: false,
    maxPayload: options.frameBytesMax,
    closeTimeout: CLOSE_TIMEOUT_MS,
    ...(needsMask(options.url) ? {} : { generateMask: zeroMask }),
  }
  const webSocket = new WebSocket(options.url, options.subprotocol, webSocketOptions)
  return new NodeSocket(webSocket, listener)
}

/** Runs once what is under way has come to rest and what has arrived was read: a turn of the event loop later. */
export function inNextTurn(task: () => void): void {
  setImmediate(task)
}

/**
 * Masking keeps a proxy that does not know WebSockets from taking a message for an HTTP request. No proxy sees what goes
 * through TLS or stays on this machine: there a mask of zeros spares both sides a pass over every byte.
 */
function needsMask(url: string): boolean {
  const { protocol, hostname } = new URL(url)
  return protocol !== 'wss:' && !/^(127(\.\d+){3}|\[::1\]|localhost)$/.test(hostname)
}

function zeroMask(mask: Buffer): void {
  mask.fill(0)
}

/** A small message is a view of all that the socket read at once: whoever keeps it should not keep the rest too. */
function ownBytes(data: Buffer): Uint8Array {
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
  return 4 * bytes.byteLength < bytes.buffer.byteLength ? bytes.slice() : bytes
}

class NodeSocket implements Socket {
  readonly #webSocket: WebSocket
  #tcpSocket: TcpSocket | undefined
  #isCorked = false

  constructor(webSocket: WebSocket, listener: SocketListener) {
    this.#webSocket = webSocket
    let cause: unknown
    let httpStatus: number | undefined
    webSocket.on('upgrade', (response: IncomingMessage) => {
      this.#tcpSocket = response.socket
    })
    webSocket.on('unexpected-response', (_request, response) => {
      httpStatus = response.statusCode
      webSocket.terminate()
    })
    webSocket.on('error', (error) => {
      cause = error
    })
    webSocket.on('open', () => listener.onOpen())
    webSocket.on('message', (data: Buffer) => listener.onMessage(ownBytes(data)))
    webSocket.on('close', (code, reason) => {
      listener.onClose({
        code,
        reason: reason.toString(),
        ...(httpStatus === undefined ? {} : { httpStatus }),
        ...(cause === undefined ? {} : { cause }),
      })
    })
  }

  send(message: Uint8Array): void {
    if (this.#webSocket.readyState !== WebSocket.OPEN) return
    this.#cork()
    this.#webSocket.send(message)
  }

  /** What one tick sends leaves in one writev. */
  #cork(): void {
    const socket = this.#tcpSocket
    if (this.#isCorked || socket === undefined) return
    this.#isCorked = true
    socket.cork()
    process.nextTick(() => {
      this.#isCorked = false
      socket.uncork()
    })
  }

  close(code: number, reason: string): void {
    this.#webSocket.close(code, reason)
  }

  terminate(): void {
    this.#webSocket.terminate()
  }
}
