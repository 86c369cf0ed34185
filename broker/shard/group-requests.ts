/** What the coordinator of groups asks of the shard, what it is answered, and what it sees of the state. */
import type { MemberId, RequestId, TopicId } from '../../protocol/ids.js'
import type { GroupKind, IfNoCursor } from '../../protocol/messages/group.js'
import type { CursorRow, GroupRow, QueueOptions } from '../manifest/rows.js'
import type { AppendBatch } from './batch-check.js'
import type { QueueMove, QueueState } from './queue-state.js'
import type { PartitionKeyText, PartitionName, TopicState } from './state.js'
import type { CursorAck } from './write-unit.js'

/** The applied state as the coordinator sees it; read only, and without what is being decided. */
export interface GroupsView {
  readonly groups: ReadonlyMap<number, GroupView>
  readonly groupsByName: ReadonlyMap<string, GroupView>
  readonly topics: ReadonlyMap<TopicId, TopicView>
  readonly topicsByName: ReadonlyMap<string, TopicView>
}
export type TopicView = Pick<TopicState, 'row' | 'partitions'>
export interface GroupView extends GroupRow {
  readonly cursors: ReadonlyMap<PartitionKeyText, CursorRow>
  readonly queues: ReadonlyMap<PartitionKeyText, QueueState>
}

export interface NewGroup {
  readonly name: string
  readonly kind: GroupKind
  /** Of a work queue; null for a consumer group. */
  readonly queue: QueueOptions | null
  readonly requestId: RequestId | null
}

export interface AssignmentMove extends PartitionName {
  /** Null: nobody owns it from now on. */
  readonly memberId: MemberId | null
  /** Where a cursor begins that does not exist yet. */
  readonly ifNoCursor: IfNoCursor
}

export interface ResetMove extends PartitionName {
  readonly to: IfNoCursor | { readonly offset: number }
}

export interface GroupReset {
  readonly requestId: RequestId
  readonly name: string
  readonly moves: readonly ResetMove[]
  /** Make the group, a consumer group, if there is none. */
  readonly create: boolean
}

export interface ResetDone extends PartitionName {
  /** Null: there was no cursor, or the request had been done before. */
  readonly from: number | null
  readonly to: number
}

export interface QueuePlace extends PartitionName {
  /** Where the queue begins if it does not exist yet. */
  readonly ifNoCursor: IfNoCursor
}

export interface QueueOf extends QueuePlace {
  readonly groupId: number
  /** Of what it may append. */
  readonly appendBytes?: number
}

export interface QueueDecision<T> {
  /** Undefined: nothing is written. */
  readonly move: QueueMove | undefined
  /** Dead letters, written with the move or not at all. */
  readonly appends?: readonly AppendBatch[]
  readonly result: T
}

/** A record that a consumer group gives up: its copy is written as the cursor moves past it. */
export interface CursorDeadLetter {
  readonly requestId: RequestId
  /** `offset` is behind the record. */
  readonly ack: CursorAck
  /** To the group's own dead-letter topic, which exists. */
  readonly letter: AppendBatch
}

/** Dead letters that are taken out of their topic, and written to another one or not. */
export interface DeadLetterMove extends PartitionName {
  readonly requestId: RequestId
  /** The start offset that the batches were read from: who finds another one there was overtaken. */
  readonly from: number
  readonly to: number
  readonly batches: readonly AppendBatch[]
}

export type TopicChange = { readonly type: 'created' | 'deleted'; readonly topicId: TopicId }
