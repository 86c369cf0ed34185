import { cp, mkdtemp, readdir, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { LmdbStore } from '../../broker/manifest/lmdb-store.js'
import { type Failpoints, noFailpoints } from '../../broker/platform/failpoints.js'
import { nodeDisk } from '../../broker/platform/node-disk.js'
import type { Shard, ShardLimits } from '../../broker/shard/shard.js'
import type { TopicId } from '../../protocol/ids.js'
import { MortalClock } from './mortal-clock.js'
import { SeededRandom } from './seeded-random.js'
import {
  append,
  createTopic,
  openTestShard,
  type ReadRecord,
  readAll,
  someRequestId,
  textBatch,
} from './test-shard.js'

/** Every part of a data directory within some hundred kilobytes: chunks seal, segments roll, snapshots are taken. */
export const TINY_LIMITS: Partial<ShardLimits> = {
  // Topics, records and chunks are counted.
  changesBytesMax: 0,
  walSegmentBytes: 64 * 1024,
  groupBytesMax: 16 * 1024,
  batchBytesMax: 16 * 1024,
  spareWalSegments: 1,
  chunkBytes: 6 * 1024,
  manifestFlushMs: 10,
  snapshotEveryBytes: 48 * 1024,
  // After the flush: then nothing proves the last group, which is the proof of the one before it.
  proofIdleMs: 50,
}

/** Everything that a data directory was acknowledged to hold. */
export interface Contents {
  readonly topics: readonly { name: string; topicId: TopicId; partitions: number }[]
  /** By `topic/partition`. */
  readonly records: Readonly<Record<string, readonly ReadRecord[]>>
}

export interface SmallDataDirectory {
  readonly directory: string
  readonly contents: Contents
  remove(): Promise<void>
}

const withoutSnapshots: Failpoints = {
  hit: (name) => (name === 'snapshotBeforeRename' ? Promise.reject(new Error('no snapshots')) : undefined),
}

/**
 * A real data directory, made by a real shard: three topics, five partitions, a named and an unnamed producer, chunks,
 * snapshots, and unsealed records in more than one WAL segment. `stop` says how the shard came to its end; after
 * `killed` the files are as SIGKILL leaves them in a quiet moment.
 */
export async function smallDataDirectory(options: {
  stop: 'clean' | 'killed'
  limits?: Partial<ShardLimits>
  rounds?: number
  /** Nothing stays in the WAL for long. */
  allSealed?: boolean
  /** None can be written, so the WAL is never trimmed. */
  noSnapshots?: boolean
  /** What else is done, last. */
  more?: (shard: Shard) => Promise<void>
}): Promise<SmallDataDirectory> {
  const live = await mkdtemp(join(tmpdir(), 'millrace-small-'))
  const store = await LmdbStore.open({
    disk: nodeDisk,
    directory: join(live, 'manifest'),
    mapBytes: 64 * 1024 ** 2,
  })
  const clock = new MortalClock()
  const limits = { ...TINY_LIMITS, ...options.limits }
  const shard = await openTestShard({
    directory: live,
    disk: nodeDisk,
    store,
    clock,
    random: new SeededRandom(7),
    failpoints: options.noSnapshots === true ? withoutSnapshots : noFailpoints,
    limits,
  })
  const { rounds = 12, allSealed = false } = options
  const producer = await begin(shard)
  // Twice, so that there are two snapshots, however slow the machine is.
  for (const [from, to] of [
    [0, rounds / 2],
    [rounds / 2, rounds],
  ] as const) {
    for (let round = from; round < to; round++) await fill(shard, { producer, round, allSealed })
    await quiet(live)
  }
  await shard.deleteTopic({ requestId: someRequestId(), name: 'gone' })
  await options.more?.(shard)
  const contents = await contentsOf(shard)
  await quiet(live)
  let directory = live
  if (options.stop === 'killed') {
    directory = await mkdtemp(join(tmpdir(), 'millrace-small-'))
    await cp(live, directory, { recursive: true })
  }
  clock.die()
  await shard.close()
  await store.close()
  if (directory !== live) await rm(live, { recursive: true })
  return { directory, contents, remove: () => rm(directory, { recursive: true, force: true }) }
}

/** Gives the same directory over again: making one takes most of a second, copying it next to nothing. */
export class SmallDirectories {
  readonly #originals = new Map<'clean' | 'killed', Promise<SmallDataDirectory>>()

  /** A copy of the one that came to this end. */
  async copy(stop: 'clean' | 'killed'): Promise<SmallDataDirectory> {
    const made = this.#originals.get(stop) ?? smallDataDirectory({ stop })
    this.#originals.set(stop, made)
    const original = await made
    const directory = await mkdtemp(join(tmpdir(), 'millrace-small-'))
    await cp(original.directory, directory, { recursive: true })
    return { ...original, directory, remove: () => rm(directory, { recursive: true, force: true }) }
  }

  /** Removes the originals. */
  async remove(): Promise<void> {
    for (const made of this.#originals.values()) await (await made).remove()
  }
}

/** Waits until nothing changes in a directory any more: a kill takes no time, a copy does. */
async function quiet(directory: string): Promise<void> {
  let before = ''
  // Once does not tell: where this process stood still, nobody has had the time to write.
  for (let looks = 0; looks < 2; ) {
    const now = await stampOf(directory)
    looks = now === before ? looks + 1 : 0
    before = now
    // Longer than a proof, a flush or a seal keeps anybody waiting.
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}

/** Names, sizes and times of all files. */
async function stampOf(directory: string): Promise<string> {
  const stamps: string[] = []
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name)
    // What went meanwhile shows next time.
    const found = await stat(path).catch(() => undefined)
    stamps.push(`${path} ${found?.size} ${found?.mtimeMs}`)
  }
  return stamps.sort().join('\n')
}

type Producer = Awaited<ReturnType<Shard['initProducer']>>

async function begin(shard: Shard): Promise<Producer> {
  await createTopic(shard, 'orders', 2)
  await createTopic(shard, 'clicks', 2)
  await createTopic(shard, 'audit', 1)
  const gone = await createTopic(shard, 'gone', 1)
  await append(shard, textBatch(['x'], { topicId: gone }))
  return await shard.initProducer({ requestId: someRequestId(), name: 'shop-1' })
}

async function fill(
  shard: Shard,
  { producer, round, allSealed }: { producer: Producer; round: number; allSealed: boolean },
): Promise<void> {
  const topicId = (name: string): TopicId => shard.topicNamed(name)?.topicId as TopicId
  const values = (tag: string): string[] => [0, 1, 2].map((i) => `${tag} ${round} ${i} ${'.'.repeat(120)}`)
  for (const partition of [0, 1]) {
    const order = { topicId: topicId('orders'), partition, ...producer, baseSequence: round * 3 }
    await append(shard, textBatch(values('order'), order))
    await append(shard, textBatch(values('click'), { topicId: topicId('clicks'), partition }))
  }
  // Cold: it stays in the WAL.
  if (round % 4 === 0 && !allSealed)
    await append(shard, textBatch([`audit ${round}`], { topicId: topicId('audit') }))
}

/** Reads everything that a shard holds. */
export async function contentsOf(shard: Shard): Promise<Contents> {
  const topics = shard
    .topicsAfter(null, 1000)
    .map(({ name, topicId, partitions }) => ({ name, topicId, partitions }))
  const records: Record<string, ReadRecord[]> = {}
  for (const { name, topicId, partitions } of topics) {
    for (let partition = 0; partition < partitions; partition++) {
      records[`${name}/${partition}`] = (await readAll(shard, topicId, { partition })).records
    }
  }
  return { topics, records }
}

/** Starts a shard on a directory, reads everything and stops it again. */
export async function openAndRead(directory: string): Promise<Contents> {
  const store = await LmdbStore.open({
    disk: nodeDisk,
    directory: join(directory, 'manifest'),
    mapBytes: 64 * 1024 ** 2,
  })
  try {
    const shard = await openTestShard({ directory, disk: nodeDisk, store, limits: TINY_LIMITS })
    try {
      return await contentsOf(shard)
    } finally {
      await shard.close()
    }
  } finally {
    await store.close()
  }
}
