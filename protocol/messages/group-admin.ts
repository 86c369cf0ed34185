import type { MemberId, RequestId, TopicId } from '../ids.js'
import { HARD_LIMITS } from '../limits.js'
import { bool, choice, id, list, nullable, text, tuple, uint, uint32 } from '../shape.js'
import { GROUP_KIND } from './group.js'
import { type MessageFields, message } from './message.js'
import { name } from './part.js'

/** Groups in the order of their names, in pages. */
export const listGroups = message('LIST_GROUPS', 58, {
  correlationId: uint32(),
  /** Start after this name. */
  after: nullable(name),
  limit: nullable(uint(HARD_LIMITS.groupsPerPageMax)),
})
export type ListGroups = MessageFields<typeof listGroups>

export const groupsListed = message('GROUPS_LISTED', 59, {
  correlationId: uint32(),
  groups: list(
    tuple({
      name,
      kind: choice(GROUP_KIND),
      members: uint32(),
      /** Topics in which the group has a cursor. */
      topics: uint32(),
      /** Over all its partitions. */
      lagRecords: uint(),
    }),
    HARD_LIMITS.groupsPerPageMax,
  ),
  /** Not nil when there is a next page: ask again with this `after`. */
  next: nullable(name),
})
export type GroupsListed = MessageFields<typeof groupsListed>

/** Whether a group has members. */
export const GROUP_STATE = { empty: 0, active: 1 } as const

export const describeGroup = message('DESCRIBE_GROUP', 60, {
  correlationId: uint32(),
  name,
  /** nil: of all topics. */
  topicId: nullable(id<TopicId>()),
})
export type DescribeGroup = MessageFields<typeof describeGroup>

export const groupDescribed = message('GROUP_DESCRIBED', 61, {
  correlationId: uint32(),
  name,
  kind: choice(GROUP_KIND),
  state: choice(GROUP_STATE),
  epoch: uint32(),
  members: list(
    tuple({
      memberId: id<MemberId>(),
      clientName: text(HARD_LIMITS.clientNameCharsMax),
      /** False while it is away and may come back. */
      connected: bool(),
      /** How many partitions are its own; of a work queue, from how many it has jobs. */
      partitions: uint32(),
    }),
    HARD_LIMITS.partsPerFrameMax,
  ),
  /** By topic name, then partition. */
  parts: list(
    tuple({
      topic: name,
      partition: uint32(),
      /** False for a partition that a member subscribes to and that has no cursor yet: the rest is what one at the end has. */
      hasCursor: bool(),
      /** The cursor; of a work queue, the first offset that is not done. */
      position: uint(),
      startOffset: uint(),
      durableEnd: uint(),
      lagRecords: uint(),
      lagBytes: uint(),
      lagMs: uint(),
      /** Whose the partition is. */
      memberId: nullable(id<MemberId>()),
      /** Work queues: jobs that members have. */
      leased: uint(),
      /** Work queues: jobs that came back and wait to be delivered again. */
      ready: uint(),
      /** Broker time at which the position last moved; 0: never. */
      movedAt: uint(),
    }),
    HARD_LIMITS.partsPerFrameMax,
  ),
  /** Partitions that did not fit in this frame: ask by topic. */
  partsLeft: uint(),
  deadLetters: list(tuple({ topic: name, dlqTopic: name, records: uint() }), HARD_LIMITS.groupTopicsMax),
})
export type GroupDescribed = MessageFields<typeof groupDescribed>

/** `time`: the first record appended at or after it. */
export const RESET_TO = { earliest: 0, latest: 1, offset: 2, time: 3 } as const

/** Sets the cursors of a group that has no members. */
export const resetCursors = message('RESET_CURSORS', 62, {
  correlationId: uint32(),
  requestId: id<RequestId>(),
  group: name,
  /** nil: every topic in which the group has cursors. */
  topicId: nullable(id<TopicId>()),
  /** Of the topic; nil: all. */
  partitions: nullable(list(uint32(), HARD_LIMITS.partitionsPerTopicMax)),
  to: choice(RESET_TO),
  /** The offset, or the broker time in milliseconds; 0 with earliest and latest. */
  value: uint(),
  /** Answer what would be done, and do nothing. */
  dryRun: bool(),
  /** Make the group (a consumer group) and the cursors that are not there. */
  create: bool(),
})
export type ResetCursors = MessageFields<typeof resetCursors>

export const cursorsReset = message('CURSORS_RESET', 63, {
  correlationId: uint32(),
  parts: list(
    tuple({
      topic: name,
      partition: uint32(),
      /** nil: there was no cursor. */
      from: nullable(uint()),
      to: uint(),
    }),
    HARD_LIMITS.partsPerFrameMax,
  ),
})
export type CursorsReset = MessageFields<typeof cursorsReset>

/** Deletes a group that has no members, or its cursors of one topic. */
export const deleteGroup = message('DELETE_GROUP', 64, {
  correlationId: uint32(),
  requestId: id<RequestId>(),
  group: name,
  /** nil: the group with everything it has. */
  topicId: nullable(id<TopicId>()),
})
export type DeleteGroup = MessageFields<typeof deleteGroup>

export const groupDeleted = message('GROUP_DELETED', 65, { correlationId: uint32() })
export type GroupDeleted = MessageFields<typeof groupDeleted>
