import { expect, test } from 'vitest'
import { layoutOf, readIdentity } from '../../../broker/shard/layout.js'
import { replayGroup } from '../../../broker/shard/replay.js'
import { ShardState } from '../../../broker/shard/state.js'
import type { WalIdentity } from '../../../broker/wal/position.js'
import { scanWal } from '../../../broker/wal/scan.js'
import { idBatch } from '../../support/checked-writes.js'
import { append, createTopic, textBatch } from '../../support/test-shard.js'
import { SimulatedShard } from './simulated-shard.js'

const HOUR_MS = 3_600_000

/** What a start without a manifest would make of the WAL. */
async function replayed(simulated: SimulatedShard): Promise<ShardState> {
  const layout = layoutOf('/data')
  const identity = (await readIdentity(simulated.disk, layout)) as WalIdentity
  const state = new ShardState(identity)
  const { disk } = simulated
  await scanWal({
    disk,
    directory: layout.wal,
    identity,
    from: 1,
    visit: (group) => replayGroup(state, group),
  })
  return state
}

test('dedup ids come and go in a replay with the time of the groups, as they did when they were written', async () => {
  const simulated = new SimulatedShard()
  const shard = await simulated.open()
  const topicId = await createTopic(shard, 'orders')
  await append(shard, idBatch(['a=1', 'b=2'], { topicId }))
  expect((await replayed(simulated)).dedup.ids).toBe(2)
  simulated.clock.advance(HOUR_MS)
  // It has no ids, and its time alone lets the others go.
  await append(shard, textBatch(['x'], { topicId }))
  await append(shard, idBatch(['c=3', 'a=4'], { topicId }))
  await append(shard, idBatch(['c=5', 'd=6'], { topicId }))
  await shard.close()
  const state = await replayed(simulated)
  expect(state.dedup.ids).toBe(3)
  expect(state.hash()).toBe(shard.stateHash())
})

test('records that a start offset passed while they were in the WAL are gone in a replay too', async () => {
  const simulated = new SimulatedShard()
  const shard = await simulated.open()
  const topicId = await createTopic(shard, 'letters')
  await append(shard, textBatch(['a', 'b', 'c'], { topicId }))
  await append(shard, textBatch(['d'], { topicId }))
  const requestId = 'f'.repeat(32) as never
  await shard.groups.moveDeadLetters({ requestId, topicId, partition: 0, from: 0, to: 2, batches: [] })
  await shard.close()
  const state = await replayed(simulated)
  const partition = state.partition(topicId, 0)
  expect(partition).toMatchObject({ startOffset: 2, sealedEnd: 0, endOffset: 4 })
  expect(partition?.tail.length).toBe(2)
  expect(state.hash()).toBe(shard.stateHash())
})
