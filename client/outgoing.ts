import { MillraceError } from '../protocol/error-codes.js'
import { DEFAULT_LIMITS, PRODUCER_WINDOW_BATCHES } from '../protocol/limits.js'
import type { TopicDescription } from '../protocol/messages/metadata.js'
import { RecordBatchBuilder } from '../protocol/records.js'
import type { Batch, OutgoingRecord, ProducerIdentity } from './batch.js'
import { Batcher, type BatcherHost, type BatcherOptions } from './batcher.js'
import type { BufferRoom } from './buffer-room.js'
import type { Timer } from './clock.js'
import type { Connection, LinkWatcher } from './connection.js'
import { asMillraceError, illegalArgument } from './errors.js'
import { Identity } from './identity.js'
import type { Link } from './link.js'
import type { Metadata } from './metadata.js'
import { Partitioner } from './partitioner.js'
import type { Settler } from './settlers.js'
import type { AnyTopic } from './topic.js'

export interface OutgoingOptions
  extends Omit<BatcherOptions, 'topicId' | 'partition' | 'batchBytes' | 'clock' | 'random'> {
  readonly connection: Connection
  readonly metadata: Metadata
  readonly topic: AnyTopic
  readonly name: string | null
  readonly batchBytes: number
  readonly room: BufferRoom
}

/** A record that waits for the broker to say how many partitions there are. */
interface Staged {
  readonly record: OutgoingRecord
  readonly partition: number | undefined
  readonly settler: Settler
  readonly index: number
  readonly bytes: number
  readonly deadlineMs: number
}

interface Layout {
  readonly description: TopicDescription
  readonly partitioner: Partitioner
  /** By partition, made when first used. */
  readonly batchers: (Batcher | undefined)[]
}

const TICK_MS_MAX = 1_000
const SPARE_BUILDERS_MAX = 16

/**
 * Everything that a producer has accepted and the broker has not answered, over all partitions: finds out where the
 * topic's partitions are and who the producer is, spreads the records over the batchers, watches the deadlines.
 */
export class Outgoing implements BatcherHost, LinkWatcher {
  readonly #options: OutgoingOptions
  readonly #connection: Connection
  readonly #identity: Identity
  readonly #spareBuilders: RecordBatchBuilder[] = []
  #layout: Layout | undefined
  #isResolving = false
  #staged: Staged[] = []
  #whenUnstaged: (() => void)[] = []
  #pumping: Batcher[] = []
  #tick: Timer | undefined
  #isWatching = false
  /** Why nothing more can be sent, ever. */
  #failure: MillraceError | undefined

  constructor(options: OutgoingOptions) {
    this.#options = options
    this.#connection = options.connection
    const { connection, name } = options
    this.#identity = new Identity({
      connection,
      name,
      listener: { ready: () => this.#pumpAll(), failed: (error) => this.#identityFailed(error) },
    })
  }

  get failure(): MillraceError | undefined {
    return this.#failure
  }

  get link(): Link | undefined {
    return this.#connection.link
  }

  get identity(): ProducerIdentity | undefined {
    return this.#identity.current
  }

  get windowBatches(): number {
    return this.link?.welcome.limits.producerWindowBatches ?? PRODUCER_WINDOW_BATCHES
  }

  get batchBytesMax(): number {
    return this.link?.welcome.limits.batchBytesMax ?? DEFAULT_LIMITS.batchBytesMax
  }

  get recordBytesMax(): number {
    return this.link?.welcome.limits.recordBytesMax ?? DEFAULT_LIMITS.recordBytesMax
  }

  /** Takes over a record whose `bytes` the room has been charged for. */
  add(
    record: OutgoingRecord,
    partition: number | undefined,
    settler: Settler,
    index: number,
    bytes: number,
  ): void {
    if (this.#failure !== undefined) {
      this.#options.room.release(bytes)
      settler.failed(index, this.#failure)
      return
    }
    if (!this.#isWatching) this.#begin()
    if (this.#tick === undefined) this.#startTicking()
    // After a refusal for good the connection rests until somebody needs it again.
    if (this.link === undefined) this.#connection.connect()
    if (this.#layout !== undefined) {
      this.#place(this.#layout, record, partition, settler, index, bytes)
      return
    }
    const deadlineMs = this.#connection.settings.clock.monotonic() + this.#options.deliveryTimeoutMs
    this.#staged.push({ record, partition, settler, index, bytes, deadlineMs })
    if (!this.#isResolving) void this.#resolve()
  }

  #begin(): void {
    this.#isWatching = true
    this.#connection.watch(this)
    if (this.#options.isIdempotent) this.#identity.need(undefined)
  }

  #place(
    layout: Layout,
    record: OutgoingRecord,
    partition: number | undefined,
    settler: Settler,
    index: number,
    bytes: number,
  ): void {
    const chosen = partition ?? layout.partitioner.partitionOf(record.key)
    const batcher = layout.batchers[chosen] ?? this.#newBatcher(layout, chosen)
    try {
      if (record.expectedOffset !== null) refuseAnyPartition(record, partition, layout.description)
      if (batcher === undefined) throw unknownPartition(layout.description, chosen)
      batcher.append(record, settler, index, bytes)
    } catch (error) {
      this.#options.room.release(bytes)
      settler.failed(index, asMillraceError(error))
    }
  }

  #newBatcher(layout: Layout, partition: number): Batcher | undefined {
    const { topicId, partitions } = layout.description
    if (!Number.isInteger(partition) || partition < 0 || partition >= partitions) return undefined
    const { clock, random } = this.#connection.settings
    const { batchBytes, ...shared } = this.#options
    const batcher = new Batcher(
      {
        ...shared,
        batchBytes: Math.min(batchBytes, this.batchBytesMax),
        topicId,
        partition,
        clock,
        random,
      },
      this,
    )
    layout.batchers[partition] = batcher
    return batcher
  }

  async #resolve(): Promise<void> {
    this.#isResolving = true
    const { metadata, topic } = this.#options
    try {
      const description = await metadata.resolve(topic)
      this.#isResolving = false
      if (this.#failure !== undefined) return
      const partitioner = new Partitioner(description.partitions, this.#connection.settings.random)
      this.#layout = { description, partitioner, batchers: new Array(description.partitions) }
      this.#unstage((staged, layout) => {
        const { record, partition, settler, index, bytes } = staged
        this.#place(layout, record, partition, settler, index, bytes)
      })
    } catch (cause) {
      this.#isResolving = false
      const error = asMillraceError(cause)
      // Each staged record has its own deadline; until then there is time to ask again.
      if (error.retriable && this.#staged.length > 0) void this.#resolve()
      else this.#failStaged(error)
    }
  }

  #unstage(each: (staged: Staged, layout: Layout) => void): void {
    const staged = this.#staged
    this.#staged = []
    for (const one of staged) each(one, this.#layout as Layout)
    this.#callUnstaged()
  }

  #failStaged(error: MillraceError): void {
    this.#unstage(({ settler, index, bytes }) => {
      settler.failed(index, error)
      this.#options.room.release(bytes)
    })
  }

  #callUnstaged(): void {
    const callbacks = this.#whenUnstaged
    this.#whenUnstaged = []
    for (const callback of callbacks) callback()
  }

  // What batchers ask for.

  needIdentity(spent: ProducerIdentity | undefined): void {
    this.#identity.need(spent)
  }

  #identityFailed(error: MillraceError): void {
    if (this.#failure !== undefined) return
    if (!error.retriable) this.#eachBatcher((batcher) => batcher.failAll(error))
    else if (this.#options.room.bytes > 0) this.#identity.need(undefined)
  }

  takeBuilder(): RecordBatchBuilder {
    return this.#spareBuilders.pop() ?? new RecordBatchBuilder()
  }

  returnBuilder(builder: RecordBatchBuilder): void {
    if (this.#spareBuilders.length < SPARE_BUILDERS_MAX) this.#spareBuilders.push(builder)
  }

  sealed(partition: number): void {
    this.#layout?.partitioner.batchSealed(partition)
  }

  settled(batch: Batch): void {
    this.#options.room.release(batch.chargedBytes)
  }

  pumpSoon(batcher: Batcher): void {
    batcher.isPumpScheduled = true
    if (this.#pumping.push(batcher) === 1) queueMicrotask(this.#pumpScheduled)
  }

  readonly #pumpScheduled = (): void => {
    const batchers = this.#pumping
    this.#pumping = []
    for (const batcher of batchers) {
      batcher.isPumpScheduled = false
      batcher.pump()
    }
  }

  failed(error: MillraceError): void {
    if (error.code === 'PRODUCER_FENCED') this.stop(error)
    else this.#topicGone(error)
  }

  mayRenew(because: MillraceError): boolean {
    const { name } = this.#options
    if (name === null) return true
    // Asking for a new epoch would fence whoever may have taken the name over meanwhile.
    this.stop(
      new MillraceError(because.code, {
        message: `producer "${name}" cannot go on without risking order or duplicates, make it anew: ${because.message}`,
        retriable: false,
        outcome: 'notWritten',
        cause: because,
      }),
    )
    return false
  }

  /** Deleted, or made anew with another id: the next record finds out. */
  #topicGone(error: MillraceError): void {
    this.#options.metadata.forget(this.#options.topic.name)
    const layout = this.#layout
    this.#layout = undefined
    for (const batcher of layout?.batchers ?? []) batcher?.discard(error)
  }

  // What the connection tells.

  linkUp(): void {
    this.#eachBatcher((batcher) => batcher.linkUp())
  }

  linkDown(): void {}

  refused(error: MillraceError): void {
    this.#failStaged(error)
    this.#eachBatcher((batcher) => batcher.failAll(error))
  }

  #pumpAll(): void {
    this.#eachBatcher((batcher) => batcher.pump())
  }

  #eachBatcher(callback: (batcher: Batcher) => void): void {
    // forEach passes over the holes, and there may be thousands.
    this.#layout?.batchers.forEach((batcher) => {
      if (batcher !== undefined) callback(batcher)
    })
  }

  // Deadlines.

  #startTicking(): void {
    const tickMs = Math.min(TICK_MS_MAX, Math.max(1, this.#options.deliveryTimeoutMs / 20))
    this.#tick = this.#connection.settings.clock.setTimer(() => {
      this.#tick = undefined
      this.#expire()
      if (this.#options.room.bytes > 0 && this.#failure === undefined) this.#startTicking()
    }, tickMs)
  }

  #expire(): void {
    const nowMs = this.#connection.settings.clock.monotonic()
    const cause = this.link === undefined ? this.#connection.lastError : undefined
    this.#expireStaged(nowMs, cause)
    this.#eachBatcher((batcher) => batcher.expire(nowMs, cause))
  }

  #expireStaged(nowMs: number, cause: MillraceError | undefined): void {
    const inTime = this.#staged.findIndex(({ deadlineMs }) => deadlineMs > nowMs)
    const over = this.#staged.splice(0, inTime === -1 ? this.#staged.length : inTime)
    if (over.length === 0) return
    const error = new MillraceError('TIMEOUT', {
      message: `the broker could not be asked about the topic within ${this.#options.deliveryTimeoutMs} ms`,
      outcome: 'notWritten',
      cause,
    })
    for (const { settler, index, bytes } of over) {
      settler.failed(index, error)
      this.#options.room.release(bytes)
    }
    if (this.#staged.length === 0) this.#callUnstaged()
  }

  /** Resolves when everything that is here now has settled. */
  async settledAll(): Promise<void> {
    if (this.#staged.length > 0) {
      await new Promise<void>((resolve) => this.#whenUnstaged.push(resolve))
    }
    await new Promise<void>((resolve) => {
      let unsettled = 1
      const settled = (): void => {
        if (--unsettled === 0) resolve()
      }
      this.#eachBatcher((batcher) => {
        unsettled += batcher.hasten(settled)
      })
      settled()
    })
  }

  /** Fails everything, and whatever would be added later. */
  stop(error: MillraceError): void {
    if (this.#failure !== undefined) return
    this.#failure = error
    this.#tick?.cancel()
    this.#connection.unwatch(this)
    // First those who wait for room, which the others' end would give them.
    this.#options.room.refuseAll(error)
    this.#failStaged(error)
    this.#eachBatcher((batcher) => batcher.discard(error))
  }
}

/** Throws ILLEGAL_ARGUMENT: an offset says nothing where any partition will do. */
export function refuseAnyPartition(
  { key, expectedOffset }: OutgoingRecord,
  partition: number | undefined,
  { partitions }: TopicDescription,
): void {
  const isAny = key === null && partition === undefined && partitions > 1
  if (isAny && expectedOffset !== null) {
    throw illegalArgument('a record with expectedOffset has a partition or a key')
  }
}

export function unknownPartition({ name, partitions }: TopicDescription, partition: number): MillraceError {
  return new MillraceError('UNKNOWN_PARTITION', {
    message: `topic "${name}" has partitions 0 to ${partitions - 1}, not ${partition}`,
    details: { topic: name, partition, partitions },
  })
}
