import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Shard } from '../../../broker/shard/shard.js'
import type { RequestId } from '../../../protocol/ids.js'
import { createTopic, someRequestId } from '../../support/test-shard.js'
import { outcomeOf, SimulatedShard } from './simulated-shard.js'

let simulated: SimulatedShard
let shard: Shard

beforeEach(async () => {
  simulated = new SimulatedShard()
  shard = await simulated.open({ topicsMax: 4 })
})

afterEach(async () => {
  await simulated.close()
  expect(simulated.failures).toEqual([])
})

const create = (requestId: RequestId, name: string) =>
  shard.createTopic({
    requestId,
    name,
    partitions: 2,
    keyEncoding: 'text',
    valueEncoding: 'json',
    ifMissing: false,
  })

describe('a request that is sent again', () => {
  test('gets its first answer, after a restart too', async () => {
    const [creating, deleting, registering] = [someRequestId(), someRequestId(), someRequestId()]
    const created = await create(creating, 'orders')
    const identity = await shard.initProducer({ requestId: registering, name: 'shop-1' })
    const old = await createTopic(shard, 'old')
    const deleted = await shard.deleteTopic({ requestId: deleting, name: 'old' })
    expect(deleted).toEqual({ topicId: old })
    for (const restart of [() => simulated.crash('power cut'), () => simulated.reopen()]) {
      shard = await restart()
      expect(await create(creating, 'orders')).toEqual(created)
      expect(await shard.initProducer({ requestId: registering, name: 'shop-1' })).toEqual(identity)
      expect(await shard.deleteTopic({ requestId: deleting, name: 'old' })).toEqual(deleted)
    }
    expect(await outcomeOf(create(someRequestId(), 'orders'))).toMatchObject({ code: 'TOPIC_EXISTS' })
  })

  test('and that is being written waits for its first answer', async () => {
    const requestId = someRequestId()
    const stall = simulated.stall('walBeforeWrite')
    const first = create(requestId, 'orders')
    await stall.held()
    const again = create(requestId, 'orders')
    stall.release()
    expect(await again).toEqual(await first)
  })

  test('does not bring back a topic that was deleted since', async () => {
    const requestId = someRequestId()
    const created = await create(requestId, 'orders')
    await shard.deleteTopic({ requestId: someRequestId(), name: 'orders' })
    expect(await create(requestId, 'orders')).toEqual(created)
    expect(shard.topicNamed('orders')).toBeUndefined()
  })
})

describe('the limit of topics', () => {
  test('holds for topics that are created all at once', async () => {
    const results = await Promise.all(
      Array.from({ length: 10 }, (_, i) => outcomeOf(create(someRequestId(), `t${i}`))),
    )
    expect(results.filter((result) => 'created' in result)).toHaveLength(4)
    expect(results.filter((result) => 'code' in result && result.code === 'LIMIT_REACHED')).toHaveLength(6)
    expect(shard.topicsAfter(null, 100).filter(({ internal }) => !internal)).toHaveLength(4)
  })
})
