import type { Ack } from '../../protocol/messages/ack.js'
import type { DeadLetter, DlqPurge, DlqReplay } from '../../protocol/messages/dead-letter.js'
import type { GroupAssignment, GroupJoined, GroupRevoked, JoinGroup } from '../../protocol/messages/group.js'
import type {
  CursorsReset,
  DeleteGroup,
  DescribeGroup,
  GroupDescribed,
  GroupsListed,
  ListGroups,
  ResetCursors,
} from '../../protocol/messages/group-admin.js'
import type {
  QueueCredit,
  QueueDeliver,
  QueueSettle,
  QueueSettled,
  QueueStarted,
} from '../../protocol/messages/queue.js'

type Body<Message> = Omit<Message, 'correlationId'>

/** A member, as its frames name it. */
export type Membership = Pick<Ack, 'groupId' | 'memberId'>

/** Items of a request that were refused, by their index in it; the others are durable. */
export type Refusals = readonly { readonly index: number; readonly code: string }[]

/**
 * What sessions need of the groups, and all they know of them. Requests of one member take effect in the order in which
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

/** One member on one connection: the way back to it. Nothing may be sent through it once it is closed. */
export interface MemberLink {
  /** For people: the client's name in HELLO. */
  readonly clientName: string
  /** What is the member's from now on, and what it is to hand back. */
  assign(message: Omit<GroupAssignment, keyof Membership>): void
  /** The member is out. The connection stays. */
  end(reason: { code: string; message: string; retriable: boolean }): void
  /**
   * Sends jobs in their turn among what else the connection gets; `release` is called once, when the payloads are sent
   * or will not be.
   */
  deliver(
    message: Omit<QueueDeliver, keyof Membership | 'payloads'>,
    payloads: readonly Uint8Array[],
    release: () => void,
  ): void
  /** Since the peer was last heard, milliseconds; 0 while the broker itself does not read from the connection. */
  silentMs(): number
  /** Calls back once, when the connection is gone. */
  whenClosed(closed: () => void): void
}
