import { READ_BYTES } from './raw-socket.js'

/**
 * In-flow: what clients send is read only as fast as it is answered. Nothing is dropped; a socket that is not read
 * fills, and TCP holds its sender back.
 */

/** Why a socket is not read; several may hold at once. */
export const PAUSE = {
  /** The connection's own unanswered requests. */
  connection: 1,
  /** The unanswered requests of all connections. */
  broker: 2,
  /** The shard's backlog is full. */
  shard: 4,
  /** The client does not take its replies. */
  replies: 8,
  /** What it has sent is more than its share of a turn of the event loop. */
  turn: 16,
} as const
export type PauseReason = (typeof PAUSE)[keyof typeof PAUSE]

/** Reads from a socket while no reason speaks against it. */
export class ReadGate {
  readonly #socket: { pause(): void; resume(): void }
  #reasons = 0

  constructor(socket: { pause(): void; resume(): void }) {
    this.#socket = socket
  }

  get isPaused(): boolean {
    return this.#reasons !== 0
  }

  pause(reason: PauseReason): void {
    const wasOpen = this.#reasons === 0
    this.#reasons |= reason
    if (wasOpen) this.#socket.pause()
  }

  resume(reason: PauseReason): void {
    if ((this.#reasons & reason) === 0) return
    this.#reasons &= ~reason
    if (this.#reasons === 0) this.#socket.resume()
  }
}

/** What a request costs beside its frame: closures, queue entries. Keeps a million tiny requests from being free. */
const REQUEST_OVERHEAD_BYTES = 512

/**
 * The bytes that all connections together hold of requests: whole ones until they are answered, and frames that have
 * come in part, which a thousand slow senders would otherwise fill memory with. Past the cap, each connection that
 * brings more is paused, and let in again in turn.
 */
export class InFlightBudget {
  readonly #bytesMax: number
  readonly #waiting = new Set<InFlight>()
  #requestBytes = 0
  #partialBytes = 0
  /** The one connection that may finish its frame above the cap. */
  #exempt: InFlight | undefined

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  get bytes(): number {
    return this.#requestBytes + this.#partialBytes
  }

  /** Called by an InFlight when its share changes. */
  change(account: InFlight, by: { requestBytes?: number; partialBytes?: number }): void {
    this.#requestBytes += by.requestBytes ?? 0
    this.#partialBytes += by.partialBytes ?? 0
    if (account === this.#exempt && account.partialBytes === 0) this.#exempt = undefined
    if (this.bytes > this.#bytesMax && account.isOpen && account !== this.#exempt) {
      account.gate.pause(PAUSE.broker)
      this.#waiting.add(account)
    }
    if (this.#waiting.size > 0) this.#letIn()
  }

  forget(account: InFlight): void {
    this.#waiting.delete(account)
  }

  #letIn(): void {
    let room = this.#bytesMax - this.bytes
    for (const account of this.#waiting) {
      if (room > 0) {
        // What its first read may bring.
        room -= READ_BYTES
      } else if (this.#requestBytes > 0 || this.#exempt !== undefined) {
        return
      } else {
        // Nothing but parts of frames, so no answer will ever make room: one of them must be read to its end.
        if (account.partialBytes === 0) continue
        this.#exempt = account
      }
      this.#waiting.delete(account)
      account.gate.resume(PAUSE.broker)
    }
  }
}

/** One connection's share of the budget. */
export class InFlight {
  readonly gate: ReadGate
  readonly #budget: InFlightBudget
  readonly #bytesMax: number
  #requestBytes = 0
  #requests = 0
  #partialBytes = 0
  #isOpen = true

  constructor(options: { gate: ReadGate; budget: InFlightBudget; bytesMax: number }) {
    this.gate = options.gate
    this.#budget = options.budget
    this.#bytesMax = options.bytesMax
  }

  get isOpen(): boolean {
    return this.#isOpen
  }

  /** Requests that are not answered. */
  get requests(): number {
    return this.#requests
  }

  get partialBytes(): number {
    return this.#partialBytes
  }

  /** A request of `frameBytes` has come; `end` with the same number when it is answered. */
  begin(frameBytes: number): void {
    this.#requests++
    const requestBytes = frameBytes + REQUEST_OVERHEAD_BYTES
    this.#requestBytes += requestBytes
    if (this.#requestBytes > this.#bytesMax) this.gate.pause(PAUSE.connection)
    this.#budget.change(this, { requestBytes })
  }

  /** Also after `close`: what the shard still holds of a lost connection counts until the shard lets go of it. */
  end(frameBytes: number): void {
    this.#requests--
    const requestBytes = frameBytes + REQUEST_OVERHEAD_BYTES
    this.#requestBytes -= requestBytes
    if (this.#requestBytes <= this.#bytesMax) this.gate.resume(PAUSE.connection)
    this.#budget.change(this, { requestBytes: -requestBytes })
  }

  /** So many bytes have come of a frame that is not whole yet; 0 when it is. */
  setPartial(bytes: number): void {
    if (bytes === this.#partialBytes || !this.#isOpen) return
    const partialBytes = bytes - this.#partialBytes
    this.#partialBytes = bytes
    this.#budget.change(this, { partialBytes })
  }

  /** The connection is gone. */
  close(): void {
    this.setPartial(0)
    this.#isOpen = false
    this.#budget.forget(this)
  }
}
