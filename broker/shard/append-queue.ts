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
import { Fifo } from './fifo.js'
import type { AppendAck } from './sequencer.js'
import { checkUnit } from './unit-check.js'
import { jobsIn, type UnitResult, type WriteUnit } from './write-unit.js'

export type UnitDone = (error: MillraceError | null, result: UnitResult | undefined) => void

export type AppendDone = (error: MillraceError | null, ack: AppendAck | undefined) => void

/** Where one connection's batches come in. */
export interface AppendSource {
  /**
   * Never throws: refusals come through `done`, which is called exactly once and must not throw. The payload must not
   * change until then.
   */
  append(batch: AppendBatch, done: AppendDone): void
  /** As `append`, for batches and acks that are written all together or not at all. */
  appendUnit(unit: WriteUnit, done: UnitDone): void
  /** Batches that no group has taken yet are refused with CLOSED; the others get their answer. */
  close(): void
}

export interface SourceListener {
  /** true: stop reading from this connection, the backlog is full. false: go on. */
  onPressure(paused: boolean): void
}

interface Queued {
  readonly bytes: number
  readonly queuedAtMs: number
  /** False while it is being inflated: what is behind it in its source waits. */
  ready: boolean
  /** Set once it was answered. */
  settled: boolean
}

export interface QueuedBatch extends Queued {
  readonly batch: AppendBatch
  readonly unit: null
  readonly done: AppendDone
}

export interface QueuedUnit extends Queued {
  readonly batch: null
  readonly unit: WriteUnit
  readonly done: UnitDone
}

/** Both have the same fields in the same order: the plain path stays as fast as if there were no units. */
export type QueuedAppend = QueuedBatch | QueuedUnit

interface Source {
  readonly queue: Fifo<QueuedAppend>
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
  /** What a unit was answered that was written before; throws the refusal of a request id that means another request. */
  readonly answerOf: (unit: WriteUnit) => UnitResult | undefined
  /** Gives the acks of a unit that writes nothing; rejects with the refusal. */
  readonly submitAcks: (unit: WriteUnit) => Promise<UnitResult>
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
    const source: Source = { queue: new Fifo(), listener, deficitBytes: 0, isActive: false, isClosed: false }
    this.#sources.add(source)
    return {
      append: (batch, done) => this.#append(source, batch, done),
      appendUnit: (unit, done) => this.#appendUnit(source, unit, done),
      close: () => this.#close(source),
    }
  }

  #append(source: Source, batch: AppendBatch, done: AppendDone): void {
    const { clock, limits, refuse, encodingsOf } = this.#options
    const item: QueuedBatch = {
      batch,
      unit: null,
      done,
      bytes: bytesOf(batch),
      queuedAtMs: clock.monotonic(),
      ready: true,
      settled: false,
    }
    try {
      this.#checkOpen(source)
      refuse(batch)
      const encodings = encodingsOf(batch)
      if (checkBatch(batch, encodings, limits)) {
        item.ready = false
        void this.#inflate(source, item, [batch])
      }
    } catch (error) {
      done(this.#options.refusalOf(error), undefined)
      return
    }
    this.#enqueue(source, item)
  }

  #appendUnit(source: Source, unit: WriteUnit, done: UnitDone): void {
    const { clock, limits, metrics, refuse, encodingsOf, answerOf } = this.#options
    const item: QueuedUnit = {
      batch: null,
      unit,
      done,
      bytes: unit.writes.reduce((bytes, batch) => bytes + bytesOf(batch), OVERHEAD_BYTES),
      queuedAtMs: clock.monotonic(),
      ready: true,
      settled: false,
    }
    try {
      this.#checkOpen(source)
      checkUnit(unit, limits)
      // Before what may have come to stand against it since: its topic may be gone, or the disk full.
      const answer = answerOf(unit)
      if (answer !== undefined) {
        metrics.count('atomicRetries')
        done(null, answer)
        return
      }
      if (unit.writes.length === 0) {
        this.#submitAcks(unit, done)
        return
      }
      for (const batch of unit.writes) refuse(batch)
      const compressed = unit.writes.filter((batch) => checkBatch(batch, encodingsOf(batch), limits))
      if (compressed.length > 0) {
        item.ready = false
        void this.#inflate(source, item, compressed)
      }
    } catch (error) {
      done(this.#options.refusalOf(error), undefined)
      return
    }
    this.#enqueue(source, item)
  }

  #submitAcks(unit: WriteUnit, done: UnitDone): void {
    const { submitAcks, refusalOf, metrics } = this.#options
    submitAcks(unit).then(
      (result) => {
        metrics.count(result.retried ? 'atomicRetries' : 'atomicWrites')
        if (!result.retried) metrics.count('jobsAcked', jobsIn(unit))
        done(null, result)
      },
      (error: unknown) => done(refusalOf(error), undefined),
    )
  }

  #checkOpen(source: Source): void {
    if (this.#stopped !== undefined) throw this.#stopped
    if (source.isClosed) throw new MillraceError('CLOSED')
  }

  #enqueue(source: Source, item: QueuedAppend): void {
    source.queue.push(item)
    this.#bytes += item.bytes
    this.#activate(source)
    if (this.#bytes > this.#options.backlogBytesMax && !this.#paused.has(source)) {
      this.#paused.add(source)
      source.listener.onPressure(true)
    }
    this.#watchDeadline()
    if (item.ready) this.#options.onReady()
  }

  async #inflate(source: Source, item: QueuedAppend, compressed: readonly AppendBatch[]): Promise<void> {
    if (this.#inflating >= INFLATING_MAX)
      await new Promise<void>((resolve) => this.#waitingToInflate.push(resolve))
    this.#inflating++
    const { encodingsOf, limits } = this.#options
    try {
      for (const batch of compressed) {
        // While it waited for its turn it may have been refused: then its bytes are nobody's any more.
        if (!item.settled) await checkCompressed(batch, encodingsOf(batch), limits)
      }
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
    if (source.isActive || source.queue.first?.ready !== true) return
    source.isActive = true
    this.#fresh.push(source)
  }

  /**
   * Takes batches for one group: `take` gets each in turn and returns the bytes that it adds to the group, or undefined
   * if it no longer fits.
   */
  fill(take: (item: QueuedAppend) => number | undefined): void {
    const { clock, metrics } = this.#options
    const nowMs = clock.monotonic()
    const kept: Source[] = []
    this.#active.unshift(...this.#fresh.splice(0))
    while (this.#active.length > 0) {
      const source = this.#active.shift() as Source
      source.deficitBytes += QUANTUM_BYTES
      let isFull = false
      for (let head = source.queue.first; head?.ready === true; head = source.queue.first) {
        if (head.bytes > source.deficitBytes) break
        if (!head.settled) {
          if (take(head) === undefined) {
            isFull = true
            break
          }
          metrics.observe('queueMs', nowMs - head.queuedAtMs)
        }
        source.deficitBytes -= head.bytes
        source.queue.shift()
      }
      const isMore = source.queue.first?.ready === true
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

  /** Answers a batch or a unit, once, and counts it out of the backlog. */
  settle(item: QueuedAppend, error: MillraceError): void
  settle(item: QueuedBatch, error: null, ack: AppendAck): void
  settle(item: QueuedUnit, error: null, result: UnitResult): void
  settle(item: QueuedAppend, error: MillraceError | null, answer?: AppendAck | UnitResult): void {
    if (item.settled) return
    item.settled = true
    this.#bytes -= item.bytes
    if (this.#paused.size > 0 && this.#bytes <= this.#options.backlogBytesMax / 2) this.#resumeSources()
    ;(item.done as (error: MillraceError | null, answer: unknown) => void)(error, answer)
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
      const { queue } = source
      // Out of the queue with them: while the disk stalls nobody else takes them out, and each holds its payload.
      for (let item = queue.first; item !== undefined; item = queue.first) {
        if (item.queuedAtMs > overdueBefore) break
        queue.shift()
        if (item.settled) continue
        metrics.count('backpressure')
        const retryAfterMs = Math.ceil(deadlineMs / 5)
        this.settle(item, new MillraceError('BACKPRESSURE', { retryAfterMs }))
      }
      if (queue.length > 0) isWaiting = true
    }
    if (isWaiting) this.#watchDeadline()
  }

  #close(source: Source): void {
    source.isClosed = true
    this.#sources.delete(source)
    this.#paused.delete(source)
    for (const item of source.queue.drain()) this.settle(item, new MillraceError('CLOSED'))
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
      for (const item of source.queue.drain()) this.settle(item, error)
    }
  }
}

const bytesOf = ({ payload, dedupIds }: AppendBatch): number =>
  payload.length + OVERHEAD_BYTES + (dedupIds === null ? 0 : dedupIds.hashes.length)
