import type { AppendBatch } from '../../broker/shard/append-batch.js'
import type { Shard } from '../../broker/shard/shard.js'
import type { UnitResult, WriteUnit } from '../../broker/shard/write-unit.js'
import { bitmapBytes, DEDUP_ID_HASH_BYTES, type DedupIds, setBit } from '../../protocol/entry-section.js'
import type { TopicId } from '../../protocol/ids.js'
import { hashOfDedupId } from '../../protocol/murmur3.js'
import { someRequestId, textBatch } from './test-shard.js'

/** Ids of a batch, one a record; null for a record without. */
export function dedupIds(ids: readonly (string | null)[]): DedupIds {
  const bitmap = new Uint8Array(bitmapBytes(ids.length))
  const given = ids.filter((id) => id !== null)
  ids.forEach((id, record) => {
    if (id !== null) setBit(bitmap, record)
  })
  const hashes = new Uint8Array(given.length * DEDUP_ID_HASH_BYTES)
  given.forEach((id, i) => {
    hashes.set(hashOfDedupId(id), i * DEDUP_ID_HASH_BYTES)
  })
  return { bitmap, hashes }
}

/** A batch of text values; a value with a dedup id is `id=value`. */
export function idBatch(
  records: readonly string[],
  fields: Partial<AppendBatch> & { topicId: TopicId },
): AppendBatch {
  const ids = records.map((record) => (record.includes('=') ? (record.split('=')[0] as string) : null))
  return textBatch(records, { dedupIds: ids.every((id) => id === null) ? null : dedupIds(ids), ...fields })
}

/** Writes a unit through a source of its own; rejects with the refusal. */
export function appendUnit(shard: Shard, unit: Partial<WriteUnit>): Promise<UnitResult> {
  const source = shard.openSource({ onPressure() {} })
  return new Promise((resolve, reject) => {
    source.appendUnit({ requestId: someRequestId(), writes: [], acks: [], ...unit }, (error, result) => {
      if (error === null) resolve(result as UnitResult)
      else reject(error)
    })
  })
}
