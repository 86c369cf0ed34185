import { crc32 } from '#crc32'
import type { DedupIds } from '../../protocol/entry-section.js'
import type { TopicId } from '../../protocol/ids.js'

/** The fields of PRODUCE, and what PRODUCE_CHECKED adds: both are there in every batch, so that all have one shape. */
export interface AppendBatch {
  readonly topicId: TopicId
  readonly partition: number
  /** null: not idempotent. */
  readonly producerId: number | null
  readonly producerEpoch: number
  readonly baseSequence: number
  readonly attributes: number
  readonly baseTimestamp: number
  readonly recordCount: number
  readonly inflatedBytes: number
  readonly payloadCrc: number
  readonly payload: Uint8Array
  /** The offset that the first record must get; null: any. */
  readonly expectedOffset: number | null
  /** Which records have a dedup id, and the ids. */
  readonly dedupIds: DedupIds | null
}

/** A batch with neither producer nor conditions, uncompressed: what the broker itself appends. The payload is kept, not copied. */
export function plainBatch(
  records: Pick<AppendBatch, 'payload' | 'recordCount' | 'baseTimestamp'>,
  { topicId, partition }: { topicId: TopicId; partition: number },
): AppendBatch {
  const { payload, recordCount, baseTimestamp } = records
  return {
    topicId,
    partition,
    producerId: null,
    producerEpoch: 0,
    baseSequence: 0,
    attributes: 0,
    baseTimestamp,
    recordCount,
    inflatedBytes: payload.length,
    payloadCrc: crc32(payload),
    payload,
    expectedOffset: null,
    dedupIds: null,
  }
}
