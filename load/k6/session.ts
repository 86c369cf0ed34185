import { packFrame, unpackFrame } from '../../protocol/frame.js'
import {
  type ErrorFields,
  error,
  goingAway,
  hello,
  type ProduceAck,
  produced,
  type Welcome,
  welcome,
} from '../../protocol/messages/index.js'
import { PROTOCOL_VERSION } from '../../protocol/version.js'
import type { Measures } from './measures.js'

/** What a session needs of a WebSocket. `send` takes an ArrayBuffer: older k6 refuses views of one. */
export interface FrameSocket {
  send(frame: ArrayBuffer): void
  close(): void
}

type FrameListener = (frame: readonly unknown[]) => void

interface Waiting {
  answer: FrameListener
  refused: () => void
}

/**
 * One connection's frames: HELLO, requests and their answers, and frames that come unasked. Works by callbacks, since
 * not every k6 runs what async functions are compiled to. Every surprise is reported as wrong.
 */
export class Session {
  readonly #socket: FrameSocket
  readonly #measures: Measures
  readonly #waiting = new Map<number, Waiting>()
  readonly #acks = new Map<number, (ack: ProduceAck) => void>()
  readonly #listeners = new Map<number, FrameListener>()
  readonly #closedListeners: (() => void)[] = []
  #lastCorrelationId = 0
  #isClosing = false
  #isClosed = false

  constructor(socket: FrameSocket, measures: Measures) {
    this.#socket = socket
    this.#measures = measures
  }

  get isClosed(): boolean {
    return this.#isClosed || this.#isClosing
  }

  /** Requests that wait for an answer. */
  get unanswered(): number {
    return this.#waiting.size
  }

  /** Says HELLO: to be called once, when the socket is open. */
  start(clientName: string, ready: (fields: Welcome) => void): void {
    this.ask(
      (correlationId) =>
        hello.write({
          correlationId,
          minVersion: PROTOCOL_VERSION,
          maxVersion: PROTOCOL_VERSION,
          clientName,
          credential: null,
          features: ['groups'],
        }),
      (frame) => ready(welcome.read(frame)),
    )
  }

  /** Sends a request; exactly one of `answer` and `refused` is called, or none when the connection ends before. */
  ask(
    request: (correlationId: number) => unknown[],
    answer: FrameListener,
    refused: () => void = () => {},
  ): void {
    const id = ++this.#lastCorrelationId
    this.#waiting.set(id, { answer, refused })
    this.tell(request(id))
  }

  /** Sends PRODUCE, whose answer is an ack among others. */
  produce(
    request: (correlationId: number) => unknown[],
    acked: (ack: ProduceAck) => void,
    refused: () => void,
  ): void {
    const id = ++this.#lastCorrelationId
    this.#acks.set(id, acked)
    this.#waiting.set(id, { answer: () => this.#surprise('PRODUCE was answered otherwise'), refused })
    this.tell(request(id))
  }

  /** Sends a frame that has no answer. */
  tell(frame: unknown[]): void {
    if (this.isClosed) return
    const bytes = packFrame(frame)
    const { buffer } = bytes
    // The socket may send later, from this very memory: packFrame gives each frame its own.
    this.#socket.send(
      bytes.length === buffer.byteLength ? (buffer as ArrayBuffer) : (bytes.slice().buffer as ArrayBuffer),
    )
  }

  /** Frames of this opcode that answer no request. */
  on(message: { readonly opcode: number }, listener: FrameListener): void {
    this.#listeners.set(message.opcode, listener)
  }

  onClosed(listener: () => void): void {
    this.#closedListeners.push(listener)
  }

  /** A binary message as it came. */
  receive(data: ArrayBuffer): void {
    const frame = unpackFrame(new Uint8Array(data))
    const opcode = frame[0] as number
    if (opcode === produced.opcode) this.#takeAcks(frame)
    else if (opcode === error.opcode) this.#takeError(error.read(frame))
    else if (opcode === goingAway.opcode) this.#measures.wrong('connection', 'the broker goes away')
    else this.#takeOther(opcode, frame)
  }

  #takeAcks(frame: readonly unknown[]): void {
    for (const ack of produced.read(frame).acks) {
      const acked = this.#acks.get(ack.correlationId)
      if (acked === undefined) this.#surprise(`an ack of ${ack.correlationId}, which nobody waits for`)
      this.#acks.delete(ack.correlationId)
      this.#waiting.delete(ack.correlationId)
      acked?.(ack)
    }
  }

  #takeError({ correlationId, code, message }: ErrorFields): void {
    this.#measures.wrong('refused', `${code}: ${message}`)
    const waiting = this.#waiting.get(correlationId)
    this.#waiting.delete(correlationId)
    this.#acks.delete(correlationId)
    waiting?.refused()
  }

  #takeOther(opcode: number, frame: readonly unknown[]): void {
    const listener = this.#listeners.get(opcode)
    if (listener !== undefined) {
      listener(frame)
      return
    }
    const id = frame[1] as number
    const waiting = this.#waiting.get(id)
    if (waiting === undefined) {
      this.#surprise(`a frame ${opcode} that nobody waits for`)
      return
    }
    this.#waiting.delete(id)
    waiting.answer(frame)
  }

  #surprise(detail: string): void {
    this.#measures.wrong('corrupt', detail)
  }

  /** Ends the connection on purpose. */
  close(): void {
    if (this.isClosed) return
    this.#isClosing = true
    this.#socket.close()
  }

  /** The socket ended, for whatever reason; without close() before it, the connection was lost. */
  closed(reason: string): void {
    if (this.#isClosed) return
    this.#isClosed = true
    if (!this.#isClosing) this.#measures.wrong('connection', `lost: ${reason}`)
    for (const listener of this.#closedListeners) listener()
  }
}
