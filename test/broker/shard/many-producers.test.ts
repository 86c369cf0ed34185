import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { LmdbStore } from '../../../broker/manifest/lmdb-store.js'
import { Manifest } from '../../../broker/manifest/manifest.js'
import { nodeDisk } from '../../../broker/platform/node-disk.js'
import { layoutOf } from '../../../broker/shard/layout.js'
import type { Shard } from '../../../broker/shard/shard.js'
import type { ShardState } from '../../../broker/shard/state.js'
import type { TopicId } from '../../../protocol/ids.js'
import { append, createTopic, openTestShard, someRequestId, textBatch } from '../../support/test-shard.js'
import { until } from '../../support/until.js'

const MIB = 1024 * 1024
const isLong = process.env.MILLRACE_LONG === '1'
const PRODUCERS = isLong ? 100_000 : 40_000
const KEPT = PRODUCERS / 50
/** Producers with a name. */
const NAMED = 1 / 20
const limits = {
  producersMax: KEPT,
  walSegmentBytes: 16 * MIB,
  walBytesMax: 128 * MIB,
  snapshotEveryBytes: 64 * MIB,
  chunkBytes: 8 * MIB,
  groupBytesMax: MIB,
  walBacklogBytes: 16 * MIB,
  manifestOverlayBytesMax: 16 * MIB,
}

/** Named ones register, each in a WAL group of its own; the others take an id from a block. All write one batch. */
async function live(shard: Shard, topicId: TopicId, i: number): Promise<void> {
  const name = i % (1 / NAMED) === 0 ? `worker-${i}` : null
  const identity = await shard.initProducer({ requestId: someRequestId(), name })
  await append(shard, textBatch(['x'], { topicId, partition: i % 4, ...identity }))
}

test(`${PRODUCERS} producers that live shortly leave a bounded state, and a start that loads no more for it`, async () => {
  const directory = await mkdtemp(join(tmpdir(), 'millrace-producers-'))
  const starts: { ms: number; rows: number }[] = []
  const open = async () => {
    const startedMs = performance.now()
    const store = await LmdbStore.open({ disk: nodeDisk, directory: layoutOf(directory).manifest })
    const rows = [...store.entries()].length
    const shard = await openTestShard({ directory, disk: nodeDisk, store, limits })
    starts.push({ ms: Math.round(performance.now() - startedMs), rows })
    return { store, shard }
  }
  try {
    let { store, shard } = await open()
    const topicId = await createTopic(shard, 'orders', 4)
    for (let i = 0; i < PRODUCERS; i += 1_000) {
      // Once there are as many as are kept, a start has what it will ever have to load.
      if (i === 10 * KEPT) {
        await shard.close()
        await store.close()
        ;({ store, shard } = await open())
      }
      await Promise.all(Array.from({ length: 1_000 }, (_, n) => live(shard, topicId, i + n)))
    }
    // The last ones go with the next look.
    const state = shard.groups.state as unknown as ShardState
    await until(() => Math.max(state.producerWindows, state.producerNames.size) <= KEPT)
    await shard.close()
    const { producers, producerNames, requests } = new Manifest(store).load()
    await store.close()
    ;({ store, shard } = await open())
    const [, early, late] = starts
    console.log(
      `${PRODUCERS} producers: ${producers.length} windows, ${producerNames.length} names and ${requests.length} answers are kept; a start loads ${late?.rows} rows in ${late?.ms} ms, and ${early?.rows} in ${early?.ms} ms after ${10 * KEPT}`,
    )
    expect(producers.length).toBeLessThanOrEqual(KEPT)
    expect(producerNames.length).toBeLessThanOrEqual(KEPT)
    expect(late?.rows).toBeLessThan(4 * (early?.rows ?? 0))
    expect(shard.bounds(topicId, 0).durableEnd).toBe(PRODUCERS / 4)
    await shard.close()
    await store.close()
  } finally {
    await rm(directory, { recursive: true })
  }
}, 120_000)
