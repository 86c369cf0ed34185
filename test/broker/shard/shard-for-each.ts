import { afterEach, beforeEach, expect } from 'vitest'
import type { Shard, ShardLimits } from '../../../broker/shard/shard.js'
import type { TopicId } from '../../../protocol/ids.js'
import { createTopic } from '../../support/test-shard.js'
import { SimulatedShard } from './simulated-shard.js'

export interface ShardWithTopic {
  readonly simulated: SimulatedShard
  readonly shard: Shard
  readonly topicId: TopicId
}

/** Gives each test of the calling file a shard of its own with one topic, and sees at its end that nothing failed unseen. */
export function shardForEach(
  take: (made: ShardWithTopic) => void,
  {
    topic = 'orders',
    partitions = 2,
    limits = {},
  }: { topic?: string; partitions?: number; limits?: Partial<ShardLimits> } = {},
): void {
  let simulated: SimulatedShard

  beforeEach(async () => {
    simulated = new SimulatedShard()
    const shard = await simulated.open(limits)
    take({ simulated, shard, topicId: await createTopic(shard, topic, partitions) })
  })

  afterEach(async () => {
    await simulated.close()
    expect(simulated.failures).toEqual([])
  })
}
