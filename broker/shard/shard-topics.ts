import { hexFromBytes, type RequestId, type TopicId } from '../../protocol/ids.js'
import {
  DEFAULT_TOPIC_OPTIONS,
  EMPTY_TOPIC_OPTIONS_PATCH,
  TOPIC_OPTION_NAMES,
  type TopicOptions,
} from '../../protocol/topic-options.js'
import type { Metrics } from '../platform/metrics.js'
import type { PlantedFault } from '../platform/planted-faults.js'
import type { Random } from '../platform/random.js'
import { CHANGES_TOPIC } from './change-events.js'
import type { Command } from './commands.js'
import type { Change } from './group-commit.js'
import { ShardStreams, type ShardStreamsOptions } from './shard-streams.js'
import { deleteBeforeChange } from './start-changes.js'
import type { ShardState } from './state.js'
import { alterTopicChange, createTopicChange, deleteTopicChange, type NewTopic } from './topic-changes.js'
import type { AlterTopicArgs, DeleteBeforeArgs, RecordsDeleted, TopicInfo } from './topic-requests.js'
import { countTruncation } from './truncation.js'

export interface ShardTopicsOptions {
  readonly state: ShardState
  readonly random: Random
  readonly metrics: Metrics
  readonly limits: {
    readonly topicsMax: number
    readonly partitionsMax: number
    readonly changesBytesMax: number
  }
  readonly submit: <T>(change: Change<T>) => Promise<T>
  readonly planted?: PlantedFault | undefined
}

/** The topics of a shard: what there is, and the changes that requests make. */
export class ShardTopics {
  readonly #options: ShardTopicsOptions
  /** For listing; made anew after topics came or went. */
  #names: string[] | undefined

  constructor(options: ShardTopicsOptions) {
    this.#options = options
  }

  byId(topicId: TopicId): TopicInfo | undefined {
    return this.#options.state.topics.get(topicId)?.row
  }

  named(name: string): TopicInfo | undefined {
    return this.#options.state.topicsByName.get(name)?.row
  }

  /** Up to `limit` topics in the order of their names, after `after`; the broker's own come last. */
  after(after: string | null, limit: number): TopicInfo[] {
    this.#names ??= [...this.#options.state.topicsByName.keys()].sort(inListingOrder)
    const names = this.#names
    const first = after === null ? 0 : names.findIndex((name) => inListingOrder(name, after) > 0)
    return first === -1 ? [] : names.slice(first, first + limit).map((name) => this.named(name) as TopicInfo)
  }

  /** The streams among them. */
  openStreams(surroundings: Pick<ShardStreamsOptions, 'clock' | 'time' | 'warn'>): ShardStreams {
    return new ShardStreams({ ...this.#options, ...surroundings })
  }

  /** These commands were applied. */
  applied(commands: Iterable<Command>): void {
    for (const { type } of commands)
      if (type === 'topicCreated' || type === 'topicDeleted') this.#names = undefined
  }

  create(topic: NewTopic): Promise<{ topic: TopicInfo; created: boolean }> {
    const { state, submit } = this.#options
    return submit(createTopicChange(state, topic, this.#options))
  }

  delete(args: { requestId: RequestId; name: string }): Promise<{ topicId: TopicId }> {
    const { state, random, submit } = this.#options
    return submit(deleteTopicChange(state, args, random))
  }

  alter(args: AlterTopicArgs): Promise<{ options: TopicOptions }> {
    const { state, submit } = this.#options
    return submit(alterTopicChange(state, args))
  }

  async deleteBefore(args: DeleteBeforeArgs): Promise<RecordsDeleted> {
    const { state, metrics, submit, planted } = this.#options
    const { topicId, partition } = args
    const before = state.partition(topicId, partition)?.startOffset ?? 0
    const deleted = await submit(deleteBeforeChange(state, args, planted))
    // A retry gets the first answer, and deletes nothing.
    if (deleted.startOffset > before) {
      const topic = state.topics.get(topicId)?.row.name ?? topicId
      countTruncation(metrics, { topic, partition, reason: 'request', ...deleted })
    }
    return deleted
  }

  /** Makes the topic of changes if there is none, and gives it the size that is configured now. */
  async ensureChangesTopic(): Promise<void> {
    const { state, random, limits, submit } = this.#options
    if (limits.changesBytesMax === 0) return
    const options = { ...EMPTY_TOPIC_OPTIONS_PATCH, untilAcked: true, maxBytes: limits.changesBytesMax }
    const requestId = hexFromBytes(random.bytes(16)) as RequestId
    const known = this.named(CHANGES_TOPIC)
    if (known === undefined) {
      await this.create({
        requestId,
        name: CHANGES_TOPIC,
        partitions: 1,
        keyEncoding: 'text',
        valueEncoding: 'json',
        ifMissing: true,
        options,
        internal: true,
      })
      return
    }
    const wanted = { ...DEFAULT_TOPIC_OPTIONS, untilAcked: true, maxBytes: limits.changesBytesMax }
    if (TOPIC_OPTION_NAMES.every((name) => known.options[name] === wanted[name])) return
    const alteration = { requestId, name: CHANGES_TOPIC, options, clear: [] }
    await submit(alterTopicChange(state, alteration, { isInternal: true }))
  }
}

/** What users name comes first. */
function inListingOrder(a: string, b: string): number {
  const isOwn = Number(a === CHANGES_TOPIC) - Number(b === CHANGES_TOPIC)
  if (isOwn !== 0) return isOwn
  return a < b ? -1 : a > b ? 1 : 0
}
