import type { Shard } from '../../broker/shard/shard.js'
import type { TopicId } from '../../protocol/ids.js'
import { DEFAULT_TOPIC_OPTIONS } from '../../protocol/topic-options.js'
import { MortalClock } from '../support/mortal-clock.js'
import { SeededRandom } from '../support/seeded-random.js'
import { SimulatedDisk } from '../support/simulated-disk.js'
import { SimulatedStore } from '../support/simulated-store.js'
import { TestCursor } from '../support/test-cursor.js'
import { append, openTestShard, readAll, someRequestId, textBatch } from '../support/test-shard.js'

export interface RetentionReport {
  readonly crashes: number
  readonly acknowledged: number
  readonly deleted: number
  readonly chunksHeldMax: number
}

/** What was asked for, and what was answered: the truth lies between. */
interface Progress {
  asked: number
  answered: number
}

interface Cursor extends Progress {
  readonly group: string
  readonly partition: number
}

const PARTITIONS = [0, 1]
const GROUPS = ['billing', 'audit']
const CHUNK_BYTES = 24 * 1024

/**
 * Producers write, groups acknowledge at their own pace, someone deletes by hand, and what all have acknowledged is
 * deleted, while the broker is stopped at any operation of its disk. Throws when something went that was still wanted,
 * when an answered ack or deletion was taken back, and when a file was left behind.
 */
export class RetentionWorkload {
  readonly #random: SeededRandom
  readonly #lives: number
  #disk: SimulatedDisk
  #store: SimulatedStore
  #topicId: TopicId | undefined
  readonly #values = PARTITIONS.map(() => new Map<number, string>())
  readonly #cursors = GROUPS.flatMap((group) =>
    PARTITIONS.map((partition): Cursor => ({ group, partition, asked: 0, answered: 0 })),
  )
  readonly #deletions = PARTITIONS.map((): Progress => ({ asked: 0, answered: 0 }))
  #operationsLeft = Number.POSITIVE_INFINITY
  #endLife: () => void = () => {}
  #crashes = 0
  #chunksHeldMax = 0

  constructor({ seed, lives }: { seed: number; lives: number }) {
    this.#random = new SeededRandom(seed)
    this.#lives = lives
    this.#store = new SimulatedStore({ seed })
    this.#disk = new SimulatedDisk({
      seed,
      onOperation: () => void (--this.#operationsLeft === 0 && this.#endLife()),
    })
  }

  async run(): Promise<RetentionReport> {
    for (let life = 0; life < this.#lives; life++) await this.#live()
    const clock = new MortalClock()
    const shard = await this.#open(clock)
    await this.#check(shard)
    await this.#settle(shard)
    const deleted = PARTITIONS.reduce((sum, partition) => sum + this.#start(shard, partition), 0)
    await shard.close()
    clock.die()
    const acknowledged = this.#values.reduce((sum, { size }) => sum + size, 0)
    return { crashes: this.#crashes, acknowledged, deleted, chunksHeldMax: this.#chunksHeldMax }
  }

  #open(clock: MortalClock): Promise<Shard> {
    return openTestShard({
      directory: '/data',
      disk: this.#disk,
      store: this.#store,
      clock,
      onFailed: () => {},
      limits: {
        walSegmentBytes: 128 * 1024,
        walBytesMax: 768 * 1024,
        chunkBytes: CHUNK_BYTES,
        snapshotEveryBytes: 128 * 1024,
        manifestFlushMs: 5,
        tailCacheBytes: 128 * 1024,
        proofIdleMs: 2,
      },
    })
  }

  async #live(): Promise<void> {
    const clock = new MortalClock()
    const ended = new Promise<void>((resolve) => {
      this.#endLife = () => {
        clock.die()
        this.#endLife = () => {}
        this.#disk = this.#random.chance(0.7) ? this.#disk.crash() : this.#disk.kill()
        this.#store = this.#store.crash()
        this.#crashes++
        resolve()
      }
    })
    this.#operationsLeft = 20 + this.#random.below(1_500)
    const work = this.#work(clock)
    // What fails because the disk died settles nothing.
    await Promise.race([
      ended,
      work.catch((error: unknown) => (clock.isDead ? ended : Promise.reject(error))),
    ])
    this.#operationsLeft = Number.POSITIVE_INFINITY
  }

  async #work(clock: MortalClock): Promise<void> {
    const shard = await this.#open(clock)
    const { topic } = await shard.createTopic({
      requestId: someRequestId(),
      name: 'orders',
      partitions: PARTITIONS.length,
      keyEncoding: 'text',
      valueEncoding: 'text',
      ifMissing: true,
      options: { ...DEFAULT_TOPIC_OPTIONS, untilAcked: true },
    })
    this.#topicId = topic.topicId
    await this.#check(shard)
    const joined: [Cursor, TestCursor][] = []
    for (const cursor of this.#cursors) {
      const { group, partition } = cursor
      joined.push([cursor, await TestCursor.join(shard, group, { topicId: topic.topicId, partition })])
    }
    await Promise.all([
      ...PARTITIONS.map((partition) => this.#produce(shard, partition)),
      ...PARTITIONS.map((partition) => this.#deleteByHand(shard, partition)),
      ...joined.map(([cursor, member]) => this.#consume(shard, cursor, member)),
    ])
  }

  async #produce(shard: Shard, partition: number): Promise<never> {
    for (;;) {
      const value = `${this.#random.uint32()} ${'x'.repeat(this.#random.pick([100, 1_000, 6_000]))}`
      const batch = textBatch([value, `${value}+`], { topicId: this.#topicId as TopicId, partition })
      const { baseOffset } = await append(shard, batch)
      this.#values[partition]?.set(baseOffset, value).set(baseOffset + 1, `${value}+`)
      this.#chunksHeldMax = Math.max(this.#chunksHeldMax, this.#chunks(shard).length)
    }
  }

  async #consume(shard: Shard, cursor: Cursor, member: TestCursor): Promise<never> {
    for (;;) {
      const { durableEnd } = shard.bounds(this.#topicId as TopicId, cursor.partition)
      cursor.asked = Math.max(cursor.asked, durableEnd - this.#random.below(20))
      const refusal = await member.ack(cursor.asked)
      if (refusal !== null) throw new Error(`an ack was refused: ${refusal}`)
      cursor.answered = cursor.asked
      await turns(this.#random.below(5))
    }
  }

  async #deleteByHand(shard: Shard, partition: number): Promise<never> {
    const progress = this.#deletions[partition] as Progress
    for (;;) {
      await turns(100 + this.#random.below(400))
      const { startOffset, durableEnd } = shard.bounds(this.#topicId as TopicId, partition)
      const offset = startOffset + this.#random.below(Math.min(30, durableEnd - startOffset + 1))
      progress.asked = Math.max(progress.asked, offset)
      const requestId = someRequestId()
      await shard.deleteBefore({ requestId, topicId: this.#topicId as TopicId, partition, offset })
      progress.answered = Math.max(progress.answered, offset)
    }
  }

  #start(shard: Shard, partition: number): number {
    return shard.bounds(this.#topicId as TopicId, partition).startOffset
  }

  #chunks(shard: Shard): number[] {
    const topics = [...shard.groups.state.topics.values()]
    return topics.flatMap(({ partitions }) =>
      partitions.flatMap(({ chunks }) => chunks.map(({ chunkId }) => chunkId)),
    )
  }

  /** Right after a start. */
  async #check(shard: Shard): Promise<void> {
    if (this.#topicId === undefined || shard.topic(this.#topicId) === undefined) return
    for (const partition of PARTITIONS) await this.#checkPartition(shard, this.#topicId, partition)
  }

  async #checkPartition(shard: Shard, topicId: TopicId, partition: number): Promise<void> {
    const start = this.#start(shard, partition)
    const deletion = this.#deletions[partition] as Progress
    const cursors = this.#cursors.filter((cursor) => cursor.partition === partition)
    const slowest = Math.min(...cursors.map(({ asked }) => asked))
    if (start < deletion.answered)
      throw new Error(`a deletion before ${deletion.answered} was undone: ${start}`)
    if (start > Math.max(slowest, deletion.asked))
      throw new Error(`records below ${start} are gone, and a cursor is at ${slowest}`)
    for (const { group, answered, asked } of cursors) {
      const key = `${topicId}/${partition}` as const
      const offset = shard.groups.state.groupsByName.get(group)?.cursors.get(key)?.offset ?? 0
      if (offset < answered || offset > asked)
        throw new Error(`the cursor of ${group} is at ${offset}, not from ${answered} to ${asked}`)
    }
    const { records } = await readAll(shard, topicId, { partition })
    const found = new Map(records.map(({ offset, value }) => [offset, value]))
    for (const [offset, value] of this.#values[partition] ?? [])
      if (offset >= start && found.get(offset) !== value) throw new Error(`offset ${offset} is lost`)
  }

  /** Everybody catches up: then hardly anything is left, in the log and on the disk. */
  async #settle(shard: Shard): Promise<void> {
    const topicId = this.#topicId as TopicId
    for (const group of GROUPS) {
      for (const partition of PARTITIONS) {
        const cursor = await TestCursor.join(shard, group, { topicId, partition })
        await cursor.ack(shard.bounds(topicId, partition).durableEnd)
      }
    }
    const deadlineMs = performance.now() + 60_000
    const state = () => shard.groups.state.topics.get(topicId)?.partitions ?? []
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, 50))
      const files = new Set(await this.#disk.list('/data/chunks'))
      const held = new Set(this.#chunks(shard))
      if (state().every(({ chunks }) => chunks.length === 0) && files.size === held.size) return
      if (performance.now() > deadlineMs)
        throw new Error(`${files.size} chunk files are left, and ${held.size} are part of the log`)
    }
  }
}

async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve))
}
