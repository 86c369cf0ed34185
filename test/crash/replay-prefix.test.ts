import { expect, test } from 'vitest'
import { layoutOf, readIdentity } from '../../broker/shard/layout.js'
import { replayGroup } from '../../broker/shard/replay.js'
import { ShardState } from '../../broker/shard/state.js'
import { type ScannedGroup, scanWal } from '../../broker/wal/scan.js'
import { SimulatedDisk } from '../support/simulated-disk.js'
import { SimulatedStore } from '../support/simulated-store.js'
import { append, createTopic, openTestShard, someRequestId, textBatch } from '../support/test-shard.js'

const KIB = 1024

/** A WAL with every command in it, over two starts of the broker; returns its groups and the state that wrote them. */
async function recordWal(): Promise<{
  groups: ScannedGroup[]
  identity: { clusterId: never; walId: string }
  hash: string
}> {
  const disk = new SimulatedDisk({ seed: 7 })
  const store = new SimulatedStore({ seed: 7 })
  // One segment: the whole history stays in the WAL.
  const limits = {
    walSegmentBytes: 16 * KIB * KIB,
    walBytesMax: 64 * KIB * KIB,
    snapshotEveryBytes: 64 * KIB * KIB,
    chunkBytes: 16 * KIB,
    producersMax: 8,
  }
  let hash = ''
  for (let start = 0; start < 2; start++) {
    const shard = await openTestShard({ directory: '/data', disk, store, limits })
    for (let round = 0; round < 12; round++) {
      const topicId = await createTopic(shard, `topic-${round % 3}`, 2)
      const named = await shard.initProducer({ requestId: someRequestId(), name: `shop-${round % 2}` })
      const unnamed = await shard.initProducer({ requestId: someRequestId(), name: null })
      const values = Array.from({ length: 20 }, (_, i) => `${round}/${i} ${'x'.repeat(300)}`)
      await Promise.all([
        append(shard, textBatch(values, { topicId, partition: 0, ...named })),
        append(shard, textBatch(values, { topicId, partition: 1, ...unnamed })),
        append(shard, textBatch(values, { topicId, partition: 1 })),
      ])
      if (round % 5 === 4) await shard.deleteTopic({ requestId: someRequestId(), name: `topic-${round % 3}` })
    }
    await shard.close()
    hash = shard.stateHash()
  }
  const identity = (await readIdentity(disk, layoutOf('/data'))) as never
  const groups: ScannedGroup[] = []
  await scanWal({
    disk,
    directory: layoutOf('/data').wal,
    identity,
    from: 1,
    visit: (group) => groups.push({ ...group, bytes: group.bytes.slice() }),
  })
  return { groups, identity, hash }
}

function replay(identity: { clusterId: never; walId: string }, groups: readonly ScannedGroup[]): string {
  const state = new ShardState(identity)
  for (const group of groups) replayGroup(state, group)
  return state.hash()
}

test('replaying every prefix of a WAL twice gives the same state, and the whole of it the state that wrote it', async () => {
  const { groups, identity, hash } = await recordWal()
  expect(groups.length).toBeGreaterThan(60)
  const hashes = groups.map((_, last) => {
    const prefix = groups.slice(0, last + 1)
    const first = replay(identity, prefix)
    expect(replay(identity, prefix)).toBe(first)
    return first
  })
  expect(new Set(hashes).size).toBe(groups.length)
  expect(hashes.at(-1)).toBe(hash)
})
