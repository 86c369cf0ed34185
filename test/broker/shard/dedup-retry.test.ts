import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Shard } from '../../../broker/shard/shard.js'
import type { TopicId } from '../../../protocol/ids.js'
import { idBatch } from '../../support/checked-writes.js'
import { append, createTopic, someRequestId } from '../../support/test-shard.js'
import { SimulatedShard } from './simulated-shard.js'

const DAY_MS = 24 * 3_600_000

let simulated: SimulatedShard
let shard: Shard
let topicId: TopicId

beforeEach(async () => {
  simulated = new SimulatedShard()
  shard = await simulated.open()
  topicId = await createTopic(shard, 'orders', 2)
})

afterEach(async () => {
  await simulated.close()
  expect(simulated.failures).toEqual([])
})

test('a batch that its producer sends again is not called a duplicate of a record that is not on disk yet', async () => {
  const producer = await shard.initProducer({ requestId: someRequestId(), name: null })
  const batch = idBatch(['a=1'], { topicId, ...producer, baseSequence: 0 })
  const first = await append(shard, batch)
  expect(first.duplicates).toBeNull()

  // The window is over, so the id may be written again; that record waits for its group when the retry comes.
  simulated.clock.jumpTo(simulated.clock.now() + DAY_MS)
  const stall = simulated.stall('walBeforeWrite')
  const later = append(shard, idBatch(['a=2'], { topicId, partition: 1 }))
  const again = append(shard, batch)
  await stall.held()
  expect(await again).toEqual({ ...first, duplicate: true })
  stall.release()
  expect(await later).toMatchObject({ baseOffset: 0, duplicate: false, duplicates: null })
})
