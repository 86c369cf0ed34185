import { afterEach, expect, test } from 'vitest'
import type { Shard } from '../../../broker/shard/shard.js'
import type { ShardState } from '../../../broker/shard/state.js'
import type { TopicId } from '../../../protocol/ids.js'
import { idBatch } from '../../support/checked-writes.js'
import { SeededRandom } from '../../support/seeded-random.js'
import { append, createTopic, textBatch } from '../../support/test-shard.js'
import { SimulatedShard, until } from './simulated-shard.js'

const WINDOW_MS = 600_000
const FLUSH_MS = 1_000

let simulated: SimulatedShard

afterEach(async () => {
  await simulated.close()
  expect(simulated.failures).toEqual([])
})

const dedupOf = (shard: Shard): ShardState['dedup'] => (shard.groups.state as unknown as ShardState).dedup

async function flush(): Promise<void> {
  const before = simulated.counter('manifestFlushes')
  simulated.clock.advance(FLUSH_MS)
  await until(() => simulated.counter('manifestFlushes') > before)
}

for (const seed of [1, 2, 3, 4, 5, 6]) {
  test(`whole pages of dedup ids outlive kills and power cuts, and their places are used again (seed ${seed})`, async () => {
    const random = new SeededRandom(seed)
    simulated = new SimulatedShard({ seed })
    let shard = await simulated.open({ manifestFlushMs: FLUSH_MS, snapshotEveryBytes: 40_000 })
    const topics: TopicId[] = []
    for (const name of ['orders', 'refunds']) topics.push(await createTopic(shard, name, 2))
    let serial = 0
    let pagesMax = 0
    let snapshots = 0
    for (let step = 0; step < 120; step++) {
      const ids = Array.from({ length: 1 + random.below(900) }, () => `${serial++}=x`)
      const ack = await append(
        shard,
        idBatch(ids, { topicId: random.pick(topics), partition: random.below(2) }),
      )
      expect(ack.duplicates).toBeNull()
      if (random.chance(0.6)) await flush()
      if (random.chance(0.1)) simulated.clock.advance(WINDOW_MS / 3)
      pagesMax = Math.max(pagesMax, dedupOf(shard).pageCount)
      snapshots += simulated.counter('snapshots')
      if (!random.chance(0.12)) continue
      // What is due goes with the next group, and a start writes one.
      await append(shard, textBatch(['x'], { topicId: topics[0] as TopicId }))
      const digests = [...dedupOf(shard).digests()]
      shard = await (random.chance(0.3)
        ? simulated.reopen()
        : simulated.crash(random.pick(['kill', 'power cut'])))
      expect([...dedupOf(shard).digests()]).toEqual(digests)
    }
    expect(snapshots).toBeGreaterThan(0)
    expect(pagesMax).toBeGreaterThan(8)
    expect(dedupOf(shard).slots.end).toBeGreaterThan(8)
    expect(dedupOf(shard).slots.end).toBeLessThan(4 * pagesMax)
  })
}
