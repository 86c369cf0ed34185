import type { Failpoints } from '../platform/failpoints.js'
import type { Metrics } from '../platform/metrics.js'
import type { Change } from './group-commit.js'
import { deletes, dueIn, slowestOf } from './retention.js'
import { type ChunksDeleted, retentionChange } from './start-changes.js'
import type { PartitionState, ShardState } from './state.js'
import { countTruncation } from './truncation.js'

export interface RetentionOptions {
  readonly state: ShardState
  readonly metrics: Metrics
  readonly failpoints: Failpoints
  readonly submit: <T>(change: Change<T>) => Promise<T>
  readonly warn: (message: string) => void
}

/** Of one round; the rest goes with the next. */
const CHUNKS_MAX = 256

/** Deletes the chunks that the topics' options let go, and says whose unread records went with them. */
export class Retention {
  readonly #options: RetentionOptions

  constructor(options: RetentionOptions) {
    this.#options = options
  }

  /** Looks through all partitions. `now` is broker time. */
  async run(now: number): Promise<void> {
    const { state } = this.#options
    const partitions: PartitionState[] = []
    for (const topic of state.topics.values()) {
      if (deletes(topic.row.options)) partitions.push(...topic.partitions)
    }
    await this.look(partitions, now)
  }

  /** Deletes what is due of these partitions, all together. */
  async look(partitions: Iterable<PartitionState>, now: number): Promise<void> {
    let due = [...partitions].filter((partition) => this.#isDue(partition, now))
    let left = CHUNKS_MAX
    while (due.length > 0 && left > 0) {
      const held = this.#options.failpoints.hit('startMovedBeforeCommit')
      if (held !== undefined) await held
      // One command takes chunks that go for one reason: there may be more behind them.
      const chunksMax = Math.max(1, Math.floor(left / due.length))
      const deleted = await Promise.all(
        due.slice(0, left).map((partition) => this.#delete(partition, chunksMax)),
      )
      for (const chunks of deleted) left -= chunks
      due = due.filter((partition, i) => (deleted[i] ?? 0) > 0 && this.#isDue(partition, now))
    }
  }

  #isDue(partition: PartitionState, now: number): boolean {
    const options = this.#options.state.topics.get(partition.topicId)?.row.options
    if (options === undefined || !deletes(options)) return false
    const isBlind = this.#options.failpoints.planted === 'truncationIgnoresCursors'
    const slowest = isBlind ? Infinity : slowestOf(partition.cursors)
    return dueIn(partition, { options, slowest, now, chunksMax: 1 }) !== undefined
  }

  /** How many chunks went. */
  async #delete(partition: PartitionState, chunksMax: number): Promise<number> {
    const { state, metrics, failpoints, submit } = this.#options
    const name = state.topics.get(partition.topicId)?.row.name ?? ''
    const done = await submit(retentionChange(state, partition, chunksMax, failpoints.planted))
    if (done === undefined) return 0
    metrics.count('retentionDeletions')
    metrics.count('retentionRecords', done.records)
    metrics.count('retentionBytes', done.bytes)
    const { reason, startOffset, records, bytes } = done
    countTruncation(metrics, {
      ...{ topic: name, partition: partition.partition, reason },
      ...{ startOffset, records, bytes },
    })
    this.#tellPassed(`partition ${partition.partition} of topic "${name}"`, done)
    return done.chunks
  }

  #tellPassed(where: string, { passed, reason, startOffset }: ChunksDeleted): void {
    const { state, metrics, warn } = this.#options
    for (const { groupId, offset } of passed) {
      const group = state.groups.get(groupId)?.name ?? groupId
      metrics.count('lagDrops')
      warn(
        `${where}: records below offset ${startOffset} were deleted (${reason}), and group "${group}" had not passed offset ${offset}`,
      )
    }
  }
}
