import type { Compression } from '../protocol/entry.js'
import { MillraceError } from '../protocol/error-codes.js'
import type { TopicId } from '../protocol/ids.js'
import { HARD_LIMITS } from '../protocol/limits.js'
import type { DuplicateRecord } from '../protocol/messages/checked-produce.js'
import type { RecordBatchBuilder } from '../protocol/records.js'
import { Backoff } from './backoff.js'
import { Batch, type BatchOwner, type OutgoingRecord, type ProducerIdentity } from './batch.js'
import type { Clock, Timer } from './clock.js'
import { isOffsetPassed } from './errors.js'
import type { Link } from './link.js'
import type { Random } from './random.js'
import { recordUnits } from './record-encoder.js'
import type { Settler } from './settlers.js'

export interface BatcherOptions {
  readonly topicId: TopicId
  readonly partition: number
  readonly batchBytes: number
  readonly lingerMs: number
  readonly compression: Compression
  readonly maxInFlight: number
  readonly deliveryTimeoutMs: number
  readonly isIdempotent: boolean
  readonly clock: Clock
  readonly random: Random
}

/** What the batchers of one producer share. */
export interface BatcherHost {
  /** Undefined while nothing can be sent. */
  readonly link: Link | undefined
  /** Undefined until `needIdentity` has been followed. */
  readonly identity: ProducerIdentity | undefined
  /** Unanswered batches that the broker allows in a partition. */
  readonly windowBatches: number
  /** Largest payload that the broker takes. */
  readonly batchBytesMax: number
  /** `spent`: the identity that must not be used again, if there is one. */
  needIdentity(spent: ProducerIdentity | undefined): void
  takeBuilder(): RecordBatchBuilder
  returnBuilder(builder: RecordBatchBuilder): void
  sealed(partition: number): void
  settled(batch: Batch): void
  /** Has `pump` called after the present run of code. */
  pumpSoon(batcher: Batcher): void
  /** A fenced or outlived identity, or a topic that is gone: nothing of what waits can be written. */
  failed(error: MillraceError): void
  /** The identity has a gap that only a new one can close. Returns false when this producer may not take a new one. */
  mayRenew(because: MillraceError): boolean
}

const RETRY_BASE_MS = 50
const RETRY_CAP_MS = 1_000

/**
 * One partition's batches, in order: `#open` is being filled, `#waiting` are sealed, `#numbered` have a sequence and were
 * sent at least once, those from `#next` on to be sent (again).
 *
 * The order holds over retries: when a batch is refused or the link is lost, nothing more is sent until every batch on
 * the wire has its answer (behind a refused batch that is SEQUENCE_GAP); then all that are left go again in order,
 * with the sequences they had, so what was written is recognised. A batch that has failed for good leaves a hole in the
 * sequences: see `#closeHole`.
 */
export class Batcher implements BatchOwner {
  readonly #options: BatcherOptions
  readonly #host: BatcherHost
  readonly #backoff: Backoff
  #open: Batch | undefined
  readonly #waiting: Batch[] = []
  readonly #numbered: Batch[] = []
  #next = 0
  #onWire = 0
  /** The link that the batches on the wire went out on. */
  #link: Link | undefined
  #isDiscarded = false
  #identity: ProducerIdentity | undefined
  #nextSequence = 0
  /** A batch was refused: wait for the other answers. */
  #isHalted = false
  #isLingerOver = false
  #lingerTimer: Timer | undefined
  #retryTimer: Timer | undefined
  #retryAfterMs: number | undefined
  /** SEQUENCE_GAP for the first in line, which no resending closes. */
  #gapsAtHead = 0
  #spentBy: MillraceError | undefined
  /** Whether the host will pump it at the end of the run. */
  isPumpScheduled = false

  constructor(options: BatcherOptions, host: BatcherHost) {
    this.#options = options
    this.#host = host
    this.#backoff = new Backoff({ random: options.random, baseMs: RETRY_BASE_MS, capMs: RETRY_CAP_MS })
  }

  /** Throws ILLEGAL_ARGUMENT; then the record is nowhere. `bytes` is what the buffer was charged. */
  append(record: OutgoingRecord, settler: Settler, index: number, bytes: number): void {
    const isAlone = record.expectedOffset !== null
    if (this.#open !== undefined && (isAlone || !this.#fits(this.#open, record))) this.#sendFull(this.#open)
    this.#open ??= this.#begin()
    const batch = this.#open
    batch.append(record, settler, index)
    batch.chargedBytes += bytes
    const isFull = batch.bytes >= this.#options.batchBytes || batch.count >= HARD_LIMITS.recordsPerBatchMax
    if (isFull || isAlone) this.#sendFull(batch)
    else if (!this.isPumpScheduled) this.#host.pumpSoon(this)
  }

  #sendFull(batch: Batch): void {
    this.#seal()
    this.pump()
    // What has to wait holds no more memory than it needs.
    batch.compact()
  }

  #begin(): Batch {
    const { clock, lingerMs, deliveryTimeoutMs, partition } = this.#options
    this.#isLingerOver = lingerMs === 0
    if (lingerMs > 0) {
      this.#lingerTimer = clock.setTimer(() => {
        this.#isLingerOver = true
        this.pump()
      }, lingerMs)
    }
    const deadlineMs = clock.monotonic() + deliveryTimeoutMs
    return new Batch({ owner: this, partition, builder: this.#host.takeBuilder(), deadlineMs })
  }

  /** By a quick guess, and where that is near what the broker takes, by the worst case. */
  #fits(batch: Batch, record: OutgoingRecord): boolean {
    if (batch.count === 0) return true
    const units = recordUnits(record)
    if (batch.bytes + units > this.#options.batchBytes) return false
    return batch.bytes + 3 * units <= this.#host.batchBytesMax
  }

  #seal(): void {
    const batch = this.#open
    if (batch === undefined || batch.count === 0) return
    this.#open = undefined
    this.#lingerTimer?.cancel()
    batch.seal(
      this.#options.compression,
      (builder) => this.#host.returnBuilder(builder),
      () => this.#compressed(batch),
    )
    this.#waiting.push(batch)
    this.#host.sealed(this.#options.partition)
  }

  #compressed(batch: Batch): void {
    if (batch.isGone) this.#dropWaiting(batch)
    this.pump()
  }

  /** Sends what may be sent. Cheap when that is nothing. */
  readonly pump = (): void => {
    const { link } = this.#host
    if (link === undefined || this.#isHalted || this.#isDiscarded) return
    const inFlightMax = Math.min(this.#options.maxInFlight, this.#host.windowBatches)
    while (this.#onWire < inFlightMax) {
      const batch = this.#nextBatch()
      if (batch === undefined || this.#mustWait(batch)) return
      if (!link.hasRoom(batch.wireBytes)) {
        link.onRoom(this.pump)
        return
      }
      this.#send(link, batch)
    }
  }

  /**
   * A batch that depends on the partition's end goes alone: when it is refused, as may well happen, nothing is on its way whose
   * fate that would leave unknown. One that is gone has left a hole, which is closed when nothing is on the wire.
   */
  #mustWait(batch: Batch): boolean {
    if (this.#onWire === 0) return false
    return batch.isGone || batch.isConditional || (this.#numbered[this.#next - 1] as Batch).isConditional
  }

  #nextBatch(): Batch | undefined {
    if (this.#next < this.#numbered.length) return this.#numbered[this.#next]
    if (this.#waiting.length === 0 && this.#isOpenDue()) this.#seal()
    const batch = this.#waiting[0]
    if (batch === undefined || !batch.isReady || !this.#number(batch)) return undefined
    this.#waiting.shift()
    this.#numbered.push(batch)
    return batch
  }

  /** A lone record leaves at once; while a batch is under way the next one fills. */
  #isOpenDue(): boolean {
    if (this.#open === undefined || this.#open.count === 0) return false
    return this.#open.isHastened || (this.#numbered.length === 0 && this.#isLingerOver)
  }

  #number(batch: Batch): boolean {
    if (!this.#options.isIdempotent) return true
    // A new identity counts from 0, and only behind everything that has a sequence of the old one.
    if (this.#numbered.length === 0 && this.#identity !== this.#host.identity) {
      this.#identity = this.#host.identity
      this.#nextSequence = 0
    }
    if (this.#identity === undefined) {
      this.#host.needIdentity(undefined)
      return false
    }
    batch.baseSequence = this.#nextSequence
    this.#nextSequence += batch.count
    return true
  }

  #send(link: Link, batch: Batch): void {
    this.#link = link
    this.#next++
    this.#onWire++
    batch.isOnWire = true
    const identity = this.#options.isIdempotent ? (this.#identity as ProducerIdentity) : null
    const frame = link.produce((id) => batch.write(this.#options.topicId, identity, id), batch)
    batch.sentAs(frame)
  }

  acked(batch: Batch, baseOffset: number, duplicates: readonly DuplicateRecord[]): void {
    this.#answered(batch)
    const place = this.#numbered.indexOf(batch)
    this.#numbered.splice(place, 1)
    this.#next--
    this.#gapsAtHead = 0
    this.#backoff.reset()
    batch.settleWritten(baseOffset, duplicates)
    this.#goOn()
  }

  refused(batch: Batch, error: MillraceError): void {
    const isLost = this.#link?.isOpen !== true
    this.#answered(batch)
    if (isLost || error.outcome === 'unknown') batch.isMaybeWritten = true
    this.#isHalted = true
    if (!isLost) this.#heed(batch, error)
    this.#goOn()
  }

  #heed(batch: Batch, error: MillraceError): void {
    if (error.code === 'SEQUENCE_GAP') {
      if (batch === this.#numbered[0] && ++this.#gapsAtHead > 1) this.#spentBy = error
    } else if (error.code === 'UNKNOWN_PRODUCER') {
      this.#spentBy = error
    } else if (error.retriable) {
      this.#retryAfterMs = Math.max(
        this.#retryAfterMs ?? 0,
        error.retryAfterMs ?? this.#backoff.nextDelayMs(),
      )
    } else if (error.code === 'PRODUCER_FENCED' || CONCERNS_TOPIC.has(error.code)) {
      this.#host.failed(error)
    } else {
      if (this.#options.isIdempotent && isOffsetPassed(error)) batch.isMaybeWritten = false
      batch.fail(error)
    }
  }

  settled(batch: Batch): void {
    this.#host.settled(batch)
  }

  #answered(batch: Batch): void {
    batch.isOnWire = false
    this.#onWire--
  }

  #goOn(): void {
    if (this.#isDiscarded) return
    if (!this.#isHalted && this.#numbered[this.#next]?.isGone !== true) this.pump()
    else if (this.#onWire === 0) this.#regroup()
  }

  /** Nothing is on the wire any more: what is left goes again. */
  #regroup(): void {
    if (this.#isDiscarded) return
    this.#isHalted = true
    this.#next = 0
    if (this.#spentBy !== undefined || this.#numbered.some((batch) => batch.isGone)) this.#closeHole()
    const delayMs = this.#retryAfterMs
    this.#retryAfterMs = undefined
    this.#retryTimer?.cancel()
    if (delayMs === undefined) this.#resume()
    else this.#retryTimer = this.#options.clock.setTimer(() => this.#resume(), delayMs)
  }

  #resume(): void {
    this.#isHalted = false
    this.pump()
  }

  /** A new link: what waited for a retry on the old one need not wait any longer. */
  linkUp(): void {
    this.#retryTimer?.cancel()
    if (this.#onWire === 0) this.#resume()
  }

  /**
   * A batch that had a sequence will not come. As long as every batch has been answered, the broker has not seen the hole
   * either, and those behind it move up. But where an attempt was lost, it may still arrive: a sequence that is given twice
   * would then let a new batch pass for the old one. So the rest goes under a new identity, except what was itself lost:
   * that might be written twice, and fails with outcome `unknown`.
   */
  #closeHole(): void {
    const kept = this.#numbered.filter((batch) => !batch.isGone)
    const first = this.#numbered[0] as Batch | undefined
    const isClean = this.#spentBy === undefined && !this.#numbered.some((batch) => batch.isMaybeWritten)
    const cause = this.#spentBy ?? new MillraceError('TIMEOUT', { message: HOLE_TEXT })
    this.#spentBy = undefined
    this.#gapsAtHead = 0
    if (this.#options.isIdempotent && isClean && first !== undefined) {
      this.#nextSequence = first.baseSequence
    } else if (this.#options.isIdempotent) {
      if (!this.#host.mayRenew(cause)) return
      for (const batch of kept) if (batch.isMaybeWritten) batch.fail(holeError(cause))
      this.#host.needIdentity(this.#identity)
      this.#identity = undefined
    }
    this.#waiting.unshift(...kept.filter((batch) => !batch.isGone))
    this.#numbered.length = 0
  }

  #dropWaiting(batch: Batch): void {
    const place = this.#waiting.indexOf(batch)
    if (place !== -1) this.#waiting.splice(place, 1)
  }

  /** Fails what is past its deadline with TIMEOUT. */
  expire(nowMs: number, cause: MillraceError | undefined): void {
    const isOver = (batch: Batch | undefined): batch is Batch =>
      batch !== undefined && batch.deadlineMs <= nowMs
    // Oldest first everywhere, so the first that is in time ends the search.
    for (const batch of this.#numbered) {
      if (!isOver(batch)) break
      batch.fail(this.#timedOut(cause))
    }
    while (isOver(this.#waiting[0])) (this.#waiting.shift() as Batch).fail(this.#timedOut(cause))
    if (isOver(this.#open)) {
      const batch = this.#open
      this.#open = undefined
      this.#lingerTimer?.cancel()
      batch.fail(this.#timedOut(cause))
    }
    if (this.#onWire === 0 && this.#numbered.some((batch) => batch.isGone)) this.#regroup()
  }

  #timedOut(cause: MillraceError | undefined): MillraceError {
    const { deliveryTimeoutMs } = this.#options
    const why = cause === undefined ? '' : `: ${cause.message}`
    return new MillraceError('TIMEOUT', {
      message: `not acknowledged within ${deliveryTimeoutMs} ms${why}`,
      outcome: 'notWritten',
      cause,
    })
  }

  /** Fails everything that is here. */
  failAll(error: MillraceError): void {
    this.#lingerTimer?.cancel()
    const batches = [...this.#numbered, ...this.#waiting, ...(this.#open === undefined ? [] : [this.#open])]
    this.#waiting.length = 0
    this.#open = undefined
    for (const batch of batches) batch.fail(error)
    if (this.#onWire === 0 && this.#numbered.length > 0) this.#regroup()
  }

  /** Fails everything, and is not used again. */
  discard(error: MillraceError): void {
    this.#isDiscarded = true
    this.failAll(error)
    this.#retryTimer?.cancel()
  }

  /** What is there now goes out without lingering; `settled` is called for each batch of it. Returns how many there are. */
  hasten(settled: () => void): number {
    const batches = [...this.#numbered, ...this.#waiting]
    if (this.#open !== undefined && this.#open.count > 0) {
      this.#open.isHastened = true
      batches.push(this.#open)
    }
    const unsettled = batches.filter((batch) => !batch.isGone)
    for (const batch of unsettled) batch.whenSettled(settled)
    this.pump()
    return unsettled.length
  }
}

const CONCERNS_TOPIC: ReadonlySet<string> = new Set(['UNKNOWN_TOPIC', 'UNKNOWN_PARTITION'])
const HOLE_TEXT = 'a batch timed out, and whether it was written is not known'

function holeError(cause: MillraceError): MillraceError {
  return new MillraceError(cause.code, {
    message: `sent, but cannot be repeated without the risk of writing it twice: ${cause.message}`,
    outcome: 'unknown',
    cause,
  })
}
