import type { FrameMemory, FrameRoom } from './frame-memory.js'
import type { ReceivedFrame } from './received-frame.js'
import { unmask } from './unmask.js'

export interface IntakeOptions {
  readonly memory: FrameMemory
  readonly frameBytesMax: number
  /** A whole frame. */
  readonly onFrame: (frame: ReceivedFrame) => void
  /** Bytes that the WebSocket library must see; they are its own to keep. */
  readonly pass: (bytes: Buffer) => void
  /** So many bytes have come of a frame that is not whole yet. */
  readonly onPartial: (bytes: number) => void
  /** Asked before each message and fragment: whether it may be handled now. */
  readonly mayGoOn: () => boolean
}

const FINAL = 0x80
const FINAL_BINARY = 0x82
/** Of opcodes: ping, pong and close, which may come between the fragments of a message. */
const OPCODE_CONTROL = 0x08
const OPCODES = 0x0f
const RESERVED_BITS = 0x70
const CONTINUATION = 0
const TEXT = 1
const BINARY = 2
const PING = 9
const PONG = 10
/** Of a control frame. */
const CONTROL_BYTES_MAX = 125
const MASKED = 0x80
const LENGTH = 0x7f
const LENGTH_IN_2_BYTES = 126
const LENGTH_IN_8_BYTES = 127
const HEAD_BYTES_MAX = 14
const MASK_BYTES = 4

/**
 * Takes the WebSocket messages (RFC 6455, 5.2) of one client apart as they come from the socket. The usual one, binary and in
 * one fragment, is unmasked straight to where its request stays until it is answered: no buffer is joined, none is
 * garbage. Everything else (control frames, fragments, text, what is too large or illegal) is passed on as it came to
 * the WebSocket library, which answers, joins or refuses it.
 */
export class Intake {
  readonly #options: IntakeOptions
  /** The head of the message under way, as far as it has come. */
  readonly #head = Buffer.alloc(HEAD_BYTES_MAX)
  #headFilled = 0
  readonly #mask = Buffer.alloc(MASK_BYTES)
  /** Where the payload under way goes; undefined when it is passed on. */
  #room: FrameRoom | undefined
  #filled = 0
  /** Bytes of the payload that are still to come. */
  #left = 0
  /** A message in fragments is under way: the library's, to its end. */
  #isFragmented = false
  /** What was passed on of a message with data that is not whole. */
  #passedBytes = 0
  #isControl = false
  #isDiscarding = false
  #isStopped = false
  /** A close came, or what is no WebSocket frame: it ends the connection, and nothing after it counts. */
  #isOver = false

  constructor(options: IntakeOptions) {
    this.#options = options
  }

  /**
   * Returns how many of `bytes` were used: all, or those up to a message that may not be handled now. Not re-entrant: `onFrame`
   * must not cause another call.
   */
  take(bytes: Buffer): number {
    const { mayGoOn, onPartial } = this.#options
    let at = 0
    while (at < bytes.length) {
      if (this.#left > 0) at = this.#takePayload(bytes, at)
      else if (this.#headFilled > 0 || mayGoOn()) at = this.#takeHead(bytes, at)
      else break
    }
    onPartial(this.#room === undefined ? this.#passedBytes : this.#filled)
    return at
  }

  /** The connection has no use for more frames; what closes it still goes to the library. */
  stop(): void {
    this.#isStopped = true
    if (this.#room === undefined) return
    this.#options.memory.release(this.#room)
    this.#room = undefined
    this.#isDiscarding = true
  }

  #takeHead(bytes: Buffer, from: number): number {
    let at = from
    while (at < bytes.length) {
      this.#head[this.#headFilled++] = bytes[at++]!
      if (this.#headFilled >= 2 && this.#headFilled === headBytes(this.#head)) {
        this.#begin()
        break
      }
    }
    return at
  }

  #begin(): void {
    const head = this.#head
    const kind = head[0]!
    const bytes = payloadBytes(head)
    const { memory, frameBytesMax, pass } = this.#options
    const isOurs =
      kind === FINAL_BINARY &&
      (head[1]! & MASKED) !== 0 &&
      !this.#isFragmented &&
      !this.#isStopped &&
      !this.#isOver
    this.#left = bytes
    this.#filled = 0
    this.#room = isOurs && bytes > 0 && bytes <= frameBytesMax ? memory.take(bytes) : undefined
    if (this.#room !== undefined) {
      head.copy(this.#mask, 0, this.#headFilled - MASK_BYTES, this.#headFilled)
    } else {
      this.#isOver ||= !this.#isGoingOn(bytes)
      this.#isControl = (kind & OPCODE_CONTROL) !== 0
      if (!this.#isControl) this.#isFragmented = (kind & FINAL) === 0
      pass(Buffer.from(head.subarray(0, this.#headFilled)))
      if (bytes === 0) this.#passed(0)
    }
    this.#headFilled = 0
  }

  /**
   * Whether the connection outlives the message that begins. The library knows too, but may say so in a later tick, when
   * more of the same read has been taken.
   */
  #isGoingOn(payloadBytes: number): boolean {
    const kind = this.#head[0]!
    const opcode = kind & OPCODES
    if ((kind & RESERVED_BITS) !== 0 || (this.#head[1]! & MASKED) === 0) return false
    if ((kind & OPCODE_CONTROL) !== 0) {
      const isKnown = opcode === PING || opcode === PONG
      return isKnown && (kind & FINAL) !== 0 && payloadBytes <= CONTROL_BYTES_MAX
    }
    const isDue = this.#isFragmented ? opcode === CONTINUATION : opcode === BINARY || opcode === TEXT
    return isDue && payloadBytes <= this.#options.frameBytesMax
  }

  #takePayload(bytes: Buffer, from: number): number {
    const length = Math.min(this.#left, bytes.length - from)
    const piece = from === 0 && length === bytes.length ? bytes : bytes.subarray(from, from + length)
    this.#left -= length
    if (this.#room !== undefined) this.#fill(this.#room, piece)
    else if (this.#isDiscarding) this.#isDiscarding = this.#left > 0
    else {
      this.#options.pass(Buffer.from(piece))
      this.#passed(length)
    }
    return from + length
  }

  #fill(room: FrameRoom, piece: Buffer): void {
    unmask(piece, this.#mask, room.bytes, this.#filled, piece.length)
    this.#filled += piece.length
    if (this.#left === 0) {
      this.#room = undefined
      this.#options.onFrame(this.#options.memory.received(room))
    } else if (piece.length % MASK_BYTES !== 0) {
      rotate(this.#mask, piece.length % MASK_BYTES)
    }
  }

  #passed(bytes: number): void {
    if (this.#isControl) return
    this.#passedBytes = this.#left === 0 && !this.#isFragmented ? 0 : this.#passedBytes + bytes
  }
}

/** Of the head whose first two bytes are there. */
function headBytes(head: Buffer): number {
  const length = head[1]! & LENGTH
  const extended = length === LENGTH_IN_2_BYTES ? 2 : length === LENGTH_IN_8_BYTES ? 8 : 0
  return 2 + extended + ((head[1]! & MASKED) === 0 ? 0 : MASK_BYTES)
}

function payloadBytes(head: Buffer): number {
  const length = head[1]! & LENGTH
  if (length === LENGTH_IN_2_BYTES) return head.readUInt16BE(2)
  if (length === LENGTH_IN_8_BYTES) return head.readUInt32BE(2) * 2 ** 32 + head.readUInt32BE(6)
  return length
}

/** So that it begins with the byte for the next one of the payload. */
function rotate(mask: Buffer, by: number): void {
  const before = Buffer.from(mask)
  for (let i = 0; i < MASK_BYTES; i++) mask[i] = before[(i + by) % MASK_BYTES]!
}
