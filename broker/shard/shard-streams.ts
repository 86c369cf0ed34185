import { MillraceError } from '../../protocol/error-codes.js'
import { hexFromBytes, type RequestId, type TopicId } from '../../protocol/ids.js'
import type { ForkPoint } from '../manifest/rows.js'
import type { Clock, Timer } from '../platform/clock.js'
import type { PlantedFault } from '../platform/planted-faults.js'
import type { Random } from '../platform/random.js'
import type { Change } from './change.js'
import type { ShardState, TopicState } from './state.js'
import { createStreamChange, mediaTypeIn, type NewStream, refuseDifference } from './stream-changes.js'
import { deleteStreamChange } from './stream-deletion.js'
import { forgiveForgotten, isExpired, lastAccess, loggedEveryMs } from './stream-life.js'
import { type StreamSegment, segmentsOf } from './stream-segments.js'
import type { CreateStreamArgs, StreamInfo, StreamsFace } from './streams-face.js'
import type { TopicLimits } from './topic-changes.js'

export interface ShardStreamsOptions {
  readonly state: ShardState
  readonly clock: Clock
  readonly random: Random
  readonly limits: TopicLimits
  readonly submit: <T>(change: Change<T>) => Promise<T>
  /** Broker time, milliseconds. */
  readonly time: () => number
  readonly warn: (message: string, error: unknown) => void
  readonly planted?: PlantedFault | undefined
}

const ROUND_MS = 1_000
/** Of no stream. */
const NOWHERE = '0'.repeat(32) as TopicId

/** The streams of a shard: what there is, making and deleting them, and the end of those whose time is over. */
export class ShardStreams implements StreamsFace {
  readonly #options: ShardStreamsOptions
  readonly #creating = new Map<string, Promise<unknown>>()
  /** Streams whose end somebody has asked for already. */
  readonly #ending = new Set<TopicId>()
  #timer: Timer | undefined
  #stopped = false

  constructor(options: ShardStreamsOptions) {
    this.#options = options
    for (const { stream } of options.state.topics.values())
      if (stream !== undefined) forgiveForgotten(stream, ROUND_MS)
  }

  named(name: string): StreamInfo | undefined {
    const topic = this.#options.state.topicsByName.get(name)
    if (topic?.stream === undefined || !topic.stream.row.opened) return undefined
    const info = infoOf(topic)
    if (info.isDeleted || !isExpired(topic, this.#options.time())) return info
    this.#end(topic)
    // Forks keep what they read of it.
    return topic.stream.forks > 0 ? { ...info, isDeleted: true } : undefined
  }

  segments(topicId: TopicId): readonly StreamSegment[] {
    const { state, planted } = this.#options
    const segments = segmentsOf(topicId, (at) => state.topics.get(at)?.stream?.row.fork ?? null)
    if (planted !== 'sourceReadPastFork') return segments
    const endOf = (at: TopicId): number => state.partition(at, 0)?.endOffset ?? 0
    return segments.map((one) => (one.topicId === topicId ? one : { ...one, to: endOf(one.topicId) }))
  }

  accessed(topicId: TopicId): void {
    const stream = this.#options.state.topics.get(topicId)?.stream
    if (stream !== undefined) stream.accessedAt = Math.max(stream.accessedAt, this.#options.time())
  }

  async create(args: CreateStreamArgs): Promise<{ created: boolean; stream: StreamInfo }> {
    const before = this.#creating.get(args.name)
    const creation = (async () => {
      await before?.catch(() => {})
      return this.#create(args)
    })()
    this.#creating.set(args.name, creation)
    try {
      return await creation
    } finally {
      if (this.#creating.get(args.name) === creation) this.#creating.delete(args.name)
    }
  }

  async #create(args: CreateStreamArgs): Promise<{ created: boolean; stream: StreamInfo }> {
    const { state, random, limits, submit } = this.#options
    const { name, requestId, hasRecords, closed } = args
    await this.#clear(name)
    const source = args.fork === null ? undefined : this.named(args.fork.sourceName)
    if (source !== undefined) args.fork?.refuseOther?.(source)
    const asked = withInherited(args, source)
    const found = state.topicsByName.get(name)
    // One that is going is decided on behind its deletion.
    const existing = found?.deleting || found?.stream?.deleting ? undefined : found
    const fork =
      args.fork === null
        ? null
        : {
            topicId: source?.topicId ?? NOWHERE,
            askedOffset: args.fork.offset,
            subOffset: args.fork.subOffset,
          }
    if (existing !== undefined) refuseDifference(existing, { ...asked, closed, fork })
    const stream: NewStream = {
      requestId,
      name,
      ...asked,
      // The write that brings its first records closes it as well.
      closed: closed && !hasRecords,
      opened: !hasRecords,
      fork: fork === null || existing !== undefined ? null : { ...fork, point: await pointOf(args, source) },
    }
    const created =
      existing === undefined && (await submit(createStreamChange(state, stream, { random, limits }))).created
    const topic = state.topicsByName.get(name)
    if (topic?.stream === undefined) throw new MillraceError('UNKNOWN_TOPIC')
    if (created && hasRecords) await this.#open(topic, args)
    return { created, stream: infoOf(topic) }
  }

  /** A stream whose first records are refused is none. */
  async #open({ row }: TopicState, { open }: CreateStreamArgs): Promise<void> {
    try {
      await open(row.topicId)
    } catch (error) {
      await this.#delete(row.topicId, this.#newId()).catch(() => {})
      throw error
    }
  }

  /** Takes away what has the name and is no stream any more, or never became one. */
  async #clear(name: string): Promise<void> {
    const topic = this.#options.state.topicsByName.get(name)
    if (topic?.stream === undefined || topic.deleting || topic.stream.row.deleted) return
    const isOver = isExpired(topic, this.#options.time())
    if (isOver || !topic.stream.row.opened)
      await this.#delete(topic.row.topicId, isOver ? null : this.#newId())
  }

  async delete(args: { topicId: TopicId; requestId: RequestId }): Promise<void> {
    await this.#delete(args.topicId, args.requestId)
  }

  async #delete(topicId: TopicId, requestId: RequestId | null): Promise<void> {
    const { state, random, submit } = this.#options
    await submit(deleteStreamChange(state, { topicId, requestId }, random))
  }

  #newId(): RequestId {
    return hexFromBytes(this.#options.random.bytes(16)) as RequestId
  }

  /** Looks once a second for what is over, and logs what was read. */
  start(): void {
    if (this.#stopped) return
    this.#timer = this.#options.clock.setTimer(() => this.#round(), ROUND_MS, { unref: true })
  }

  stop(): void {
    this.#stopped = true
    this.#timer?.cancel()
  }

  #round(): void {
    const now = this.#options.time()
    const accesses: { topicId: TopicId; accessedAt: number }[] = []
    for (const topic of this.#options.state.topics.values()) {
      const row = topic.stream?.row
      if (row === undefined || row.deleted || topic.deleting) continue
      if (isExpired(topic, now)) this.#end(topic)
      else if (row.ttlSeconds !== null) {
        const accessedAt = lastAccess(topic)
        const logged = Math.max(row.accessedAt, topic.partitions[0]?.lastAppendTime ?? 0)
        // One that is yet to come was granted at the start, and is not there.
        if (accessedAt <= now && accessedAt - logged >= loggedEveryMs(row.ttlSeconds))
          accesses.push({ topicId: row.topicId, accessedAt })
      }
    }
    if (accesses.length > 0) {
      const decision = { commands: [{ type: 'streamsAccessed' as const, accesses }], result: undefined }
      this.#options.submit({ decide: () => decision }).catch((error: unknown) => this.#failed(error))
    }
    this.start()
  }

  #end({ row, deleting }: TopicState): void {
    const { topicId } = row
    if (deleting || this.#ending.has(topicId)) return
    this.#ending.add(topicId)
    this.#delete(topicId, null)
      .catch((error: unknown) => this.#failed(error))
      .finally(() => this.#ending.delete(topicId))
  }

  #failed(error: unknown): void {
    // Somebody else was faster, or the broker stops.
    const isExpected = error instanceof MillraceError && error.code !== 'INTERNAL'
    if (!isExpected) this.#options.warn('the end of a stream could not be written; it is tried again', error)
  }
}

function infoOf({ row: topic, stream, partitions }: TopicState): StreamInfo {
  const row = stream?.row
  if (row === undefined) throw new Error('a topic that is no stream was taken for one')
  const { topicId, contentType, ttlSeconds, expiresAt, closed, deleted, fork } = row
  return {
    ...{ topicId, contentType, ttlSeconds, expiresAt },
    name: topic.name,
    isClosed: closed,
    isDeleted: deleted,
    isFork: fork !== null,
    endOffset: partitions[0]?.endOffset ?? 0,
  }
}

/** A fork is as its source where it is not told otherwise. */
function withInherited(
  { contentType, ttlSeconds, expiresAt, fork }: CreateStreamArgs,
  source: StreamInfo | undefined,
): Pick<NewStream, 'contentType' | 'ttlSeconds' | 'expiresAt'> {
  const isInherited = fork !== null && ttlSeconds === null && expiresAt === null
  return {
    contentType: contentType ?? source?.contentType ?? 'application/octet-stream',
    ttlSeconds: isInherited ? (source?.ttlSeconds ?? null) : ttlSeconds,
    expiresAt: isInherited ? (source?.expiresAt ?? null) : expiresAt,
  }
}

/** Where the fork leaves its source. Throws UNKNOWN_TOPIC, TOPIC_EXISTS, TOPIC_MISMATCH, ILLEGAL_ARGUMENT. */
async function pointOf(
  { fork, contentType, resolve }: CreateStreamArgs,
  source: StreamInfo | undefined,
): Promise<ForkPoint> {
  if (fork === null || source === undefined)
    throw new MillraceError('UNKNOWN_TOPIC', { message: 'there is no stream to fork' })
  if (source.isDeleted)
    throw new MillraceError('TOPIC_EXISTS', {
      message: 'the stream to fork was deleted; its forks alone are left',
    })
  if (contentType !== null && mediaTypeIn(contentType) !== mediaTypeIn(source.contentType))
    throw new MillraceError('TOPIC_MISMATCH', {
      message: `the stream to fork is ${source.contentType}, and a fork has its type`,
    })
  const offset = fork.offset ?? source.endOffset
  if (offset > source.endOffset)
    throw new MillraceError('ILLEGAL_ARGUMENT', { message: 'the stream to fork does not reach so far' })
  const { topicId } = source
  const { subOffset } = fork
  const end =
    subOffset === 0 ? { endOffset: offset, endBytes: 0 } : await resolve(source, { offset, subOffset })
  return { topicId, offset, subOffset, ...end }
}
