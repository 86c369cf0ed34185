import { expect, test } from 'vitest'
import { append, createTopic, textBatch } from '../../support/test-shard.js'
import { SimulatedShard } from './simulated-shard.js'

test('how long a batch waits until a group takes it is observed, for each batch', async () => {
  const simulated = new SimulatedShard()
  const shard = await simulated.open()
  const topicId = await createTopic(shard, 'orders')
  const before = simulated.metrics.snapshot().histograms.queueMs.count
  const stall = simulated.stall('walBeforeWrite')
  const first = append(shard, textBatch(['a'], { topicId }))
  await stall.held()
  const second = append(shard, textBatch(['b'], { topicId }))
  simulated.clock.advance(40)
  stall.release()
  await Promise.all([first, second])
  const { count, max } = simulated.metrics.snapshot().histograms.queueMs
  expect([count - before, max]).toEqual([2, 40])
  await simulated.close()
})
