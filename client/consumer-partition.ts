import { DEAD_LETTER_HEADERS } from '../protocol/dead-letters.js'
import { MillraceError } from '../protocol/error-codes.js'
import type { TopicId } from '../protocol/ids.js'
import type { AssignedPart } from '../protocol/messages/group.js'
import type { WireRecord } from '../protocol/records.js'
import type { CommitTracker } from './commit-tracker.js'
import { type Connection, closedError } from './connection.js'
import { ConsumerCursor } from './consumer-cursor.js'
import { Ending } from './deadline.js'
import type { Link } from './link.js'
import { PartitionSource, type SourceHost } from './partition-source.js'
import { type BatchPlace, decodeRecord } from './record-decoder.js'
import { RecordSignals } from './record-signals.js'
import { recordsOf, type StoredBatch } from './stored-batch.js'
import type { AnyTopic, ReadRecord } from './topic.js'

/** One partition of a topic, by the topic's name. */
export interface TopicPartition {
  readonly topic: string
  readonly partition: number
}

/** The consumer, as its partitions know it. */
export interface PartitionHost {
  readonly connection: Connection
  /** There may be something to take. */
  arrived(partition: ConsumerPartition): void
  /** Its reading cannot go on. */
  failed(partition: ConsumerPartition, error: MillraceError): void
  /** Everything below a higher offset than before is finished. */
  finished(partition: ConsumerPartition): void
}

export interface PartitionOptions {
  readonly assigned: AssignedPart
  /** As the program knows it; for a retry topic, the one its records are replayed for. */
  readonly topic: AnyTopic
  readonly tracker: CommitTracker
  readonly creditBytes: number
  readonly onOutOfRange: 'earliest' | 'throw'
}

/** A batch of which records are given out. */
interface OpenBatch {
  readonly stored: StoredBatch
  readonly place: BatchPlace
  readonly records: readonly WireRecord[]
  index: number
  /** Records given and not finished. */
  unfinished: number
}

/**
 * A partition in the hands of a member, from its assignment to its loss: what has been read of it, what has been given to
 * the application, what of that is finished, and how far its cursor durably is.
 */
export class ConsumerPartition implements SourceHost {
  readonly topicId: TopicId
  readonly partition: number
  /** Of the assignment: acks carry it. */
  readonly epoch: number
  readonly cursor: ConsumerCursor
  /** Of the topic that is read: for a retry topic, its own. */
  readonly topicName: string
  /** Over when the partition is lost. */
  readonly losing = new Ending()
  /** Whether its records have been in another topic before. */
  readonly isRetry: boolean
  readonly #host: PartitionHost
  readonly #topic: AnyTopic
  readonly #source: PartitionSource
  readonly #signals = new RecordSignals()
  #state: 'reading' | 'revoking' | 'lost' = 'reading'
  #isPaused = false
  #link: Link | undefined
  /** That have come and were not taken whole. */
  #deliveries = 0
  #batch: OpenBatch | undefined
  /** Records that the application works on right now. */
  #inHand = 0
  #whenIdle: (() => void) | undefined

  constructor(options: PartitionOptions, host: PartitionHost) {
    const { assigned, topic, tracker, creditBytes, onOutOfRange } = options
    this.topicId = assigned.topicId
    this.partition = assigned.partition
    this.epoch = assigned.epoch
    this.topicName = assigned.name
    this.isRetry = assigned.originTopicId !== null
    this.#host = host
    this.#topic = topic
    this.cursor = new ConsumerCursor(tracker, assigned.cursor)
    this.#source = new PartitionSource(
      {
        topic: { ...topic, name: assigned.name },
        topicId: assigned.topicId,
        partition: assigned.partition,
        offset: assigned.cursor,
        end: undefined,
        creditBytes,
        onOutOfRange,
        isEarliest: false,
      },
      this,
    )
  }

  get connection(): Connection {
    return this.#host.connection
  }

  /** A new signal for the record at `offset`: it aborts when the partition is lost before the record's ack is durable. */
  newSignalAt(offset: number): AbortSignal {
    return this.#signals.newAt(offset, this.cursor.durable)
  }

  /** For events and messages. */
  get name(): TopicPartition {
    return { topic: this.topicName, partition: this.partition }
  }

  get state(): 'reading' | 'revoking' | 'lost' {
    return this.#state
  }

  /** Whether records of it may be given. */
  get isGiving(): boolean {
    return this.#state === 'reading' && !this.#isPaused
  }

  // Reading.

  /** Goes on behind what has come, once on each link. */
  subscribe(link: Link): void {
    if (this.#link === link || this.#state === 'lost') return
    this.#link = link
    this.#source.subscribe(link)
  }

  linkDown(): void {
    this.#link = undefined
    this.#source.linkDown()
  }

  resize(creditBytes: number): void {
    this.#source.resize(creditBytes)
  }

  pause(): void {
    this.#isPaused = true
  }

  resume(): void {
    this.#isPaused = false
    this.#host.arrived(this)
  }

  arrived(): void {
    this.#deliveries++
    this.#host.arrived(this)
  }

  moved(): void {}

  failed(error: MillraceError): void {
    this.#host.failed(this, error)
  }

  /** Sees to it that a record can be taken; false when none is there. Throws or rejects with CORRUPT_DATA, BAD_BATCH, BAD_COMPRESSION. */
  fill(): boolean | Promise<boolean> {
    for (;;) {
      if (this.#batch !== undefined) return true
      if (this.#deliveries === 0) return false
      const taken = this.#source.take()
      if (taken === undefined) {
        this.#deliveries--
        continue
      }
      const { batch: stored, place } = taken
      const records = recordsOf(stored, place, this.connection.settings.frameBytesMax)
      if (records instanceof Promise) {
        return records.then((inflated) => {
          this.#open(stored, inflated, place.offset)
          return this.fill()
        })
      }
      this.#open(stored, records, place.offset)
    }
  }

  /** `offset`: of the first record that is wanted. */
  #open(stored: StoredBatch, all: readonly WireRecord[], offset: number): void {
    const { baseOffset, baseTimestamp, appendTime } = stored.header
    const records =
      baseOffset >= offset ? all : all.filter(({ offsetDelta }) => baseOffset + offsetDelta >= offset)
    if (records.length === 0) {
      this.#source.consumed(stored.bytes)
      if (this.cursor.skip(stored.nextOffset)) this.#host.finished(this)
      return
    }
    const place = { topic: this.#topic, partition: this.partition, baseOffset, baseTimestamp, appendTime }
    this.#batch = { stored, place, records, index: 0, unfinished: 0 }
  }

  /** Whether the batch that is being given out has another record. */
  get isInBatch(): boolean {
    return this.#batch !== undefined
  }

  /** The next record, after `fill`. */
  take(): GivenRecord {
    const batch = this.#batch as OpenBatch
    const { stored, place, records } = batch
    const wire = records[batch.index++] as WireRecord
    const offset = place.baseOffset + wire.offsetDelta
    const isLast = batch.index === records.length
    const next = isLast
      ? stored.nextOffset
      : place.baseOffset + (records[batch.index] as WireRecord).offsetDelta
    if (isLast) this.#batch = undefined
    batch.unfinished++
    this.cursor.give(offset, next)
    return new GivenRecord({ partition: this, place, wire, next, batch })
  }

  /** What is left of the batch, after `fill`. */
  takeBatch(): { given: readonly GivenRecord[]; nextOffset: number; appendTime: number } {
    const { stored } = this.#batch as OpenBatch
    const given: GivenRecord[] = []
    while (this.#batch !== undefined) given.push(this.take())
    return { given, nextOffset: stored.nextOffset, appendTime: stored.header.appendTime }
  }

  // What the application does with what it was given.

  /** The application is done with the record's bytes: as many may be sent again once its batch is. */
  spent(batch: OpenBatch): void {
    batch.unfinished--
    const isWhole = batch.index === batch.records.length && batch.unfinished === 0
    if (isWhole && this.#state !== 'lost') this.#source.consumed(batch.stored.bytes)
  }

  finish(offset: number, next: number): void {
    if (this.cursor.finish(offset, next)) this.#host.finished(this)
  }

  begin(): void {
    this.#inHand++
  }

  end(): void {
    this.#inHand--
    if (this.#inHand === 0) this.#whenIdle?.()
  }

  get isIdle(): boolean {
    return this.#inHand === 0
  }

  /** Calls back when nothing is in hand any more. */
  whenIdle(idle: () => void): void {
    this.#whenIdle = idle
  }

  // How it ends.

  /** It goes to another member: nothing more of it is given. */
  revoke(): void {
    if (this.#state === 'reading') this.#state = 'revoking'
  }

  /** It is another's. Acks that were given may still be sent, and answered. */
  lose(): void {
    if (this.#state === 'lost') return
    this.#state = 'lost'
    this.#batch = undefined
    this.#deliveries = 0
    this.#source.close()
    const error = this.lossError()
    this.cursor.lose(error, this.cursor.floor)
    this.losing.end()
    this.#signals.abort(error, this.cursor.durable)
  }

  /** The same, and nobody will answer any more. */
  abandon(): void {
    this.lose()
    this.cursor.lose(this.lossError(), 0)
  }

  lossError(): MillraceError {
    if (this.connection.isClosed) return closedError()
    return new MillraceError('FENCED', {
      message: `topic "${this.topicName}", partition ${this.partition}: the partition is no longer this consumer's`,
      details: { topic: this.topicName, partition: this.partition, epoch: this.epoch },
    })
  }
}

/** A record that was given to the application, as it travelled. */
export class GivenRecord {
  readonly partition: ConsumerPartition
  readonly wire: WireRecord
  /** Where the partition goes on behind it. */
  readonly next: number
  readonly #place: BatchPlace
  readonly #batch: OpenBatch
  #isInHand = false
  #isSpent = false
  #signal: AbortSignal | undefined

  constructor(fields: {
    partition: ConsumerPartition
    place: BatchPlace
    wire: WireRecord
    next: number
    batch: OpenBatch
  }) {
    this.partition = fields.partition
    this.wire = fields.wire
    this.next = fields.next
    this.#place = fields.place
    this.#batch = fields.batch
  }

  get offset(): number {
    return this.#place.baseOffset + this.wire.offsetDelta
  }

  get signal(): AbortSignal {
    this.#signal ??= this.partition.newSignalAt(this.offset)
    return this.#signal
  }

  /** Throws, or rejects, with ENCODING_MISMATCH or SCHEMA_MISMATCH and the record's place. */
  decode(): ReadRecord | Promise<ReadRecord> {
    return decodeRecord(this.#place, this.wire)
  }

  /** Where it was when it was given up; undefined for a record that never was. */
  get origin(): { topic: string; partition: number; offset: number } | undefined {
    const { headers } = this.wire
    if (!this.partition.isRetry || headers === null) return undefined
    const { topic, partition, offset } = DEAD_LETTER_HEADERS
    return {
      topic: String(headers[topic]),
      partition: Number(headers[partition]),
      offset: Number(headers[offset]),
    }
  }

  /** The application works on it from now on. */
  begin(): void {
    if (this.#isInHand) return
    this.#isInHand = true
    this.partition.begin()
  }

  /** And wants no more time for it. */
  end(): void {
    if (!this.#isInHand) return
    this.#isInHand = false
    this.partition.end()
  }

  /** Its bytes are no longer needed here. */
  spend(): void {
    if (this.#isSpent) return
    this.#isSpent = true
    this.partition.spent(this.#batch)
  }

  /** The application is done with it. */
  finish(): void {
    this.spend()
    this.partition.finish(this.offset, this.next)
  }
}
