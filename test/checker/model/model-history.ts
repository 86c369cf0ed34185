import type { HistoryEvent } from '../history.js'
import { ModelGroup } from './model-group.js'
import type { ModelPartition } from './model-partition.js'
import { ModelProducers } from './model-producers.js'
import { ModelQueue } from './model-queue.js'
import { ModelWorld } from './model-world.js'

/** A history of a broker that keeps every promise, though it crashes now and then: the same one for the same seed. */
export function legalHistory({ seed, steps }: { seed: number; steps: number }): HistoryEvent[] {
  return new Model(seed).run(steps)
}

class Model {
  readonly #world: ModelWorld
  readonly #producers: ModelProducers
  readonly #group: ModelGroup
  readonly #queue: ModelQueue
  readonly #positions = new Map<string, { readonly log: ModelPartition; next: number }>()

  constructor(seed: number) {
    this.#world = new ModelWorld(seed)
    this.#producers = new ModelProducers(this.#world)
    this.#group = new ModelGroup(this.#world)
    this.#queue = new ModelQueue(this.#world)
  }

  run(steps: number): HistoryEvent[] {
    const { random, recorder } = this.#world
    const often: (() => void)[] = [
      () => this.#producers.ask(),
      () => this.#producers.answer(),
      () => this.#producers.answer(),
      () => this.#read(),
      () => this.#read(),
      () => this.#group.work(),
      () => this.#queue.lease(),
      () => this.#queue.settle(),
    ]
    const seldom: (() => void)[] = [
      () => this.#bounds(),
      () => this.#group.assign(),
      () => this.#group.speakLate(),
      () => this.#group.observe(),
      () => this.#group.truncate(),
      () => this.#queue.observe(),
      () => this.#queue.truncate(),
      () => this.#queue.comeOrGo(),
      () => this.#crash(),
    ]
    for (let step = 0; step < steps; step++) {
      this.#world.pass()
      random.pick(random.chance(0.85) ? often : seldom)()
    }
    this.#group.observe()
    this.#queue.observe()
    for (const log of this.#logs) this.#finish(log)
    return recorder.events
  }

  get #logs(): ModelPartition[] {
    const { orders, outputs, jobs } = this.#world.partitions
    return [...orders, ...outputs, ...jobs]
  }

  #read(): void {
    const { random, recorder } = this.#world
    const log = random.pick(this.#logs)
    const reader = `r${random.below(2)}`
    const key = `${reader}/${log.topicId}/${log.partition}`
    const position = this.#positions.get(key) ?? { log, next: log.start }
    this.#positions.set(key, position)
    const from = Math.max(position.next, log.start)
    const next = Math.min(log.end, from + 1 + random.below(8))
    if (next <= from) return
    position.next = next
    recorder.record({ type: 'read', reader, ...log.place, from, next, records: log.read(from, next) })
  }

  #bounds(): void {
    const log = this.#world.random.pick(this.#logs)
    const { start: startOffset, end: endOffset } = log
    this.#world.recorder.record({ type: 'bounds', ...log.place, startOffset, endOffset })
  }

  #crash(): void {
    this.#world.recorder.record({ type: 'brokerDown', how: 'kill' })
    this.#producers.crash()
    this.#world.recorder.record({ type: 'brokerUp' })
  }

  /** The final log, in two pieces. */
  #finish(log: ModelPartition): void {
    const { start, end } = log
    const middle = start + this.#world.random.below(end - start + 1)
    for (const [startOffset, endOffset] of [
      [start, middle],
      [middle, end],
    ] as const) {
      const records = log.read(startOffset, endOffset)
      this.#world.recorder.record({ type: 'log', ...log.place, startOffset, endOffset, records })
    }
  }
}
