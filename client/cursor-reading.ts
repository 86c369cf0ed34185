import type { TopicId } from '../protocol/ids.js'
import { describeGroup, groupDescribed } from '../protocol/messages/group-admin.js'
import type { Connection } from './connection.js'
import type { ConsumerPartition } from './consumer-partition.js'
import { request } from './request.js'

/** Tells partitions how far the group's cursors durably are, for one that is no member any more. Rejects as `request` does. */
export async function readCursors(
  connection: Connection,
  asked: {
    readonly group: string
    readonly partitions: readonly ConsumerPartition[]
    readonly timeoutMs: number
  },
): Promise<void> {
  const { group: name, partitions, timeoutMs } = asked
  const byTopic = new Map<TopicId, Map<number, ConsumerPartition>>()
  for (const partition of partitions) {
    const ofTopic = byTopic.get(partition.topicId) ?? new Map<number, ConsumerPartition>()
    byTopic.set(partition.topicId, ofTopic.set(partition.partition, partition))
  }
  // By topic, since one frame need not have room for all of a group.
  for (const [topicId, ofTopic] of byTopic) {
    const fields = { name, topicId }
    const { parts } = await request(connection, [describeGroup, groupDescribed], fields, { timeoutMs })
    for (const { partition, hasCursor, position } of parts) {
      if (hasCursor) ofTopic.get(partition)?.cursor.durableAt(position)
    }
  }
}
