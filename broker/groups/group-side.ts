import type { MemberId, TopicId } from '../../protocol/ids.js'
import type { GroupKind } from '../../protocol/messages/group.js'

export interface MemberInfo {
  readonly memberId: MemberId
  /** Empty while it is away. */
  readonly clientName: string
  /** False while it is away and may come back. */
  readonly connected: boolean
  readonly partitions: number
}

/** Those who run the groups of one kind, as administration sees them. */
export interface GroupSide {
  /** Whether a group has members, those included that are away and may come back. */
  isActive(groupId: number): boolean
  members(groupId: number): MemberInfo[]
  /** Topics that members of the group read now. */
  topics(groupId: number): Iterable<TopicId>
  /** Whether members of the group read the topic, or are about to. */
  uses(groupId: number, topicId: TopicId): boolean
}

export type GroupSides = { readonly [Kind in GroupKind]: GroupSide }
