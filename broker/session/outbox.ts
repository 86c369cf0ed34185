import type { Socket } from 'node:net'
import type { WebSocket } from 'ws'
import { PAUSE, type ReadGate } from './flow-control.js'
import { messageHeaderBytes, writeMessageHeader } from './message-header.js'

/** Below this, copying costs less than one more buffer in the socket's writev. */
const COPY_BYTES = 4 * 1024
/** Small neighbours are joined into pieces of up to this size. */
const JOINED_BYTES = 16 * 1024

/**
 * What goes out on one connection. Messages are written straight to the socket (see message-header.ts), which is
 * corked from the first write of a tick to the tick's end: however many frames a tick makes, they leave in one
 * writev, where each would else cost a system call. With the WebSocket's own sends (pings, the close frame) they
 * share the socket's one queue, so that everything keeps its order.
 */
export class Outbox {
  readonly #webSocket: WebSocket
  readonly #socket: Socket
  readonly #gate: ReadGate
  readonly #bytesMax: number
  readonly #onDrain: () => void
  #isCorked = false
  #isFull = false
  /** Of what waits, stored data: it is bounded by the rotation and does not hold requests back. */
  #storedBytes = 0

  constructor(options: {
    webSocket: WebSocket
    socket: Socket
    gate: ReadGate
    /** Past so many bytes of replies that wait, the connection's requests are not read. */
    bytesMax: number
    /** Called when there is room again. */
    onDrain: () => void
  }) {
    this.#webSocket = options.webSocket
    this.#socket = options.socket
    this.#gate = options.gate
    this.#bytesMax = options.bytesMax
    this.#onDrain = options.onDrain
    this.#socket.on('drain', () => this.#drained())
  }

  /** Bytes that the kernel has not taken. */
  get waitingBytes(): number {
    return this.#socket.writableLength
  }

  /** Whether so much waits that no request may be answered until it drains. */
  get isFull(): boolean {
    return this.#isFull
  }

  /** Sends one reply. The bytes must not change afterwards. */
  send(message: Uint8Array): void {
    if (!this.#isOpen) return
    this.#cork()
    if (message.length <= COPY_BYTES) {
      const headerBytes = messageHeaderBytes(message.length)
      const joined = Buffer.allocUnsafe(headerBytes + message.length)
      writeMessageHeader(joined, message.length)
      joined.set(message, headerBytes)
      this.#socket.write(joined)
    } else {
      this.#socket.write(headerOf(message.length))
      this.#socket.write(message)
    }
    this.#watch()
  }

  /**
   * Sends stored data as one message, its head first; copied only where that is cheaper. `sent` is called when the
   * kernel has all of it, or when it never will.
   */
  sendParts(head: Uint8Array, parts: readonly Uint8Array[], sent: () => void): void {
    if (!this.#isOpen) {
      sent()
      return
    }
    let bytes = head.length
    for (const part of parts) bytes += part.length
    this.#cork()
    const pieces = joinSmall(head, parts, bytes)
    const last = pieces.length - 1
    this.#storedBytes += bytes
    for (let i = 0; i < last; i++) this.#socket.write(pieces[i] as Uint8Array)
    this.#socket.write(pieces[last] as Uint8Array, () => {
      this.#storedBytes -= bytes
      sent()
      // 'drain' alone would not do: while stored data follows stored data the queue is never empty.
      if (this.#replyBytes <= this.#bytesMax / 2) this.#drained()
    })
  }

  get #isOpen(): boolean {
    return this.#webSocket.readyState === this.#webSocket.OPEN && !this.#socket.destroyed
  }

  #cork(): void {
    if (this.#isCorked) return
    this.#isCorked = true
    this.#socket.cork()
    process.nextTick(this.#uncork)
  }

  readonly #uncork = (): void => {
    this.#isCorked = false
    this.#socket.uncork()
  }

  get #replyBytes(): number {
    return this.#socket.writableLength - this.#storedBytes
  }

  #watch(): void {
    if (this.#isFull || this.#replyBytes <= this.#bytesMax) return
    this.#isFull = true
    this.#gate.pause(PAUSE.replies)
  }

  #drained(): void {
    this.#isFull = false
    this.#onDrain()
    // Held requests, answered just now, may have filled it again.
    if (!this.#isFull) this.#gate.resume(PAUSE.replies)
  }
}

function headerOf(messageBytes: number): Buffer {
  const header = Buffer.allocUnsafe(messageHeaderBytes(messageBytes))
  writeMessageHeader(header, messageBytes)
  return header
}

/** Header, head and parts as few pieces: small neighbours joined, large parts as they lie. */
function joinSmall(head: Uint8Array, parts: readonly Uint8Array[], messageBytes: number): Uint8Array[] {
  const pieces: Uint8Array[] = []
  let run: Uint8Array[] = [headerOf(messageBytes), head]
  let runBytes = 10 + head.length
  const endRun = (): void => {
    if (run.length === 1) pieces.push(run[0] as Uint8Array)
    else if (run.length > 1) pieces.push(Buffer.concat(run))
    run = []
    runBytes = 0
  }
  for (const part of parts) {
    if (part.length > COPY_BYTES) {
      endRun()
      pieces.push(part)
      continue
    }
    if (runBytes + part.length > JOINED_BYTES) endRun()
    run.push(part)
    runBytes += part.length
  }
  endRun()
  return pieces
}
