/** One WebSocket, as the connection needs it: binary messages, and no event after `onClose`. */
export interface Socket {
  /** Sends one binary message; the bytes must not change afterwards. Does nothing once the socket is closing. */
  send(message: Uint8Array): void
  /** Says goodbye; `onClose` follows. */
  close(code: number, reason: string): void
  /** Drops it without a goodbye; `onClose` follows. */
  terminate(): void
}

export interface SocketListener {
  onOpen(): void
  /** A view that may be kept. */
  onMessage(message: Uint8Array): void
  /** Exactly once, also when the socket never opened. */
  onClose(closing: Closing): void
}

export interface Closing {
  /** WebSocket close code; 1006 when there was no goodbye. */
  readonly code: number
  readonly reason: string
  /** The HTTP status that refused the WebSocket; browsers do not tell. */
  readonly httpStatus?: number
  readonly cause?: unknown
}

export interface SocketOptions {
  readonly url: string
  readonly subprotocol: string
  /** Largest message that is taken. */
  readonly frameBytesMax: number
}

export type OpenSocket = (options: SocketOptions, listener: SocketListener) => Socket
