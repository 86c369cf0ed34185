import { fail } from './corruption.js'
import type { ManifestContents, ShardRow, StreamRow, TopicRow } from './rows.js'

/** What must hold of streams, their forks and their producers. Throws ManifestCorruption for the first thing that does not. */
export function checkStreams(contents: ManifestContents, shard: ShardRow): void {
  const { streams, streamProducers } = contents
  if (streams.length === 0 && streamProducers.length === 0) return
  const topics = new Map<string, TopicRow>(contents.topics.map((row) => [row.topicId, row]))
  const known = new Map<string, StreamRow>(streams.map((row) => [row.topicId, row]))
  const ends = new Map<string, number>(contents.partitions.map((row) => [row.topicId, row.endOffset]))
  const sources = new Set<string>()
  for (const { topicId, fork, accessedAt } of streams) {
    const topic = topics.get(topicId) ?? fail('stream', topicId, 'its topic is missing')
    if (topic.partitions !== 1) fail('stream', topicId, `its topic has ${topic.partitions} partitions`)
    if (accessedAt > shard.time) fail('stream', topicId, "its last access is later than the shard's time")
    if (fork === null) continue
    sources.add(fork.topicId)
    if (!known.has(fork.topicId))
      fail('stream', topicId, `the stream ${fork.topicId} that it is a fork of is missing`)
    const end = ends.get(fork.topicId) ?? 0
    if (fork.endOffset > end)
      fail(
        'stream',
        topicId,
        `it is a fork of ${fork.topicId} up to offset ${fork.endOffset}, which ends at ${end}`,
      )
    if (fork.endOffset > (ends.get(topicId) ?? 0))
      fail('stream', topicId, `it ends before the offset ${fork.endOffset} at which it begins`)
  }
  for (const { topicId, deleted } of streams)
    if (deleted && !sources.has(topicId)) fail('stream', topicId, 'it is deleted, and no fork needs it')
  for (const { topicId, producerId } of streamProducers)
    if (!known.has(topicId)) fail('stream producer', `${topicId}/${producerId}`, 'its stream is missing')
}
