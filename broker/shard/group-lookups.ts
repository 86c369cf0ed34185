/** What changes of groups look for in the state, with what the group that is being cut has decided already. */
import { MillraceError } from '../../protocol/error-codes.js'
import { illegalGroupName } from '../../protocol/limits.js'
import type { IfNoCursor } from '../../protocol/messages/group.js'
import type { GroupState, PartitionName, PartitionState, ShardState } from './state.js'

/** Throws ILLEGAL_GROUP_NAME. */
export function checkName(name: string): void {
  const fault = illegalGroupName(name)
  if (fault !== undefined) throw new MillraceError('ILLEGAL_GROUP_NAME', { message: fault })
}

/** Throws UNKNOWN_GROUP. */
export function namedGroup(state: ShardState, name: string): GroupState {
  const group = state.groupsByName.get(name)
  if (group === undefined)
    throw new MillraceError('UNKNOWN_GROUP', { message: `there is no group "${name}"` })
  return group
}

/** Undefined when its topic is gone or is going. */
export function livePartition(state: ShardState, at: PartitionName): PartitionState | undefined {
  const topic = state.topics.get(at.topicId)
  return topic === undefined || topic.deleting ? undefined : topic.partitions[at.partition]
}

/** Throws UNKNOWN_TOPIC, UNKNOWN_PARTITION. */
export function knownPartition(state: ShardState, at: PartitionName): PartitionState {
  const topic = state.topics.get(at.topicId)
  if (topic === undefined || topic.deleting) throw new MillraceError('UNKNOWN_TOPIC')
  const partition = topic.partitions[at.partition]
  if (partition === undefined) throw new MillraceError('UNKNOWN_PARTITION')
  return partition
}

export const placeIn = ({ startOffset, endOffset }: PartitionState, place: IfNoCursor): number =>
  place === 'earliest' ? startOffset : endOffset
