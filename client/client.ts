import {
  Admin,
  type AlterTopicOptions,
  type CallOptions,
  type CreateTopicOptions,
  type DeletedRecords,
  type OffsetAt,
  type PartitionOffset,
  type TopicDetails,
  type TopicInfo,
} from './admin.js'
import { type AtomicOptions, type AtomicResult, AtomicWriter, type AtomicWrites } from './atomic.js'
import { Connection, closedError } from './connection.js'
import { GroupConsumer } from './consumer.js'
import { type ConsumeOptions, type Consumer, consumeSettings } from './consumer-options.js'
import { DeadLetters } from './dead-letters.js'
import { type ClientEventName, type ClientEvents, EventListeners } from './events.js'
import { GroupAdmin } from './group-admin.js'
import { Metadata } from './metadata.js'
import { type ConnectOptions, type Surroundings, settingsOf } from './options.js'
import { Producer, type ProducerOptions } from './producer.js'
import { type Queue, type QueueOptions, WorkQueue } from './queue.js'
import type { AnyReadOptions, OffsetsByPartition, ReadOptions } from './read-options.js'
import { type DecodeBatch, Reader } from './reader.js'
import {
  BatchStream,
  type ReadBatch,
  RecordStream,
  readRecordsOf,
  type Stream,
  wireRecordsOf,
} from './streams.js'
import type { AnyTopic, ReadRecordOf } from './topic.js'
import type { TopicSettingsInForce } from './topic-options.js'
import { socketUrl } from './url.js'
import { CLIENT_VERSION } from './version.js'

export interface CloseOptions {
  /** How long what producers hold may take to get to the broker; default 10 s. */
  readonly drainMs?: number
}

const DRAIN_MS = 10_000

/** Offsets of several topics: `{ orders: { 0: 17 }, payments: { 0: 4 } }`. */
export type OffsetsByTopic<Ts extends readonly AnyTopic[]> = {
  readonly [Name in Ts[number]['name']]?: OffsetsByPartition
}

/**
 * A broker, as a program sees it: one connection, which is made when it is first needed and made again whenever it is lost.
 * Made by `connect`.
 */
export class Client implements AsyncDisposable {
  readonly #connection: Connection
  readonly #metadata: Metadata
  readonly #admin: Admin
  readonly #atomic: AtomicWriter
  readonly #events: EventListeners
  readonly #socketUrl: string
  readonly #producers = new Set<Producer>()
  readonly #readers = new Set<Reader<unknown>>()
  readonly #queues = new Set<WorkQueue>()
  /** Those that have begun. */
  readonly #consumers = new Set<GroupConsumer>()
  #closing: Promise<void> | undefined
  /** Consumer groups and work queues: their members, cursors and lag. */
  readonly groups: GroupAdmin
  /** What groups gave up. */
  readonly deadLetters: DeadLetters

  /** @internal */
  constructor(url: string | URL, options: ConnectOptions, surroundings: Surroundings) {
    this.#events = new EventListeners(options.onEvent)
    this.#socketUrl = socketUrl(url)
    this.#connection = new Connection({
      url: this.#socketUrl,
      clientName: options.clientName ?? `millrace-js/${CLIENT_VERSION}`,
      token: options.token,
      settings: settingsOf(options, surroundings),
      events: this.#events,
    })
    this.#metadata = new Metadata(this.#connection)
    this.#admin = new Admin(this.#connection, this.#metadata)
    this.#atomic = new AtomicWriter(this.#connection, this.#metadata)
    this.groups = new GroupAdmin(this.#connection, this.#metadata)
    this.deadLetters = new DeadLetters({
      connection: this.#connection,
      metadata: this.#metadata,
      read: (topic, readOptions) => this.read(topic, readOptions),
    })
  }

  /** Listens to one kind of event; returns how to stop. */
  on<Name extends ClientEventName>(name: Name, listener: (event: ClientEvents[Name]) => void): () => void {
    return this.#events.add(name, listener)
  }

  /**
   * Makes a topic. Rejects with TOPIC_EXISTS, ILLEGAL_TOPIC_NAME, ILLEGAL_ARGUMENT, LIMIT_REACHED. A repetition after a lost answer
   * is recognised.
   */
  createTopic(topic: AnyTopic, options: CreateTopicOptions = {}): Promise<void> {
    return this.#admin.create(topic, options)
  }

  /**
   * Makes a topic unless it is there. Rejects with TOPIC_MISMATCH, which names what differs, when it is there with other encodings,
   * or with another number of partitions than the one given here. `retention` and `dedupWindowMs` of a topic that is there stay as
   * they are: see `alterTopic`.
   */
  ensureTopic(topic: AnyTopic, options: CreateTopicOptions = {}): Promise<{ created: boolean }> {
    return this.#admin.ensure(topic, options)
  }

  /**
   * Changes settings of a topic, and returns all as they hold now: what is left out stays, null sets it back to its default. Rejects
   * with UNKNOWN_TOPIC, TOPIC_READ_ONLY, ILLEGAL_ARGUMENT.
   */
  alterTopic(topic: AnyTopic | string, options: AlterTopicOptions): Promise<TopicSettingsInForce> {
    return this.#admin.alter(topic, options)
  }

  /**
   * Deletes the records of a partition below `offset` ('end': all there are now), for every reader and group. Rejects with
   * UNKNOWN_TOPIC, UNKNOWN_PARTITION, TOPIC_READ_ONLY, ILLEGAL_ARGUMENT, and above the end with OFFSET_OUT_OF_RANGE (details:
   * startOffset, endOffset).
   */
  deleteBefore(
    topic: AnyTopic | string,
    partition: number,
    offset: number | 'end',
    options: CallOptions = {},
  ): Promise<DeletedRecords> {
    return this.#admin.deleteBefore(topic, { partition, offset }, options)
  }

  /** Deletes a topic and its records. Rejects with UNKNOWN_TOPIC. */
  deleteTopic(topic: AnyTopic | string, options: CallOptions = {}): Promise<void> {
    return this.#admin.delete(topic, options)
  }

  /** All topics, by name. */
  listTopics(options: CallOptions = {}): Promise<TopicInfo[]> {
    return this.#admin.list(options)
  }

  /** A topic with what its partitions hold. Rejects with UNKNOWN_TOPIC. */
  describeTopic(topic: AnyTopic | string, options: CallOptions = {}): Promise<TopicDetails> {
    return this.#admin.describe(topic, options)
  }

  /** The offset of each partition at an end or a time. Rejects with UNKNOWN_TOPIC. */
  listOffsets(topic: AnyTopic | string, at: OffsetAt, options: CallOptions = {}): Promise<PartitionOffset[]> {
    return this.#admin.offsets(topic, at, options)
  }

  /** A producer of one topic. Nothing is asked of the broker before the first record. Throws ILLEGAL_ARGUMENT. */
  producer<T extends AnyTopic>(topic: T, options: ProducerOptions = {}): Producer<T> {
    this.#connection.assertOpen()
    const producer = new Producer<T>(topic, options, {
      connection: this.#connection,
      metadata: this.#metadata,
      onClosed: (closed) => this.#producers.delete(closed as unknown as Producer),
    })
    this.#producers.add(producer as unknown as Producer)
    return producer
  }

  /**
   * Writes records, of any topics, and acknowledges records and jobs: all of it or nothing, whatever breaks. Readers that see one of
   * the records find all of them. With the record that they follow from among `acks` each is processed exactly once.
   *
   * Rejects with FENCED, LEASE_LOST or ALREADY_ACKED when an ack is no longer this member's to give, EXPECTED_OFFSET_CONFLICT,
   * ATOMIC_TOO_LARGE (details: bytes and bytesMax, or writes and writesMax), RECORD_TOO_LARGE, UNKNOWN_TOPIC, TOPIC_MISMATCH,
   * UNKNOWN_PARTITION, ENCODING_MISMATCH, SCHEMA_MISMATCH, ILLEGAL_ARGUMENT: then nothing is written. With TIMEOUT and CLOSED
   * `outcome` says whether that is known.
   *
   * @example await client.atomic({ writes: [Orders.record(order), Audit.record(entry)], acks: [record] })
   */
  atomic(writes: AtomicWrites, options: AtomicOptions = {}): Promise<AtomicResult> {
    return this.#atomic.write(writes, options)
  }

  /**
   * Works on a topic's records one by one, as jobs that are shared among all workers of the group; see Queue. It joins when the loop
   * begins. Throws ILLEGAL_GROUP_NAME, ILLEGAL_ARGUMENT, CLOSED.
   *
   * @example
   * for await (const job of client.queue(Mails, { group: 'mail' })) {
   *   await send(job.value)
   *   await job.ack()
   * }
   */
  queue<T extends AnyTopic>(topic: T, options: QueueOptions): Queue<ReadRecordOf<T>> {
    this.#connection.assertOpen()
    const queue = new WorkQueue(topic, options, {
      connection: this.#connection,
      metadata: this.#metadata,
      onClosed: (closed) => this.#queues.delete(closed),
    })
    this.#queues.add(queue)
    return queue as Queue<unknown> as Queue<ReadRecordOf<T>>
  }

  /**
   * Reads records, of one topic or several; see ReadOptions for from where to where. The iterator throws what ends the reading:
   * UNKNOWN_TOPIC (also when the topic is deleted meanwhile), TOPIC_MISMATCH, OFFSET_OUT_OF_RANGE (details: startOffset and
   * endOffset), CORRUPT_DATA, ENCODING_MISMATCH and SCHEMA_MISMATCH (details: topic, partition, offset), UNAUTHENTICATED, CLOSED,
   * or the signal's reason. A lost connection is none of these: the reading goes on at the next offset.
   */
  read<T extends AnyTopic>(topic: T, options?: ReadOptions): Stream<ReadRecordOf<T>>
  read<const Ts extends readonly AnyTopic[]>(
    topics: Ts,
    options?: ReadOptions<OffsetsByTopic<Ts>>,
  ): Stream<ReadRecordOf<Ts[number]>>
  read(topics: AnyTopic | readonly AnyTopic[], options: unknown = {}): Stream<never> {
    const reader = this.#reader(topics, options as AnyReadOptions, wireRecordsOf)
    return new RecordStream(reader) as Stream<unknown> as Stream<never>
  }

  /** As `read`, batch by batch: faster, and what was written together comes together. */
  readBatches<T extends AnyTopic>(topic: T, options?: ReadOptions): Stream<ReadBatch<ReadRecordOf<T>>>
  readBatches<const Ts extends readonly AnyTopic[]>(
    topics: Ts,
    options?: ReadOptions<OffsetsByTopic<Ts>>,
  ): Stream<ReadBatch<ReadRecordOf<Ts[number]>>>
  readBatches(topics: AnyTopic | readonly AnyTopic[], options: unknown = {}): Stream<never> {
    const reader = this.#reader(topics, options as AnyReadOptions, readRecordsOf)
    return new BatchStream(reader) as Stream<unknown> as Stream<never>
  }

  #reader<R>(
    topics: AnyTopic | readonly AnyTopic[],
    options: AnyReadOptions,
    decode: DecodeBatch<R>,
  ): Reader<R> {
    this.#connection.assertOpen()
    const reader: Reader<R> = new Reader({
      connection: this.#connection,
      metadata: this.#metadata,
      topics: isList(topics) ? topics : [topics],
      options,
      decode,
      socketUrl: this.#socketUrl,
      onClosed: () => this.#readers.delete(reader),
      onHistoryFallback: (event) => this.#events.emit('historyFallback', event),
    })
    this.#readers.add(reader)
    return reader
  }

  /**
   * Consumes records, of one topic or several, as a member of a consumer group; see Consumer for what it does with them. It joins when
   * its loop begins; the loop throws UNKNOWN_TOPIC, TOPIC_MISMATCH, GROUP_KIND_CONFLICT (the name is a work queue's) and
   * ILLEGAL_ARGUMENT then. Throws ILLEGAL_GROUP_NAME, ILLEGAL_ARGUMENT.
   *
   * @example
   * for await (const record of client.consume(Orders, { group: 'billing', ifNoCursor: 'earliest' })) {
   *   await bill(record.value)
   *   record.ack()
   * }
   */
  consume<T extends AnyTopic>(topic: T, options: ConsumeOptions): Consumer<ReadRecordOf<T>>
  consume<const Ts extends readonly AnyTopic[]>(
    topics: Ts,
    options: ConsumeOptions,
  ): Consumer<ReadRecordOf<Ts[number]>>
  consume(topicOrTopics: AnyTopic | readonly AnyTopic[], options: ConsumeOptions): Consumer<never> {
    this.#connection.assertOpen()
    const topics = isList(topicOrTopics) ? topicOrTopics : [topicOrTopics]
    const consumer: GroupConsumer = new GroupConsumer({
      connection: this.#connection,
      metadata: this.#metadata,
      topics,
      settings: consumeSettings(topics, options),
      onBegun: () => this.#consumers.add(consumer),
      onClosed: () => this.#consumers.delete(consumer),
    })
    return consumer as Consumer<unknown> as Consumer<never>
  }

  /**
   * Sends what the producers hold and what consumers acknowledged, and lets the jobs in hand be finished, for `drainMs` at most, then
   * ends everything: what is left fails with CLOSED, and readers and consumers throw it.
   * Afterwards nothing of the client keeps the process alive. Rejects, when all that is done, with the first failure of an `enqueue`
   * that no flush has told of.
   */
  close(options: CloseOptions = {}): Promise<void> {
    this.#closing ??= this.#close(options.drainMs ?? DRAIN_MS)
    return this.#closing
  }

  async #close(drainMs: number): Promise<void> {
    for (const reader of [...this.#readers]) reader.fail(closedError())
    const ends = [
      ...[...this.#consumers].map((consumer) => consumer.end(closedError())),
      ...[...this.#queues].map((queue) => queue.close()),
    ]
    const closings = [...this.#producers].map((producer) => producer.close())
    const closed = Promise.allSettled(closings)
    if (closings.length + ends.length > 0) await this.#waitFor(Promise.all([closed, ...ends]), drainMs)
    for (const producer of [...this.#producers]) producer.abort()
    for (const queue of [...this.#queues]) queue.fail(closedError())
    await this.#connection.close()
    for (const consumer of [...this.#consumers]) consumer.abandon()
    const failed = (await closed).find(({ status }) => status === 'rejected')
    if (failed !== undefined) throw (failed as PromiseRejectedResult).reason
  }

  /** As long as it takes, and `ms` at most. */
  #waitFor(promise: Promise<unknown>, ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.#connection.settings.clock.setTimer(resolve, ms)
      void promise.then(() => {
        timer.cancel()
        resolve()
      })
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

const isList = (topics: AnyTopic | readonly AnyTopic[]): topics is readonly AnyTopic[] =>
  Array.isArray(topics)
