import { crc32 } from '#crc32'
import { gzip } from '#gzip'
import { COMPRESSION, type Compression } from '../protocol/entry.js'
import type { DedupIds } from '../protocol/entry-section.js'
import { MillraceError, withOutcome } from '../protocol/error-codes.js'
import type { TopicId } from '../protocol/ids.js'
import {
  type DuplicateRecord,
  produceChecked,
  producedChecked,
} from '../protocol/messages/checked-produce.js'
import { type ProduceAck, produce } from '../protocol/messages/produce.js'
import type { Wire, WireHeaders } from '../protocol/record.js'
import type { RecordBatchBuilder } from '../protocol/records.js'
import { DedupIdsBuilder } from './dedup-ids.js'
import type { Settler } from './settlers.js'

/** An encoded record on its way into a batch. */
export interface OutgoingRecord {
  readonly key: Wire
  readonly value: Wire
  readonly headers: WireHeaders | null
  readonly timestamp: number
  /** It is written only if no record with this id was written lately. */
  readonly dedupId: string | null
  /** It is written only if it gets this offset. */
  readonly expectedOffset: number | null
}

export interface ProducerIdentity {
  readonly producerId: number
  readonly producerEpoch: number
}

/** Who hears of a batch's answers. */
export interface BatchOwner {
  acked(batch: Batch, baseOffset: number, duplicates: readonly DuplicateRecord[]): void
  refused(batch: Batch, error: MillraceError): void
  /** Its records have heard what became of them; exactly once. */
  settled(batch: Batch): void
}

/** What a frame needs beside the payload; more than enough. */
const FRAME_HEAD_BYTES = 160
const NO_DUPLICATES: readonly DuplicateRecord[] = []

/**
 * The records of one PRODUCE, or of one PRODUCE_CHECKED where a record has conditions. First it is filled (`append`), then sealed, then numbered and sent, as often as it takes.
 * Its records settle exactly once; a batch that has settled without an answer is "gone": it keeps only its place in the
 * order until nothing of it can be on its way any more.
 */
export class Batch {
  readonly deadlineMs: number
  readonly #owner: BatchOwner
  readonly #partition: number
  readonly #settlers: Settler[] = []
  readonly #indexes: number[] = []
  readonly #timestamps: number[] = []
  #builder: RecordBatchBuilder | undefined
  #returnBuilder: (() => void) | undefined
  #payload: Uint8Array | undefined
  #attributes = 0
  #inflatedBytes = 0
  #payloadCrc = 0
  #baseTimestamp = 0
  /** While it is filled; undefined as long as no record has an id. */
  #idsBuilder: DedupIdsBuilder | undefined
  #ids: DedupIds | undefined
  /** What its first record, and only record, must get. */
  #expectedOffset: number | undefined
  #onSettled: (() => void)[] | undefined
  #isSettled = false
  /** What the producer's buffer was charged for the records. */
  chargedBytes = 0
  /** Whether a flush waits for it. */
  isHastened = false
  /** Whether the next answer is still to come. */
  isOnWire = false
  /** Whether it was sent and never answered: it may be in the log, and may even get there later. */
  isMaybeWritten = false
  baseSequence = 0
  /** The frame's size; fixed once it is ready. */
  wireBytes = 0

  constructor(options: {
    owner: BatchOwner
    partition: number
    builder: RecordBatchBuilder
    deadlineMs: number
  }) {
    this.#owner = options.owner
    this.#partition = options.partition
    this.#builder = options.builder
    this.deadlineMs = options.deadlineMs
  }

  get count(): number {
    return this.#settlers.length
  }

  /** Bytes of the payload while it is being filled. */
  get bytes(): number {
    return (this.#builder?.bytes ?? 0) + (this.#idsBuilder?.bytes ?? 0)
  }

  /** Whether it is written only at one offset: it is then sent while nothing else of its partition is under way. */
  get isConditional(): boolean {
    return this.#expectedOffset !== undefined
  }

  get isGone(): boolean {
    return this.#isSettled
  }

  /** Sealed, and compressed if it is to be. */
  get isReady(): boolean {
    return this.#payload !== undefined
  }

  /** Throws ILLEGAL_ARGUMENT; then nothing was added. */
  append(record: OutgoingRecord, settler: Settler, index: number): void {
    this.#builder?.append(record)
    if (record.expectedOffset !== null) this.#expectedOffset = record.expectedOffset
    if (record.dedupId !== null) this.#addId(record.dedupId)
    this.#settlers.push(settler)
    this.#indexes.push(index)
    this.#timestamps.push(record.timestamp)
  }

  #addId(dedupId: string): void {
    this.#idsBuilder ??= new DedupIdsBuilder()
    this.#idsBuilder.add(this.count, dedupId)
  }

  /**
   * Ends the filling. Without compression it is ready at once, and the builder stays its own until the first frame is
   * made or `compact` is called: `returnBuilder` gets it then. Otherwise `onReady` is called later.
   */
  seal(
    compression: Compression,
    returnBuilder: (builder: RecordBatchBuilder) => void,
    onReady: () => void,
  ): void {
    const builder = this.#builder
    if (builder === undefined) throw new Error('a batch is sealed once')
    const { payload, baseTimestamp } = builder.finish()
    this.#baseTimestamp = baseTimestamp
    this.#inflatedBytes = payload.length
    this.#ids = this.#idsBuilder?.finish(this.count)
    this.#idsBuilder = undefined
    this.#returnBuilder = () => returnBuilder(builder)
    if (compression === 'none') {
      this.#setPayload(payload, COMPRESSION.none)
      return
    }
    const own = payload.slice()
    this.#releaseBuilder()
    gzip(own).then(
      (compressed) => {
        if (compressed.length < own.length) this.#setPayload(compressed, COMPRESSION.gzip)
        else this.#setPayload(own, COMPRESSION.none)
        onReady()
      },
      (cause: unknown) => {
        this.fail(new MillraceError('BAD_COMPRESSION', { message: 'the batch cannot be compressed', cause }))
        onReady()
      },
    )
  }

  #setPayload(payload: Uint8Array, attributes: number): void {
    if (this.#isSettled) return
    this.#payload = payload
    this.#attributes = attributes
    this.#payloadCrc = crc32(payload)
    const idsBytes = this.#ids === undefined ? 0 : this.#ids.bitmap.length + this.#ids.hashes.length
    this.wireBytes = payload.length + idsBytes + FRAME_HEAD_BYTES
  }

  #releaseBuilder(): void {
    this.#builder = undefined
    this.#returnBuilder?.()
    this.#returnBuilder = undefined
  }

  /** It cannot be sent yet: give the builder back. */
  compact(): void {
    if (this.#returnBuilder === undefined) return
    this.#payload = this.#payload?.slice()
    this.#releaseBuilder()
  }

  /** The frame to pack. */
  write(topicId: TopicId, identity: ProducerIdentity | null, correlationId: number): unknown[] {
    const fields = {
      correlationId,
      topicId,
      partition: this.#partition,
      producerId: identity?.producerId ?? null,
      producerEpoch: identity?.producerEpoch ?? 0,
      baseSequence: identity === null ? 0 : this.baseSequence,
      attributes: this.#attributes,
      baseTimestamp: this.#baseTimestamp,
      recordCount: this.count,
      inflatedBytes: this.#inflatedBytes,
      payloadCrc: this.#payloadCrc,
      payload: this.#payload as Uint8Array,
    }
    const ids = this.#ids
    const expectedOffset = this.#expectedOffset ?? null
    if (ids === undefined && expectedOffset === null) return produce.write(fields)
    const idFields = { idBitmap: ids?.bitmap ?? null, ids: ids?.hashes ?? null }
    return produceChecked.write({ ...fields, expectedOffset, ...idFields })
  }

  /** The frame ends with the payload, so its memory serves for a repetition. */
  sentAs(frame: Uint8Array): void {
    const payloadBytes = this.#payload?.length ?? 0
    if (this.#returnBuilder === undefined) return
    this.#payload = frame.subarray(frame.length - payloadBytes)
    this.#releaseBuilder()
  }

  // Called by the link.
  acked(ack: ProduceAck): void {
    this.#owner.acked(this, ack.baseOffset, NO_DUPLICATES)
  }

  /** The answer to PRODUCE_CHECKED. Throws BAD_FRAME. */
  answered(frame: readonly unknown[]): void {
    if (frame[0] !== producedChecked.opcode) {
      throw new MillraceError('BAD_FRAME', { message: `opcode ${frame[0]} does not answer a batch` })
    }
    const { baseOffset, duplicates } = producedChecked.read(frame)
    this.#owner.acked(this, baseOffset, duplicates)
  }

  failed(error: MillraceError): void {
    this.#owner.refused(this, error)
  }

  settleWritten(baseOffset: number, duplicates: readonly DuplicateRecord[]): void {
    if (this.#isSettled) return
    const settlers = this.#settlers
    const partition = this.#partition
    const first = duplicates.length === 0 ? undefined : byIndex(duplicates, settlers.length)
    for (let i = 0; i < settlers.length; i++) {
      const settler = settlers[i] as Settler
      const index = this.#indexes[i] as number
      const timestamp = this.#timestamps[i] as number
      const duplicate = first?.[i]
      if (duplicate === undefined) settler.written(index, partition, baseOffset + i, timestamp, false)
      else settler.written(index, duplicate.partition, duplicate.offset, timestamp, true)
    }
    this.#settled()
  }

  /** Fails its records with `error`; what is known of their fate is this batch's own. */
  fail(error: MillraceError): void {
    if (this.#isSettled) return
    const own = withOutcome(error, this.isOnWire || this.isMaybeWritten ? 'unknown' : error.outcome)
    for (let i = 0; i < this.#settlers.length; i++) {
      const settler = this.#settlers[i] as Settler
      settler.failed(this.#indexes[i] as number, own)
    }
    this.#settled()
  }

  #settled(): void {
    this.#isSettled = true
    this.#payload = undefined
    this.#releaseBuilder()
    this.#owner.settled(this)
    for (const callback of this.#onSettled ?? []) callback()
    this.#onSettled = undefined
  }

  whenSettled(callback: () => void): void {
    if (this.#isSettled) callback()
    else if (this.#onSettled === undefined) this.#onSettled = [callback]
    else this.#onSettled.push(callback)
  }
}

function byIndex(
  duplicates: readonly DuplicateRecord[],
  count: number,
): readonly (DuplicateRecord | undefined)[] {
  const indexed = new Array<DuplicateRecord | undefined>(count)
  for (const duplicate of duplicates) if (duplicate.index < count) indexed[duplicate.index] = duplicate
  return indexed
}
