import { MillraceError } from '../../protocol/error-codes.js'
import type { Clock, Timer } from '../platform/clock.js'
import type { Metrics } from '../platform/metrics.js'
import {
  type AppendBatch,
  type BatchEncodings,
  type BatchLimits,
  checkBatch,
  checkCompressed,
} from './batch-check.js'
import type { AppendAck } from './sequencer.js'

export type AppendDone = (error: MillraceError | null, ack: AppendAck | undefined) => void

/** Where one connection's batches come in. */
export interface AppendSource {
  /**
   * Never throws: refusals come through `done`, which is called exactly once and must not throw. The payload must not
   * change until then.
   */
  append(batch: AppendBatch, done: AppendDone): void
  /** Batches that no group has taken yet are refused with CLOSED; the others get their answer. */
  close(): void
}

export interface SourceListener {
  /** true: stop reading from this connection, the backlog is full. false: go on. */
  onPressure(paused: boolean): void
}

export interface QueuedAppend {
  readonly batch: AppendBatch
  readonly done: AppendDone
  readonly bytes: number
  readonly queuedAtMs: number
  /** False while it is being inflated: what is behind it in its source waits. */
  ready: boolean
  /** Set once it was answered. */
  settled: boolean
}

interface Source {
  readonly queue: QueuedAppend[]
  readonly listener: SourceListener
  deficitBytes: number
  isActive: boolean
  isClosed: boolean
}

export interface AppendQueueOptions {
  readonly clock: Clock
  readonly metrics: Metrics
  readonly limits: BatchLimits
  readonly backlogBytesMax: number
  readonly deadlineMs: number
  /** Throws a refusal that holds for every batch now, for example while the disk is full. */
  readonly refuse: (batch: AppendBatch) => void
  readonly encodingsOf: (batch: AppendBatch) => BatchEncodings
  /** The refusal that stands for anything thrown; reports what nobody expected. */
  readonly refusalOf: (error: unknown) => MillraceError
  /** There is something to cut. */
  readonly onReady: () => void
}

/** Bytes that a source may put into a group before the next one has its turn. */
const QUANTUM_BYTES = 64 * 1024
/** What a queued batch costs besides its payload, about. */
const OVERHEAD_BYTES = 512
/** Batches that are inflated at once: the thread pool is the WAL's before it is gzip's. */
const INFLATING_MAX = 2

/**
 * Batches that wait for a group, one queue per source, taken round-robin by bytes: a source with much to write does not
 * hold up one with little. Above the backlog's cap the sources that feed it are paused, and what waits past the
 * deadline is refused with BACKPRESSURE.
 */
export class AppendQueue {
  readonly #options: AppendQueueOptions
  readonly #sources = new Set<Source>()
  /** Told to stop reading until the backlog is half empty. */
  readonly #paused = new Set<Source>()
  /** Sources with batches, in the order of their turns. */
  #active: Source[] = []
  /** Those that had none a moment ago: their turn comes first, so that a lone batch does not wait behind bulk. */
  readonly #fresh: Source[] = []
  #bytes = 0
  #deadline: Timer | undefined
  #inflating = 0
  readonly #waitingToInflate: (() => void)[] = []
  #stopped: MillraceError | undefined

  constructor(options: AppendQueueOptions) {
    this.#options = options
  }

  /** Bytes of batches that are not durable yet. */
  get backlogBytes(): number {
    return this.#bytes
  }

  get isEmpty(): boolean {
    return this.#active.length === 0 && this.#fresh.length === 0
  }

  openSource(listener: SourceListener): AppendSource {
    const source: Source = { queue: [], listener, deficitBytes: 0, isActive: false, isClosed: false }
    this.#sources.add(source)
    return {
      append: (batch, done) => this.#append(source, batch, done),
      close: () => this.#close(source),
    }
  }

  #append(source: Source, batch: AppendBatch, done: AppendDone): void {
    const { clock, limits, refuse, encodingsOf, backlogBytesMax } = this.#options
    const item: QueuedAppend = {
      batch,
      done,
      bytes: batch.payload.length + OVERHEAD_BYTES,
      queuedAtMs: clock.monotonic(),
      ready: true,
      settled: false,
    }
    try {
      if (this.#stopped !== undefined) throw this.#stopped
      if (source.isClosed) throw new MillraceError('CLOSED')
      refuse(batch)
      const encodings = encodingsOf(batch)
      if (checkBatch(batch, encodings, limits)) {
        item.ready = false
        void this.#inflate(source, item, encodings)
      }
    } catch (error) {
      done(this.#options.refusalOf(error), undefined)
      return
    }
    source.queue.push(item)
    this.#bytes += item.bytes
    this.#activate(source)
    if (this.#bytes > backlogBytesMax && !this.#paused.has(source)) {
      this.#paused.add(source)
      source.listener.onPressure(true)
    }
    this.#watchDeadline()
    if (item.ready) this.#options.onReady()
  }

  async #inflate(source: Source, item: QueuedAppend, encodings: BatchEncodings): Promise<void> {
    if (this.#inflating >= INFLATING_MAX)
      await new Promise<void>((resolve) => this.#waitingToInflate.push(resolve))
    this.#inflating++
    try {
      // While it waited for its turn it may have been refused: then its bytes are nobody's any more.
      if (!item.settled) await checkCompressed(item.batch, encodings, this.#options.limits)
    } catch (error) {
      this.settle(item, this.#options.refusalOf(error))
    } finally {
      this.#inflating--
      this.#waitingToInflate.shift()?.()
    }
    item.ready = true
    this.#activate(source)
    this.#options.onReady()
  }

  #activate(source: Source): void {
    if (source.isActive || source.queue[0]?.ready !== true) return
    source.isActive = true
    this.#fresh.push(source)
  }

  /**
   * Takes batches for one group: `take` gets each in turn and returns the bytes that it adds to the group, or undefined
   * if it no longer fits.
   */
  fill(take: (item: QueuedAppend) => number | undefined): void {
    const kept: Source[] = []
    this.#active.unshift(...this.#fresh.splice(0))
    while (this.#active.length > 0) {
      const source = this.#active.shift() as Source
      source.deficitBytes += QUANTUM_BYTES
      let isFull = false
      for (let head = source.queue[0]; head?.ready === true; head = source.queue[0]) {
        if (head.bytes > source.deficitBytes) break
        if (!head.settled && take(head) === undefined) {
          isFull = true
          break
        }
        source.deficitBytes -= head.bytes
        source.queue.shift()
      }
      const isMore = source.queue[0]?.ready === true
      if (isFull) kept.push(source)
      else if (isMore) this.#active.push(source)
      else {
        source.isActive = false
        source.deficitBytes = 0
      }
    }
    // What did not fit goes first into the next group.
    this.#active = kept
  }

  /** Answers a batch, once, and counts it out of the backlog. */
  settle(item: QueuedAppend, error: MillraceError | null, ack?: AppendAck): void {
    if (item.settled) return
    item.settled = true
    this.#bytes -= item.bytes
    if (this.#paused.size > 0 && this.#bytes <= this.#options.backlogBytesMax / 2) this.#resumeSources()
    item.done(error, ack)
  }

  #resumeSources(): void {
    const paused = [...this.#paused]
    this.#paused.clear()
    for (const source of paused) source.listener.onPressure(false)
  }

  #watchDeadline(): void {
    if (this.#deadline !== undefined) return
    const { clock, deadlineMs } = this.#options
    this.#deadline = clock.setTimer(
      () => {
        this.#deadline = undefined
        this.#refuseOverdue()
      },
      Math.max(10, deadlineMs / 4),
      { unref: true },
    )
  }

  #refuseOverdue(): void {
    const { clock, deadlineMs, metrics } = this.#options
    const overdueBefore = clock.monotonic() - deadlineMs
    let isWaiting = false
    for (const source of this.#sources) {
      const firstTimely = source.queue.findIndex(({ queuedAtMs }) => queuedAtMs > overdueBefore)
      if (firstTimely !== -1) isWaiting = true
      // Out of the queue with them: while the disk stalls nobody else takes them out, and each holds its payload.
      for (const item of source.queue.splice(0, firstTimely === -1 ? source.queue.length : firstTimely)) {
        if (item.settled) continue
        metrics.count('backpressure')
        const retryAfterMs = Math.ceil(deadlineMs / 5)
        this.settle(item, new MillraceError('BACKPRESSURE', { retryAfterMs }))
      }
    }
    if (isWaiting) this.#watchDeadline()
  }

  #close(source: Source): void {
    source.isClosed = true
    this.#sources.delete(source)
    this.#paused.delete(source)
    for (const item of source.queue.splice(0)) this.settle(item, new MillraceError('CLOSED'))
  }

  /** Refuses what comes from now on; what waits stays. */
  refuseNew(error: MillraceError): void {
    this.#stopped = error
  }

  /** Refuses everything that waits and everything that comes. */
  stop(error: MillraceError): void {
    this.#stopped = error
    this.#deadline?.cancel()
    for (const source of this.#sources) {
      for (const item of source.queue.splice(0)) this.settle(item, error)
    }
  }
}
