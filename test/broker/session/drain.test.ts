import { describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import { requestIdFrom } from '../../../protocol/ids.js'
import {
  fetch,
  fetched,
  goingAway,
  initProducer,
  ping,
  pong,
  produced,
  subscribe,
  subscribed,
} from '../../../protocol/messages/index.js'
import { ManualClock } from '../../support/manual-clock.js'
import { until } from '../../support/until.js'
import { bytesOf, quiet, startHarness } from './harness.js'

describe('a listener that closes', () => {
  it('tells its clients, refuses new writes, answers what is in flight, and then closes', async () => {
    const { connect, shard, listener } = await startHarness()
    shard.autoCommit = false
    const { topicId } = shard.addTopic({ name: 't' })
    const client = await connect()
    const idle = await connect()
    client.produce(topicId, bytesOf(10))
    const wait = { topicId, partition: 0, offset: 0, minBytes: 1, maxBytes: 10, maxWaitMs: 60_000 }
    client.send(fetch, { correlationId: 70, ...wait })
    await client.request(
      subscribe,
      { subscriptionId: 1, topicId, partition: 0, offset: 0, creditBytes: 9 },
      subscribed,
    )
    await until(() => shard.pendingAppends === 1 && shard.followers === 2)
    const closed = listener.close({ drainMs: 5_000 })
    expect(await client.next(goingAway)).toMatchObject({ deadlineMs: 5_000 })
    expect(await client.next(fetched)).toMatchObject({ correlationId: 70, durableEnd: 0 })
    expect(shard.followers).toBe(0)
    await idle.next(goingAway)
    expect((await idle.closed).code).toBe(1001)
    client.produce(topicId, bytesOf(10))
    expect(await client.nextError()).toMatchObject({ code: 'SHUTTING_DOWN', retriable: true, outcome: 0 })
    client.send(initProducer, { correlationId: 71, requestId: requestIdFrom('ab'.repeat(16)), name: null })
    expect(await client.nextError()).toMatchObject({ correlationId: 71, code: 'SHUTTING_DOWN' })
    client.send(subscribe, {
      correlationId: 72,
      subscriptionId: 2,
      topicId,
      partition: 0,
      offset: 0,
      creditBytes: 9,
    })
    expect(await client.nextError()).toMatchObject({ correlationId: 72, code: 'SHUTTING_DOWN' })
    expect(await client.request(ping, {}, pong)).toBeDefined()
    await expect(connect()).rejects.toThrow()
    expect(shard.pendingAppends).toBe(1)
    shard.commit()
    expect((await client.next(produced)).acks).toHaveLength(1)
    expect((await client.closed).code).toBe(1001)
    await closed
  })

  it('cuts at the deadline what is not answered', async () => {
    const clock = new ManualClock()
    const { connect, shard, listener, metrics } = await startHarness({ clock })
    shard.autoCommit = false
    const { topicId } = shard.addTopic({ name: 't' })
    const client = await connect()
    client.produce(topicId, bytesOf(10))
    await until(() => shard.pendingAppends === 1)
    const closed = listener.close({ drainMs: 5_000 })
    await quiet()
    expect(client.webSocket.readyState).toBe(WebSocket.OPEN)
    clock.advance(5_000)
    await closed
    expect((await client.closed).code).toBe(1006)
    shard.commit()
    expect(metrics.snapshot().gauges.inFlightBytes).toBe(0)
  })

  it('does not wait for a client that takes nothing', async () => {
    const clock = new ManualClock()
    const { connect, shard, listener } = await startHarness({ clock })
    const { topicId } = shard.addTopic({ name: 't' })
    for (let i = 0; i < 40; i++) shard.put(topicId, 0, bytesOf(1024 * 1024))
    const client = await connect()
    client.socket.pause()
    const rest = { partition: 0, offset: 0, creditBytes: 256 * 1024 * 1024 }
    client.send(subscribe, { correlationId: 1, subscriptionId: 1, topicId, ...rest })
    await until(() => shard.heldResults > 0)
    await quiet()
    const closed = listener.close({ drainMs: 100 })
    clock.advance(100)
    await closed
    await until(() => shard.heldResults === 0)
  })

  it('gives a second call the end of the first', async () => {
    const { listener } = await startHarness()
    const first = listener.close({ drainMs: 0 })
    expect(listener.close({ drainMs: 1_000 })).toBe(first)
    await first
  })
})
