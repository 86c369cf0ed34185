import type { RequestId } from '../../protocol/ids.js'
import type { StartMoved, StartReason } from './command-codec/topics.js'
import type { PartitionState } from './state.js'

/** Take it with `claim` before deciding on a partition's start offset or on its next chunk. */
export const startClaim = ({ topicId, partition }: { topicId: string; partition: number }): string =>
  `start ${topicId}/${partition}`

/** The command that moves a partition's start to an offset up to its durable end. */
export function startMove(
  partition: PartitionState,
  to: { startOffset: number; reason: StartReason; requestId: RequestId | null },
): StartMoved {
  const { topicId, tail, endOffset } = partition
  const { startOffset } = to
  // The sealed end is always the first offset of an entry: the sealer and the replay go on from there.
  const holder = startOffset < endOffset ? tail.at(tail.indexOf(startOffset))?.baseOffset : endOffset
  const sealedEnd = Math.max(partition.sealedEnd, Math.min(holder ?? 0, startOffset))
  return { type: 'startMoved', topicId, partition: partition.partition, sealedEnd, ...to }
}
