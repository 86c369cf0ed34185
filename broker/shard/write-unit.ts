import type { MemberId, RequestId, TopicId } from '../../protocol/ids.js'
import type { DuplicateRecord } from '../../protocol/messages/checked-produce.js'
import type { AppendBatch } from './append-batch.js'
import type { OffsetRange } from './offset-ranges.js'
import type { StreamWrite, StreamWritten } from './stream-write.js'

/** One batch of an atomic write: no producer, `expectedOffset` and `dedupIds` may be there. */
export type UnitWrite = AppendBatch

/** A member of a consumer group acknowledges everything below `offset`. */
export interface CursorAck {
  readonly groupId: number
  readonly memberId: MemberId
  /** Of the assignment that it has the partition from. */
  readonly epoch: number
  readonly topicId: TopicId
  readonly partition: number
  /** The next to read. */
  readonly offset: number
}

/** A member of a work queue has done jobs that it holds a lease on. */
export interface JobAck {
  readonly groupId: number
  readonly memberId: MemberId
  readonly topicId: TopicId
  readonly partition: number
  readonly leaseId: number
  /** Sorted, without overlap. */
  readonly ranges: readonly OffsetRange[]
}

export type UnitAck = CursorAck | JobAck

export const isJobAck = (ack: UnitAck): ack is JobAck => 'leaseId' in ack

/** Batches and acks that are written all together or not at all. */
export interface WriteUnit {
  readonly requestId: RequestId
  readonly writes: readonly UnitWrite[]
  readonly acks: readonly UnitAck[]
  /** The writes are those of a stream; no answer is kept then: its producers say what was written before. */
  readonly stream?: StreamWrite
}

/** How many jobs a unit finishes. */
export function jobsIn({ acks }: WriteUnit): number {
  let jobs = 0
  for (const ack of acks) if (isJobAck(ack)) for (const { from, to } of ack.ranges) jobs += to - from
  return jobs
}

export interface UnitWritten {
  readonly partition: number
  readonly baseOffset: number
  /** Records left out because their dedup id was there already; null for none. */
  readonly duplicates: readonly DuplicateRecord[] | null
}

export interface UnitResult {
  /** Broker time, milliseconds. */
  readonly appendTime: number
  /** In the order of the writes. */
  readonly writes: readonly UnitWritten[]
  /** It had been written before: this is the first answer. */
  readonly retried: boolean
  /** Of a unit for a stream. */
  readonly stream?: StreamWritten
}
