import { MillraceError } from '../../protocol/error-codes.js'
import type { GroupKind } from '../../protocol/messages/group.js'
import type { PlantedFault } from '../platform/planted-faults.js'
import { type CursorState, type GroupState, partitionKey, type ShardState } from './state.js'
import type { CursorAck } from './write-unit.js'

/** The group, with what the group that is being cut has decided. Throws UNKNOWN_GROUP, GROUP_KIND_CONFLICT. */
export function liveGroup(state: ShardState, groupId: number, kind?: GroupKind): GroupState {
  const group = state.groups.get(groupId)
  if (group === undefined || group.deleting) throw new MillraceError('UNKNOWN_GROUP')
  if (kind !== undefined && group.kind !== kind)
    throw new MillraceError('GROUP_KIND_CONFLICT', {
      message: `group "${group.name}" is a ${group.kind === 'queue' ? 'work queue' : 'consumer group'}`,
    })
  return group
}

/**
 * The cursor that an ack may move, as far as its owner and the log are concerned; whether it moves forward is the
 * caller's to see: `cutOffset`. Throws UNKNOWN_GROUP, GROUP_KIND_CONFLICT, FENCED, ACK_OUT_OF_RANGE.
 */
export function ownedCursor(state: ShardState, ack: CursorAck, planted?: PlantedFault): CursorState {
  const group = liveGroup(state, ack.groupId, 'consumer')
  const cursor = group.cursors.get(partitionKey(ack))
  // Per partition: an assignment that left it alone fences nobody.
  const isOwner = cursor?.cutMember === ack.memberId && cursor.cutEpoch === ack.epoch
  if (cursor === undefined || (!isOwner && planted !== 'staleMemberAccepted'))
    throw new MillraceError('FENCED', { details: { epoch: group.epoch } })
  const endOffset = state.partition(ack.topicId, ack.partition)?.endOffset ?? 0
  if (ack.offset > endOffset)
    throw new MillraceError('ACK_OUT_OF_RANGE', {
      message: `offset ${ack.offset} is past the durable end ${endOffset}`,
      details: { endOffset },
    })
  return cursor
}
