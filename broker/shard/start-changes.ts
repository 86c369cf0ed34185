/** The changes that move a partition's start: decided when their WAL group is cut, against the partition as it is then. */
import { MillraceError } from '../../protocol/error-codes.js'
import type { PlantedFault } from '../platform/planted-faults.js'
import { claim, groupClaim, NUMBER_OF_CURSORS } from './claims.js'
import type { Change } from './group-commit.js'
import { QueueState } from './queue-state.js'
import { dueIn, freedBy, passedBy, type RetentionReason, slowestOf } from './retention.js'
import { startClaim, startMove } from './start-move.js'
import type { PartitionState, ShardState, TopicState } from './state.js'
import type { DeleteBeforeArgs, RecordsDeleted } from './topic-requests.js'

/** Deletes everything below an offset. Throws UNKNOWN_TOPIC, UNKNOWN_PARTITION, TOPIC_READ_ONLY, OFFSET_OUT_OF_RANGE. */
export function deleteBeforeChange(
  state: ShardState,
  deletion: DeleteBeforeArgs,
  planted?: PlantedFault,
): Change<RecordsDeleted> {
  return {
    decide({ claimed }) {
      const { topicId, requestId } = deletion
      if (!claim(claimed, startClaim(deletion), `request ${requestId}`)) return undefined
      const before = state.requests.get(requestId)?.result as RecordsDeleted | undefined
      if (before?.startOffset !== undefined) return { commands: [], result: before }
      const topic = state.topics.get(topicId)
      if (topic === undefined || topic.deleting) throw new MillraceError('UNKNOWN_TOPIC')
      if (topic.row.internal) throw new MillraceError('TOPIC_READ_ONLY')
      if (hasForks(topic))
        throw new MillraceError('TOPIC_READ_ONLY', { message: 'forks of this stream read what it holds' })
      const partition = topic.partitions[deletion.partition]
      if (partition === undefined) throw new MillraceError('UNKNOWN_PARTITION')
      const { startOffset: start, endOffset } = partition
      const startOffset = deletion.offset === Number.MAX_SAFE_INTEGER ? endOffset : deletion.offset
      if (startOffset > endOffset) {
        throw new MillraceError('OFFSET_OUT_OF_RANGE', {
          message: `offset ${startOffset} is past the durable end ${endOffset}`,
          details: { startOffset: start, endOffset },
        })
      }
      if (startOffset <= start || planted === 'deletionNotDone')
        return { commands: [], result: { startOffset: start, records: 0, bytes: 0 } }
      const { records, bytes } = freedBy(partition, startOffset)
      return {
        commands: [startMove(partition, { startOffset, reason: 'deleteBefore', requestId })],
        result: { startOffset, records, bytes },
      }
    },
  }
}

export interface ChunksDeleted {
  readonly reason: RetentionReason
  readonly chunks: number
  readonly records: number
  readonly bytes: number
  readonly startOffset: number
  /** Cursors that had not passed what went. */
  readonly passed: readonly { readonly groupId: number; readonly offset: number }[]
}

/** Deletes what is due of a partition; undefined when nothing is, any more. */
export function retentionChange(
  state: ShardState,
  partition: PartitionState,
  chunksMax: number,
  planted?: PlantedFault,
): Change<ChunksDeleted | undefined> {
  const nothing = { commands: [], result: undefined }
  return {
    decide({ claimed, time }) {
      const topic = state.topics.get(partition.topicId)
      if (topic === undefined || topic.deleting || topic.partitions[partition.partition] !== partition)
        return nothing
      if (hasForks(topic)) return nothing
      if (hasUndecided(partition, claimed) || !claim(claimed, startClaim(partition))) return undefined
      const slowest = planted === 'truncationIgnoresCursors' ? Infinity : slowestOf(partition.cursors)
      const due = dueIn(partition, { options: topic.row.options, slowest, now: time, chunksMax })
      if (due === undefined) return nothing
      const { startOffset, reason } = due
      return {
        commands: [startMove(partition, { startOffset, reason, requestId: null })],
        result: {
          ...freedBy(partition, startOffset),
          startOffset,
          reason,
          passed: [...passedBy(partition, startOffset)],
        },
      }
    },
  }
}

/** What forks read of a stream stays. */
const hasForks = ({ stream }: TopicState): boolean => stream !== undefined && stream.forks > 0

/** A reset of a work queue, or a new cursor, that this group has taken does not show in the state yet: wait for it. */
function hasUndecided({ cursors }: PartitionState, claimed: ReadonlySet<string>): boolean {
  if (claimed.has(NUMBER_OF_CURSORS)) return true
  for (const cursor of cursors)
    if (cursor instanceof QueueState && claimed.has(groupClaim(cursor.groupId))) return true
  return false
}
