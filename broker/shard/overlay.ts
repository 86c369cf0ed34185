import type { RequestId, TopicId } from '../../protocol/ids.js'
import type {
  ChunkRow,
  PartitionRow,
  ProducerNameRow,
  ProducerRow,
  RequestRow,
  TopicRow,
} from '../manifest/rows.js'

/** What one changed row costs until it is flushed, about. */
const ROW_BYTES = 160

/**
 * The rows that were changed since the last flush of the manifest. The state itself holds their values; this only
 * remembers which ones the manifest lacks, so its cost does not grow with repeated changes of one row.
 */
export class Overlay {
  readonly topics = new Set<TopicRow>()
  /** Their rows are made when they are flushed. */
  readonly partitions = new Set<{ readonly row: PartitionRow }>()
  readonly chunks = new Set<ChunkRow>()
  readonly producerNames = new Set<ProducerNameRow>()
  readonly producers = new Set<ProducerRow>()
  readonly requests = new Set<RequestRow>()

  readonly deletedTopics: TopicRow[] = []
  readonly deletedPartitions: { topicId: TopicId; partition: number }[] = []
  readonly deletedChunks: ChunkRow[] = []
  readonly deletedProducers: ProducerRow[] = []
  readonly deletedRequests: RequestId[] = []

  /** Groups were applied since the last flush, even if they changed no row. */
  touched = false

  get rows(): number {
    return (
      this.topics.size +
      this.partitions.size +
      this.chunks.size +
      this.producerNames.size +
      this.producers.size +
      this.requests.size +
      this.deletedTopics.length +
      this.deletedPartitions.length +
      this.deletedChunks.length +
      this.deletedProducers.length +
      this.deletedRequests.length
    )
  }

  get bytes(): number {
    return this.rows * ROW_BYTES
  }

  clear(): void {
    for (const set of [
      this.topics,
      this.partitions,
      this.chunks,
      this.producerNames,
      this.producers,
      this.requests,
    ])
      set.clear()
    this.deletedTopics.length = 0
    this.deletedPartitions.length = 0
    this.deletedChunks.length = 0
    this.deletedProducers.length = 0
    this.deletedRequests.length = 0
    this.touched = false
  }
}
