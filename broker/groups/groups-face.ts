import type { Ack } from '../../protocol/messages/ack.js'
import type { DeadLetter, DlqPurge, DlqReplay } from '../../protocol/messages/dead-letter.js'
import type { GroupJoined, GroupRevoked, JoinGroup } from '../../protocol/messages/group.js'
import type {
  CursorsReset,
  DeleteGroup,
  DescribeGroup,
  GroupDescribed,
  GroupsListed,
  ListGroups,
  ResetCursors,
} from '../../protocol/messages/group-admin.js'
import type { QueueCredit, QueueSettle, QueueSettled, QueueStarted } from '../../protocol/messages/queue.js'
import type { MemberLink, Membership } from './member-link.js'

type Body<Message> = Omit<Message, 'correlationId'>

export type { MemberLink, Membership }

/** Items of a request that were refused, by their index in it; the others are durable. */
export type Refusals = readonly { readonly index: number; readonly code: string }[]

/**
 * What sessions and HTTP routes need of the groups, and all they know of them. Requests of one member take effect in the order in which
 * they are given here. Promises reject with MillraceErrors.
 */
export interface GroupsFace {
  /** The member's frames go to `link` from here on, until `link.whenClosed` was called back or the member ended. */
  join(args: Body<JoinGroup>, link: MemberLink): Promise<Body<GroupJoined>>
  leave(args: Membership): Promise<void>
  revoked(args: GroupRevoked): void
  ack(args: Body<Ack>): Promise<Refusals>
  deadLetter(args: Body<DeadLetter>): Promise<{ dlqOffset: number }>

  queueCredit(args: QueueCredit): void
  queueStarted(args: QueueStarted): void
  queueSettle(args: Body<QueueSettle>): Promise<Body<QueueSettled>>

  list(args: Body<ListGroups>): Body<GroupsListed>
  describe(args: Body<DescribeGroup>): Promise<Body<GroupDescribed>>
  reset(args: Body<ResetCursors>): Promise<Body<CursorsReset>>
  deleteGroup(args: Body<DeleteGroup>): Promise<void>
  dlqReplay(args: Body<DlqReplay>): Promise<{ replayed: number; left: number }>
  dlqPurge(args: Body<DlqPurge>): Promise<{ records: number }>
}
