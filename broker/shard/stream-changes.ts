/** The changes that make and delete streams: decided when their WAL group is cut. */
import { MillraceError } from '../../protocol/error-codes.js'
import type { RequestId, TopicId } from '../../protocol/ids.js'
import { STREAM_LIMITS } from '../../protocol/limits.js'
import type { ForkPoint } from '../manifest/rows.js'
import type { Random } from '../platform/random.js'
import type { Change } from './change.js'
import { claim } from './claims.js'
import { startClaim } from './start-move.js'
import type { ShardState, TopicState } from './state.js'
import { createTopicChange, type NewTopic, type TopicLimits } from './topic-changes.js'

export interface NewStream {
  readonly requestId: RequestId
  /** Of its topic. */
  readonly name: string
  /** As it was sent; of a fork its source's. */
  readonly contentType: string
  readonly ttlSeconds: number | null
  readonly expiresAt: string | null
  readonly closed: boolean
  /** False: records follow, with the write that opens it. */
  readonly opened: boolean
  readonly fork: NewFork | null
}

export interface NewFork {
  /** Of the source. */
  readonly topicId: TopicId
  /** Null: where the source ends. */
  readonly askedOffset: number | null
  readonly subOffset: number
  readonly point: ForkPoint
}

/** `type/subtype` in lower case: whether two content types are one. */
export const mediaTypeIn = (contentType: string): string =>
  (contentType.split(';', 1)[0] as string).trim().toLowerCase()

/** Streams of this type hold JSON values; all others bytes. */
export const isJson = (contentType: string): boolean => mediaTypeIn(contentType) === 'application/json'

interface Surroundings {
  readonly random: Random
  readonly limits: TopicLimits
}

/** Throws TOPIC_EXISTS, TOPIC_MISMATCH, UNKNOWN_TOPIC (of the source), LIMIT_REACHED, and what createTopicChange throws. */
export function createStreamChange(
  state: ShardState,
  stream: NewStream,
  surroundings: Surroundings,
): Change<{ created: boolean }> {
  const topic: NewTopic = {
    requestId: stream.requestId,
    name: stream.name,
    partitions: 1,
    keyEncoding: 'text',
    valueEncoding: isJson(stream.contentType) ? 'json' : 'bytes',
    ifMissing: false,
  }
  const creation = createTopicChange(state, topic, surroundings)
  return {
    decide(at) {
      const existing = state.topicsByName.get(stream.name)
      if (existing !== undefined) {
        if (existing.deleting || existing.stream?.deleting) return undefined
        refuseDifference(existing, stream)
        return { commands: [], result: { created: false } }
      }
      // The source stays while it gets a fork.
      if (stream.fork !== null) {
        const { row } = sourceOf(state, stream.fork.point)
        const start = startClaim({ topicId: row.topicId, partition: 0 })
        if (!claim(at.claimed, `topic ${row.name}`, start)) return undefined
      }
      const decided = creation.decide(at)
      const [command] = decided?.commands ?? []
      if (decided === undefined || command?.type !== 'topicCreated') return undefined
      const { topicId } = command
      const { contentType, ttlSeconds, expiresAt, closed, opened } = stream
      const fork = stream.fork?.point ?? null
      return {
        commands: [
          command,
          { type: 'streamCreated', topicId, contentType, ttlSeconds, expiresAt, closed, opened, fork },
        ],
        result: { created: true },
      }
    },
  }
}

/** The source of a fork, if it may have one more. Throws UNKNOWN_TOPIC, TOPIC_EXISTS, LIMIT_REACHED. */
function sourceOf(state: ShardState, fork: ForkPoint): TopicState {
  const source = state.topics.get(fork.topicId)
  if (source?.stream === undefined || source.deleting) throw new MillraceError('UNKNOWN_TOPIC')
  if (source.stream.row.deleted) throw heldByForks(source)
  let nested = 1
  for (let at: TopicState | undefined = source; at?.stream?.row.fork != null; nested++)
    at = state.topics.get(at.stream.row.fork.topicId)
  if (nested > STREAM_LIMITS.forksNestedMax)
    throw new MillraceError('LIMIT_REACHED', {
      message: `forks of forks are ${STREAM_LIMITS.forksNestedMax} deep at most`,
    })
  return source
}

/** Asking for what is there already is no error. Throws TOPIC_EXISTS, TOPIC_MISMATCH. */
export function refuseDifference(
  existing: TopicState,
  asked: Omit<NewStream, 'requestId' | 'name' | 'opened' | 'fork'> & { fork: Omit<NewFork, 'point'> | null },
): void {
  const { name } = existing.row
  const row = existing.stream?.row
  if (row === undefined)
    throw new MillraceError('TOPIC_EXISTS', { message: `a topic "${name}" exists, and it is no stream` })
  if (row.deleted) throw heldByForks(existing)
  const differs = (what: string): MillraceError =>
    new MillraceError('TOPIC_MISMATCH', { message: `the stream exists with another ${what}` })
  if (mediaTypeIn(row.contentType) !== mediaTypeIn(asked.contentType)) throw differs('content type')
  if (row.ttlSeconds !== asked.ttlSeconds || row.expiresAt !== asked.expiresAt) throw differs('life')
  if (row.closed !== asked.closed) throw differs('state: open or closed')
  const { fork } = asked
  if (row.fork?.topicId !== fork?.topicId) throw differs('source')
  if (row.fork === null || fork === null) return
  if (fork.askedOffset !== null && fork.askedOffset !== row.fork.offset) throw differs('fork offset')
  if (fork.subOffset !== row.fork.subOffset) throw differs('fork sub-offset')
}

const heldByForks = ({ row }: TopicState): MillraceError =>
  new MillraceError('TOPIC_EXISTS', {
    message: `the stream "${row.name}" was deleted, but forks still read from it: its path is free again when they are gone`,
  })
