import type { MemberId, TopicId } from '../../protocol/ids.js'
import type { GroupKind } from '../../protocol/messages/group.js'
import type { CursorKey, CursorRow, GroupRow, QueueOptions } from '../manifest/rows.js'
import type { QueueState } from './queue-state.js'
import type { Position } from './topic-state.js'

export interface PartitionName {
  readonly topicId: TopicId
  readonly partition: number
}

/** Names a partition in maps. */
export type PartitionKeyText = `${TopicId}/${number}`

export const partitionKey = ({ topicId, partition }: PartitionName): PartitionKeyText =>
  `${topicId}/${partition}`

/**
 * How far a consumer group has acknowledged one partition, and who may acknowledge more. The fields that begin with
 * `cut` are what the others will be once the group that is being cut is applied; they are set when a change is decided,
 * and only commit or death can follow.
 */
export class CursorState implements CursorRow, Position {
  readonly groupId: number
  readonly topicId: TopicId
  readonly partition: number
  offset: number
  ownerMember: MemberId | null = null
  ownerEpoch = 0
  movedAt: number

  // Below: not state, never persisted.
  cutOffset: number
  cutMember: MemberId | null = null
  cutEpoch = 0

  constructor({ groupId, topicId, partition }: CursorKey, at: { offset: number; movedAt: number }) {
    this.groupId = groupId
    this.topicId = topicId
    this.partition = partition
    this.offset = at.offset
    this.movedAt = at.movedAt
    this.cutOffset = at.offset
  }

  static fromRow(row: CursorRow): CursorState {
    const cursor = new CursorState(row, row)
    cursor.own(row.ownerMember, row.ownerEpoch)
    return cursor
  }

  get position(): number {
    return this.offset
  }

  get row(): CursorRow {
    const { groupId, topicId, partition, offset, ownerMember, ownerEpoch, movedAt } = this
    return { groupId, topicId, partition, offset, ownerMember, ownerEpoch, movedAt }
  }

  move(offset: number, time: number): void {
    this.offset = offset
    this.cutOffset = offset
    this.movedAt = time
  }

  own(member: MemberId | null, epoch: number): void {
    this.ownerMember = member
    this.ownerEpoch = epoch
    this.cutMember = member
    this.cutEpoch = epoch
  }
}

/** A consumer group has cursors, a work queue has queues. */
export class GroupState {
  readonly groupId: number
  readonly name: string
  readonly kind: GroupKind
  readonly createdAt: number
  /** Null for a consumer group. */
  readonly queue: QueueOptions | null
  epoch: number
  activeAt: number
  readonly cursors = new Map<PartitionKeyText, CursorState>()
  readonly queues = new Map<PartitionKeyText, QueueState>()

  // Below: not state, never persisted.
  /** A group with its deletion is being written: nothing of it may be changed. */
  deleting = false

  constructor(row: GroupRow) {
    this.groupId = row.groupId
    this.name = row.name
    this.kind = row.kind
    this.createdAt = row.createdAt
    this.queue = row.queue
    this.epoch = row.epoch
    this.activeAt = row.activeAt
  }

  get row(): GroupRow {
    const { groupId, name, kind, epoch, activeAt, createdAt, queue } = this
    return { groupId, name, kind, epoch, activeAt, createdAt, queue }
  }
}
