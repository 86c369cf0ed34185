import { cp, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { LmdbStore } from '../../broker/manifest/lmdb-store.js'
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
  walSegmentBytes: 64 * 1024,
  groupBytesMax: 16 * 1024,
  batchBytesMax: 16 * 1024,
  spareWalSegments: 1,
  chunkBytes: 6 * 1024,
  manifestFlushMs: 10,
  snapshotEveryBytes: 48 * 1024,
  proofIdleMs: 5,
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

/** Waits until a condition holds. */
export async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 10_000
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error('it did not come to be')
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
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
    limits,
  })
  await fill(shard, { rounds: 12, allSealed: false, ...options })
  const contents = await contentsOf(shard)
  // Idle: what is written is proven, flushed and sealed as far as it will be.
  await new Promise((resolve) => setTimeout(resolve, 150))
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

async function fill(
  shard: Shard,
  { rounds, allSealed }: { rounds: number; allSealed: boolean },
): Promise<void> {
  const orders = await createTopic(shard, 'orders', 2)
  const clicks = await createTopic(shard, 'clicks', 2)
  const audit = await createTopic(shard, 'audit', 1)
  const gone = await createTopic(shard, 'gone', 1)
  const shop = await shard.initProducer({ requestId: someRequestId(), name: 'shop-1' })
  await append(shard, textBatch(['x'], { topicId: gone }))
  for (let round = 0; round < rounds; round++) {
    const values = (tag: string): string[] => [0, 1, 2].map((i) => `${tag} ${round} ${i} ${'.'.repeat(120)}`)
    for (const partition of [0, 1]) {
      await append(
        shard,
        textBatch(values('order'), { topicId: orders, partition, ...shop, baseSequence: round * 3 }),
      )
      await append(shard, textBatch(values('click'), { topicId: clicks, partition }))
    }
    // Cold: it stays in the WAL.
    if (round % 4 === 0 && !allSealed) await append(shard, textBatch([`audit ${round}`], { topicId: audit }))
  }
  await shard.deleteTopic({ requestId: someRequestId(), name: 'gone' })
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
