import { MillraceError } from '../protocol/error-codes.js'
import { HARD_LIMITS, illegalGroupName } from '../protocol/limits.js'
import type { TopicPartition } from './consumer-partition.js'
import { illegalArgument } from './errors.js'
import type { GroupRecord } from './group-record.js'
import type { ReadBatch } from './streams.js'
import type { AnyTopic } from './topic.js'

/** What happens to a consumer's partitions. */
export interface RebalanceEvents {
  /** They are this consumer's from now on; records of them follow. */
  assigned: { readonly partitions: readonly TopicPartition[] }
  /**
   * They go to other members. No more records of them are given; what is in hand can still be acknowledged for a second, then the
   * signals of their records abort.
   */
  revoked: { readonly partitions: readonly TopicPartition[] }
  /** They are gone without having been asked back: what was not acknowledged is another's. */
  lost: { readonly partitions: readonly TopicPartition[] }
}

export type RebalanceEventName = keyof RebalanceEvents

/** An event with its name as `type`, as `onRebalance` gets it. */
export type RebalanceEvent = {
  [Name in RebalanceEventName]: { readonly type: Name } & RebalanceEvents[Name]
}[RebalanceEventName]

export interface ConsumeOptions {
  /** The group's name; consumers of the same group share the partitions among them. */
  readonly group: string
  /**
   * Where to begin in a partition in which the group has no cursor yet: at its first record, or with what is written from the
   * group's first assignment on.
   */
  readonly ifNoCursor: 'earliest' | 'latest'
  /**
   * How long this consumer may be silent or away, with its event loop blocked or its connection lost, before its partitions go to
   * others; default 10 s, from 1 s to 5 min. How long a record takes to be handled is no matter.
   */
  readonly sessionTimeoutMs?: number
  /**
   * Bytes that are held ahead of the application, shared by all partitions; default 4 MiB. One batch each may overdraw it, and when
   * partitions are added, so may what the others held before, until it is taken.
   */
  readonly prefetchBytes?: number
  /**
   * When records were deleted before the group acknowledged them: 'earliest' (default) goes on at the first there is, 'throw' ends
   * with OFFSET_OUT_OF_RANGE.
   */
  readonly onLost?: 'earliest' | 'throw'
  /** How long acknowledgements are gathered before they are sent; default 20 ms. Nothing is lost by it but work done twice after a crash. */
  readonly ackIntervalMs?: number
  /** Ends the consuming: the loop throws the signal's reason, when the partitions are handed back. */
  readonly signal?: AbortSignal
  /** Every event of the partitions; `consumer.on` gives single kinds. */
  readonly onRebalance?: (event: RebalanceEvent) => void
}

export interface RunOptions {
  /** Handlers that run at once; default 1. */
  readonly concurrency?: number
  /**
   * What is handled one after the other, in the order of offsets: the records of one key (default; those without one in any
   * order), those of one partition, or nothing.
   */
  readonly order?: 'key' | 'partition' | 'none'
  /**
   * When a handler throws, or a record cannot be decoded: 'stop' (default) ends the run with the error and leaves the record
   * unacknowledged; 'skip' acknowledges it; 'deadLetter' moves it to the group's dead-letter topic, `TOPIC.GROUP.dlq`.
   */
  readonly onError?: 'stop' | 'skip' | 'deadLetter'
  /** How often a handler that threw is tried again before that, after pauses that double from 100 ms; default 0. */
  readonly retries?: number
  /** Ends the run: it rejects with the signal's reason, when the partitions are handed back. */
  readonly signal?: AbortSignal
  /**
   * How long handlers that are under way may take to finish their records when the run ends, in whatever way, milliseconds; default
   * 1 s. Then the partitions are handed back, the signals of unfinished records abort, and the run ends all the same.
   */
  readonly graceMs?: number
}

/** Some records of one partition that were written together. */
export interface GroupBatch<R> extends Omit<ReadBatch<R>, 'records' | 'endOffset'> {
  readonly records: readonly GroupRecord<R>[]
  /** Acknowledges all of them, and what the partition gave before. */
  ack(): void
  /** The same, and resolves once it is durable. Rejects with FENCED when the partition is another's. */
  acked(): Promise<void>
  /** Aborts when the partition is lost; see the signal of its last record. */
  readonly signal: AbortSignal
}

/**
 * A member of a consumer group. It joins when its loop begins, and can be used in one way, once: `for await` over it, over
 * `batches()`, or `run`. Leaving the loop in whatever way hands its partitions back at once: acknowledgements given are sent,
 * and what was not acknowledged is given to another member.
 *
 * The loop throws FENCED when the group has gone on without this consumer: it was silent for longer than the session timeout.
 * Nothing it acknowledges counts any more, and its unacknowledged records are another's; consuming anew joins again. It throws
 * what a reader throws, too; a lost connection is neither: the loop goes on where it was.
 */
export interface Consumer<R> extends AsyncIterable<GroupRecord<R>>, AsyncDisposable {
  [Symbol.asyncIterator](): AsyncGenerator<GroupRecord<R>, undefined, undefined>
  /** Batch by batch: faster, and what was written together comes together. */
  batches(): AsyncGenerator<GroupBatch<R>, undefined, undefined>
  /**
   * Calls `handle` for each record, several at once, and acknowledges those for which it does not throw. The cursor stays below
   * the lowest record that is not finished. Resolves after `close`; rejects with what ends it.
   */
  run(handle: (record: GroupRecord<R>) => unknown, options?: RunOptions): Promise<void>
  /**
   * Gives no more records of these partitions, or of all that are assigned now, and asks the broker for none. A `run` still handles
   * those that already wait for a handler: up to eight for each of its `concurrency`.
   */
  pause(partitions?: readonly TopicPartition[]): void
  /** The opposite. */
  resume(partitions?: readonly TopicPartition[]): void
  /** Listens to one kind of event; returns how to stop. */
  on<Name extends RebalanceEventName>(
    name: Name,
    listener: (event: RebalanceEvents[Name]) => void,
  ): () => void
  /** What is this consumer's now. */
  readonly assignment: readonly TopicPartition[]
  /** Resolves when everything acknowledged so far is durable. Rejects with FENCED where a partition was lost before. */
  flush(): Promise<void>
  /**
   * Hands everything back: running handlers of a `run` get its `graceMs` to finish, acknowledgements given are sent. The loop ends as if there were no
   * more records. Rejects when acknowledgements that were given could not be made durable.
   */
  close(): Promise<void>
}

/** With the defaults. */
export interface ConsumeSettings {
  readonly group: string
  readonly ifNoCursor: 'earliest' | 'latest'
  readonly sessionTimeoutMs: number
  readonly prefetchBytes: number
  readonly onLost: 'earliest' | 'throw'
  readonly ackIntervalMs: number
  readonly signal: AbortSignal | undefined
  readonly onRebalance: ((event: RebalanceEvent) => void) | undefined
}

const MIB = 1024 * 1024

/** Throws ILLEGAL_GROUP_NAME, ILLEGAL_ARGUMENT. */
export function consumeSettings(topics: readonly AnyTopic[], options: ConsumeOptions): ConsumeSettings {
  const why = illegalGroupName(options.group)
  if (why !== undefined) throw new MillraceError('ILLEGAL_GROUP_NAME', { message: why })
  const { groupTopicsMax, sessionTimeoutMsMin, sessionTimeoutMsMax, creditBytesMax } = HARD_LIMITS
  if (topics.length === 0 || topics.length > groupTopicsMax) {
    throw illegalArgument(`a consumer reads 1 to ${groupTopicsMax} topics, not ${topics.length}`)
  }
  if (new Set(topics.map(({ name }) => name)).size < topics.length) {
    throw illegalArgument('a topic is named twice')
  }
  oneOf('ifNoCursor', options.ifNoCursor, ['earliest', 'latest'])
  const settings = {
    group: options.group,
    ifNoCursor: options.ifNoCursor,
    sessionTimeoutMs: options.sessionTimeoutMs ?? 10_000,
    prefetchBytes: options.prefetchBytes ?? 4 * MIB,
    onLost: options.onLost ?? 'earliest',
    ackIntervalMs: options.ackIntervalMs ?? 20,
    signal: options.signal,
    onRebalance: options.onRebalance,
  }
  oneOf('onLost', settings.onLost, ['earliest', 'throw'])
  within('sessionTimeoutMs', settings.sessionTimeoutMs, sessionTimeoutMsMin, sessionTimeoutMsMax)
  within('prefetchBytes', settings.prefetchBytes, 1, creditBytesMax)
  within('ackIntervalMs', settings.ackIntervalMs, 0, sessionTimeoutMsMax)
  return settings
}

export type RunSettings = Required<Omit<RunOptions, 'signal'>> & { readonly signal: AbortSignal | undefined }

/** Throws ILLEGAL_ARGUMENT. */
export function runSettings(options: RunOptions): RunSettings {
  const settings = {
    concurrency: options.concurrency ?? 1,
    order: options.order ?? 'key',
    onError: options.onError ?? 'stop',
    retries: options.retries ?? 0,
    signal: options.signal,
    graceMs: options.graceMs ?? 1_000,
  }
  oneOf('order', settings.order, ['key', 'partition', 'none'])
  oneOf('onError', settings.onError, ['stop', 'skip', 'deadLetter'])
  within('concurrency', settings.concurrency, 1, 100_000)
  within('retries', settings.retries, 0, 1_000_000)
  within('graceMs', settings.graceMs, 0, HARD_LIMITS.jobMsMax)
  return settings
}

function oneOf(option: string, value: unknown, choices: readonly string[]): void {
  if (!choices.includes(value as string)) {
    throw illegalArgument(`${option} is one of ${choices.join(', ')}, not ${String(value)}`)
  }
}

function within(option: string, value: number, min: number, max: number): void {
  if (!Number.isInteger(value) || value < min || value > max) {
    throw illegalArgument(`${option} is a whole number from ${min} to ${max}, not ${value}`)
  }
}
