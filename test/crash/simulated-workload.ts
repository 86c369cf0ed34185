import { noFailpoints } from '../../broker/platform/failpoints.js'
import type { Shard } from '../../broker/shard/shard.js'
import type { MillraceError } from '../../protocol/error-codes.js'
import type { TopicId } from '../../protocol/ids.js'
import { MortalClock } from '../support/mortal-clock.js'
import { SeededRandom } from '../support/seeded-random.js'
import { SimulatedDisk } from '../support/simulated-disk.js'
import { SimulatedStore } from '../support/simulated-store.js'
import {
  append,
  createTopic,
  openTestShard,
  type ReadRecord,
  readAll,
  someRequestId,
  textBatch,
} from '../support/test-shard.js'

/** How one life of the broker ends. */
type End = 'power cut' | 'kill' | 'clean stop'

export interface WorkloadOptions {
  readonly seed: number
  readonly lives: number
  readonly producers: number
  readonly partitions: number
}

export interface WorkloadReport {
  readonly ends: Record<End, number>
  readonly acknowledged: number
  readonly records: number
  readonly sources: ReadonlySet<string>
  readonly tornTails: number
}

/** One producer as its program remembers it: what it sends next, and what it was told. */
interface Producer {
  readonly name: string
  producerId: number
  readonly nextSequence: number[]
  /** By partition, values in the order in which they were acknowledged. */
  readonly acknowledged: { offset: number; value: string }[][]
  /** By partition: sent and not answered; sent again in the next life. */
  readonly open: (string[] | undefined)[]
}

/**
 * Producers write and readers read while the broker is stopped again and again: by a power cut that drops, tears and
 * reorders what was not synced, by a SIGKILL that leaves the page cache, or cleanly. Throws when a promise was broken.
 */
export async function runWorkload(options: WorkloadOptions): Promise<WorkloadReport> {
  return await new Workload(options).run()
}

class Workload {
  readonly #options: WorkloadOptions
  readonly #random: SeededRandom
  #disk: SimulatedDisk
  #store: SimulatedStore
  #topicId: TopicId | undefined
  readonly #producers: Producer[]
  /** By partition: what any reader ever saw at an offset. */
  readonly #seen: Map<number, string>[]
  readonly #ends: Record<End, number> = { 'power cut': 0, kill: 0, 'clean stop': 0 }
  readonly #sources = new Set<string>()
  #tornTails = 0
  #endLife: (end: End) => void = () => {}
  #operationsLeft = Number.POSITIVE_INFINITY

  constructor(options: WorkloadOptions) {
    this.#options = options
    this.#random = new SeededRandom(options.seed)
    this.#disk = new SimulatedDisk(this.#diskOptions())
    this.#store = new SimulatedStore({ seed: options.seed })
    const perPartition = <T>(make: () => T): T[] => Array.from({ length: options.partitions }, make)
    this.#producers = Array.from({ length: options.producers }, (_, i) => ({
      name: `p${i}`,
      producerId: 0,
      nextSequence: perPartition(() => 0),
      acknowledged: perPartition(() => []),
      open: perPartition(() => undefined),
    }))
    this.#seen = perPartition(() => new Map())
  }

  #diskOptions() {
    return {
      seed: this.#options.seed,
      onOperation: () => {
        if (--this.#operationsLeft === 0) this.#endLife(this.#random.chance(0.7) ? 'power cut' : 'kill')
      },
    }
  }

  async run(): Promise<WorkloadReport> {
    for (let life = 0; life < this.#options.lives; life++) await this.#live()
    const shard = await this.#open(new MortalClock())
    const records = await this.#checkAll(shard)
    await shard.close()
    const acknowledged = this.#producers.flatMap((producer) => producer.acknowledged.flat()).length
    return { ends: this.#ends, acknowledged, records, sources: this.#sources, tornTails: this.#tornTails }
  }

  async #open(clock: MortalClock): Promise<Shard> {
    const shard = await openTestShard({
      directory: '/data',
      disk: this.#disk,
      store: this.#store,
      clock,
      failpoints: noFailpoints,
      onFailed: () => {},
      limits: {
        walSegmentBytes: 192 * 1024,
        walBytesMax: 1024 * 1024,
        chunkBytes: 24 * 1024,
        snapshotEveryBytes: 128 * 1024,
        manifestFlushMs: 5,
        tailCacheBytes: 256 * 1024,
        proofIdleMs: 2,
      },
    })
    if (shard.report.tornTail !== undefined) this.#tornTails++
    return shard
  }

  /** One life: from the start to an end that may come at any operation of the disk, those of the start included. */
  async #live(): Promise<void> {
    const clock = new MortalClock()
    const ended = new Promise<End>((resolve) => {
      this.#endLife = (end) => {
        clock.die()
        this.#endLife = () => {}
        if (end === 'power cut') this.#disk = this.#disk.crash()
        else if (end === 'kill') this.#disk = this.#disk.kill()
        if (end !== 'clean stop') this.#store = this.#store.crash()
        resolve(end)
      }
    })
    this.#operationsLeft = 5 + this.#random.below(900)
    const isClean = this.#random.chance(0.15)
    const work = this.#work(clock, isClean)
    const end = await Promise.race([ended, work])
    this.#operationsLeft = Number.POSITIVE_INFINITY
    this.#ends[end]++
  }

  async #work(clock: MortalClock, isClean: boolean): Promise<End> {
    let shard: Shard
    try {
      shard = await this.#open(clock)
      await this.#setUp(shard)
    } catch (error) {
      return await orNever(error)
    }
    let isStopping = false
    // A reader that the cache serves would not notice that its broker is dead.
    const isOver = (): boolean => isStopping || clock.isDead
    const until = isClean
      ? new Promise((resolve) => setTimeout(resolve, 5 + this.#random.below(55)))
      : new Promise(() => {})
    const producing = this.#producers.flatMap((producer) =>
      producer.open.map((_, partition) => this.#produce(shard, producer, partition, isOver)),
    )
    const reading = this.#options.partitions === 0 ? [] : [this.#read(shard, isOver)]
    await Promise.race([until, Promise.all([...producing, ...reading])])
    isStopping = true
    await Promise.all(producing)
    await shard.close()
    clock.die()
    return 'clean stop'
  }

  async #setUp(shard: Shard): Promise<void> {
    this.#topicId = await createTopic(shard, 'orders', this.#options.partitions)
    for (const producer of this.#producers) {
      if (producer.producerId > 0) continue
      const identity = await shard.initProducer({ requestId: someRequestId(), name: null })
      producer.producerId = identity.producerId
    }
  }

  async #produce(shard: Shard, producer: Producer, partition: number, isOver: () => boolean): Promise<void> {
    while (!isOver()) {
      const sequence = producer.nextSequence[partition] as number
      const values = producer.open[partition] ?? this.#newValues(producer, partition, sequence)
      producer.open[partition] = values
      try {
        const ack = await append(
          shard,
          textBatch(values, {
            topicId: this.#topicId as TopicId,
            partition,
            producerId: producer.producerId,
            baseSequence: sequence,
          }),
        )
        for (const [i, value] of values.entries()) {
          producer.acknowledged[partition]?.push({ offset: ack.baseOffset + i, value })
        }
        producer.nextSequence[partition] = sequence + values.length
        producer.open[partition] = undefined
      } catch (error) {
        if ((error as MillraceError).code === 'STORAGE_FAILED') return await orNever(error)
        throw error
      }
      await new Promise((resolve) => setImmediate(resolve))
    }
  }

  #newValues(producer: Producer, partition: number, sequence: number): string[] {
    const count = 1 + this.#random.below(12)
    const filler = 'x'.repeat(this.#random.pick([0, 40, 400, 4000]))
    return Array.from({ length: count }, (_, i) => `${producer.name}/${partition}/${sequence + i} ${filler}`)
  }

  /** Reads all that is visible, again and again: what was seen once must stay for ever. */
  async #read(shard: Shard, isOver: () => boolean): Promise<void> {
    const next = this.#seen.map(() => 0)
    while (!isOver()) {
      for (const partition of this.#seen.keys()) {
        try {
          const { records, sources } = await readAll(shard, this.#topicId as TopicId, {
            partition,
            from: next[partition] as number,
          })
          for (const source of sources) this.#sources.add(source)
          for (const record of records) this.#see(partition, record)
          next[partition] = (records.at(-1)?.offset ?? (next[partition] as number) - 1) + 1
        } catch (error) {
          if (this.#disk.isDead || isCrash(error)) return await orNever(error)
          throw error
        }
      }
      await new Promise((resolve) => setImmediate(resolve))
    }
  }

  #see(partition: number, { offset, value }: ReadRecord): void {
    const before = this.#seen[partition]?.get(offset)
    if (before !== undefined && before !== value) {
      throw new Error(`partition ${partition} offset ${offset} was "${before}" and is "${value}"`)
    }
    this.#seen[partition]?.set(offset, value)
  }

  async #checkAll(shard: Shard): Promise<number> {
    if (this.#topicId === undefined || shard.topicNamed('orders') === undefined) {
      if (this.#seen.some((seen) => seen.size > 0)) throw new Error('the topic is gone')
      return 0
    }
    let count = 0
    for (const [partition, seen] of this.#seen.entries()) {
      const { records } = await readAll(shard, this.#topicId, { partition })
      count += records.length
      const byOffset = new Map(records.map(({ offset, value }) => [offset, value]))
      for (const [offset, value] of seen) {
        if (byOffset.get(offset) !== value)
          throw new Error(`partition ${partition}: what was read at ${offset} is gone`)
      }
      for (const [offset, record] of records.entries()) {
        if (record.offset !== offset)
          throw new Error(`partition ${partition}: offset ${record.offset} follows ${offset - 1}`)
      }
      if (new Set(records.map(({ value }) => value)).size !== records.length)
        throw new Error(`partition ${partition}: a record twice`)
      for (const producer of this.#producers) this.#checkProducer(producer, partition, byOffset, records)
    }
    return count
  }

  #checkProducer(
    producer: Producer,
    partition: number,
    byOffset: Map<number, string>,
    records: ReadRecord[],
  ): void {
    for (const { offset, value } of producer.acknowledged[partition] ?? []) {
      if (byOffset.get(offset) !== value) {
        throw new Error(`partition ${partition}: acknowledged "${value.slice(0, 20)}" is not at ${offset}`)
      }
    }
    let expected = 0
    for (const { value } of records) {
      const [name, , sequence] = value.split(/[/ ]/)
      if (name !== producer.name) continue
      if (Number(sequence) !== expected++)
        throw new Error(`partition ${partition}: ${name} is out of order at ${sequence}`)
    }
  }
}

/** The life ends otherwise: what failed because the disk died settles nothing. Anything else is a finding. */
function orNever(error: unknown): Promise<never> {
  if (isCrash(error)) return new Promise(() => {})
  return Promise.reject(error)
}

function isCrash(error: unknown): boolean {
  for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ECRASHED' || cause.name === 'StoreFailed') return true
  }
  return false
}
