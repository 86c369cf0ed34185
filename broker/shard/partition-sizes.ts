import type { TopicId } from '../../protocol/ids.js'
import type { GroupsView } from './group-requests.js'
import type { PartitionState } from './topic-state.js'

/** What a partition holds. */
export interface PartitionSize {
  readonly partition: number
  readonly startOffset: number
  /** The first offset that is not durable. */
  readonly durableEnd: number
  /** Stored bytes that are in chunks. */
  readonly sealedBytes: number
  /** Stored bytes that are in the WAL alone. */
  readonly unsealedBytes: number
  /** Sections of chunks that hold the sealed bytes. */
  readonly chunks: number
  /** Broker time at which the newest batch was appended, milliseconds; 0: never. */
  readonly lastAppendTime: number
}

/** What every partition of a topic holds, in their order; undefined when there is no such topic. */
export function partitionSizes(
  state: Pick<GroupsView, 'topics'>,
  topicId: TopicId,
): readonly PartitionSize[] | undefined {
  return state.topics.get(topicId)?.partitions.map(sizeOf)
}

function sizeOf(state: PartitionState): PartitionSize {
  const { partition, startOffset, endOffset: durableEnd, lastAppendTime, chunks, tail } = state
  const sealedBytes = chunks.reduce((bytes, { section }) => bytes + (section.byteEnd - section.byteStart), 0)
  const { unsealedBytes } = tail
  return {
    partition,
    startOffset,
    durableEnd,
    sealedBytes,
    unsealedBytes,
    chunks: chunks.length,
    lastAppendTime,
  }
}
