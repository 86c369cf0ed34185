import type { Clock } from '../../broker/platform/clock.js'
import { noMetrics } from '../../broker/platform/metrics.js'
import { applyCommand } from '../../broker/shard/apply.js'
import type { Command } from '../../broker/shard/commands.js'
import type { Change } from '../../broker/shard/group-commit.js'
import { ShardGroups } from '../../broker/shard/shard-groups.js'
import { type PartitionState, ShardState } from '../../broker/shard/state.js'
import type { MillraceError } from '../../protocol/error-codes.js'
import type { ClusterId, RequestId, TopicId } from '../../protocol/ids.js'
import { DEFAULT_TOPIC_OPTIONS } from '../../protocol/topic-options.js'

interface Queued {
  readonly change: Change<unknown>
  readonly resolve: (result: unknown) => void
  readonly reject: (error: unknown) => void
}

/**
 * The shard's own checks and transitions of groups, on a state in memory: what is missing is the disk. A write takes
 * `writeMs`; what comes meanwhile is decided when it is over, as in group commit. Nothing is appended: `setEnd` says
 * where a partition ends.
 */
export class FakeShardGroups {
  readonly state: ShardState
  readonly groups: ShardGroups
  writeMs = 1
  /** Commands in the order in which they were applied. */
  readonly written: Command[] = []
  /** The next change is refused with it. */
  failNext: MillraceError | undefined
  readonly #clock: Clock
  #queue: Queued[] = []
  #isWriting = false
  #topicCount = 0

  /** `state`: of an earlier shard, which this one goes on from. */
  constructor(
    clock: Clock,
    state = new ShardState({ clusterId: '0'.repeat(32) as ClusterId, walId: '0'.repeat(32) }),
  ) {
    this.#clock = clock
    this.state = state
    const limits = { groupsMax: 100, cursorsMax: 1000 }
    this.groups = new ShardGroups({
      state,
      limits,
      metrics: noMetrics,
      submit: (change) => this.#submit(change),
    })
  }

  createTopic(name: string, partitions: number): TopicId {
    const topicId = `${++this.#topicCount}`.padStart(32, 'e') as TopicId
    this.#apply({
      type: 'topicCreated',
      topicId,
      name,
      partitions,
      keyEncoding: 'text',
      valueEncoding: 'json',
      options: DEFAULT_TOPIC_OPTIONS,
      internal: false,
      requestId: topicId as unknown as RequestId,
    })
    return topicId
  }

  deleteTopic(topicId: TopicId): void {
    this.#apply({ type: 'topicDeleted', topicId, requestId: `${topicId.slice(1)}d` as RequestId })
  }

  setEnd(topicId: TopicId, ends: { partition?: number; startOffset?: number; endOffset: number }): void {
    const partition = this.state.partition(topicId, ends.partition ?? 0) as PartitionState
    partition.startOffset = ends.startOffset ?? partition.startOffset
    partition.endOffset = ends.endOffset
    partition.assignedEnd = ends.endOffset
  }

  #submit<T>(change: Change<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.#queue.push({ change, resolve: resolve as (result: unknown) => void, reject })
      if (!this.#isWriting) this.#cut()
    })
  }

  #cut(): void {
    this.#isWriting = true
    const claimed = new Set<string>()
    const taken: (() => void)[] = []
    const commands: Command[] = []
    const left: Queued[] = []
    const queue = this.#queue
    this.#queue = []
    for (const queued of queue) {
      try {
        const failure = this.failNext
        this.failNext = undefined
        if (failure !== undefined) throw failure
        const decision = queued.change.decide({ time: this.#clock.now(), claimed })
        if (decision === undefined) {
          left.push(queued)
          continue
        }
        commands.push(...decision.commands)
        const { result } = decision
        taken.push(() => queued.resolve(typeof result === 'function' ? result([]) : result))
      } catch (error) {
        taken.push(() => queued.reject(error))
      }
    }
    this.#clock.setTimer(() => {
      for (const command of commands) this.#apply(command)
      for (const answer of taken) answer()
      this.#isWriting = false
      this.#queue = [...left, ...this.#queue]
      if (this.#queue.length > 0) this.#cut()
    }, this.writeMs)
  }

  #apply(command: Command): void {
    this.state.applied = { sequence: this.state.applied.sequence + 1, headerCrc: 0 }
    applyCommand(this.state, command, this.#clock.now())
    this.written.push(command)
    this.groups.applied([command])
  }
}
