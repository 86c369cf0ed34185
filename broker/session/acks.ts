import { HARD_LIMITS } from '../../protocol/limits.js'
import { produced } from '../../protocol/messages/produce.js'
import type { Failpoints } from '../platform/failpoints.js'
import type { AppendAck } from '../shard/shard-face.js'
import type { Outbox } from './outbox.js'

/**
 * The acks of one connection. A WAL group answers many PRODUCE requests in one synchronous run: they go out as one
 * PRODUCED frame, in the microtask after it.
 */
export class Acks {
  readonly #outbox: Outbox
  readonly #failpoints: Failpoints
  readonly #acksPerFrameMax: number
  // Columns, kept from frame to frame: an ack itself allocates nothing.
  #count = 0
  readonly #correlationIds: number[] = []
  readonly #baseOffsets: number[] = []
  readonly #appendTimes: number[] = []
  readonly #duplicates: boolean[] = []

  constructor(options: { outbox: Outbox; failpoints: Failpoints; acksPerFrameMax?: number }) {
    this.#outbox = options.outbox
    this.#failpoints = options.failpoints
    this.#acksPerFrameMax = options.acksPerFrameMax ?? HARD_LIMITS.acksPerFrameMax
  }

  /** Whether no ack waits for the end of the run. */
  get isEmpty(): boolean {
    return this.#count === 0
  }

  add(correlationId: number, ack: AppendAck): void {
    if (this.#count === 0) queueMicrotask(this.#flush)
    const i = this.#count++
    this.#correlationIds[i] = correlationId
    this.#baseOffsets[i] = ack.baseOffset
    this.#appendTimes[i] = ack.appendTime
    this.#duplicates[i] = ack.duplicate
  }

  readonly #flush = (): void => {
    const frames: Uint8Array[] = []
    for (let first = 0; first < this.#count; first += this.#acksPerFrameMax) {
      frames.push(this.#pack(first, Math.min(first + this.#acksPerFrameMax, this.#count)))
    }
    this.#count = 0
    const held = this.#failpoints.hit('ackBeforeSend')
    if (held) void held.then(() => this.#send(frames))
    else this.#send(frames)
  }

  #send(frames: readonly Uint8Array[]): void {
    for (const frame of frames) this.#outbox.send(frame)
  }

  /** PRODUCED, byte for byte what the general packer makes of it, at a fraction of its cost. */
  #pack(first: number, end: number): Uint8Array {
    const frame = Buffer.allocUnsafe(7 + (end - first) * ACK_BYTES_MAX)
    frame[0] = 0x92
    frame[1] = produced.opcode
    let at = writeArrayHeader(frame, 2, end - first)
    for (let i = first; i < end; i++) {
      frame[at++] = 0x94
      at = writeUint(frame, at, this.#correlationIds[i] as number)
      at = writeUint(frame, at, this.#baseOffsets[i] as number)
      at = writeUint(frame, at, this.#appendTimes[i] as number)
      frame[at++] = this.#duplicates[i] ? 0xc3 : 0xc2
    }
    return frame.subarray(0, at)
  }
}

/** Array of four, uint32, two numbers of up to nine bytes, bool. */
const ACK_BYTES_MAX = 1 + 5 + 9 + 9 + 1

function writeArrayHeader(target: Buffer, at: number, length: number): number {
  if (length < 16) {
    target[at] = 0x90 | length
    return at + 1
  }
  if (length < 0x1_0000) {
    target[at] = 0xdc
    return target.writeUInt16BE(length, at + 1)
  }
  target[at] = 0xdd
  return target.writeUInt32BE(length, at + 1)
}

/** From 2^32 on as float64, which holds every whole number up to 2^53. */
function writeUint(target: Buffer, at: number, value: number): number {
  if (value < 0x80) {
    target[at] = value
    return at + 1
  }
  if (value < 0x100) {
    target[at] = 0xcc
    target[at + 1] = value
    return at + 2
  }
  if (value < 0x1_0000) {
    target[at] = 0xcd
    return target.writeUInt16BE(value, at + 1)
  }
  if (value < 0x1_0000_0000) {
    target[at] = 0xce
    return target.writeUInt32BE(value, at + 1)
  }
  target[at] = 0xcb
  return target.writeDoubleBE(value, at + 1)
}
