import type { TopicId } from '../../protocol/ids.js'
import type { Metrics } from '../platform/metrics.js'
import type { LagBound } from './change-events.js'
import type { ChangeLog } from './change-log.js'
import { Crossings } from './crossings.js'
import { bytesOf, idleMs, lagBytes, type Uptime } from './retention.js'
import type { PartitionState, ShardState, TopicState } from './state.js'
import type { Position } from './topic-state.js'

/** Whether a member of the group is connected, or away for a moment, and wants records of the topic; or of any. */
export type IsLive = (groupId: number, topicId?: TopicId) => boolean

/** The same answers, each asked for once: for one look at many cursors. */
export function askedOnce(isLive: IsLive): IsLive {
  const known = new Map<string, boolean>()
  return (groupId, topicId) => {
    const name = `${groupId} ${topicId}`
    const before = known.get(name)
    if (before !== undefined) return before
    const answer = isLive(groupId, topicId)
    known.set(name, answer)
    return answer
  }
}

export interface LagWatchOptions {
  readonly state: ShardState
  readonly metrics: Metrics
  readonly log: ChangeLog
  readonly warn: (message: string) => void
  readonly isLive: IsLive
}

/** What a cursor uses of one of its bounds. */
interface Use {
  readonly bound: LagBound
  readonly value: number
  readonly max: number
}

/** Warns, once, of each cursor that comes near a bound behind which its records, or the cursor itself, may be deleted. */
export class LagWatch {
  readonly #options: LagWatchOptions
  readonly #crossings = new Crossings()

  constructor(options: LagWatchOptions) {
    this.#options = options
  }

  run(uptime: Uptime): void {
    const isLive = askedOnce(this.#options.isLive)
    for (const topic of this.#options.state.topics.values()) {
      const { maxLagBytes, cursorIdleMs, maxBytes } = topic.row.options
      if (maxLagBytes === null && cursorIdleMs === null && maxBytes === null) continue
      for (const partition of topic.partitions)
        if (partition.cursors.size > 0) this.#look(topic, partition, { uptime, isLive })
    }
    this.#crossings.endRound()
  }

  #look(
    { row }: TopicState,
    partition: PartitionState,
    { uptime, isLive }: { uptime: Uptime; isLive: IsLive },
  ): void {
    const { maxLagBytes, cursorIdleMs, maxBytes } = row.options
    const bytes = maxBytes === null ? 0 : bytesOf(partition.chunks) + partition.tail.unsealedBytes
    const oldestEnd = partition.chunks[0]?.section.endOffset ?? 0
    for (const cursor of partition.cursors) {
      const uses: Use[] = []
      if (maxLagBytes !== null) {
        const value = Math.round(lagBytes(partition, cursor.position))
        uses.push({ bound: 'maxLagBytes', value, max: maxLagBytes })
      }
      if (cursorIdleMs !== null && !isLive(cursor.groupId, row.topicId))
        uses.push({ bound: 'cursorIdleMs', value: idleMs(cursor, uptime), max: cursorIdleMs })
      if (maxBytes !== null && cursor.position < oldestEnd)
        uses.push({ bound: 'maxBytes', value: bytes, max: maxBytes })
      for (const use of uses) this.#warnOnce(row.name, partition.partition, cursor, use, uptime.now)
    }
  }

  #warnOnce(topic: string, partition: number, { groupId }: Position, use: Use, now: number): void {
    const group = this.#options.state.groups.get(groupId)?.name
    if (group === undefined) return
    const name = `${use.bound} ${groupId} ${partition} ${topic}`
    if (!this.#crossings.crossed(name, use.value / use.max)) return
    const { log, metrics, warn } = this.#options
    metrics.count('lagWarnings')
    log.add({ type: 'lagWarning', topic, partition, group, ...use }, now)
    warn(
      `group "${group}" in partition ${partition} of topic "${topic}" is at ${use.value} of ${use.bound} ${use.max}`,
    )
  }
}
