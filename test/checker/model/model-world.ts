import { SeededRandom } from '../../support/seeded-random.js'
import { HistoryRecorder } from '../recorder.js'
import { ModelPartition } from './model-partition.js'

/** What the parts of a model broker share: its log, its clock, its luck and the record of what it does. */
export class ModelWorld {
  readonly random: SeededRandom
  readonly recorder: HistoryRecorder
  readonly partitions: Readonly<Record<'orders' | 'outputs' | 'jobs', readonly ModelPartition[]>>
  nowMs = 1_000
  #values = 0

  constructor(seed: number) {
    this.random = new SeededRandom(seed)
    this.recorder = new HistoryRecorder({ nowMs: () => this.nowMs })
    const topic = (
      topicId: string,
      partitions: number,
      more: { untilAcked?: boolean } = {},
    ): ModelPartition[] => {
      this.recorder.record({ type: 'topic', topicId, name: topicId, partitions, ...more })
      return Array.from({ length: partitions }, (_, partition) => new ModelPartition({ topicId, partition }))
    }
    this.partitions = {
      orders: topic('orders', 2, { untilAcked: true }),
      outputs: topic('outputs', 2),
      jobs: topic('jobs', 1, { untilAcked: true }),
    }
  }

  /** A name for a record that nobody has used. */
  value(prefix: string): string {
    return `${prefix}-${this.#values++}`
  }

  pass(): void {
    this.nowMs += this.random.below(20)
  }
}
