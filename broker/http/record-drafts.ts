import { bitmapBytes, DEDUP_ID_HASH_BYTES, type DedupIds, setBit } from '../../protocol/entry-section.js'
import { MillraceError } from '../../protocol/error-codes.js'
import { partitionOfKey } from '../../protocol/murmur2.js'
import { writeDedupIdHash } from '../../protocol/murmur3.js'
import { RecordBatchBuilder } from '../../protocol/records.js'
import { type AppendBatch, plainBatch } from '../shard/append-batch.js'
import type { TopicInfo } from '../shard/shard-face.js'
import type { IncomingRecord } from './incoming-record.js'

export interface DraftOptions {
  readonly topic: TopicInfo
  readonly records: readonly IncomingRecord[]
  /** Where records go that have neither partition nor key. */
  readonly keylessPartition: number
  /** Milliseconds: of records that have no timestamp. */
  readonly now: number
  /** Bytes of the request: the payload will have about as many. */
  readonly bytes: number
}

/** Where a record of the request is: in which batch, and at which place in it. */
export interface Slot {
  readonly batch: number
  readonly index: number
}

interface Draft {
  readonly partition: number
  readonly builder: RecordBatchBuilder
  /** Of the records that have one, by their index in the batch. */
  readonly dedupIds: Map<number, string>
}

const RECORD_OVERHEAD_BYTES = 32
const FURTHER_BATCH_BYTES = 4096

/** The batches that records become, one for each partition that gets any. Throws UNKNOWN_PARTITION, ILLEGAL_ARGUMENT. */
export function draftBatches(options: DraftOptions): { batches: AppendBatch[]; slots: Slot[] } {
  const { topic, records, keylessPartition, now } = options
  const drafts: Draft[] = []
  const byPartition = new Map<number, number>()
  const slots = records.map((record): Slot => {
    const { key, value, headers, timestamp = now, dedupId } = record
    const partition = partitionOf(record, topic) ?? keylessPartition
    let batch = byPartition.get(partition)
    if (batch === undefined) {
      batch = drafts.length
      byPartition.set(partition, batch)
      drafts.push(newDraft(partition, drafts.length === 0 ? options : undefined))
    }
    const { builder, dedupIds } = drafts[batch] as Draft
    const index = builder.count
    builder.append({ key, value, headers, timestamp })
    if (dedupId !== undefined) dedupIds.set(index, dedupId)
    return { batch, index }
  })
  return { batches: drafts.map((draft) => finished(draft, topic)), slots }
}

/** The first batch gets room for all records, because mostly they go to one partition: its payload is written in place. */
function newDraft(partition: number, first: DraftOptions | undefined): Draft {
  const initialBytes =
    first === undefined ? FURTHER_BATCH_BYTES : first.bytes + RECORD_OVERHEAD_BYTES * first.records.length
  return { partition, builder: new RecordBatchBuilder({ initialBytes }), dedupIds: new Map() }
}

/** As the client library places it: by the key's bytes. */
function partitionOf({ partition, key }: IncomingRecord, topic: TopicInfo): number | undefined {
  if (partition === undefined) {
    if (key === null || topic.partitions === 1) return undefined
    return partitionOfKey(typeof key === 'string' ? Buffer.from(key) : key, topic.partitions)
  }
  if (partition < topic.partitions) return partition
  throw new MillraceError('UNKNOWN_PARTITION', {
    message: `topic "${topic.name}" has partitions 0 to ${topic.partitions - 1}, and no ${partition}`,
  })
}

function finished({ partition, builder, dedupIds }: Draft, { topicId }: TopicInfo): AppendBatch {
  const records = builder.finish()
  const batch = plainBatch(records, { topicId, partition })
  if (dedupIds.size === 0) return batch
  return { ...batch, dedupIds: hashed(dedupIds, records.recordCount) }
}

function hashed(dedupIds: ReadonlyMap<number, string>, recordCount: number): DedupIds {
  const bitmap = new Uint8Array(bitmapBytes(recordCount))
  const hashes = new Uint8Array(dedupIds.size * DEDUP_ID_HASH_BYTES)
  let at = 0
  for (const [index, dedupId] of dedupIds) {
    setBit(bitmap, index)
    writeDedupIdHash(dedupId, hashes, at)
    at += DEDUP_ID_HASH_BYTES
  }
  return { bitmap, hashes }
}
