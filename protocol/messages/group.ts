import type { MemberId, TopicId } from '../ids.js'
import { HARD_LIMITS } from '../limits.js'
import { bool, choice, encoding, id, list, nullable, text, tuple, uint, uint32 } from '../shape.js'
import { type MessageFields, message } from './message.js'
import { membership, name, part, ranges } from './part.js'

/** What a group does with its records. On disk and on the wire: never renumbered. */
export const GROUP_KIND = { consumer: 1, queue: 2 } as const
export type GroupKind = keyof typeof GROUP_KIND

/** Where a group begins in a partition in which it has no cursor. */
export const IF_NO_CURSOR = { earliest: 0, latest: 1 } as const
export type IfNoCursor = keyof typeof IF_NO_CURSOR

const parts = list(tuple(part), HARD_LIMITS.partsPerFrameMax)

export const joinGroup = message('JOIN_GROUP', 44, {
  correlationId: uint32(),
  group: name,
  kind: choice(GROUP_KIND),
  /** Chosen by the client at random, once for each membership. */
  memberId: id<MemberId>(),
  /** Counts the connections of this membership: the higher one is the member. */
  attempt: uint32(),
  topicIds: list(id<TopicId>(), HARD_LIMITS.groupTopicsMax),
  ifNoCursor: choice(IF_NO_CURSOR),
  /** How long the member may be silent or away before it is expelled. */
  sessionTimeoutMs: uint(),
  /** Work queues: how long a job is the member's. 0 for consumer groups. */
  leaseMs: uint(HARD_LIMITS.jobMsMax),
  /** Work queues: after so many deliveries a job is a dead letter. 0 for consumer groups. */
  maxDeliveries: uint32(),
  /** Work queues: jobs that the member has room for, its first credit. 0 for consumer groups. */
  prefetch: uint(HARD_LIMITS.prefetchMax),
  /** Consumer groups, on a new connection: what the member still has. */
  held: list(tuple({ ...part, epoch: uint32() }), HARD_LIMITS.partsPerFrameMax),
  /** Work queues, on a new connection: leases that the member still has, and what of them it has started. */
  heldLeases: list(tuple({ ...part, leaseId: uint(), started: ranges }), HARD_LIMITS.partsPerFrameMax),
})
export type JoinGroup = MessageFields<typeof joinGroup>

/** The times as granted, which may differ from what was asked for. */
export const groupJoined = message('GROUP_JOINED', 45, {
  correlationId: uint32(),
  groupId: uint32(),
  /** Of the group. */
  epoch: uint32(),
  sessionTimeoutMs: uint(),
  leaseMs: uint(),
  maxDeliveries: uint32(),
  /** Broker time, milliseconds. */
  time: uint(),
})
export type GroupJoined = MessageFields<typeof groupJoined>

/** Hands back everything at once. Acks sent before it on the connection are done before it. */
export const leaveGroup = message('LEAVE_GROUP', 46, { correlationId: uint32(), ...membership })
export type LeaveGroup = MessageFields<typeof leaveGroup>

export const groupLeft = message('GROUP_LEFT', 47, { correlationId: uint32() })
export type GroupLeft = MessageFields<typeof groupLeft>

/** From the broker, unasked: what is the member's from now on, and what it is to hand back. */
export const groupAssignment = message('GROUP_ASSIGNMENT', 48, {
  ...membership,
  /** Of the group. */
  epoch: uint32(),
  assigned: list(
    tuple({
      ...part,
      /** Acks of this partition carry it. */
      epoch: uint32(),
      /** The next offset to read. */
      cursor: uint(),
      startOffset: uint(),
      durableEnd: uint(),
      /** Records below the start offset that the group had not acknowledged: they were deleted. */
      lost: uint(),
      /** For the group's retry topic: the topic that its records are replayed for. */
      originTopicId: nullable(id<TopicId>()),
      name,
      keyEncoding: encoding(),
      valueEncoding: encoding(),
    }),
    HARD_LIMITS.partsPerFrameMax,
  ),
  revoked: parts,
})
export type GroupAssignment = MessageFields<typeof groupAssignment>
export type AssignedPart = GroupAssignment['assigned'][number]

/** The member has handed back what GROUP_ASSIGNMENT revoked; its acks came before. Has no answer. */
export const groupRevoked = message('GROUP_REVOKED', 49, { ...membership, epoch: uint32(), parts })
export type GroupRevoked = MessageFields<typeof groupRevoked>

/** From the broker, unasked: the member is out. */
export const groupEnded = message('GROUP_ENDED', 52, {
  ...membership,
  code: text(64),
  message: text(4096),
  retriable: bool(),
})
export type GroupEnded = MessageFields<typeof groupEnded>
