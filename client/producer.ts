import type { Compression } from '../protocol/entry.js'
import { MillraceError } from '../protocol/error-codes.js'
import { HARD_LIMITS, PRODUCER_WINDOW_BATCHES } from '../protocol/limits.js'
import type { OutgoingRecord } from './batch.js'
import { BufferRoom } from './buffer-room.js'
import type { Connection } from './connection.js'
import { unlessAborted } from './deadline.js'
import { illegalArgument } from './errors.js'
import type { Metadata } from './metadata.js'
import { Outgoing } from './outgoing.js'
import { encodedRecord, recordBytesMin, refuseTooLarge } from './record-encoder.js'
import { Sending, SendingTogether, type SendResult, type Settler, Unwatched } from './settlers.js'
import type { AnyTopic, RecordOf } from './topic.js'

export interface ProducerOptions {
  /**
   * An identity that outlives the process: whoever starts a producer of this name next takes over, and this one's sends
   * then fail with PRODUCER_FENCED. Without a name each producer is its own.
   */
  readonly name?: string
  /** Default true: a batch that is sent again is written once. Without it a lost answer may mean a duplicate. */
  readonly idempotent?: boolean
  /**
   * How long a record may wait for company when nothing is under way; default 0. Batches form without it too: while one
   * is under way the next one fills.
   */
  readonly lingerMs?: number
  /** Payload size at which a batch is full; default 256 KiB. */
  readonly batchBytes?: number
  /** Default 'none'. A batch that gzip would not make smaller goes as it is. */
  readonly compression?: Compression
  /** What may be accepted and not yet answered; default 32 MiB. Each record counts 100 bytes beside its own. */
  readonly maxBufferBytes?: number
  /** How long a record may take from `send` to the broker's answer, reconnects included; default 120 s. */
  readonly deliveryTimeoutMs?: number
  /** Unanswered batches in one partition, 1 to 16; default 5. The order holds whatever it is. */
  readonly maxInFlight?: number
}

export interface WaitOptions {
  /** Ends the wait with the signal's reason. What was handed over before is still delivered. */
  readonly signal?: AbortSignal
}

export interface SendOptions extends WaitOptions {
  /**
   * Overrules the record's own: it is written only if it gets exactly this offset. Such a record is a batch of its own, and goes
   * while nothing else of its partition is under way.
   */
  readonly expectedOffset?: number
}

const KIB = 1024
const MIB = 1024 * KIB
/** What a record costs in memory beside its bytes: a promise, its functions, places in lists. */
const RECORD_COST_BYTES = 100
const DONE = Promise.resolve()

/**
 * Sends records of one topic. Order: records of a partition are written in the order of the calls, whatever is repeated on the
 * way. Every promise settles within `deliveryTimeoutMs`, more or less.
 *
 * When a batch fails for good, those behind it go on. Two cases are harder: if a batch timed out after it was sent (`outcome:
 * 'unknown'`), batches that were sent behind it and never answered fail likewise, because repeating them could write them
 * twice; and a producer with a name stops there, since only a new start can tell whether someone else has its name by now.
 */
export class Producer<T extends AnyTopic = AnyTopic> implements AsyncDisposable {
  readonly topic: T
  readonly #room: BufferRoom
  readonly #outgoing: Outgoing
  readonly #maxBufferBytes: number
  readonly #clock: Connection['settings']['clock']
  readonly #unwatched = new Unwatched()
  readonly #onClosed: () => void
  /** Set while a schema validates asynchronously: whoever comes later waits behind it, so that the order holds. */
  #validating: Promise<void> | undefined
  #validations = 0
  #bufferFull: MillraceError | undefined
  /** Settles when nothing more will be sent, so that nobody waits for a schema that never answers. */
  readonly #stopped: Promise<void>
  #stop: () => void = () => {}
  #closing: Promise<void> | undefined

  /** @internal Use `client.producer`. */
  constructor(
    topic: T,
    options: ProducerOptions,
    surroundings: { connection: Connection; metadata: Metadata; onClosed: (producer: Producer<T>) => void },
  ) {
    this.topic = topic
    this.#stopped = new Promise((resolve) => {
      this.#stop = resolve
    })
    this.#maxBufferBytes = positive('maxBufferBytes', options.maxBufferBytes ?? 32 * MIB)
    this.#room = new BufferRoom(this.#maxBufferBytes)
    this.#clock = surroundings.connection.settings.clock
    this.#onClosed = () => surroundings.onClosed(this)
    this.#outgoing = new Outgoing({
      ...surroundings,
      topic,
      room: this.#room,
      name: checkedName(options.name),
      isIdempotent: checkedIdempotence(options),
      lingerMs: notNegative('lingerMs', options.lingerMs ?? 0),
      batchBytes: positive('batchBytes', options.batchBytes ?? 256 * KIB),
      compression: options.compression ?? 'none',
      deliveryTimeoutMs: positive('deliveryTimeoutMs', options.deliveryTimeoutMs ?? 120_000),
      maxInFlight: checkedMaxInFlight(options.maxInFlight ?? 5),
    })
  }

  /** Bytes that count against `maxBufferBytes`. */
  get bufferedBytes(): number {
    return this.#room.bytes
  }

  /**
   * Sends a record; resolves when it is durable. Rejects at once with SCHEMA_MISMATCH, ENCODING_MISMATCH, RECORD_TOO_LARGE or
   * ILLEGAL_ARGUMENT for a record that can never be written, and with BUFFER_FULL (retriable) when the buffer is full:
   * `enqueue` waits instead. Later with what the broker says, TIMEOUT, PRODUCER_FENCED or CLOSED. With `expectedOffset` also
   * with EXPECTED_OFFSET_CONFLICT (details: expectedOffset, actualOffset), which leaves the other records alone. With a
   * `dedupId` that is known it resolves, and the result says `duplicate`.
   */
  send(record: RecordOf<T>, options?: SendOptions): Promise<SendResult> {
    const promise = this.#send(record, options?.expectedOffset)
    return options?.signal === undefined ? promise : unlessAborted(promise, options.signal)
  }

  #send(record: RecordOf<T>, expectedOffset: number | undefined): Promise<SendResult> {
    try {
      this.#assertOpen()
      const encoded = this.#encode(record, expectedOffset)
      if (!(encoded instanceof Promise)) return this.#sendNow(encoded, record)
      let sent: Promise<SendResult> | undefined
      const turn = this.#behind(encoded, (settled) => {
        sent = this.#sendNow(settled, record)
      })
      return turn.then(() => sent as Promise<SendResult>)
    } catch (error) {
      return Promise.reject(error)
    }
  }

  #sendNow(encoded: OutgoingRecord, record: RecordOf<T>): Promise<SendResult> {
    const bytes = chargeOf(encoded)
    if (!this.#room.tryTake(bytes)) return Promise.reject(this.#full())
    const sending = new Sending()
    this.#outgoing.add(encoded, record.partition, sending, 0, bytes)
    return sending.promise
  }

  /**
   * Sends many records under one promise, which is faster than one for each. Waits for room as `enqueue` does. The results
   * are in the order of the records. Nothing is sent when one of them cannot be encoded. Rejects with the first failure,
   * once all have settled; if some were written nevertheless, `outcome` is 'unknown' and `details.written` says how many.
   */
  async sendBatch(records: readonly RecordOf<T>[], options: WaitOptions = {}): Promise<SendResult[]> {
    this.#assertOpen()
    options.signal?.throwIfAborted()
    const encoded = this.#encodeAll(records)
    const together = new SendingTogether(records.length)
    const sendAll = (settled: readonly OutgoingRecord[]): void =>
      this.#sendFrom(0, settled, records, together)
    const isAsync = this.#validating !== undefined || encoded.some((one) => one instanceof Promise)
    if (isAsync) await unlessAborted(this.#behind(Promise.all(encoded), sendAll), options.signal)
    else sendAll(encoded as OutgoingRecord[])
    return unlessAborted(together.promise, options.signal)
  }

  #encodeAll(records: readonly RecordOf<T>[]): (OutgoingRecord | Promise<OutgoingRecord>)[] {
    const encoded: (OutgoingRecord | Promise<OutgoingRecord>)[] = []
    try {
      for (const record of records) encoded.push(this.#encode(record))
      return encoded
    } catch (error) {
      // One is enough to say; those that are still being validated need not be heard.
      for (const one of encoded) if (one instanceof Promise) one.catch(() => {})
      throw error
    }
  }

  #sendFrom(
    start: number,
    encoded: readonly OutgoingRecord[],
    records: readonly RecordOf<T>[],
    settler: Settler,
    isAdmitted = false,
  ): void {
    for (let i = start; i < encoded.length; i++) {
      const one = encoded[i] as OutgoingRecord
      const bytes = chargeOf(one)
      if (isAdmitted ? this.#room.tryTakeMore(bytes) : this.#room.tryTake(bytes)) {
        this.#outgoing.add(one, records[i]?.partition, settler, i, bytes)
        continue
      }
      const admitted = (): void => {
        this.#outgoing.add(one, records[i]?.partition, settler, i, bytes)
        this.#sendFrom(i + 1, encoded, records, settler, true)
      }
      const refused = (error: MillraceError): void => {
        for (let rest = i; rest < encoded.length; rest++) settler.failed(rest, error)
      }
      this.#room.take(bytes, admitted, refused)
      return
    }
  }

  /**
   * Hands a record over; resolves as soon as there is room for it, which is at once while the buffer is not full. What becomes
   * of it, `flush` and `close` tell. Rejects at once for a record that can never be written. Await it: at most 100,000 calls may
   * wait at a time, then BUFFER_FULL.
   */
  enqueue(record: RecordOf<T>, options: WaitOptions = {}): Promise<void> {
    try {
      this.#assertOpen()
      const encoded = this.#encode(record)
      if (encoded instanceof Promise) {
        return this.#behind(encoded, (settled) => this.#enqueueNow(settled, record, options))
      }
      return this.#enqueueNow(encoded, record, options)
    } catch (error) {
      return Promise.reject(error)
    }
  }

  #enqueueNow(encoded: OutgoingRecord, record: RecordOf<T>, { signal }: WaitOptions): Promise<void> {
    const bytes = chargeOf(encoded)
    const add = (): void => this.#outgoing.add(encoded, record.partition, this.#unwatched, 0, bytes)
    if (this.#room.tryTake(bytes)) {
      add()
      return DONE
    }
    if (this.#room.waiting >= WAITING_MAX) throw this.#full()
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason)
      const admit = (): void => {
        signal?.removeEventListener('abort', aborted)
        add()
        resolve()
      }
      const leave = this.#room.take(bytes, admit, reject)
      const aborted = (): void => {
        leave()
        reject(signal?.reason)
      }
      signal?.addEventListener('abort', aborted, { once: true })
    })
  }

  /**
   * Resolves when everything handed over before has settled. Rejects with the first failure of an `enqueue` since the last
   * flush, and forgets it; failures of `send` are their own promises' business.
   */
  async flush(options: WaitOptions = {}): Promise<void> {
    options.signal?.throwIfAborted()
    await unlessAborted(this.#settledAll(), options.signal)
    const error = this.#unwatched.takeFirstError()
    if (error !== undefined) throw error
  }

  async #settledAll(): Promise<void> {
    await Promise.race([this.#validating, this.#stopped])
    if (this.#room.waiting > 0) {
      // Behind those who wait for room; it takes none itself.
      await new Promise<void>((resolve) => this.#room.take(0, resolve, () => resolve()))
    }
    await this.#outgoing.settledAll()
  }

  /** Takes no more records, sends those it has and resolves when they are durable; rejects as `flush` does. */
  close(): Promise<void> {
    this.#closing ??= this.flush().finally(() => this.abort())
    return this.#closing
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /** Fails whatever has not been answered with CLOSED, and takes no more records. */
  abort(): void {
    this.#closing ??= DONE
    this.#stop()
    this.#outgoing.stop(closedError())
    this.#onClosed()
  }

  #assertOpen(): void {
    if (this.#closing !== undefined) throw closedError()
    if (this.#outgoing.failure !== undefined) throw this.#outgoing.failure
  }

  #encode(record: RecordOf<T>, expectedOffset?: number): OutgoingRecord | Promise<OutgoingRecord> {
    const encoded = encodedRecord(this.topic, record, this.#clock, expectedOffset)
    if (encoded instanceof Promise) return encoded.then((settled) => this.#checkedSize(settled))
    this.#checkedSize(encoded)
    // Behind a record that is still being validated, so that it does not overtake it.
    return this.#validating === undefined ? encoded : Promise.resolve(encoded)
  }

  #checkedSize(encoded: OutgoingRecord): OutgoingRecord {
    refuseTooLarge(encoded, this.#outgoing.recordBytesMax)
    return encoded
  }

  /** Calls `then` with what `encoded` brings, after all that came before. */
  async #behind<E>(encoded: Promise<E>, then: (encoded: E) => void | Promise<void>): Promise<void> {
    if (this.#validations >= WAITING_MAX) {
      encoded.catch(() => {})
      throw this.#full()
    }
    this.#validations++
    const before = this.#validating
    const turn = (async () => {
      // Whatever becomes of this one, the next may go when it has had its turn, and not earlier.
      const [outcome] = await Promise.allSettled([encoded, before])
      this.#validations--
      return outcome
    })()
    const wait = turn.then((outcome) => {
      if (outcome.status === 'rejected') throw outcome.reason
      return then(outcome.value)
    })
    const passed = wait.then(
      () => {},
      () => {},
    )
    this.#validating = passed
    void passed.then(() => {
      if (this.#validating === passed) this.#validating = undefined
    })
    return wait
  }

  /** One error for all that are refused in a row: ten million of them cost no memory. */
  #full(): MillraceError {
    if (this.#bufferFull === undefined) {
      this.#bufferFull = new MillraceError('BUFFER_FULL', {
        message: `the producer holds ${this.#maxBufferBytes} bytes that are not acknowledged; await enqueue() or sendBatch()`,
      })
    }
    return this.#bufferFull
  }
}

const WAITING_MAX = 100_000

const closedError = (): MillraceError => new MillraceError('CLOSED', { message: 'the producer is closed' })

const chargeOf = (record: OutgoingRecord): number =>
  recordBytesMin(record) + (record.dedupId?.length ?? 0) + RECORD_COST_BYTES

function checkedName(name: string | undefined): string | null {
  if (name === undefined) return null
  const { producerNameCharsMax } = HARD_LIMITS
  if (name.length === 0 || name.length > producerNameCharsMax) {
    throw illegalArgument(`a producer's name has 1 to ${producerNameCharsMax} characters`)
  }
  return name
}

function checkedIdempotence({ idempotent = true, name }: ProducerOptions): boolean {
  if (!idempotent && name !== undefined) {
    throw illegalArgument('a producer with a name is idempotent: the name stands for its sequence of batches')
  }
  return idempotent
}

function checkedMaxInFlight(maxInFlight: number): number {
  if (!Number.isInteger(maxInFlight) || maxInFlight < 1 || maxInFlight > PRODUCER_WINDOW_BATCHES) {
    throw illegalArgument(
      `maxInFlight is a whole number from 1 to ${PRODUCER_WINDOW_BATCHES}, not ${maxInFlight}`,
    )
  }
  return maxInFlight
}

function positive(option: string, value: number): number {
  if (!(value > 0)) throw illegalArgument(`${option} is above 0, not ${value}`)
  return value
}

function notNegative(option: string, value: number): number {
  if (!(value >= 0)) throw illegalArgument(`${option} is 0 or more, not ${value}`)
  return value
}
