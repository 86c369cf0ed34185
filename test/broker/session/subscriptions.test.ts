import { describe, expect, it } from 'vitest'
import { ENTRY_HEADER_BYTES } from '../../../protocol/entry.js'
import { MillraceError } from '../../../protocol/error-codes.js'
import type { TopicId } from '../../../protocol/ids.js'
import {
  credit,
  deliver,
  ping,
  pong,
  subscribe,
  subscribed,
  subscriptionEnded,
  unsubscribe,
  unsubscribed,
} from '../../../protocol/messages/index.js'
import { SeededRandom } from '../../support/seeded-random.js'
import { until } from '../../support/until.js'
import { bytesOf, quiet, startHarness } from './harness.js'
import type { WireClient } from './wire-client.js'

const MIB = 1024 * 1024

function subscribeTo(
  client: WireClient,
  topicId: TopicId,
  options: { id?: number; partition?: number; offset?: number; creditBytes?: number } = {},
) {
  const { id = 1, partition = 0, offset = 0, creditBytes = 64 * MIB } = options
  return client.request(
    subscribe,
    { subscriptionId: id, topicId, partition, offset, creditBytes },
    subscribed,
  )
}

describe.each(['cache', 'disk'] as const)('a subscription served from %s', (readMode) => {
  it('delivers what is stored and then what is appended, byte for byte and in order', async () => {
    const { connect, shard } = await startHarness()
    shard.readMode = readMode
    const { topicId } = shard.addTopic({ name: 't' })
    for (let i = 0; i < 40; i++) shard.put(topicId, 0, bytesOf(i * 1_000, i))
    const client = await connect()
    expect(await subscribeTo(client, topicId)).toMatchObject({
      subscriptionId: 1,
      startOffset: 0,
      durableEnd: 40,
    })
    const before = shard.stored(topicId, 0)
    expect((await client.delivered(1, before.length)).equals(before)).toBe(true)
    for (let i = 0; i < 40; i++) {
      shard.put(topicId, 0, bytesOf(i * 10, i))
      if (i % 7 === 0) await quiet()
    }
    const after = shard.stored(topicId, 0).subarray(before.length)
    expect((await client.delivered(1, after.length)).equals(after)).toBe(true)
    await until(() => shard.heldResults === 0)
  })

  it('sends exactly what its credit allows, overdrawn by one entry at most', async () => {
    const { connect, shard } = await startHarness()
    shard.readMode = readMode
    const { topicId } = shard.addTopic({ name: 't' })
    const entryBytes = 1_000
    for (let i = 0; i < 100; i++) shard.put(topicId, 0, bytesOf(entryBytes - ENTRY_HEADER_BYTES, i))
    const client = await connect()
    await subscribeTo(client, topicId, { creditBytes: 2_500 })
    // Two entries fit, and 500 bytes of credit are left: enough to begin a third, which overdraws by 500.
    expect(await client.delivered(1, 3 * entryBytes)).toHaveLength(3 * entryBytes)
    await quiet()
    expect(client.received).toEqual([])
    client.send(credit, { subscriptionId: 1, bytes: 500 })
    await quiet()
    expect(client.received).toEqual([])
    client.send(credit, { subscriptionId: 1, bytes: 1 })
    expect(await client.delivered(1, entryBytes)).toHaveLength(entryBytes)
    await quiet()
    expect(client.received).toEqual([])
    client.send(credit, { subscriptionId: 1, bytes: 999 + 96 * entryBytes })
    expect(await client.delivered(1, 96 * entryBytes)).toHaveLength(96 * entryBytes)
    expect(shard.heldResults).toBe(0)
  })
})

describe('a subscription', () => {
  it('cuts credit to its ceiling', async () => {
    const { connect, shard } = await startHarness({ limits: { deliverBytesMax: MIB } })
    const { topicId } = shard.addTopic({ name: 't' })
    const client = await connect()
    await subscribeTo(client, topicId, { creditBytes: 256 * MIB })
    for (let i = 0; i < 100; i++) client.send(credit, { subscriptionId: 1, bytes: 256 * MIB })
    shard.put(topicId, 0, bytesOf(100))
    expect(await client.delivered(1, 1)).toEqual(shard.stored(topicId, 0))
  })

  it('with no credit sends nothing and reads nothing', async () => {
    const { connect, shard } = await startHarness()
    const { topicId } = shard.addTopic({ name: 't' })
    const client = await connect()
    await subscribeTo(client, topicId, { creditBytes: 0 })
    shard.put(topicId, 0, bytesOf(100))
    await quiet()
    expect(client.received).toEqual([])
    expect(shard.reads).toBe(0)
    client.send(credit, { subscriptionId: 1, bytes: 1 })
    expect(await client.delivered(1, 1)).toEqual(shard.stored(topicId, 0))
  })

  it('begins at the offset asked for, up to the durable end', async () => {
    const { connect, shard } = await startHarness()
    const { topicId } = shard.addTopic({ name: 't' })
    for (let i = 0; i < 5; i++) shard.put(topicId, 0, bytesOf(50, i))
    const client = await connect()
    await subscribeTo(client, topicId, { id: 1, offset: 4 })
    await subscribeTo(client, topicId, { id: 2, offset: 5 })
    shard.put(topicId, 0, bytesOf(50, 5))
    const entryBytes = 50 + ENTRY_HEADER_BYTES
    expect(
      (await client.delivered(1, 2 * entryBytes)).equals(shard.stored(topicId, 0).subarray(4 * entryBytes)),
    ).toBe(true)
    expect(
      (await client.delivered(2, entryBytes)).equals(shard.stored(topicId, 0).subarray(5 * entryBytes)),
    ).toBe(true)
  })

  it('is refused beyond the bounds, with an id in use, and past the cap', async () => {
    const { connect, shard } = await startHarness({ limits: { subscriptionsPerConnectionMax: 2 } })
    const { topicId } = shard.addTopic({ name: 't' })
    shard.put(topicId, 0, bytesOf(50))
    shard.put(topicId, 0, bytesOf(50))
    shard.forgetBefore(topicId, 0, 1)
    const client = await connect()
    const refused = async (fields: { id: number; offset?: number; partition?: number }) => {
      const { id, offset = 1, partition = 0 } = fields
      client.send(subscribe, {
        correlationId: 50 + id,
        subscriptionId: id,
        topicId,
        partition,
        offset,
        creditBytes: 0,
      })
      return client.nextError()
    }
    const outside = { code: 'OFFSET_OUT_OF_RANGE', details: { startOffset: 1, endOffset: 2 } }
    expect(await refused({ id: 1, offset: 0 })).toMatchObject({ correlationId: 51, ...outside })
    expect(await refused({ id: 1, offset: 3 })).toMatchObject(outside)
    expect(await refused({ id: 1, partition: 1 })).toMatchObject({ code: 'UNKNOWN_PARTITION' })
    await subscribeTo(client, topicId, { id: 1, offset: 1, creditBytes: 0 })
    expect(await refused({ id: 1 })).toMatchObject({ code: 'SUBSCRIPTION_EXISTS' })
    await subscribeTo(client, topicId, { id: 2, offset: 1, creditBytes: 0 })
    expect(await refused({ id: 3 })).toMatchObject({ correlationId: 53, code: 'LIMIT_REACHED' })
    expect(shard.followers).toBe(2)
    await client.request(unsubscribe, { subscriptionId: 2 }, unsubscribed)
    await subscribeTo(client, topicId, { id: 3, offset: 1, creditBytes: 0 })
  })

  it('sends nothing after UNSUBSCRIBED, not even what was being read', async () => {
    const { connect, shard } = await startHarness()
    shard.readMode = 'heldDisk'
    const { topicId } = shard.addTopic({ name: 't' })
    shard.put(topicId, 0, bytesOf(100))
    const client = await connect()
    await subscribeTo(client, topicId)
    await until(() => shard.pendingReads === 1)
    await client.request(unsubscribe, { subscriptionId: 1 }, unsubscribed)
    shard.finishReads()
    client.send(credit, { subscriptionId: 1, bytes: 10 })
    await quiet()
    expect(client.received).toEqual([])
    expect(shard).toMatchObject({ heldResults: 0, followers: 0 })
    client.send(unsubscribe, { correlationId: 9, subscriptionId: 1 })
    expect(await client.nextError()).toMatchObject({ correlationId: 9, code: 'UNKNOWN_SUBSCRIPTION' })
  })

  it('misses nothing that is appended while it reads', async () => {
    const { connect, shard } = await startHarness()
    shard.readMode = 'heldDisk'
    const { topicId } = shard.addTopic({ name: 't' })
    shard.put(topicId, 0, bytesOf(100, 1))
    const client = await connect()
    await subscribeTo(client, topicId)
    await until(() => shard.pendingReads === 1)
    shard.put(topicId, 0, bytesOf(100, 2))
    shard.finishReads()
    await until(() => shard.pendingReads === 1)
    shard.finishReads()
    const stored = shard.stored(topicId, 0)
    expect((await client.delivered(1, stored.length)).equals(stored)).toBe(true)
  })

  it('ends when its offset falls below the start, with the bounds', async () => {
    const { connect, shard } = await startHarness()
    const { topicId } = shard.addTopic({ name: 't' })
    for (let i = 0; i < 4; i++) shard.put(topicId, 0, bytesOf(50, i))
    const client = await connect()
    await subscribeTo(client, topicId, { creditBytes: 1 })
    await client.delivered(1, 1)
    shard.forgetBefore(topicId, 0, 3)
    client.send(credit, { subscriptionId: 1, bytes: 1_000 })
    expect(await client.next(subscriptionEnded)).toMatchObject({
      subscriptionId: 1,
      code: 'OFFSET_OUT_OF_RANGE',
      retriable: false,
      details: { startOffset: 3, endOffset: 4 },
    })
    expect(shard.followers).toBe(0)
    await subscribeTo(client, topicId, { offset: 3 })
    await client.delivered(1, 1)
  })

  it('ends when its topic is deleted while it waits for data', async () => {
    const { connect, shard } = await startHarness()
    const { topicId } = shard.addTopic({ name: 't' })
    const client = await connect()
    await subscribeTo(client, topicId)
    await quiet()
    await shard.deleteTopic({ name: 't' })
    expect(await client.next(subscriptionEnded)).toMatchObject({ subscriptionId: 1, code: 'UNKNOWN_TOPIC' })
    expect(await client.request(ping, {}, pong)).toBeDefined()
  })

  it.each(['cache', 'disk'] as const)(
    'ends at damaged data read from %s, and the others go on',
    async (readMode) => {
      const { connect, shard } = await startHarness()
      shard.readMode = readMode
      const { topicId } = shard.addTopic({ name: 't' })
      const client = await connect()
      await subscribeTo(client, topicId, { id: 1 })
      await subscribeTo(client, topicId, { id: 2, creditBytes: 0 })
      await quiet()
      shard.failReadsWith = new MillraceError('CORRUPT_DATA', { details: { file: 'x.chunk' } })
      shard.put(topicId, 0, bytesOf(50))
      expect(await client.next(subscriptionEnded)).toMatchObject({
        subscriptionId: 1,
        code: 'CORRUPT_DATA',
        details: { file: 'x.chunk' },
      })
      shard.failReadsWith = undefined
      client.send(credit, { subscriptionId: 2, bytes: 1 })
      expect(await client.delivered(2, 1)).toEqual(shard.stored(topicId, 0))
    },
  )

  it('counts a demotion when the cache no longer holds what it reads', async () => {
    const { connect, shard, metrics } = await startHarness()
    const { topicId } = shard.addTopic({ name: 't' })
    shard.put(topicId, 0, bytesOf(50))
    const client = await connect()
    await subscribeTo(client, topicId)
    await client.delivered(1, 1)
    shard.readMode = 'disk'
    shard.put(topicId, 0, bytesOf(50))
    await client.delivered(1, 1)
    shard.put(topicId, 0, bytesOf(50))
    await client.delivered(1, 1)
    expect(metrics.snapshot().counters).toMatchObject({ demotions: 1, deliveredRecords: 3 })
    expect(metrics.snapshot().counters.deliveredBytes).toBe(shard.stored(topicId, 0).length)
  })
})

describe('many subscriptions of one connection', () => {
  it('keep their bytes apart, whatever the sizes of their entries and however they interleave', async () => {
    const { connect, shard } = await startHarness()
    const random = new SeededRandom(7)
    const partitions = 24
    const { topicId } = shard.addTopic({ name: 't', partitions })
    const put = (): void => {
      const size = random.pick([0, 1, 20, 100, 125, 4_000, 5_000, 66_000, 300_000])
      shard.put(topicId, random.below(partitions), random.bytes(size))
    }
    for (let i = 0; i < 200; i++) put()
    const client = await connect()
    for (let id = 0; id < partitions; id++) await subscribeTo(client, topicId, { id, partition: id })
    for (let i = 0; i < 200; i++) {
      shard.readMode = random.pick(['cache', 'disk'])
      put()
      if (i % 20 === 0) client.send(ping, { correlationId: i + 1 })
      if (i % 9 === 0) await new Promise((resolve) => setImmediate(resolve))
    }
    for (let id = 0; id < partitions; id++) {
      const stored = shard.stored(topicId, id)
      const delivered = await client.delivered(id, stored.length)
      expect(delivered.equals(stored)).toBe(true)
    }
    await until(() => shard.heldResults === 0)
  })

  it('take turns: one with little to send does not wait for one with much', async () => {
    const { connect, shard } = await startHarness({ limits: { deliverBytesMax: 100_000 } })
    const { topicId } = shard.addTopic({ name: 't', partitions: 3 })
    for (let i = 0; i < 200; i++) shard.put(topicId, 0, bytesOf(90_000))
    for (let i = 0; i < 2; i++) {
      shard.put(topicId, 1, bytesOf(90_000))
      shard.put(topicId, 2, bytesOf(90_000))
    }
    const client = await connect()
    const order: number[] = []
    client.webSocket.on('message', () => {
      const last = client.received.at(-1)
      if (last?.name === deliver.name) order.push(last.fields.subscriptionId as number)
    })
    for (const id of [0, 1, 2]) await subscribeTo(client, topicId, { id, partition: id, creditBytes: 0 })
    for (const id of [0, 1, 2]) client.send(credit, { subscriptionId: id, bytes: 64 * MIB })
    await client.delivered(2, 2 * 90_000)
    expect(order.filter((id) => id === 0).length).toBeLessThanOrEqual(4)
  })
})

describe('a connection that ends', () => {
  it('leaves no follower, no source, no timer and no buffer behind', async () => {
    const { connect, shard, metrics, listener } = await startHarness()
    shard.readMode = 'heldDisk'
    const { topicId } = shard.addTopic({ name: 't', partitions: 50 })
    for (let partition = 0; partition < 25; partition++) shard.put(topicId, partition, bytesOf(300_000))
    const clients = [await connect(), await connect()]
    for (const client of clients) {
      for (let id = 0; id < 50; id++) await subscribeTo(client, topicId, { id, partition: id })
      client.produce(topicId, bytesOf(10), 49)
    }
    await until(() => shard.followers === 100 && shard.sources === 2)
    expect(metrics.snapshot().gauges).toMatchObject({ connections: 2, subscriptions: 100 })
    for (const client of clients) await client.close()
    await until(() => listener.connections === 0)
    expect(shard).toMatchObject({ followers: 0, sources: 0 })
    shard.finishReads()
    await until(() => shard.heldResults === 0)
    expect(shard.pendingReads).toBe(0)
  })
})
