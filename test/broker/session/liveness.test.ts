import { describe, expect, it } from 'vitest'
import { produced, subscribe, subscribed } from '../../../protocol/messages/index.js'
import { ManualClock } from '../../support/manual-clock.js'
import { bytesOf, eventually, quiet, startHarness } from './harness.js'

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
    await eventually(() => listener.connections === 0)
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
    await eventually(() => shard.pendingAppends === 1)
    shard.press(true)
    await beats(clock, 10)
    expect(listener.connections).toBe(1)
    shard.press(false)
    await beats(clock, 2)
    expect(listener.connections).toBe(1)
    shard.commit()
    expect((await client.next(produced)).acks).toHaveLength(1)
  })

  it('that takes nothing of what waits for it is dropped after a minute, and not before', async () => {
    const clock = new ManualClock()
    const { connect, shard, listener, logged } = await startHarness({ clock })
    const { topicId } = shard.addTopic({ name: 't' })
    for (let i = 0; i < 40; i++) shard.put(topicId, 0, bytesOf(1024 * 1024))
    const client = await connect()
    client.socket.pause()
    const rest = { partition: 0, offset: 0, creditBytes: 256 * 1024 * 1024 }
    client.send(subscribe, { correlationId: 1, subscriptionId: 1, topicId, ...rest })
    await eventually(() => shard.reads > 3)
    await beats(clock, 1)
    await beats(clock, 3)
    expect(listener.connections).toBe(1)
    await beats(clock, 1)
    await eventually(() => listener.connections === 0)
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
    for (let i = 0; i < 60; i++) shard.put(topicId, 0, bytesOf(1024 * 1024))
    const client = await connect()
    const rest = { partition: 0, offset: 0, creditBytes: 256 * 1024 * 1024 }
    await client.request(subscribe, { subscriptionId: 1, topicId, ...rest }, subscribed)
    client.socket.pause()
    for (let i = 0; i < 12; i++) {
      await beats(clock, 1)
      // Far less than a message a beat.
      const before = client.socket.bytesRead
      client.socket.resume()
      await eventually(() => client.socket.bytesRead > before)
      client.socket.pause()
    }
    expect(listener.connections).toBe(1)
  })
})
