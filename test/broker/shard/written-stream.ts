import type { Shard } from '../../../broker/shard/shard.js'
import type { ShardStreams } from '../../../broker/shard/shard-streams.js'
import type { StreamWrite, StreamWritten } from '../../../broker/shard/stream-write.js'
import type { TopicId } from '../../../protocol/ids.js'
import { someRequestId, textBatch } from '../../support/test-shard.js'
import type { SimulatedShard } from './simulated-shard.js'

/** The streams of a shard that a test has opened. */
export const streamsOf = (at: SimulatedShard, shard: Shard): ShardStreams =>
  shard.topics.openStreams({ clock: at.clock, time: () => shard.time(), warn: () => {} })

/** A stream of JSON, without records. */
export async function create(
  streams: ShardStreams,
  name: string,
  ttlSeconds: number | null = null,
): Promise<TopicId> {
  const { stream } = await streams.create({
    requestId: someRequestId(),
    name,
    contentType: 'application/json',
    ttlSeconds,
    expiresAt: null,
    closed: false,
    fork: null,
    hasRecords: false,
    open: () => Promise.reject(new Error('it begins empty')),
    resolve: () => Promise.reject(new Error('it is no fork')),
  })
  return stream.topicId
}

/** One write: of a value, or of none. */
export function write(
  shard: Shard,
  topicId: TopicId,
  value: string | undefined,
  more: Partial<StreamWrite> = {},
): Promise<StreamWritten> {
  const stream = { topicId, closes: false, opens: false, producer: null, seq: null, ...more }
  const writes = value === undefined ? [] : [textBatch([value], { topicId })]
  return new Promise((resolve, reject) =>
    shard
      .openSource({ onPressure() {} })
      .appendUnit({ requestId: someRequestId(), writes, acks: [], stream }, (error, result) => {
        if (result?.stream === undefined) reject(error)
        else resolve(result.stream)
      }),
  )
}
