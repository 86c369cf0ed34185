import type { Clock } from '../platform/clock.js'
import type { FairQueue, Waiting } from './fair-queue.js'
import { type InFlight, PAUSE, type ReadGate } from './flow-control.js'
import type { FrameMemory, FrameRoom } from './frame-memory.js'
import { Intake, type IntakeOptions } from './intake.js'
import { READ_BYTES } from './raw-socket.js'

export interface InletOptions extends Pick<IntakeOptions, 'frameBytesMax' | 'onFrame' | 'pass'> {
  readonly memory: FrameMemory
  readonly gate: ReadGate
  readonly inFlight: InFlight
  readonly queue: FairQueue
  readonly clock: Clock
  /** Whether the client must take its replies before more of its requests are looked at. */
  readonly isHeldBack: () => boolean
}

/** One connection's share of a turn of the event loop: messages, and how long they may take. */
const SHARE_MESSAGES = 256
const SHARE_MS = 0.5
/** Looking at the clock costs as much as a hundredth of a message. */
const MESSAGES_PER_LOOK = 16
/** The kernel hands over one full read after the other, as long as its client is fast enough: then others come first. */
const FULL_READS_MAX = 4

/**
 * What a client sends, on its way from the socket to the session. Of each read a share is handled at once; the rest is kept, and
 * the socket not read, until the queue of all connections comes to it. So a flood of small frames takes its turns like everybody
 * else, and one frame of another connection waits for a share of each flood and not for all that one read brings.
 */
export class Inlet implements Waiting {
  readonly #options: InletOptions
  readonly #intake: Intake
  /** What was read and is not handled. */
  #rest: Buffer | undefined
  /** Where it lies, unless its memory is its own. */
  #room: FrameRoom | undefined
  #partialBytes = 0
  #fullReads = 0
  #messages = 0
  #startedMs = 0
  #isStopped = false

  constructor(options: InletOptions) {
    this.#options = options
    this.#intake = new Intake({
      ...options,
      mayGoOn: () => this.#mayGoOn(),
      onPartial: (bytes) => {
        this.#partialBytes = bytes
      },
    })
  }

  /** Whether everything that was read has been handled. */
  get isEmpty(): boolean {
    return this.#rest === undefined
  }

  /** `bytes` are used up when this returns. */
  take(bytes: Buffer): void {
    this.#fullReads = bytes.length === READ_BYTES ? this.#fullReads + 1 : 0
    // Only what came with the upgrade is followed by a read before its rest was handled.
    if (this.#rest !== undefined) this.#keep(Buffer.concat([this.#rest, bytes]))
    else this.#handle(bytes)
    if (this.#rest !== undefined || this.#fullReads === FULL_READS_MAX) this.#wait()
  }

  goOn(): void {
    this.#fullReads = 0
    if (this.#rest !== undefined) this.#handle(this.#rest)
    if (this.#rest !== undefined) this.#wait()
    else this.#options.gate.resume(PAUSE.turn)
  }

  /** The client took its replies. */
  resume(): void {
    if (this.#rest !== undefined) this.#options.queue.enter(this)
  }

  /** The session has no use for more frames; what closes the connection still goes to the library. */
  stop(): void {
    this.#isStopped = true
    this.#intake.stop()
    this.resume()
  }

  /** The connection is gone. */
  close(): void {
    this.#options.queue.leave(this)
    this.#setRest(undefined)
  }

  #handle(bytes: Buffer): void {
    this.#messages = 0
    this.#startedMs = this.#options.clock.monotonic()
    const used = this.#intake.take(bytes)
    if (used === bytes.length) this.#setRest(undefined)
    else if (bytes === this.#rest) this.#rest = bytes.subarray(used)
    else this.#keep(bytes.subarray(used))
    // What the client holds up by not reading makes no room for others soon: they must not wait for it.
    const soonBytes = this.#options.isHeldBack() ? 0 : (this.#rest?.length ?? 0)
    this.#options.inFlight.setPartial(this.#partialBytes + soonBytes)
  }

  #mayGoOn(): boolean {
    if (this.#isStopped) return true
    if (this.#options.isHeldBack()) return false
    const handled = this.#messages++
    if (handled === 0 || handled % MESSAGES_PER_LOOK !== 0) return true
    return handled < SHARE_MESSAGES && this.#options.clock.monotonic() - this.#startedMs < SHARE_MS
  }

  #wait(): void {
    const { gate, queue, isHeldBack } = this.#options
    gate.pause(PAUSE.turn)
    if (!isHeldBack()) queue.enter(this)
    // It may take as long as the client likes: the shared memory is for what is soon used up.
    else if (this.#room !== undefined) this.#setRest(Buffer.from(this.#rest as Buffer))
  }

  /** The bytes are another read's after this. */
  #keep(bytes: Buffer): void {
    const room = this.#options.memory.take(bytes.length)
    if (room !== undefined) bytes.copy(room.bytes)
    this.#setRest(room?.bytes ?? Buffer.from(bytes), room)
  }

  #setRest(rest: Buffer | undefined, room?: FrameRoom): void {
    if (this.#room !== undefined) this.#options.memory.release(this.#room)
    this.#rest = rest
    this.#room = room
  }
}
