import type { ReadResult } from '../shard/shard-face.js'
import type { ByteBudget } from './byte-budget.js'
import type { FairQueue, Waiting } from './fair-queue.js'
import type { SessionLimits } from './limits.js'
import type { Outbox } from './outbox.js'

/** Something that sends stored data: a subscription, a FETCH. */
export interface Turn {
  /** Reads and sends one message, or begins a read. Called only when there is room for it. */
  turn(): void
}

/** What one message carries besides its head. */
export type StoredData = Pick<ReadResult, 'buffers' | 'bytes' | 'release'>

/** However little is asked for, a whole entry comes. */
const READ_BYTES_MIN = 64 * 1024

/**
 * Who of a connection may send stored data next. One message a turn, in rotation, and only while little waits in the
 * socket: whoever waits for a turn holds no data at all, so a slow reader costs the memory of a queue entry.
 */
export class Rotation implements Waiting {
  readonly #outbox: Outbox
  readonly #fairQueue: FairQueue
  readonly #budget: ByteBudget
  readonly #markBytes: number
  /** In order of entry; a set, so that nobody stands in it twice. */
  readonly #queue = new Set<Turn>()
  /** What reads under way will bring: disk is read ahead of the socket no further than the mark. */
  #reservedBytes = 0
  #isScheduled = false
  #isOpen = true

  constructor(options: {
    outbox: Outbox
    fairQueue: FairQueue
    /** Stored data that waits in all sockets: near it, reads become small. */
    budget: ByteBudget
    limits: SessionLimits
  }) {
    this.#outbox = options.outbox
    this.#fairQueue = options.fairQueue
    this.#budget = options.budget
    this.#markBytes = options.limits.deliverMarkBytes
  }

  /** Takes a place at the end of the queue. */
  enter(turn: Turn): void {
    if (!this.#isOpen) return
    this.#queue.add(turn)
    if (this.#isScheduled) return
    this.#isScheduled = true
    queueMicrotask(() => this.goOn())
  }

  leave(turn: Turn): void {
    this.#queue.delete(turn)
  }

  readBytesMax(wantedBytes: number): number {
    return this.#budget.share(wantedBytes)
  }

  /** A read from disk of up to `wantedBytes` begins; the returned function ends it. */
  reserve(wantedBytes: number): () => void {
    // A thousand readers with next to no credit must not read at once.
    const bytes = Math.max(wantedBytes, READ_BYTES_MIN)
    this.#reservedBytes += bytes
    this.#budget.add(bytes)
    return () => {
      this.#reservedBytes -= bytes
      this.#budget.add(-bytes)
      this.resume()
    }
  }

  /** Sends one message with what was read, and gives the buffers back when they have left. */
  send(head: Uint8Array, result: StoredData): void {
    this.#budget.add(result.bytes)
    this.#outbox.sendParts(head, result.buffers, () => {
      this.#budget.add(-result.bytes)
      result.release()
      this.resume()
    })
  }

  /**
   * Goes on, if someone waits. In turn with other connections, not at once: a fast reader's socket takes each message
   * as it is written, and the rotation would go round without ever letting another connection in.
   */
  resume(): void {
    if (this.#queue.size === 0 || this.#isScheduled) return
    this.#isScheduled = true
    this.#fairQueue.enter(this)
  }

  close(): void {
    this.#isOpen = false
    this.#queue.clear()
    this.#fairQueue.leave(this)
  }

  /** As many messages as the mark allows. */
  goOn(): void {
    this.#isScheduled = false
    for (const turn of this.#queue) {
      if (this.#outbox.waitingBytes + this.#reservedBytes >= this.#markBytes) return
      this.#queue.delete(turn)
      turn.turn()
    }
  }
}
