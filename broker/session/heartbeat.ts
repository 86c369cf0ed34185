import type { Socket } from 'node:net'
import type { Clock, Timer } from '../platform/clock.js'
import type { SessionLimits } from './limits.js'

export interface HeartbeatOptions {
  readonly socket: Socket
  readonly clock: Clock
  readonly limits: SessionLimits
  /** From 0 to 1: spreads the pings of many connections over the interval. */
  readonly jitter: number
  /** Whether we ourselves do not read the socket, so that pongs cannot arrive. */
  readonly isReadingPaused: () => boolean
  readonly ping: () => void
  readonly onDead: (reason: string) => void
}

/**
 * Tells a dead connection from a slow one. A peer lives if bytes come from it or if it takes bytes. Silence counts
 * only while we ask (a ping is not stuck behind other data) and listen (we have not paused the socket); while
 * something waits to be sent, a peer is dead when it takes nothing at all for `stallMsMax`.
 */
export class Heartbeat {
  readonly #options: HeartbeatOptions
  #timer: Timer
  #misses = 0
  #bytesRead = 0
  #progress = { left: 0, inKernelQueue: 0 }
  #progressMs: number
  #wasPaused = false

  constructor(options: HeartbeatOptions) {
    this.#options = options
    this.#progressMs = options.clock.monotonic()
    this.#timer = this.#arm(options.limits.heartbeatMs * (0.5 + options.jitter / 2))
  }

  stop(): void {
    this.#timer.cancel()
  }

  #arm(ms: number): Timer {
    return this.#options.clock.setTimer(() => this.#beat(), ms, { unref: true })
  }

  #beat(): void {
    const { socket, limits, onDead, ping, isReadingPaused } = this.#options
    const isWaiting = socket.writableLength > 0
    const isPaused = isReadingPaused()
    // After a pause the pong needs until the next beat to come.
    if (this.#hasRead() || isPaused || this.#wasPaused || isWaiting) this.#misses = 0
    else this.#misses++
    this.#wasPaused = isPaused
    const stalledMs = this.#stalledMs(isWaiting)
    if (stalledMs >= limits.stallMsMax) {
      onDead(`took nothing for ${Math.round(stalledMs)} ms`)
    } else if (this.#misses > limits.heartbeatMissesMax) {
      onDead(`answered none of ${this.#misses - 1} pings`)
    } else {
      if (!isWaiting) ping()
      this.#timer = this.#arm(limits.heartbeatMs)
    }
  }

  #hasRead(): boolean {
    const { bytesRead } = this.#options.socket
    const hasRead = bytesRead !== this.#bytesRead
    this.#bytesRead = bytesRead
    return hasRead
  }

  #stalledMs(isWaiting: boolean): number {
    const { socket, clock } = this.#options
    // What the stream counts changes when a whole write is done; the handle's queue moves during a long one too.
    const progress = {
      left: socket.bytesWritten - socket.writableLength,
      inKernelQueue: writeQueueBytes(socket),
    }
    const hasMoved =
      progress.left !== this.#progress.left || progress.inKernelQueue !== this.#progress.inKernelQueue
    this.#progress = progress
    if (hasMoved || !isWaiting) this.#progressMs = clock.monotonic()
    return clock.monotonic() - this.#progressMs
  }
}

/** Bytes of the write under way that the kernel has not taken; net.Socket looks at the same for its own timeout. */
function writeQueueBytes(socket: Socket): number {
  const { _handle: handle } = socket as unknown as { _handle?: { writeQueueSize?: number } | null }
  return handle?.writeQueueSize ?? 0
}
