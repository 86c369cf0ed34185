import type { Socket } from 'node:net'
import type { WebSocket } from 'ws'
import type { ByteBudget } from './byte-budget.js'
import { PAUSE, type ReadGate } from './flow-control.js'
import { messageHeaderBytes, writeMessageHeader } from './message-header.js'

/** Below this, copying costs less than one more buffer in the socket's writev. */
const COPY_BYTES = 4 * 1024
/** Small neighbours are joined into pieces of up to this size. */
const JOINED_BYTES = 16 * 1024
/** What a write costs beside its bytes while it waits. Keeps a million tiny replies from being free. */
const WRITE_OVERHEAD_BYTES = 512

/**
 * What goes out on one connection. Messages are written straight to the socket (see message-header.ts), which is
 * corked from the first write of a tick to the tick's end: however many frames a tick makes, they leave in one
 * writev, where each would else cost a system call, and the small replies among them in one buffer. With the WebSocket's own sends
 * (pings, the close frame) they share the socket's one queue, so that everything keeps its order: call `flush` before those.
 */
export class Outbox {
  readonly #webSocket: WebSocket
  readonly #socket: Socket
  readonly #gate: ReadGate
  readonly #bytesMax: number
  readonly #budget: ByteBudget
  readonly #onDrain: () => void
  /** Small replies of this tick. */
  #small: Uint8Array[] = []
  /** Of them, headers included. */
  #smallBytes = 0
  /** Writes with replies that the kernel has not taken. */
  #replyWrites = 0
  /** What the budget knows of. */
  #budgetedBytes = 0
  #isCorked = false
  #isClosed = false
  #isFull = false
  /** Of what waits, stored data: it is bounded by the rotation and does not hold requests back. */
  #storedBytes = 0

  constructor(options: {
    webSocket: WebSocket
    socket: Socket
    gate: ReadGate
    /** Past so many bytes of replies that wait, the connection's requests are not handled. */
    bytesMax: number
    /** Replies that wait in all sockets: near it, each may have fewer. */
    budget: ByteBudget
    /** Called when there is room again. */
    onDrain: () => void
  }) {
    this.#webSocket = options.webSocket
    this.#socket = options.socket
    this.#gate = options.gate
    this.#bytesMax = options.bytesMax
    this.#budget = options.budget
    this.#onDrain = options.onDrain
    this.#socket.on('drain', () => this.#drained())
  }

  /** Bytes that the kernel has not taken. */
  get waitingBytes(): number {
    return this.#socket.writableLength + this.#smallBytes
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
      this.#small.push(message)
      this.#smallBytes += messageHeaderBytes(message.length) + message.length
    } else {
      this.flush()
      this.#socket.write(headerOf(message.length))
      this.#writeReply(message)
    }
    this.#watch()
  }

  /** Writes what this tick has to send so far. */
  flush(): void {
    if (this.#smallBytes === 0) return
    const small = this.#small
    const joined = Buffer.allocUnsafe(this.#smallBytes)
    this.#small = []
    this.#smallBytes = 0
    let at = 0
    for (const message of small) {
      writeMessageHeader(joined, message.length, at)
      at += messageHeaderBytes(message.length)
      joined.set(message, at)
      at += message.length
    }
    if (this.#isOpen) this.#writeReply(joined)
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
    this.flush()
    const pieces = joinSmall(head, parts, bytes)
    const last = pieces.length - 1
    this.#storedBytes += bytes
    for (let i = 0; i < last; i++) this.#socket.write(pieces[i] as Uint8Array)
    this.#socket.write(pieces[last] as Uint8Array, () => {
      this.#storedBytes -= bytes
      sent()
      // 'drain' alone would not do: while stored data follows stored data the queue is never empty.
      if (this.#hasRoom) this.#drained()
    })
  }

  /** The connection is gone, or goes: what waits counts no more. */
  close(): void {
    this.#isClosed = true
    this.#count()
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
    this.flush()
    this.#isCorked = false
    this.#socket.uncork()
  }

  #writeReply(bytes: Uint8Array): void {
    this.#replyWrites++
    this.#socket.write(bytes, this.#replyLeft)
  }

  readonly #replyLeft = (): void => {
    this.#replyWrites--
    this.#count()
    if (this.#isFull && this.#hasRoom) this.#drained()
  }

  /** Of replies that wait. */
  get #replyBytes(): number {
    return this.waitingBytes - this.#storedBytes + this.#replyWrites * WRITE_OVERHEAD_BYTES
  }

  get #hasRoom(): boolean {
    return this.#replyBytes <= this.#budget.share(this.#bytesMax) / 2
  }

  #count(): number {
    const bytes = this.#isClosed ? 0 : this.#replyBytes
    this.#budget.add(bytes - this.#budgetedBytes)
    this.#budgetedBytes = bytes
    return bytes
  }

  #watch(): void {
    const bytes = this.#count()
    if (this.#isFull || bytes <= this.#budget.share(this.#bytesMax)) return
    this.#isFull = true
    this.#gate.pause(PAUSE.replies)
  }

  #drained(): void {
    this.#isFull = false
    this.#onDrain()
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
