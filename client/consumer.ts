import { MillraceError } from '../protocol/error-codes.js'
import { deadLetter, deadLettered } from '../protocol/messages/dead-letter.js'
import type { GroupAssignment } from '../protocol/messages/group.js'
import { LoopTracker, RunTracker } from './commit-tracker.js'
import { Committer } from './committer.js'
import type { Connection } from './connection.js'
import { ConsumerAssignment } from './consumer-assignment.js'
import { ConsumerMembership } from './consumer-membership.js'
import {
  type Consumer,
  type ConsumeSettings,
  type GroupBatch,
  type RebalanceEventName,
  type RebalanceEvents,
  type RunOptions,
  runSettings,
} from './consumer-options.js'
import type { ConsumerPartition, GivenRecord, TopicPartition } from './consumer-partition.js'
import { ConsumerReader } from './consumer-reader.js'
import { readCursors } from './cursor-reading.js'
import { pause } from './deadline.js'
import { asMillraceError, illegalArgument, quiet } from './errors.js'
import { EventListeners } from './events.js'
import { ConsumedRecord, type GroupRecord, type RecordHost } from './group-record.js'
import type { Link } from './link.js'
import type { Metadata } from './metadata.js'
import { newRequestId } from './random.js'
import { RecordRunner } from './run-records.js'
import type { AnyTopic, ReadRecord } from './topic.js'
import { Turn } from './turn.js'

interface Taken<T> {
  readonly value: T
  readonly given: readonly GivenRecord[]
}

export interface GroupConsumerOptions {
  readonly connection: Connection
  readonly metadata: Metadata
  readonly topics: readonly AnyTopic[]
  readonly settings: ConsumeSettings
  readonly onBegun: () => void
  readonly onClosed: () => void
}

/** At cursors, after leaving. */
const LOOKS_MAX = 5
const LOOK_AGAIN_MS = 100

/** A member of a consumer group, as the program has it: it puts together who joins, who reads, who acknowledges. */
export class GroupConsumer implements Consumer<ReadRecord>, RecordHost {
  readonly connection: Connection
  readonly #options: GroupConsumerOptions
  readonly #membership: ConsumerMembership
  readonly #committer: Committer
  readonly #reader: ConsumerReader
  readonly #assignment: ConsumerAssignment
  readonly #events: EventListeners<RebalanceEvents>
  #mode: 'idle' | 'loop' | 'run' = 'idle'
  #runner: RecordRunner | undefined
  #running: Promise<void> | undefined
  /** Why acks that were given do not count. */
  #ackFailure: MillraceError | undefined
  #closing: Promise<void> | undefined

  constructor(options: GroupConsumerOptions) {
    const { connection, settings } = options
    this.connection = connection
    this.#reader = new ConsumerReader(new Turn(connection.settings.clock))
    this.#options = options
    this.#events = new EventListeners<RebalanceEvents>(settings.onRebalance)
    this.#membership = new ConsumerMembership(options, {
      held: () => this.#assignment.held(),
      joined: (link) => this.#joined(link),
      assigned: (assignment, link) => this.#assigned(assignment, link),
      linkDown: () => this.#assignment.linkDown(),
      ended: (error) => this.#out(error),
    })
    const membership = this.#membership
    this.#committer = new Committer({
      clock: connection.settings.clock,
      intervalMs: settings.ackIntervalMs,
      host: {
        get joined() {
          return membership.joined
        },
        refused: (partition, error) => this.#ackRefused(partition, error),
        failed: (error) => this.#ackFailed(error),
      },
    })
    this.#assignment = new ConsumerAssignment({
      settings,
      membership,
      committer: this.#committer,
      events: this.#events,
      newTracker: (offset) => (this.#mode === 'run' ? new RunTracker(offset) : new LoopTracker(offset)),
      host: {
        connection,
        arrived: (partition) => this.#reader.arrived(partition),
        failed: (partition, error) => this.#partitionFailed(partition, error),
        finished: (partition) => this.#committer.risen(partition),
        stopped: (partition) => this.#runner?.stopped(partition),
        ended: (error) => this.#fail(error),
      },
    })
  }

  // What the program does.

  [Symbol.asyncIterator](): AsyncGenerator<GroupRecord<ReadRecord>, undefined, undefined> {
    return this.#loop((partition) => {
      const given = partition.take()
      const record = this.#recordOf(given)
      if (record instanceof Promise) return record.then((value) => ({ value, given: [given] }))
      return { value: record, given: [given] }
    })
  }

  batches(): AsyncGenerator<GroupBatch<ReadRecord>, undefined, undefined> {
    return this.#loop(async (partition) => {
      const { given, nextOffset, appendTime } = partition.takeBatch()
      const records = await Promise.all(given.map(async (one) => this.#recordOf(one)))
      const last = records.at(-1) as ConsumedRecord
      const value = {
        topic: last.topic,
        partition: last.partition,
        records,
        nextOffset,
        appendTime,
        get signal() {
          return last.signal
        },
        ack: () => last.ack(),
        acked: () => last.acked(),
      }
      return { value, given }
    })
  }

  #recordOf(given: GivenRecord): ConsumedRecord | Promise<ConsumedRecord> {
    const record = given.decode()
    if (record instanceof Promise) return record.then((read) => new ConsumedRecord(read, given, this))
    return new ConsumedRecord(record, given, this)
  }

  async *#loop<T>(take: (partition: ConsumerPartition) => Taken<T> | Promise<Taken<T>>) {
    this.#begin('loop')
    let isThrowing = false
    try {
      for (;;) {
        const next = this.#reader.next()
        const partition = next instanceof Promise ? await next : next
        if (partition === undefined) return undefined
        const taking = take(partition)
        const { value, given } = taking instanceof Promise ? await taking : taking
        this.#reader.took(partition)
        // It may have been lost while it was decoded.
        if (partition.state !== 'reading') continue
        const last = given.at(-1)
        last?.begin()
        yield value
        last?.end()
        for (const one of given) one.spend()
      }
    } catch (error) {
      isThrowing = true
      this.#fail(error)
      await this.close().catch(() => {})
      throw error
    } finally {
      if (!isThrowing) await this.close()
    }
  }

  async run(handle: (record: GroupRecord<ReadRecord>) => unknown, options: RunOptions = {}): Promise<void> {
    const settings = runSettings(options)
    const { clock, random } = this.connection.settings
    this.#begin('run')
    const runner = new RecordRunner({
      reader: this.#reader,
      settings,
      clock,
      random,
      handle: (record, given) => handle(new ConsumedRecord(record, given, this)),
      giveUp: (given, failure) => this.#giveUp(given, failure),
    })
    this.#runner = runner
    const aborted = (): void => this.#fail(settings.signal?.reason)
    settings.signal?.addEventListener('abort', aborted, { once: true })
    if (settings.signal?.aborted) aborted()
    this.#running = runner.run()
    try {
      await this.#running
    } catch (error) {
      await this.close().catch(() => {})
      throw error
    } finally {
      settings.signal?.removeEventListener('abort', aborted)
    }
    await this.close()
  }

  pause(partitions?: readonly TopicPartition[]): void {
    for (const partition of this.#named(partitions)) partition.pause()
  }

  resume(partitions?: readonly TopicPartition[]): void {
    for (const partition of this.#named(partitions)) partition.resume()
  }

  #named(partitions: readonly TopicPartition[] | undefined): ConsumerPartition[] {
    const all = [...this.#assignment.partitions]
    if (partitions === undefined) return all
    return all.filter(({ topicName, partition }) =>
      partitions.some((one) => one.topic === topicName && one.partition === partition),
    )
  }

  on<Name extends RebalanceEventName>(
    name: Name,
    listener: (event: RebalanceEvents[Name]) => void,
  ): () => void {
    return this.#events.add(name, listener)
  }

  get assignment(): readonly TopicPartition[] {
    return this.#assignment.names
  }

  flush(): Promise<void> {
    return quiet(this.#flush())
  }

  async #flush(): Promise<void> {
    if (this.#ackFailure !== undefined) throw this.#ackFailure
    const durable = [...this.#assignment.partitions].map((partition) =>
      partition.cursor.whenDurable(partition.cursor.floor),
    )
    this.#committer.hurry()
    await Promise.all(durable)
  }

  close(): Promise<void> {
    this.#closing ??= quiet(this.#close())
    return this.#closing
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  // From the beginning to the end.

  #begin(mode: 'loop' | 'run'): void {
    const { signal } = this.#options.settings
    this.connection.assertOpen()
    if (this.#mode !== 'idle') throw illegalArgument('a consumer can be iterated, or run, once')
    this.#mode = mode
    this.#options.onBegun()
    signal?.addEventListener('abort', this.#aborted, { once: true })
    if (signal?.aborted) this.#aborted()
    else if (!this.#reader.isEnded) void this.#membership.start()
  }

  readonly #aborted = (): void => this.#fail(this.#options.settings.signal?.reason)

  /** Nothing more is given; the loop throws this. */
  #fail(error: unknown): void {
    this.#reader.end(error)
    this.#runner?.ended()
    void this.close()
  }

  /** Not a member any more: what it acknowledged and is not durable does not count. */
  #out(error: unknown): void {
    if (this.#committer.isBehind) this.#ackFailure ??= asMillraceError(error)
    this.#fail(error)
  }

  async #close(): Promise<void> {
    this.#reader.end()
    this.#runner?.ended()
    await this.#running?.catch(() => {})
    this.#committer.send()
    const left = this.#membership.leave().then(() => this.#closed())
    // Without acks to save, nobody has to wait for a broker that is not there.
    if (this.#committer.isBehind || this.#membership.isKnown) await left
    if (this.#ackFailure !== undefined) throw this.#ackFailure
  }

  async #closed(): Promise<void> {
    if (!this.connection.isClosed) await this.#committer.settled()
    const { fencedLeaving } = this.#membership
    if (fencedLeaving !== undefined) await this.#lookAtCursors()
    if (this.#committer.isBehind) {
      this.#ackFailure ??= fencedLeaving
      this.#ackFailure ??= new MillraceError('CONNECTION_LOST', {
        message: 'the consumer was closed before all that it acknowledged was known to be durable',
      })
    }
    this.abandon()
  }

  /**
   * Leaving was done, and its answer lost, and so those to the acks before it: what of them counts the cursors tell. More than one
   * look, because a member is out a moment before its last acks are durable.
   */
  async #lookAtCursors(): Promise<void> {
    const { group, sessionTimeoutMs: timeoutMs } = this.#options.settings
    const { closing, settings } = this.connection
    for (let looks = 0; looks < LOOKS_MAX && !closing.isOver; looks++) {
      await readCursors(this.connection, { group, partitions: this.#committer.behind, timeoutMs }).catch(
        () => {},
      )
      if (!this.#committer.isBehind) return
      await pause(LOOK_AGAIN_MS, settings.clock, { signal: undefined, hurry: closing })
    }
  }

  /** Ends it without a word to the broker, who takes everything back when the session is over. */
  abandon(): void {
    this.#reader.end()
    this.#runner?.abandon()
    this.#membership.stop()
    this.#committer.stop()
    this.#assignment.abandon()
    this.#options.settings.signal?.removeEventListener('abort', this.#aborted)
    this.#options.onClosed()
  }

  /** The loop throws `error`; what was acknowledged is sent. */
  async end(error: unknown): Promise<void> {
    this.#fail(error)
    await this.close().catch(() => {})
  }

  // What the parts tell.

  #joined(link: Link): void {
    if (!this.#reader.isEnded) this.#assignment.joined(link)
    this.#committer.send()
  }

  #assigned(assignment: GroupAssignment, link: Link): void {
    if (!this.#reader.isEnded) this.#assignment.take(assignment, link)
  }

  /** A topic that was deleted is the broker's matter: it takes back the partitions, or ends the membership. */
  #partitionFailed(partition: ConsumerPartition, error: MillraceError): void {
    if (error.code === 'UNKNOWN_TOPIC') this.#assignment.lose([partition])
    else this.#fail(error)
  }

  /** Where the partition is still taken for its own, the group has gone on without this consumer. */
  #ackRefused(partition: ConsumerPartition, error: MillraceError): void {
    const isGone = error.code === 'UNKNOWN_TOPIC' || error.code === 'UNKNOWN_PARTITION'
    if (partition.state === 'reading') {
      if (!isGone) this.#ackFailed(error)
      this.#assignment.lose([partition])
    }
    partition.abandon()
  }

  #ackFailed(error: MillraceError): void {
    this.#ackFailure ??= error
    this.#fail(error)
  }

  async #giveUp(
    { partition: { topicId, partition, epoch }, offset, next: cursor }: GivenRecord,
    { tries, reason }: { tries: number; reason: string },
  ): Promise<void> {
    const requestId = newRequestId(this.connection.settings.random)
    const fields = { requestId, topicId, partition, epoch, offset, cursor, count: tries, reason }
    await this.#membership.ask([deadLetter, deadLettered], fields)
  }

  // What records need.

  get membership() {
    return { groupId: this.#membership.groupId, memberId: this.#membership.memberId }
  }

  get isLoop(): boolean {
    return this.#mode === 'loop'
  }

  hurry(): void {
    this.#committer.hurry()
  }
}
