import type { MemberId, TopicId } from '../../../protocol/ids.js'
import { bool, id, type Shape, tuple, uint, uint32 } from '../../../protocol/shape.js'
import type { QueueMove, QueueReason } from '../queue-state.js'
import { codec, listOf, offsetRange, part } from './codec.js'

/** Everything that happened to one partition of a work queue in one WAL group. */
export interface QueueMoved extends QueueMove {
  readonly type: 'queueMoved'
  readonly groupId: number
  readonly topicId: TopicId
  readonly partition: number
}

export const queueMoved = codec<QueueMoved>(
  'queueMoved',
  tuple({
    groupId: uint32(),
    ...part,
    floor0: uint(),
    frontier: uint(),
    nextLeaseId: uint(),
    claims: listOf(
      tuple({ leaseId: uint(), memberId: id<MemberId>(), deadline: uint(), ranges: listOf(offsetRange) }),
    ),
    acked: listOf(offsetRange),
    returned: listOf(tuple({ from: uint(), to: uint(), visibleAt: uint(), counted: bool() })),
    extended: listOf(tuple({ from: uint(), to: uint(), deadline: uint() })),
    reason: uint(3) as Shape<QueueReason>,
  }),
)
