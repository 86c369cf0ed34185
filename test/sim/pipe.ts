import { crc32 } from 'node:zlib'
import type { SeededRandom } from '../support/seeded-random.js'
import type { Owner, Scheduler } from './scheduler.js'

/** What stands at the far end of a pipe. */
export interface PipeReceiver {
  /** The bytes are the receiver's. */
  received(bytes: Buffer): void
  /** The sender has sent its last byte. */
  ended(): void
  /** The connection is gone. */
  reset(): void
}

/** How the network is at the moment. */
export interface NetworkWeather {
  readonly latencyMsMin: number
  readonly latencyMsMax: number
  /** How likely a delivery brings only a part of what is under way. */
  readonly splitOdds: number
}

/** What the two kernels hold for one direction; past it the sender waits. */
const WINDOW_BYTES = 64 * 1024

/** One direction of a connection: bytes in their order, some time later, unless the connection is lost meanwhile. */
export class Pipe {
  readonly #scheduler: Scheduler
  readonly #random: SeededRandom
  readonly #weather: NetworkWeather
  readonly #name: string
  readonly #sender: Owner
  readonly #owner: Owner
  readonly #receiver: PipeReceiver
  #chunks: Uint8Array[] = []
  #bytes = 0
  /** What comes after the bytes. */
  #then: 'nothing' | 'end' | 'reset' = 'nothing'
  #isOver = false
  #isSilent = false
  #isHeld = false
  #isScheduled = false
  #whenRoom: (() => void) | undefined

  constructor(options: {
    scheduler: Scheduler
    random: SeededRandom
    weather: NetworkWeather
    name: string
    sender: Owner
    /** Whose events the deliveries are. */
    owner: Owner
    receiver: PipeReceiver
  }) {
    this.#scheduler = options.scheduler
    this.#random = options.random
    this.#weather = options.weather
    this.#name = options.name
    this.#sender = options.sender
    this.#owner = options.owner
    this.#receiver = options.receiver
  }

  get hasRoom(): boolean {
    return this.#bytes < WINDOW_BYTES
  }

  /** Sends bytes, which must not change afterwards. */
  send(bytes: Uint8Array): void {
    if (this.#then !== 'nothing' || bytes.length === 0) return
    this.#chunks.push(bytes)
    this.#bytes += bytes.length
    this.#schedule()
  }

  /** Calls back once when there is room again. */
  onRoom(callback: () => void): void {
    this.#whenRoom = callback
  }

  end(): void {
    if (this.#then === 'nothing') this.#then = 'end'
    this.#schedule()
  }

  /** Of what is under way some first bytes arrive, then the loss is noticed. */
  cut(): void {
    if (this.#isOver) return
    this.#truncate(this.#random.below(this.#bytes + 1))
    this.#then = 'reset'
    this.#isSilent = false
    this.#isHeld = false
    this.#schedule()
  }

  /** From now on nothing arrives and nobody is told. */
  silence(): void {
    this.#isSilent = true
  }

  /** The receiver reads no more, for now. */
  hold(): void {
    this.#isHeld = true
  }

  unhold(): void {
    this.#isHeld = false
    if (this.#bytes > 0 || this.#then !== 'nothing') this.#schedule()
  }

  #schedule(): void {
    if (this.#isScheduled || this.#isOver) return
    this.#isScheduled = true
    const { latencyMsMin, latencyMsMax } = this.#weather
    const ms = latencyMsMin + this.#random.fraction() * (latencyMsMax - latencyMsMin)
    this.#scheduler.after(ms, () => this.#deliver(), {
      kind: 'deliver',
      detail: this.#name,
      owner: this.#owner,
    })
  }

  #deliver(): void {
    this.#isScheduled = false
    if (this.#isSilent || this.#isHeld || this.#isOver) return
    if (this.#bytes > 0) {
      const isSplit = this.#random.chance(this.#weather.splitOdds)
      const bytes = this.#take(isSplit ? 1 + this.#random.below(this.#bytes) : this.#bytes)
      this.#scheduler.note('bytes', crc32(bytes))
      this.#receiver.received(bytes)
      this.#callRoom()
    }
    if (this.#bytes > 0) this.#schedule()
    else if (this.#then !== 'nothing') {
      this.#isOver = true
      if (this.#then === 'end') this.#receiver.ended()
      else this.#receiver.reset()
    }
  }

  #callRoom(): void {
    const callback = this.#whenRoom
    if (callback === undefined || !this.hasRoom) return
    this.#whenRoom = undefined
    this.#scheduler.after(0, callback, { kind: 'room', detail: this.#name, owner: this.#sender })
  }

  #take(count: number): Buffer {
    const whole = Buffer.concat(this.#chunks, this.#bytes)
    const rest = whole.subarray(count)
    this.#chunks = rest.length > 0 ? [rest] : []
    this.#bytes = rest.length
    return whole.subarray(0, count)
  }

  #truncate(count: number): void {
    const kept = this.#bytes > count ? this.#take(count) : undefined
    if (kept === undefined) return
    this.#chunks = count > 0 ? [kept] : []
    this.#bytes = count
  }
}
