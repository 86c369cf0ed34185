import type { MemberId, RequestId, TopicId } from '../../../protocol/ids.js'
import { HARD_LIMITS } from '../../../protocol/limits.js'
import { GROUP_KIND, type GroupKind } from '../../../protocol/messages/group.js'
import { choice, id, nullable, text, tuple, uint, uint32 } from '../../../protocol/shape.js'
import type { QueueOptions } from '../../manifest/rows.js'
import { codec, listOf, part } from './codec.js'

export interface GroupCreated {
  readonly type: 'groupCreated'
  readonly groupId: number
  readonly name: string
  readonly kind: GroupKind
  /** Null for a consumer group. */
  readonly queue: QueueOptions | null
  readonly requestId: RequestId | null
}

/** One partition gets another owner, or none. */
export interface CursorAssigned {
  readonly topicId: TopicId
  readonly partition: number
  readonly memberId: MemberId | null
  /** Where the cursor begins; null when it exists. */
  readonly newCursor: number | null
}

/** Written before any member hears of the assignment. */
export interface GroupAssigned {
  readonly type: 'groupAssigned'
  readonly groupId: number
  readonly epoch: number
  readonly moves: readonly CursorAssigned[]
}

/** The next offset to read. */
export interface CursorMove {
  readonly topicId: TopicId
  readonly partition: number
  readonly offset: number
}

export interface CursorsMoved {
  readonly type: 'cursorsMoved'
  readonly groupId: number
  readonly moves: readonly CursorMove[]
}

/** Cursors and queues begin anew; nobody owns them. */
export interface CursorsReset {
  readonly type: 'cursorsReset'
  readonly groupId: number
  readonly epoch: number
  readonly moves: readonly CursorMove[]
  readonly requestId: RequestId
}

/** On disk: never renumbered. */
const DELETION_REASON = { asked: 0, idle: 1, topicDeleted: 2 } as const

export interface CursorsDeleted {
  readonly type: 'cursorsDeleted'
  readonly groupId: number
  readonly partitions: readonly { readonly topicId: TopicId; readonly partition: number }[]
  readonly reason: keyof typeof DELETION_REASON
}

export interface GroupDeleted {
  readonly type: 'groupDeleted'
  readonly groupId: number
  readonly requestId: RequestId | null
}

const groupId = uint32()
const requestId = id<RequestId>()

export const groupCreated = codec<GroupCreated>(
  'groupCreated',
  tuple({
    groupId,
    name: text(HARD_LIMITS.topicNameCharsMax),
    kind: choice(GROUP_KIND),
    queue: nullable(tuple({ leaseMs: uint(), maxDeliveries: uint() })),
    requestId: nullable(requestId),
  }),
)

export const groupAssigned = codec<GroupAssigned>(
  'groupAssigned',
  tuple({
    groupId,
    epoch: uint(),
    moves: listOf(tuple({ ...part, memberId: nullable(id<MemberId>()), newCursor: nullable(uint()) })),
  }),
)

const moves = listOf(tuple({ ...part, offset: uint() }))

export const cursorsMoved = codec<CursorsMoved>('cursorsMoved', tuple({ groupId, moves }))

export const cursorsReset = codec<CursorsReset>(
  'cursorsReset',
  tuple({ groupId, epoch: uint(), moves, requestId }),
)

export const cursorsDeleted = codec<CursorsDeleted>(
  'cursorsDeleted',
  tuple({ groupId, partitions: listOf(tuple(part)), reason: choice(DELETION_REASON) }),
)

export const groupDeleted = codec<GroupDeleted>(
  'groupDeleted',
  tuple({ groupId, requestId: nullable(requestId) }),
)
