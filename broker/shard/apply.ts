/**
 * The transitions of the shard's state: a pure function of state and command. The same code runs when a group has
 * become durable and when it is replayed. It checks nothing and never throws on a state that the checks can lead to.
 */
import { type EntryHeader, NO_PRODUCER_ID } from '../../protocol/entry.js'
import { applyDedup } from './apply-dedup.js'
import {
  assignGroup,
  createGroup,
  deleteCursors,
  deleteGroup,
  moveCursors,
  resetCursors,
} from './apply-groups.js'
import { advanceProducer, expireNames, expireWindows, registerProducer } from './apply-producers.js'
import { moveQueue } from './apply-queue.js'
import {
  accessStreams,
  createStream,
  forgetStreamProducers,
  moveStream,
  softDeleteStream,
} from './apply-streams.js'
import { alterTopic, createTopic, deleteTopic, moveStart, sealChunk } from './apply-topics.js'
import type { Answered } from './command-codec/shard.js'
import type { Command, CommandType } from './commands.js'
import type { PartitionState, ShardState } from './state.js'

/** What APPEND changes; the entry itself lies in the WAL. */
export type AppendedEntry = Pick<
  EntryHeader,
  | 'baseOffset'
  | 'lastOffsetDelta'
  | 'appendTime'
  | 'producerId'
  | 'producerEpoch'
  | 'baseSequence'
  | 'recordCount'
>

/** Called before the commands of each group: what goes by logged time alone. */
export function beginGroup(state: ShardState, time: number): void {
  if (time >= state.dedup.nextExpiry) state.dedup.expire(time)
}

/** `section`: of the entry; undefined or empty for an entry without dedup ids. */
export function applyAppend(
  state: ShardState,
  partition: PartitionState,
  entry: AppendedEntry,
  section?: Uint8Array,
): void {
  const endOffset = entry.baseOffset + entry.lastOffsetDelta + 1
  if (entry.baseOffset !== partition.endOffset) {
    throw new Error(
      `partition ${partition.topicId}/${partition.partition}: an entry at offset ${entry.baseOffset} was applied at the end ${partition.endOffset}`,
    )
  }
  partition.endOffset = endOffset
  partition.lastAppendTime = entry.appendTime
  state.overlay.partitions.add(partition)
  if (entry.producerId !== NO_PRODUCER_ID) advanceProducer(state, partition, entry)
  if (section !== undefined && section.length > 0) applyDedup(state, partition, entry, section)
}

type Apply<Type extends CommandType> = (
  state: ShardState,
  command: Extract<Command, { type: Type }>,
  time: number,
) => void

const APPLY: { readonly [Type in CommandType]: Apply<Type> } = {
  shardEpochStarted: (state, command) => {
    state.shardEpoch = command.shardEpoch
  },
  topicCreated: createTopic,
  topicAltered: alterTopic,
  topicDeleted: deleteTopic,
  startMoved: moveStart,
  chunkSealed: sealChunk,
  producerIdsReserved: (state, command) => {
    state.nextProducerId = command.below
  },
  producerRegistered: registerProducer,
  producersExpired: expireWindows,
  producerAdvanced: (state, command, time) => {
    const partition = state.partition(command.topicId, command.partition)
    if (partition !== undefined) advanceProducer(state, partition, { ...command, appendTime: time })
  },
  producerNamesExpired: expireNames,
  groupCreated: createGroup,
  groupAssigned: assignGroup,
  cursorsMoved: moveCursors,
  cursorsReset: resetCursors,
  cursorsDeleted: deleteCursors,
  groupDeleted: deleteGroup,
  queueMoved: moveQueue,
  streamCreated: createStream,
  streamMoved: moveStream,
  streamsAccessed: accessStreams,
  streamDeleted: softDeleteStream,
  streamProducersForgotten: forgetStreamProducers,
  answered: keepAnswer,
}

/** Applies any command but APPEND, with the broker time of its group. */
export function applyCommand(state: ShardState, command: Command, time: number): void {
  const apply = APPLY[command.type] as Apply<CommandType>
  apply(state, command, time)
}

function keepAnswer({ answers, overlay }: ShardState, { requestId, result }: Answered, time: number): void {
  const { added, evicted } = answers.add({ requestId, time, result })
  for (const row of evicted) {
    overlay.answers.delete(row)
    overlay.deletedAnswers.push(row)
  }
  overlay.answers.add(added)
}
