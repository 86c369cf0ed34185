import { noFailpoints } from '../../broker/platform/failpoints.js'
import type { Shard } from '../../broker/shard/shard.js'
import type { TopicId } from '../../protocol/ids.js'
import { MortalClock } from '../support/mortal-clock.js'
import { SeededRandom } from '../support/seeded-random.js'
import { SimulatedDisk } from '../support/simulated-disk.js'
import { SimulatedStore } from '../support/simulated-store.js'
import { groupsOf } from '../support/test-groups.js'
import {
  append,
  createTopic,
  openTestShard,
  readAll,
  someRequestId,
  textBatch,
} from '../support/test-shard.js'
import { Acknowledger, type Bounds, Copier, type Life, MADE_FROM_JOBS, Worker } from './simulated-members.js'

type End = 'power cut' | 'kill' | 'clean stop'

export interface GroupsReport {
  readonly ends: Record<End, number>
  readonly inputs: number
  readonly retried: number
  readonly doubled: number
  readonly jobsDone: number
  readonly deadLetters: number
}

const PARTITIONS = 3
/** How much faster time runs: a session times out within some milliseconds. */
const SPEED = 100
const isPoison = (value: string): boolean => Number(value.split('/')[1]) % 25 === 7

/**
 * A producer, members of two consumer groups and workers of a queue go on while their broker is stopped again and again,
 * at any operation of its disk. Throws when a promise was broken.
 */
export async function runGroupsWorkload(options: { seed: number; lives: number }): Promise<GroupsReport> {
  return await new GroupsWorkload(options).run()
}

/** A producer as its program remembers it: by topic and partition. */
interface Stream {
  readonly topic: 'inputs' | 'jobs'
  readonly partition: number
  nextSequence: number
  /** Sent and not answered; sent again in the next life. */
  open: string[] | undefined
}

class GroupsWorkload {
  readonly #lives: number
  readonly #random: SeededRandom
  #disk: SimulatedDisk
  #store: SimulatedStore
  #producerId: number | undefined
  readonly #streams: Stream[]
  readonly #copied = boundsOf()
  readonly #acknowledged = boundsOf()
  readonly #done = new Set<string>()
  readonly #copiers: Copier[]
  readonly #acknowledgers: Acknowledger[]
  readonly #workers: Worker[]
  readonly #ends: Record<End, number> = { 'power cut': 0, kill: 0, 'clean stop': 0 }
  #endLife: (end: End) => void = () => {}
  #operationsLeft = Number.POSITIVE_INFINITY

  constructor({ seed, lives }: { seed: number; lives: number }) {
    this.#lives = lives
    this.#random = new SeededRandom(seed)
    this.#disk = new SimulatedDisk({
      seed,
      onOperation: () => {
        if (--this.#operationsLeft === 0) this.#endLife(this.#random.chance(0.7) ? 'power cut' : 'kill')
      },
    })
    this.#store = new SimulatedStore({ seed })
    const partitions = Array.from({ length: PARTITIONS }, (_, i) => i)
    this.#streams = (['inputs', 'jobs'] as const).flatMap((topic) =>
      partitions.map((partition) => ({ topic, partition, nextSequence: 0, open: undefined })),
    )
    const two = <T>(make: () => T): T[] => [make(), make()]
    this.#copiers = two(() => new Copier('copiers', this.#copied, this.#random.fork()))
    this.#acknowledgers = two(() => new Acknowledger('plain', this.#acknowledged, this.#random.fork()))
    this.#workers = two(() => new Worker({ random: this.#random.fork(), done: this.#done, isPoison }))
  }

  async run(): Promise<GroupsReport> {
    for (let life = 0; life < this.#lives; life++) await this.#live({ isLast: false })
    await this.#live({ isLast: true })
    const sum = (of: (copier: Copier) => number): number =>
      this.#copiers.reduce((all, one) => all + of(one), 0)
    return {
      ends: this.#ends,
      inputs: this.#streams.reduce((all, { nextSequence }) => all + nextSequence, 0),
      retried: sum(({ retried }) => retried),
      doubled: sum(({ doubled }) => doubled),
      jobsDone: this.#done.size,
      deadLetters: this.#deadLetters,
    }
  }

  #deadLetters = 0

  /** From the start to an end that may come at any operation of the disk; the last one when everything is done. */
  async #live({ isLast }: { isLast: boolean }): Promise<void> {
    const clock = new MortalClock({ speed: SPEED })
    const life = { isOver: false }
    const ended = new Promise<End>((resolve) => {
      this.#endLife = (end) => {
        this.#endLife = () => {}
        life.isOver = true
        clock.die()
        if (end === 'power cut') this.#disk = this.#disk.crash()
        else if (end === 'kill') this.#disk = this.#disk.kill()
        if (end !== 'clean stop') this.#store = this.#store.crash()
        resolve(end)
      }
    })
    const isClean = isLast || this.#random.chance(0.15)
    if (!isLast) this.#operationsLeft = 5 + this.#random.below(1_200)
    const end = await Promise.race([ended, this.#work(clock, life, { isClean, isLast })])
    this.#operationsLeft = Number.POSITIVE_INFINITY
    this.#ends[end]++
  }

  async #work(
    clock: MortalClock,
    state: { isOver: boolean },
    { isClean, isLast }: { isClean: boolean; isLast: boolean },
  ): Promise<End> {
    const alive = async <T>(promise: Promise<T>): Promise<T> => {
      try {
        const value = await promise
        if (!state.isOver) return value
      } catch (error) {
        if (!state.isOver && !isCrash(error)) throw error
      }
      return await new Promise<never>(() => {})
    }
    const shard = await alive(this.#open(clock))
    const topics = {
      inputs: await alive(createTopic(shard, 'inputs', PARTITIONS)),
      outputs: await alive(createTopic(shard, 'outputs', 1 + 2 * PARTITIONS)),
      jobs: await alive(createTopic(shard, 'jobs', PARTITIONS)),
    }
    const groups = groupsOf({ shard, clock, random: this.#random.fork() })
    const life: Life = {
      shard,
      groups,
      topics,
      alive,
      get isOver() {
        return state.isOver
      },
    }
    const producing = isLast ? this.#finish(life) : this.#produce(life)
    const members = [...this.#copiers, ...this.#acknowledgers, ...this.#workers].map((one) => one.live(life))
    const over = isLast
      ? producing.then(() => this.#settled(life))
      : isClean
        ? later(5 + this.#random.below(80))
        : never
    await Promise.race([over, Promise.all([producing, ...members])])
    if (isLast) await this.#check(life)
    state.isOver = true
    groups.close()
    await shard.close()
    clock.die()
    return 'clean stop'
  }

  #open(clock: MortalClock): Promise<Shard> {
    return openTestShard({
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
        tailCacheBytes: 256 * 1024,
        manifestFlushMs: 5 * SPEED,
        proofIdleMs: 2 * SPEED,
        backpressureDeadlineMs: 60_000 * SPEED,
      },
    })
  }

  async #produce(life: Life): Promise<void> {
    for (;;) {
      await this.#sendAll(life)
      // Now and then the members get to the end.
      await life.alive(later(this.#random.below(4)))
    }
  }

  /** What an earlier life has left unanswered. */
  async #finish(life: Life): Promise<void> {
    await this.#sendAll(life, ({ open }) => open !== undefined)
  }

  async #sendAll(life: Life, isDue: (stream: Stream) => boolean = () => true): Promise<void> {
    const { shard, alive } = life
    if (this.#producerId === undefined) {
      const { producerId } = await alive(shard.initProducer({ requestId: someRequestId(), name: null }))
      this.#producerId = producerId
    }
    await Promise.all(this.#streams.filter(isDue).map((stream) => this.#send(life, stream)))
  }

  async #send({ shard, topics, alive }: Life, stream: Stream): Promise<void> {
    const { topic, partition, nextSequence } = stream
    stream.open ??= Array.from(
      { length: 1 + this.#random.below(8) },
      (_, i) => `${partition}/${nextSequence + i}/${'x'.repeat(this.#random.pick([0, 20, 300]))}`,
    )
    const batch = textBatch(stream.open, {
      topicId: topics[topic],
      partition,
      producerId: this.#producerId as number,
      baseSequence: nextSequence,
    })
    await alive(append(shard, batch))
    stream.nextSequence += stream.open.length
    stream.open = undefined
  }

  /** Resolves when the groups are at the end of everything. */
  async #settled({ shard, topics, alive }: Life): Promise<void> {
    let progressedMs = performance.now()
    let progress = 0
    const { groups, groupsByName } = shard.groups.state
    const end = (topicId: TopicId, partition: number): number => shard.bounds(topicId, partition).durableEnd
    const isSettled = (): boolean => {
      const ofName = (name: string) => groups.get(groupsByName.get(name)?.groupId ?? 0)
      for (let partition = 0; partition < PARTITIONS; partition++) {
        const at = `${topics.inputs}/${partition}` as const
        if (ofName('copiers')?.cursors.get(at)?.offset !== end(topics.inputs, partition)) return false
        if ((this.#acknowledged[partition] as Bounds).durable !== end(topics.inputs, partition)) return false
        const queue = ofName('workers')?.queues.get(`${topics.jobs}/${partition}`)
        if (queue?.floor !== end(topics.jobs, partition)) return false
      }
      return true
    }
    while (!isSettled()) {
      // Leases and sessions run out on a busy machine: slow is not stuck.
      const sum = this.#progress(groups.get(groupsByName.get('workers')?.groupId ?? 0)?.queues)
      if (sum !== progress) progressedMs = performance.now()
      progress = sum
      if (performance.now() - progressedMs > 120_000) throw new Error('the groups never got to the end')
      await alive(later(2))
    }
  }

  #progress(queues: ReadonlyMap<unknown, { readonly floor: number }> | undefined): number {
    const consumed = [...this.#copied, ...this.#acknowledged].map(({ durable }) => durable)
    const worked = [...(queues?.values() ?? [])].map(({ floor }) => floor)
    return [...consumed, ...worked].reduce((all, one) => all + one, 0)
  }

  async #check({ shard, topics, alive }: Life): Promise<void> {
    const read = async (topicId: TopicId, partition = 0): Promise<string[]> =>
      (await alive(readAll(shard, topicId, { partition }))).records.map(({ value }) => value)
    for (const { topic, partition, nextSequence } of this.#streams) {
      if (shard.bounds(topics[topic], partition).durableEnd !== nextSequence)
        throw new Error(`${topic} ${partition}: not ${nextSequence} records`)
    }
    for (let partition = 0; partition < PARTITIONS; partition++) {
      const expected = Array.from(
        { length: shard.bounds(topics.inputs, partition).durableEnd },
        (_, offset) => `${partition}/${offset}`,
      )
      for (const into of [1 + partition, 1 + partition + PARTITIONS]) {
        const outputs = await read(topics.outputs, into)
        const differs = expected.findIndex((value, i) => outputs[i] !== value)
        if (differs !== -1 || outputs.length !== expected.length)
          throw new Error(
            `output ${into} has ${outputs.length} of ${expected.length}, and differs at ${differs}: ${outputs.slice(differs - 2, differs + 3)}`,
          )
      }
    }
    const dlq = shard.topicNamed('jobs.workers.dlq')
    const dead = dlq === undefined ? [] : await read(dlq.topicId)
    this.#deadLetters = dead.length
    const deadPlaces = dead.map((value) => value.split('/').slice(0, 2).join('/'))
    if (new Set(deadPlaces).size !== dead.length)
      throw new Error(`a dead letter was written twice: ${deadPlaces}`)
    const made = await read(topics.outputs, MADE_FROM_JOBS)
    if (new Set(made).size !== made.length) throw new Error('an atomic write took a job twice')
    for (const place of deadPlaces)
      if (this.#done.has(place) || made.includes(place)) throw new Error(`job ${place} is done and dead`)
    const poison = this.#streams
      .filter(({ topic }) => topic === 'jobs')
      .reduce((all, { partition, nextSequence }) => {
        return (
          all + Array.from({ length: nextSequence }, (_, i) => `${partition}/${i}`).filter(isPoison).length
        )
      }, 0)
    const deadPoison = deadPlaces.filter(isPoison).length
    if (deadPoison !== poison)
      throw new Error(`${deadPoison} of ${poison} jobs that always fail are dead letters`)
  }
}

const boundsOf = (): Bounds[] => Array.from({ length: PARTITIONS }, () => ({ durable: 0, asked: 0 }))

const later = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))
const never = new Promise<never>(() => {})

function isCrash(error: unknown): boolean {
  for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ECRASHED' || cause.name === 'StoreFailed') return true
  }
  return false
}
