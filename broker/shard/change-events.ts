/**
 * What the topic `_millrace.changes` tells: topics, groups, chunks, cursors and deletions, each as a JSON object whose key
 * is the topic's name. The facts come from the commands of the WAL group in which the event is written, so an event is
 * never ahead of what is durable.
 */
import { RESERVED_TOPIC_PREFIX } from '../../protocol/limits.js'
import type { TopicOptions } from '../../protocol/topic-options.js'
import type { ChunkSealed } from './command-codec/chunks.js'
import type { CursorsDeleted } from './command-codec/groups.js'
import type { StartMoved, StartReason } from './command-codec/topics.js'
import type { Command } from './commands.js'
import { freedBy, lagBytes, passedBy, sectionBytes } from './retention.js'
import type { PartitionName, ShardState } from './state.js'

export const CHANGES_TOPIC = `${RESERVED_TOPIC_PREFIX}changes`

interface OfPartition {
  readonly topic: string
  readonly partition: number
}

interface OfCursor extends OfPartition {
  readonly group: string
}

/** Bytes are those on disk; offsets are the next to read. */
export type ChangeFacts =
  | { readonly type: 'topicCreated'; readonly topic: string; readonly partitions: number }
  | { readonly type: 'topicAltered'; readonly topic: string; readonly options: TopicOptions }
  | { readonly type: 'topicDeleted'; readonly topic: string }
  | ({
      readonly type: 'chunkSealed'
      readonly chunkId: number
      readonly baseOffset: number
      readonly endOffset: number
      readonly bytes: number
    } & OfPartition)
  | ({ readonly type: 'cursorMoved'; readonly offset: number } & OfCursor)
  | ({ readonly type: 'cursorDeleted'; readonly reason: CursorsDeleted['reason'] } & OfCursor)
  | ({
      readonly type: 'recordsDeleted'
      readonly reason: StartReason
      readonly startOffset: number
      /** Offsets that the start passed. */
      readonly records: number
      readonly bytes: number
      readonly chunks: number
    } & OfPartition)
  | { readonly type: 'groupCreated'; readonly group: string; readonly kind: 'consumer' | 'queue' }
  | { readonly type: 'groupDeleted'; readonly group: string }
  /** A cursor uses up the last fifth of a bound; past it, records that it has not read may go, or the cursor itself. */
  | ({
      readonly type: 'lagWarning'
      readonly bound: LagBound
      readonly value: number
      readonly max: number
    } & OfCursor)
  /** Records were deleted that this cursor had not passed. */
  | ({
      readonly type: 'lagDropped'
      readonly reason: StartReason
      readonly offset: number
      readonly startOffset: number
      readonly lagBytes: number
    } & OfCursor)
  /** So many events were left out here, because more happened than is told. */
  | { readonly type: 'skipped'; readonly count: number }

export type LagBound = 'maxLagBytes' | 'cursorIdleMs' | 'maxBytes'

/** `time` is broker time, milliseconds. */
export type ChangeEvent = ChangeFacts & { readonly time: number }

/** The events of commands that were decided and not applied yet, in their order. Cursors that move are told later. */
export function* eventsOf(commands: Iterable<Command>, state: ShardState): Generator<ChangeFacts> {
  for (const command of commands) {
    switch (command.type) {
      case 'topicCreated':
        if (command.name === CHANGES_TOPIC) break
        yield { type: 'topicCreated', topic: command.name, partitions: command.partitions }
        break
      case 'topicAltered': {
        const topic = nameOf(state, command.topicId)
        if (topic !== undefined) yield { type: 'topicAltered', topic, options: command.options }
        break
      }
      case 'topicDeleted': {
        const topic = nameOf(state, command.topicId)
        if (topic !== undefined) yield { type: 'topicDeleted', topic }
        break
      }
      case 'chunkSealed':
        yield* sealed(command, state)
        break
      case 'startMoved':
        yield* deleted(command, state)
        break
      case 'groupCreated':
        yield { type: 'groupCreated', group: command.name, kind: command.kind }
        break
      case 'groupDeleted': {
        const group = state.groups.get(command.groupId)?.name
        if (group !== undefined) yield { type: 'groupDeleted', group }
        break
      }
      case 'cursorsDeleted':
        yield* cursorsDeleted(command, state)
        break
    }
  }
}

/** Undefined for the topic of changes itself: what is told about it would never end. */
export function nameOf(state: ShardState, topicId: PartitionName['topicId']): string | undefined {
  const name = state.topics.get(topicId)?.row.name
  return name === CHANGES_TOPIC ? undefined : name
}

function* sealed({ chunkId, rows }: ChunkSealed, state: ShardState): Generator<ChangeFacts> {
  for (const { topicId, partition, section } of rows) {
    const topic = nameOf(state, topicId)
    if (topic === undefined) continue
    const { baseOffset, endOffset } = section
    yield {
      type: 'chunkSealed',
      topic,
      partition,
      chunkId,
      baseOffset,
      endOffset,
      bytes: sectionBytes(section),
    }
  }
}

function* deleted(command: StartMoved, state: ShardState): Generator<ChangeFacts> {
  const topic = nameOf(state, command.topicId)
  const held = state.partition(command.topicId, command.partition)
  if (topic === undefined || held === undefined) return
  const { partition, startOffset, reason } = command
  const freed = freedBy(held, startOffset)
  yield { type: 'recordsDeleted', topic, partition, reason, startOffset, ...freed }
  // Whoever asks for a deletion knows what goes.
  if (reason === 'deleteBefore' || reason === 'deadLetters') return
  for (const { groupId, offset } of passedBy(held, startOffset)) {
    const group = state.groups.get(groupId)?.name
    if (group === undefined) continue
    const lag = Math.round(lagBytes(held, offset))
    yield { type: 'lagDropped', topic, partition, group, reason, offset, startOffset, lagBytes: lag }
  }
}

function* cursorsDeleted(
  { groupId, partitions, reason }: CursorsDeleted,
  state: ShardState,
): Generator<ChangeFacts> {
  const group = state.groups.get(groupId)?.name
  if (group === undefined) return
  for (const { topicId, partition } of partitions) {
    const topic = nameOf(state, topicId)
    if (topic !== undefined) yield { type: 'cursorDeleted', topic, partition, group, reason }
  }
}
