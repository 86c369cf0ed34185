import { describe, expect, it } from 'vitest'
import { produced, subscribe } from '../../../protocol/messages/index.js'
import { ManualClock } from '../../support/manual-clock.js'
import { until } from '../../support/until.js'
import { bytesOf, quiet, startHarness } from './harness.js'

const BEAT_MS = 15_000

/** Beats one by one, with time in between for pings and pongs to cross. */
async function beats(clock: ManualClock, count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    clock.advance(BEAT_MS)
    await quiet()
  }
}

describe('a connection', () => {
  it('that says no HELLO in time is closed', async () => {
    const clock = new ManualClock()
    const { connect } = await startHarness({ clock })
    const client = await connect({ hello: false })
    const spoke = await connect()
    clock.advance(9_999)
    await quiet()
    expect(client.webSocket.readyState).toBe(client.webSocket.OPEN)
    clock.advance(1)
    expect(await client.closed).toMatchObject({ code: 1008, reason: 'no HELLO in time' })
    expect(spoke.webSocket.readyState).toBe(spoke.webSocket.OPEN)
  })

  it('that is closed and does not answer the close is cut', async () => {
    const { connect, listener } = await startHarness({ limits: { closeTimeoutMs: 100 } })
    const client = await connect()
    client.socket.pause()
    client.webSocket.send('text')
    await quiet()
    expect(listener.connections).toBe(1)
    await until(() => listener.connections === 0)
  })

  it('that is idle lives as long as it answers pings', async () => {
    const clock = new ManualClock()
    const { connect, listener } = await startHarness({ clock })
    await connect()
    await beats(clock, 8)
    expect(listener.connections).toBe(1)
  })

  it('that is half open is dropped after two pings without an answer', async () => {
    const clock = new ManualClock()
    const { connect, listener, logged } = await startHarness({ clock })
    const client = await connect()
    await beats(clock, 1)
    client.socket.pause()
    await beats(clock, 3)
    expect(listener.connections).toBe(1)
    await beats(clock, 1)
    await until(() => listener.connections === 0)
    expect(logged.at(-1)).toMatchObject({
      msg: 'dropped a dead connection',
      reason: 'answered none of 2 pings',
    })
  })

  it('that we do not read is not blamed for its silence', async () => {
    const clock = new ManualClock()
    const { connect, shard, listener } = await startHarness({ clock })
    shard.autoCommit = false
    const { topicId } = shard.addTopic({ name: 't' })
    const client = await connect()
    client.produce(topicId, bytesOf(10))
    await until(() => shard.pendingAppends === 1)
    shard.press(true)
    // More than a paused socket still takes in, so that the pongs behind it cannot be seen.
    for (let i = 0; i < 20; i++) client.produce(topicId, Buffer.alloc(100 * 1024))
    await beats(clock, 10)
    expect(listener.connections).toBe(1)
    shard.press(false)
    await beats(clock, 2)
    expect(listener.connections).toBe(1)
    await until(() => shard.pendingAppends === 21)
    shard.commit()
    expect((await client.next(produced)).acks).toHaveLength(21)
  })

  it('that takes nothing of what waits for it is dropped after a minute, and not before', async () => {
    const clock = new ManualClock()
    const { connect, shard, listener, logged } = await startHarness({ clock })
    const { topicId } = shard.addTopic({ name: 't' })
    for (let i = 0; i < 40; i++) shard.put(topicId, 0, Buffer.alloc(1024 * 1024))
    const client = await connect()
    client.socket.pause()
    const rest = { partition: 0, offset: 0, creditBytes: 256 * 1024 * 1024 }
    client.send(subscribe, { correlationId: 1, subscriptionId: 1, topicId, ...rest })
    await until(() => shard.reads > 3)
    await beats(clock, 1)
    await beats(clock, 3)
    expect(listener.connections).toBe(1)
    await beats(clock, 1)
    await until(() => listener.connections === 0)
    expect(logged.at(-1)).toMatchObject({
      msg: 'dropped a dead connection',
      reason: 'took nothing for 60000 ms',
    })
    expect(shard).toMatchObject({ followers: 0, heldResults: 0 })
  })

  it('that reads slowly is never dropped', async () => {
    const clock = new ManualClock()
    const { connect, shard, listener } = await startHarness({ clock })
    const { topicId } = shard.addTopic({ name: 't' })
    // One message, larger than all that is read of it here.
    shard.put(topicId, 0, Buffer.alloc(32 * 1024 * 1024))
    const client = await connect()
    client.socket.pause()
    const rest = { partition: 0, offset: 0, creditBytes: 256 * 1024 * 1024 }
    client.send(subscribe, { correlationId: 1, subscriptionId: 1, topicId, ...rest })
    await until(() => shard.reads > 0)
    client.socket.on('data', () => client.socket.pause())
    for (let i = 0; i < 10; i++) {
      await beats(clock, 1)
      const before = client.socket.bytesRead
      while (client.socket.bytesRead < before + 512 * 1024) {
        client.socket.resume()
        await new Promise((resolve) => setImmediate(resolve))
      }
    }
    expect(listener.connections).toBe(1)
    expect(shard.heldResults).toBe(1)
  })
})
