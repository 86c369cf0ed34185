import { describe, expect, it } from 'vitest'
import { InFlight, InFlightBudget, PAUSE, ReadGate } from '../../../broker/session/flow-control.js'
import { READ_BYTES } from '../../../broker/session/raw-socket.js'
import {
  credit,
  fetch,
  metadata,
  metadataListed,
  ping,
  pong,
  subscribe,
} from '../../../protocol/messages/index.js'
import { until } from '../../support/until.js'
import { bytesOf, quiet, startHarness, steady } from './harness.js'

const KIB = 1024
const OVERHEAD_BYTES = 512

class FakeSocket {
  isPaused = false
  pause(): void {
    this.isPaused = true
  }
  resume(): void {
    this.isPaused = false
  }
}

function account(budget: InFlightBudget, bytesMax = 1_000_000) {
  const socket = new FakeSocket()
  const inFlight = new InFlight({ gate: new ReadGate(socket), budget, bytesMax })
  return { socket, inFlight }
}

describe('a read gate', () => {
  it('reads only while no reason is left to pause', () => {
    const socket = new FakeSocket()
    const gate = new ReadGate(socket)
    gate.pause(PAUSE.shard)
    gate.pause(PAUSE.replies)
    gate.pause(PAUSE.shard)
    gate.resume(PAUSE.shard)
    expect(socket.isPaused).toBe(true)
    gate.resume(PAUSE.connection)
    expect(socket.isPaused).toBe(true)
    gate.resume(PAUSE.replies)
    expect(socket.isPaused).toBe(false)
  })
})

describe('the in-flight budget', () => {
  it('pauses a connection past its own cap until it is back below', () => {
    const { socket, inFlight } = account(new InFlightBudget(1e9), 10 * KIB)
    inFlight.begin(6 * KIB)
    expect(socket.isPaused).toBe(false)
    inFlight.begin(6 * KIB)
    expect(socket.isPaused).toBe(true)
    inFlight.end(6 * KIB)
    expect(socket.isPaused).toBe(false)
  })

  it('pauses whoever brings more past the common cap, and lets them in again in turn', () => {
    const budget = new InFlightBudget(READ_BYTES + 40 * KIB)
    const [a, b, c] = [account(budget), account(budget), account(budget)]
    a.inFlight.begin(READ_BYTES + 30 * KIB)
    b.inFlight.begin(20 * KIB)
    c.inFlight.begin(21 * KIB)
    expect([a, b, c].map(({ socket }) => socket.isPaused)).toEqual([false, true, true])
    a.inFlight.end(READ_BYTES + 30 * KIB)
    // What is left is less than one read from a socket may bring: one at a time.
    expect([b, c].map(({ socket }) => socket.isPaused)).toEqual([false, true])
    b.inFlight.end(20 * KIB)
    expect(c.socket.isPaused).toBe(false)
    c.inFlight.end(21 * KIB)
    expect(budget.bytes).toBe(0)
  })

  it('counts frames that have come in part, and lets one of them at a time be read to its end', () => {
    const budget = new InFlightBudget(100 * KIB)
    const all = [account(budget), account(budget), account(budget)]
    for (const { inFlight } of all) inFlight.setPartial(40 * KIB)
    const isPaused = () => all.map(({ socket }) => socket.isPaused)
    // 120 KiB of parts and nothing that an answer could free: the last to come may go on.
    expect(isPaused()).toEqual([false, false, false])
    all[0]?.inFlight.setPartial(50 * KIB)
    all[1]?.inFlight.setPartial(50 * KIB)
    expect(isPaused()).toEqual([true, true, false])
    all[2]?.inFlight.setPartial(100 * KIB)
    expect(isPaused()).toEqual([true, true, false])
    all[2]?.inFlight.begin(100 * KIB)
    all[2]?.inFlight.setPartial(0)
    expect(isPaused()).toEqual([true, true, true])
    all[2]?.inFlight.end(100 * KIB)
    // The first in the queue with a frame to finish; the third has none and waits for room.
    expect(isPaused()).toEqual([false, true, true])
    expect(budget.bytes).toBe(100 * KIB)
  })

  it('lets the next in when the one that may finish its frame is lost', () => {
    const budget = new InFlightBudget(100 * KIB)
    const [a, b] = [account(budget), account(budget)]
    a.inFlight.setPartial(110 * KIB)
    b.inFlight.setPartial(110 * KIB)
    expect([a.socket.isPaused, b.socket.isPaused]).toEqual([false, true])
    a.inFlight.close()
    expect(b.socket.isPaused).toBe(false)
    b.inFlight.close()
    b.inFlight.setPartial(50 * KIB)
    expect(budget.bytes).toBe(0)
  })
})

describe('a connection that sends more than is answered', () => {
  it('is read no further than its cap, loses nothing, and goes on', async () => {
    const inFlightBytesMax = 1024 * KIB
    const { connect, shard } = await startHarness({ limits: { inFlightBytesMax } })
    shard.autoCommit = false
    const { topicId } = shard.addTopic({ name: 't' })
    const client = await connect()
    const other = await connect()
    const count = 200
    for (let i = 0; i < count; i++) client.produce(topicId, bytesOf(100 * KIB, i))
    await until(() => shard.pendingBytes > inFlightBytesMax - 101 * KIB)
    await quiet()
    // What one read from the socket brought before the pause took hold comes on top, and the frame that went over.
    expect(shard.pendingBytes).toBeLessThan(inFlightBytesMax + READ_BYTES + 200 * KIB)
    expect(await other.request(ping, {}, pong)).toBeDefined()
    shard.autoCommit = true
    shard.commit()
    expect(await client.acks(count)).toHaveLength(count)
    const expected = Array.from({ length: count }, (_, i) => bytesOf(100 * KIB, i).subarray(-1)[0])
    const stored = shard.stored(topicId, 0)
    const entryBytes = stored.length / count
    expect(expected.every((byte, i) => stored[(i + 1) * entryBytes - 1] === byte)).toBe(true)
  })

  it('holds back others too when all together reach the common cap', async () => {
    const inFlightTotalBytesMax = 1024 * KIB
    const { connect, shard, metrics } = await startHarness({ limits: { inFlightTotalBytesMax } })
    shard.autoCommit = false
    const { topicId } = shard.addTopic({ name: 't' })
    const clients = await Promise.all([1, 2, 3, 4, 5, 6].map(() => connect()))
    for (const client of clients) for (let i = 0; i < 20; i++) client.produce(topicId, bytesOf(100 * KIB, i))
    await until(() => shard.pendingBytes > inFlightTotalBytesMax / 2)
    await quiet()
    const { inFlightBytes = 0 } = metrics.snapshot().gauges
    expect(inFlightBytes).toBeLessThan(inFlightTotalBytesMax + 6 * 164 * KIB)
    shard.autoCommit = true
    shard.commit()
    for (const client of clients) expect(await client.acks(20)).toHaveLength(20)
    expect(metrics.snapshot().gauges.inFlightBytes).toBe(0)
  })

  it('is not deadlocked by frames that come in part on many sockets at once', async () => {
    const { connect, shard, metrics } = await startHarness({ limits: { inFlightTotalBytesMax: 512 * KIB } })
    const { topicId } = shard.addTopic({ name: 't' })
    const clients = await Promise.all(Array.from({ length: 8 }, () => connect()))
    for (const client of clients) for (let i = 0; i < 4; i++) client.produce(topicId, bytesOf(700 * KIB, i))
    for (const client of clients) expect(await client.acks(4)).toHaveLength(4)
    expect(metrics.snapshot().gauges.inFlightBytes).toBe(0)
  })

  it('counts what a tiny request costs beside its bytes', async () => {
    const { connect, shard, metrics } = await startHarness()
    shard.autoCommit = false
    const { topicId } = shard.addTopic({ name: 't' })
    const client = await connect()
    for (let i = 0; i < 100; i++) client.produce(topicId, bytesOf(1))
    await until(() => shard.pendingAppends === 100)
    expect(metrics.snapshot().gauges.inFlightBytes).toBeGreaterThan(100 * OVERHEAD_BYTES)
    shard.commit()
    await client.acks(100)
  })

  it('is no longer counted when it is lost in the middle of a frame', async () => {
    const { connect, metrics } = await startHarness()
    const client = await connect()
    const inFlightBytes = (): number => metrics.snapshot().gauges.inFlightBytes ?? 0
    // The header of a masked message of 1 MiB, and a part of it.
    client.socket.write(Buffer.from('82ff000000000010000000000000', 'hex'))
    client.socket.write(bytesOf(300 * KIB))
    await until(() => inFlightBytes() >= 300 * KIB)
    await client.close()
    await until(() => inFlightBytes() === 0)
  })

  it('is paused while the shard says so', async () => {
    const { connect, shard } = await startHarness()
    const { topicId } = shard.addTopic({ name: 't' })
    const client = await connect()
    client.produce(topicId, bytesOf(10))
    await client.acks(1)
    shard.press(true)
    client.send(ping, { correlationId: 5 })
    await quiet()
    expect(client.received).toEqual([])
    shard.press(false)
    expect(await client.next(pong)).toEqual({ correlationId: 5 })
  })
})

describe('a client that does not read', () => {
  it('its replies has its requests left unread, and all of them answered once it reads', async () => {
    const { connect, shard } = await startHarness({ limits: { outBufferBytesMax: 256 * KIB } })
    for (let i = 0; i < 1_000; i++) shard.addTopic({ name: `${'n'.repeat(200)}${i}` })
    const client = await connect()
    client.socket.pause()
    // Each small request has an answer of about 230 KiB. They leave in one piece, and so arrive in one.
    const count = 100
    client.socket.cork()
    for (let correlationId = 1; correlationId <= count; correlationId++) {
      client.send(metadata, { correlationId, names: null, after: null, limit: null })
    }
    client.socket.uncork()
    await steady(() => shard.lists)
    // What the kernel's buffers took, and one more.
    expect(shard.lists).toBeLessThan(50)
    const unread = Array.from({ length: 20 }, () => client.nextId() + count)
    const names = Array.from({ length: 1_000 }, () => 'x'.repeat(1_000))
    for (const correlationId of unread)
      client.send(metadata, { correlationId, names, after: null, limit: null })
    await steady(() => client.webSocket.bufferedAmount)
    expect(client.webSocket.bufferedAmount).toBeGreaterThan(0)
    client.socket.resume()
    for (let correlationId = 1; correlationId <= count; correlationId++) {
      const { topics, ...rest } = await client.next(metadataListed)
      expect(rest.correlationId).toBe(correlationId)
      expect(topics).toHaveLength(1_000)
    }
    for (const correlationId of unread) {
      expect(await client.next(metadataListed)).toEqual({ correlationId, topics: [], next: null })
    }
  })

  it.each(['cache', 'disk'] as const)(
    'what it subscribed to costs a bounded buffer from %s',
    async (readMode) => {
      const { connect, shard } = await startHarness()
      shard.readMode = readMode
      const partitions = 40
      const { topicId } = shard.addTopic({ name: 't', partitions })
      const mebibyte = bytesOf(1024 * KIB)
      for (let partition = 0; partition < partitions; partition++) {
        for (let i = 0; i < 3; i++) shard.put(topicId, partition, mebibyte)
      }
      const client = await connect()
      client.socket.pause()
      for (let id = 0; id < partitions; id++) {
        const where = { topicId, partition: id, offset: 0 }
        client.send(subscribe, {
          correlationId: id + 1,
          subscriptionId: id,
          ...where,
          creditBytes: 64 * KIB * KIB,
        })
        client.send(credit, { subscriptionId: id, bytes: 64 * KIB * KIB })
      }
      for (let id = 0; id < 20; id++) {
        const rest = { offset: 0, minBytes: 1, maxBytes: 4 * KIB * KIB, maxWaitMs: 0 }
        client.send(fetch, { correlationId: 100 + id, topicId, partition: id, ...rest })
      }
      await until(() => shard.reads > 0)
      await quiet()
      const readsAtRest = shard.reads
      await quiet()
      expect(shard.reads).toBe(readsAtRest)
      // The kernel's buffers took a few; what is held is the one in the socket and at most the one before it.
      expect(shard.heldBytesPeak).toBeLessThan(6 * KIB * KIB)
      client.socket.resume()
      for (let id = 0; id < partitions; id++) {
        const stored = shard.stored(topicId, id)
        expect((await client.delivered(id, stored.length)).equals(stored)).toBe(true)
      }
      await until(() => shard.heldResults === 0)
    },
  )
})
