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
  /** What those ask for who want to hear of silence sooner. */
  readonly #required = new Set<{ readonly intervalMs: number }>()
  #pinger: Timer | undefined
  #heard = { atMs: 0, bytesRead: 0, left: 0 }

  constructor(options: HeartbeatOptions) {
    this.#options = options
    this.#progressMs = options.clock.monotonic()
    this.#heard.atMs = this.#progressMs
    this.#timer = this.#arm(options.limits.heartbeatMs * (0.5 + options.jitter / 2))
  }

  stop(): void {
    this.#timer.cancel()
    this.#required.clear()
    this.#pinger?.cancel()
  }

  /** Pings at least every `intervalMs`, until the returned function is called; nobody is dropped any sooner for it. */
  require(intervalMs: number): () => void {
    const required = { intervalMs }
    this.#required.add(required)
    this.#ask()
    return () => {
      this.#required.delete(required)
      if (this.#required.size === 0) this.#pinger?.cancel()
    }
  }

  /**
   * How long the peer has shown no sign of life, as exact as this is called often; 0 while we do not read from it. Bytes
   * that it takes are a sign only while more of them wait: the kernel takes a few for a process that is stopped.
   */
  silentMs(): number {
    const { socket, clock, isReadingPaused } = this.#options
    const nowMs = clock.monotonic()
    const { bytesRead } = socket
    const left = socket.bytesWritten - socket.writableLength - writeQueueBytes(socket)
    const hasTaken = socket.writableLength > 0 && left !== this.#heard.left
    const isHeard = isReadingPaused() || bytesRead !== this.#heard.bytesRead || hasTaken
    this.#heard = { atMs: isHeard ? nowMs : this.#heard.atMs, bytesRead, left }
    return nowMs - this.#heard.atMs
  }

  /** Pings now, and again when the shortest of the required intervals is over. */
  #ask(): void {
    this.#pinger?.cancel()
    const intervalMs = Math.min(...[...this.#required].map((required) => required.intervalMs))
    if (this.#options.socket.writableLength === 0) this.#options.ping()
    this.#pinger = this.#options.clock.setTimer(() => this.#ask(), intervalMs, { unref: true })
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
