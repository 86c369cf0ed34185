import type { RequestId, TopicId } from '../../protocol/ids.js'
import type {
  AnswerRow,
  ChunkRow,
  CursorKey,
  CursorRow,
  GroupRow,
  PartitionRow,
  ProducerNameRow,
  ProducerRow,
  RequestRow,
  StreamProducerKey,
  StreamProducerRow,
  StreamRow,
  TopicRow,
} from '../manifest/rows.js'
import type { QueueState } from './queue-state.js'

/** What one changed row costs until it is flushed, about. */
const ROW_BYTES = 160
/** The same for one range of a queue's row. */
const QUEUE_RANGE_BYTES = 32

/**
 * The rows that were changed since the last flush of the manifest. The state itself holds their values; this only
 * remembers which ones the manifest lacks, so its cost does not grow with repeated changes of one row. The dedup index
 * remembers its own.
 */
export class Overlay {
  readonly topics = new Set<TopicRow>()
  /** Rows that are made when they are flushed. */
  readonly partitions = new Set<{ readonly row: PartitionRow }>()
  readonly chunks = new Set<ChunkRow>()
  readonly producerNames = new Set<ProducerNameRow>()
  readonly producers = new Set<ProducerRow>()
  readonly requests = new Set<RequestRow>()
  readonly groups = new Set<{ readonly row: GroupRow }>()
  readonly cursors = new Set<CursorRow>()
  /** With what each was counted for. */
  readonly #queues = new Map<QueueState, number>()
  #queueBytes = 0
  readonly answers = new Set<AnswerRow>()
  readonly streams = new Set<{ readonly row: StreamRow }>()
  readonly streamProducers = new Set<StreamProducerRow>()

  readonly deletedTopics: TopicRow[] = []
  readonly deletedPartitions: { topicId: TopicId; partition: number }[] = []
  readonly deletedChunks: ChunkRow[] = []
  readonly deletedProducerNames: { name: string }[] = []
  readonly deletedProducers: ProducerRow[] = []
  readonly deletedRequests: RequestId[] = []
  readonly deletedGroups: { groupId: number }[] = []
  readonly deletedCursors: CursorKey[] = []
  readonly deletedQueues: CursorKey[] = []
  readonly deletedAnswers: { requestId: RequestId }[] = []
  readonly deletedStreams: { topicId: TopicId }[] = []
  readonly deletedStreamProducers: StreamProducerKey[] = []

  /** Groups were applied since the last flush, even if they changed no row. */
  touched = false

  get queues(): Iterable<QueueState> {
    return this.#queues.keys()
  }

  /** A queue's row changed; it may have more ranges than before, or fewer. */
  changeQueue(queue: QueueState): void {
    const bytes = ROW_BYTES + QUEUE_RANGE_BYTES * queue.ranges.length
    this.#queueBytes += bytes - (this.#queues.get(queue) ?? 0)
    this.#queues.set(queue, bytes)
  }

  deleteQueue(queue: QueueState): void {
    this.#queueBytes -= this.#queues.get(queue) ?? 0
    this.#queues.delete(queue)
    this.deletedQueues.push(queue)
  }

  get bytes(): number {
    let rows = 0
    for (const set of this.#sets) rows += set.size
    for (const list of this.#lists) rows += list.length
    return rows * ROW_BYTES + this.#queueBytes
  }

  readonly #sets: readonly Set<unknown>[] = [
    this.topics,
    this.partitions,
    this.chunks,
    this.producerNames,
    this.producers,
    this.requests,
    this.groups,
    this.cursors,
    this.answers,
    this.streams,
    this.streamProducers,
  ]

  readonly #lists: readonly unknown[][] = [
    this.deletedTopics,
    this.deletedPartitions,
    this.deletedChunks,
    this.deletedProducerNames,
    this.deletedProducers,
    this.deletedRequests,
    this.deletedGroups,
    this.deletedCursors,
    this.deletedQueues,
    this.deletedAnswers,
    this.deletedStreams,
    this.deletedStreamProducers,
  ]

  clear(): void {
    for (const set of this.#sets) set.clear()
    for (const list of this.#lists) list.length = 0
    this.#queues.clear()
    this.#queueBytes = 0
    this.touched = false
  }
}
