/** The rows of a state, for the manifest. `replayFrom` is the first WAL group that a start must read. */
import type { PlacedPage } from '../manifest/page-file.js'
import type { ManifestChanges } from '../manifest/rows.js'
import type { ShardState } from './state.js'

export interface ChangedRows {
  readonly rows: ManifestChanges
  /** What goes into the page file before the rows go into the manifest. */
  readonly pages: readonly PlacedPage[]
}

/** What changed since the overlay was cleared. Encode it before anything else is applied. */
export function changedRows(state: ShardState, replayFrom: number): ChangedRows {
  const { overlay } = state
  const dedup = state.dedup.changes()
  const rows = {
    shard: state.shardRow(replayFrom),
    put: {
      topics: overlay.topics,
      partitions: [...overlay.partitions].map((partition) => partition.row),
      chunks: overlay.chunks,
      producerNames: overlay.producerNames,
      producers: overlay.producers,
      requests: overlay.requests,
      groups: [...overlay.groups].map((group) => group.row),
      cursors: overlay.cursors,
      queues: [...overlay.queues].map((queue) => queue.row),
      dedupBuckets: dedup.buckets,
      dedupPages: dedup.pages,
      answers: overlay.answers,
      streams: [...overlay.streams].map(({ row }) => row),
      streamProducers: overlay.streamProducers,
    },
    delete: {
      topics: overlay.deletedTopics,
      partitions: overlay.deletedPartitions,
      chunks: overlay.deletedChunks,
      producerNames: overlay.deletedProducerNames,
      producers: overlay.deletedProducers,
      requests: overlay.deletedRequests.map((requestId) => ({ requestId })),
      groups: overlay.deletedGroups,
      cursors: overlay.deletedCursors,
      queues: overlay.deletedQueues,
      dedupBuckets: dedup.deletedBuckets,
      dedupPages: dedup.deletedPages,
      answers: overlay.deletedAnswers,
      streams: overlay.deletedStreams,
      streamProducers: overlay.deletedStreamProducers,
    },
  }
  return { rows, pages: dedup.placed }
}

/** Everything, for a manifest that is made anew. */
export function allRows(state: ShardState, replayFrom: number): ManifestChanges {
  const partitions = [...state.topics.values()].flatMap((topic) => topic.partitions)
  const groups = [...state.groups.values()]
  const streams = [...state.topics.values()].flatMap(({ stream }) => stream ?? [])
  const dedup = state.dedup.wholeRows()
  return {
    shard: state.shardRow(replayFrom),
    put: {
      topics: [...state.topics.values()].map(({ row }) => row),
      partitions: partitions.map(({ row }) => row),
      chunks: partitions.flatMap(({ chunks }) => chunks),
      producerNames: state.producerNames.values(),
      producers: partitions.flatMap(({ producers }) => [...producers.values()]),
      requests: state.requests.values(),
      groups: groups.map(({ row }) => row),
      cursors: groups.flatMap(({ cursors }) => [...cursors.values()]),
      queues: groups.flatMap(({ queues }) => [...queues.values()].map(({ row }) => row)),
      dedupBuckets: dedup.buckets,
      dedupPages: dedup.pages,
      answers: state.answers.rows(),
      streams: streams.map(({ row }) => row),
      streamProducers: streams.flatMap(({ producers }) => [...producers.values()]),
    },
  }
}
