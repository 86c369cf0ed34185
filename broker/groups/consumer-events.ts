/** What a consumer group is made of, what happens to it, and what must happen because of it. */
import type { MemberId, TopicId } from '../../protocol/ids.js'
import type { IfNoCursor } from '../../protocol/messages/group.js'
import type { Part } from './part.js'

/** One consumer of a group. Times are those of the clock that `step` is given. */
export interface Member {
  readonly memberId: MemberId
  /** Counts the member's connections: the higher one is the member, the lower one a ghost. */
  readonly attempt: number
  readonly topics: readonly TopicId[]
  /** Where it begins in a partition that the group has no cursor in. */
  readonly ifNoCursor: IfNoCursor
  readonly sessionTimeoutMs: number
  /** Its socket is gone, and it keeps what it has until then; undefined: it is connected. */
  readonly awayUntilMs: number | undefined
}

/** A member's durable right to a partition: acks are taken from this member at this group epoch only. */
export interface Claim {
  readonly memberId: MemberId
  readonly epoch: number
  /** `free`: it still stands in the log, but nobody reads under it. The next write takes it away. */
  readonly hold: 'held' | 'revoking' | 'free'
  /** Of `revoking`: when the claim is taken, let go or not. */
  readonly revokeByMs: number
}

/** One line of a write: the partition goes to a member, or to nobody. */
export interface Move {
  readonly part: Part
  readonly memberId: MemberId | null
  readonly ifNoCursor: IfNoCursor
}

export type GroupEvent =
  /**
   * New, or back: a known member keeps the claims that it names in `held` (all of them without it) as they are, and nothing
   * is written. What it does not name it has let go of, or never heard of: it gets that at a new epoch, if it gets it,
   * so that what it sent under the old one cannot pass for new.
   */
  | {
      readonly type: 'joined'
      readonly member: Omit<Member, 'awayUntilMs'>
      readonly held?: ReadonlySet<Part>
    }
  /** Asked to, or expelled: its claims are free at once. */
  | { readonly type: 'left'; readonly memberId: MemberId }
  | { readonly type: 'disconnected'; readonly memberId: MemberId; readonly awayUntilMs: number }
  /** The member let go. `epoch` is that of the message that asked it to, so that a late answer is no answer. */
  | {
      readonly type: 'revoked'
      readonly memberId: MemberId
      readonly epoch: number
      readonly parts: readonly Part[]
    }
  /** The last `write` is durable, but for what there was no room for: that is tried again after a long pause. */
  | { readonly type: 'written'; readonly epoch: number; readonly unwritten?: readonly Part[] }
  /** The last `write` changed nothing; it is tried again after a pause, if it is still wanted. */
  | { readonly type: 'writeFailed' }
  | { readonly type: 'topics'; readonly topics: GroupTopics }
  | { readonly type: 'time' }

/** The topics that exist, of those that members read. */
export interface GroupTopics {
  readonly partitions: ReadonlyMap<TopicId, number>
  /** Topics that whoever reads another one reads too: a retry topic by its origin. */
  readonly origins: ReadonlyMap<TopicId, TopicId>
}

export type GroupEffect =
  /** To be made durable. The next one comes only after `written` or `writeFailed`. */
  | { readonly type: 'write'; readonly moves: readonly Move[] }
  /** To a connected member: read these, from their cursors. Always durable already. */
  | { readonly type: 'assign'; readonly memberId: MemberId; readonly parts: readonly AssignedPart[] }
  /** To a connected member: stop reading these, flush the acks, say `revoked`. */
  | { readonly type: 'revoke'; readonly memberId: MemberId; readonly parts: readonly Part[] }
  /** The member stayed away for too long, and is out. */
  | { readonly type: 'expired'; readonly memberId: MemberId }
  /** The member is out: all its topics are gone. */
  | { readonly type: 'end'; readonly memberId: MemberId }
  /** Everything is where it belongs again. `moved`: partitions that changed from one member to another. */
  | { readonly type: 'rebalanced'; readonly moved: number; readonly ms: number }

export interface AssignedPart {
  readonly part: Part
  readonly epoch: number
}

/** What the log says of a group when the broker starts or the first member comes. */
export interface DurableClaims {
  readonly epoch: number
  readonly owners: Iterable<
    readonly [part: Part, owner: { readonly memberId: MemberId; readonly epoch: number }]
  >
}
