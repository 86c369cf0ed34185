import type { WrittenPlace } from '../history.js'
import type { ModelPartition, ModelRecord } from './model-partition.js'
import type { ModelWorld } from './model-world.js'

/** Asked, and not yet answered. */
interface OpenWrite {
  readonly op: number
  readonly log: ModelPartition
  readonly records: readonly ModelRecord[]
  places: WrittenPlace[] | undefined
}

const STREAMS = ['amy', 'bob', 'cid'] as const

/** Producers that write in their order, with dedup ids now and then, and lose their answers in crashes. */
export class ModelProducers {
  readonly #world: ModelWorld
  readonly #open = new Map<string, OpenWrite[]>(STREAMS.map((stream) => [stream, []]))
  readonly #ids = new Map<string, Map<string, WrittenPlace>>()
  readonly #sequences = new Map<string, number>()

  constructor(world: ModelWorld) {
    this.#world = world
    STREAMS.forEach((process, producerId) => {
      world.recorder.record({ type: 'producer', process, producerId, epoch: 1 })
    })
  }

  ask(): void {
    const { random, recorder, partitions } = this.#world
    const stream = random.pick(STREAMS)
    const log = random.pick(random.pick([partitions.orders, partitions.jobs]))
    const records = Array.from({ length: 1 + random.below(3) }, () => ({
      value: this.#world.value(stream),
      dedupId: random.chance(0.2) ? `id-${random.below(30)}` : undefined,
    })).filter(
      ({ dedupId }, i, all) => dedupId === undefined || all.findIndex((one) => one.dedupId === dedupId) === i,
    )
    const key = `${stream}/${log.topicId}/${log.partition}`
    const sequence = this.#sequences.get(key) ?? 0
    this.#sequences.set(key, sequence + records.length)
    const op = recorder.op()
    recorder.record({
      type: 'write',
      op,
      process: stream,
      stream,
      producer: { id: STREAMS.indexOf(stream), epoch: 1, sequence },
      records: records.map((record) => ({ ...record, ...log.place })),
    })
    if (random.chance(0.05)) recorder.record({ type: 'refused', op, code: 'BACKPRESSURE' })
    else this.#open.get(stream)?.push({ op, log, records, places: undefined })
  }

  answer(): void {
    const open = this.#open.get(this.#world.random.pick(STREAMS))?.shift()
    if (open === undefined) return
    this.#apply(open)
    this.#world.recorder.record({ type: 'written', op: open.op, places: open.places ?? [] })
  }

  /** Some of what is open was written, in its order; some of the answers come later. */
  crash(): void {
    const { random, recorder } = this.#world
    for (const open of this.#open.values()) {
      const applied = random.below(open.length + 1)
      for (const write of open.slice(0, applied)) this.#apply(write)
      const forgotten = random.chance(0.5) ? 0 : open.length
      for (const { op } of open.splice(0, forgotten)) recorder.record({ type: 'unknown', op })
    }
  }

  #apply(write: OpenWrite): void {
    const { topicId } = write.log
    const ids = this.#ids.get(topicId) ?? new Map<string, WrittenPlace>()
    this.#ids.set(topicId, ids)
    write.places ??= write.log.append(write.records, ids)
  }
}
