import { systemClock } from '../../broker/platform/clock.js'
import { type Failpoints, noFailpoints } from '../../broker/platform/failpoints.js'
import { MemoryMetrics } from '../../broker/platform/metrics.js'
import { systemRandom } from '../../broker/platform/random.js'
import { type AppendBatch, plainBatch } from '../../broker/shard/append-batch.js'
import type { AppendAck } from '../../broker/shard/sequencer.js'
import { Shard, type ShardLimits, type ShardOptions } from '../../broker/shard/shard.js'
import { entryBytes, entryPayload, readEntryHeader } from '../../protocol/entry.js'
import { omittedBits } from '../../protocol/entry-section.js'
import { hexFromBytes, type RequestId, type TopicId } from '../../protocol/ids.js'
import { decodeRecords, RecordBatchBuilder } from '../../protocol/records.js'

const KIB = 1024
const MIB = 1024 * KIB

/** Small, so that segments roll, chunks seal and caches evict within a test. */
export const SMALL_LIMITS: ShardLimits = {
  recordBytesMax: 64 * KIB,
  batchBytesMax: 128 * KIB,
  topicsMax: 1_000,
  partitionsMax: 10_000,
  producersMax: 1_000,
  producerIdleMs: 3_600_000,
  groupsMax: 1_000,
  cursorsMax: 10_000,
  queueRangesMax: 1_000,
  dedupBytesMax: 16 * MIB,
  changesBytesMax: MIB,
  walSegmentBytes: 256 * KIB,
  walBytesMax: 4 * MIB,
  spareWalSegments: 1,
  groupBytesMax: 128 * KIB,
  walBacklogBytes: MIB,
  backpressureDeadlineMs: 2_000,
  proofIdleMs: 20,
  tailCacheBytes: 512 * KIB,
  chunkBytes: 64 * KIB,
  chunkMaxAgeMs: 600_000,
  manifestFlushMs: 50,
  manifestOverlayBytesMax: MIB,
  snapshotEveryBytes: 512 * KIB,
  diskFreeBytesMin: 0,
}

export type TestShardOptions = Pick<ShardOptions, 'directory' | 'disk' | 'store'> &
  Partial<Omit<ShardOptions, 'limits'>> & { limits?: Partial<ShardLimits>; failpoints?: Failpoints }

/** A shard with small limits; storage failures throw where nobody listens for them. */
export function openTestShard(options: TestShardOptions): Promise<Shard> {
  return Shard.open({
    clock: systemClock,
    random: systemRandom,
    failpoints: noFailpoints,
    metrics: new MemoryMetrics(),
    onFailed: (error) => {
      throw error
    },
    onWarning: () => {},
    ...options,
    limits: { ...SMALL_LIMITS, ...options.limits },
  })
}

export const someRequestId = (): RequestId => hexFromBytes(systemRandom.bytes(16)) as RequestId

export async function createTopic(shard: Shard, name: string, partitions = 1): Promise<TopicId> {
  const { topic } = await shard.createTopic({
    requestId: someRequestId(),
    name,
    partitions,
    keyEncoding: 'text',
    valueEncoding: 'text',
    ifMissing: true,
  })
  return topic.topicId
}

/** A batch of text values. */
export function textBatch(
  values: readonly string[],
  fields: Partial<AppendBatch> & { topicId: TopicId },
): AppendBatch {
  const builder = new RecordBatchBuilder()
  for (const value of values) builder.append({ key: null, value, timestamp: 1_700_000_000_000 })
  const { payload, recordCount, baseTimestamp } = builder.finish()
  const { topicId, partition = 0 } = fields
  const plain = plainBatch({ payload: payload.slice(), recordCount, baseTimestamp }, { topicId, partition })
  return { ...plain, ...fields }
}

/** Appends through a source of its own; rejects with the refusal. */
export function append(shard: Shard, batch: AppendBatch): Promise<AppendAck> {
  const source = shard.openSource({ onPressure() {} })
  return new Promise((resolve, reject) => {
    source.append(batch, (error, ack) => {
      if (error === null) resolve(ack as AppendAck)
      else reject(error)
    })
  })
}

export interface ReadRecord {
  readonly offset: number
  readonly value: string
}

/** Every record of a partition from `from` to the durable end, and where the reads were served from. */
export async function readAll(
  shard: Shard,
  topicId: TopicId,
  options: { partition?: number; from?: number; maxBytes?: number } = {},
): Promise<{ records: ReadRecord[]; sources: Set<string> }> {
  const { partition = 0, maxBytes = 64 * KIB } = options
  const records: ReadRecord[] = []
  const sources = new Set<string>()
  let offset = options.from ?? shard.bounds(topicId, partition).startOffset
  for (;;) {
    const read = await shard.read({ topicId, partition, offset, maxBytes })
    try {
      if (read.buffers.length === 0) return { records, sources }
      sources.add(read.source)
      for (const record of recordsOf(read.buffers)) if (record.offset >= offset) records.push(record)
      offset = read.nextOffset
    } finally {
      read.release()
    }
  }
}

function* recordsOf(buffers: readonly Uint8Array[]): Generator<ReadRecord> {
  for (const buffer of buffers) {
    for (let at = 0; at < buffer.length; ) {
      const header = readEntryHeader(buffer, at)
      const omitted = omittedBits(buffer, header, at)
      for (const record of decodeRecords(entryPayload(buffer, header, at), header.recordCount, omitted)) {
        yield { offset: header.baseOffset + record.offsetDelta, value: String(record.value) }
      }
      at += entryBytes(header)
    }
  }
}
