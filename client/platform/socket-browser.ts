import type { Socket, SocketListener, SocketOptions } from './socket.js'

/** The browser's own WebSocket; `frameBytesMax` is left to the browser. */
export function openSocket(options: SocketOptions, listener: SocketListener): Socket {
  return new BrowserSocket(new WebSocket(options.url, options.subprotocol), listener)
}

const tasks: (() => void)[] = []
let channel: MessageChannel | undefined

/** Runs once what is under way has come to rest: a turn of the event loop later. Timers would wait for milliseconds, in a hidden page for a second. */
export function inNextTurn(task: () => void): void {
  // Test environments and some runtimes at the edge have WebSockets and no channels.
  if (typeof MessageChannel === 'undefined') {
    setTimeout(task, 0)
    return
  }
  if (channel === undefined) {
    channel = new MessageChannel()
    channel.port1.onmessage = () => tasks.shift()?.()
  }
  tasks.push(task)
  channel.port2.postMessage(null)
}

class BrowserSocket implements Socket {
  readonly #webSocket: WebSocket
  readonly #listener: SocketListener
  #isClosed = false

  constructor(webSocket: WebSocket, listener: SocketListener) {
    this.#webSocket = webSocket
    this.#listener = listener
    webSocket.binaryType = 'arraybuffer'
    webSocket.onopen = () => {
      if (!this.#isClosed) listener.onOpen()
    }
    webSocket.onmessage = ({ data }: MessageEvent<unknown>) => {
      if (this.#isClosed) return
      // A text frame is no frame of the protocol: one byte that nobody can read makes the connection fail.
      listener.onMessage(data instanceof ArrayBuffer ? new Uint8Array(data) : new Uint8Array(1))
    }
    webSocket.onclose = ({ code, reason }) => this.#closed(code, reason)
  }

  send(message: Uint8Array): void {
    if (this.#webSocket.readyState === WebSocket.OPEN)
      this.#webSocket.send(message as Uint8Array<ArrayBuffer>)
  }

  close(code: number, reason: string): void {
    // Browsers let pages close with 1000 and 3000-4999 alone.
    if (code === 1000 || (code >= 3000 && code < 5000)) this.#webSocket.close(code, reason)
    else this.#webSocket.close()
  }

  /** Browsers cannot drop a socket, and tell of a dead one minutes later: so it is forgotten at once. */
  terminate(): void {
    this.#webSocket.close()
    this.#closed(1006, '')
  }

  #closed(code: number, reason: string): void {
    if (this.#isClosed) return
    this.#isClosed = true
    queueMicrotask(() => this.#listener.onClose({ code, reason }))
  }
}
