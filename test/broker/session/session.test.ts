import { describe, expect, it } from 'vitest'
import { packFrame } from '../../../protocol/frame.js'
import { requestIdFrom } from '../../../protocol/ids.js'
import {
  createTopic,
  deleteTopic,
  hello,
  initProducer,
  listOffsets,
  metadata,
  metadataListed,
  offsetsListed,
  ping,
  pong,
  produced,
  producerReady,
  subscribe,
  topicCreated,
  topicDeleted,
} from '../../../protocol/messages/index.js'
import { until } from '../../support/until.js'
import { bytesOf, quiet, startHarness } from './harness.js'
import { produceFields, WireClient } from './wire-client.js'

const requestId = requestIdFrom('ab'.repeat(16))

describe('a session', () => {
  it('welcomes a client with its version, limits and broker time', async () => {
    const { listener, shard } = await startHarness()
    const client = await WireClient.open(listener.port, { hello: false })
    const answer = await client.hello()
    expect(answer).toMatchObject({
      version: 1,
      clusterId: shard.clusterId,
      shardEpoch: 7,
      brokerName: 'millrace/test',
      time: shard.now,
    })
    expect(answer.limits).toEqual({
      frameBytesMax: 8 * 1024 * 1024,
      recordBytesMax: 1024 * 1024,
      batchBytesMax: 4 * 1024 * 1024,
      inFlightBytesMax: 16 * 1024 * 1024,
      producerWindowBatches: 16,
    })
    await client.close()
  })

  it('answers requests about topics, producers and offsets', async () => {
    const { connect, shard } = await startHarness()
    const client = await connect()
    const topic = { name: 'orders', partitions: 2, keyEncoding: 'text', valueEncoding: 'json' } as const
    const created = await client.request(createTopic, { requestId, ...topic, ifMissing: true }, topicCreated)
    expect(created).toMatchObject({
      created: true,
      partitions: 2,
      keyEncoding: 'text',
      valueEncoding: 'json',
    })
    const { topicId } = created
    const again = await client.request(createTopic, { requestId, ...topic, ifMissing: true }, topicCreated)
    expect(again).toMatchObject({ created: false, topicId })
    shard.put(topicId, 1, bytesOf(10))
    shard.now += 1_000
    shard.put(topicId, 1, bytesOf(10))
    const queries = [
      { partition: 1, at: 0, time: 0 },
      { partition: 1, at: 1, time: 0 },
      { partition: 1, at: 2, time: shard.now - 500 },
    ]
    const { offsets } = await client.request(listOffsets, { topicId, queries }, offsetsListed)
    expect(offsets.map(({ offset }) => offset)).toEqual([0, 2, 1])
    expect(offsets[0]).toEqual({ partition: 1, offset: 0, startOffset: 0, durableEnd: 2 })
    const ready = await client.request(initProducer, { requestId, name: 'shop-1' }, producerReady)
    expect(ready).toMatchObject({ producerId: 1, producerEpoch: 0 })
    expect(await client.request(deleteTopic, { requestId, name: 'orders' }, topicDeleted)).toMatchObject({
      topicId,
    })
    client.send(listOffsets, { correlationId: 90, topicId, queries })
    expect(await client.nextError()).toMatchObject({ correlationId: 90, code: 'UNKNOWN_TOPIC' })
  })

  it('lists topics by name and in pages', async () => {
    const { connect, shard } = await startHarness()
    for (const name of ['b', 'c', 'a']) shard.addTopic({ name })
    const client = await connect()
    const list = (names: string[] | null, after: string | null, limit: number | null) =>
      client.request(metadata, { names, after, limit }, metadataListed)
    const named = await list(['c', 'missing', 'a', 'c'], null, null)
    expect(named.topics.map(({ name }) => name)).toEqual(['c', 'a'])
    const first = await list(null, null, 2)
    expect(first).toMatchObject({ topics: [{ name: 'a' }, { name: 'b' }], next: 'b' })
    const second = await list(null, first.next, 2)
    expect(second).toMatchObject({ topics: [{ name: 'c' }], next: null })
  })

  it('answers pipelined requests, each under its own correlation id', async () => {
    const { connect } = await startHarness()
    const client = await connect()
    for (let correlationId = 100; correlationId < 200; correlationId++) client.send(ping, { correlationId })
    const ids: number[] = []
    while (ids.length < 100) ids.push((await client.next(pong)).correlationId)
    expect(ids).toEqual(Array.from({ length: 100 }, (_, i) => 100 + i))
  })

  it('answers the batches that became durable together with one PRODUCED frame', async () => {
    const { connect, shard } = await startHarness()
    shard.autoCommit = false
    const { topicId } = shard.addTopic({ name: 't' })
    const client = await connect()
    const ids = Array.from({ length: 50 }, (_, i) => client.produce(topicId, bytesOf(10 + i)))
    await until(() => shard.pendingAppends === 50)
    shard.commit(20)
    shard.commit(5)
    const first = await client.next(produced)
    expect(first.acks.map(({ correlationId }) => correlationId)).toEqual(ids.slice(0, 25))
    await quiet()
    shard.commit()
    const second = await client.next(produced)
    expect(second.acks.map(({ correlationId }) => correlationId)).toEqual(ids.slice(25))
    expect(second.acks.map(({ baseOffset }) => baseOffset)).toEqual(ids.slice(25).map((_, i) => 25 + i))
  })

  it('keeps the batch of a client that has gone counted until the shard lets go of it', async () => {
    const { connect, shard, metrics } = await startHarness()
    shard.autoCommit = false
    const { topicId } = shard.addTopic({ name: 't' })
    const client = await connect()
    client.produce(topicId, bytesOf(10_000))
    await until(() => shard.pendingAppends === 1)
    await client.close()
    await until(() => shard.sources === 0)
    expect(metrics.snapshot().gauges.inFlightBytes).toBeGreaterThan(10_000)
    shard.commit()
    expect(metrics.snapshot().gauges.inFlightBytes).toBe(0)
  })
})

describe('bad input to a session', () => {
  it('closes with 1003 at a text message', async () => {
    const { connect } = await startHarness()
    const client = await connect()
    client.webSocket.send('hello')
    expect((await client.closed).code).toBe(1003)
  })

  it('closes with 1009 at a message beyond the frame limit, before it has come whole', async () => {
    const { connect, shard } = await startHarness({ limits: { frameBytesMax: 10_000 } })
    const { topicId } = shard.addTopic({ name: 't' })
    const client = await connect()
    client.produce(topicId, bytesOf(10_000))
    expect((await client.closed).code).toBe(1009)
    expect(shard.stored(topicId, 0)).toHaveLength(0)
  })

  const broken: [what: string, bytes: Uint8Array][] = [
    ['garbage', bytesOf(100)],
    ['an empty message', new Uint8Array(0)],
    ['a map', Uint8Array.of(0x81, 0xa1, 0x61, 0x01)],
    ['an array without an opcode', Uint8Array.of(0x90)],
    ['an array that begins with text', Uint8Array.of(0x91, 0xa1, 0x61)],
    ['bytes after the frame', Uint8Array.of(0x92, 3, 1, 0)],
    ['deep nesting', Uint8Array.of(0x92, 3, ...Array.from({ length: 5_000 }, () => 0x91), 0)],
    ['an extension type', Uint8Array.of(0x92, 3, 0xd4, 0x01, 0x00)],
    ['an array cut short', Uint8Array.of(0x95, 3)],
    ['an array that claims four billion fields', Uint8Array.of(0xdd, 0xff, 0xff, 0xff, 0xff, 3, 1)],
  ]

  it.each(broken)(
    'answers %s with BAD_FRAME of correlation id 0 and closes with 1007',
    async (_what, bytes) => {
      const { connect } = await startHarness()
      const [client, other] = [await connect(), await connect()]
      client.webSocket.send(bytes)
      expect(await client.nextError()).toMatchObject({ correlationId: 0, code: 'BAD_FRAME', outcome: 0 })
      expect((await client.closed).code).toBe(1007)
      expect(await other.request(ping, {}, pong)).toBeDefined()
    },
  )

  it('answers wrong fields with BAD_FRAME under their correlation id and goes on', async () => {
    const { connect, shard } = await startHarness()
    const { topicId } = shard.addTopic({ name: 't' })
    const client = await connect()
    client.sendRaw([14, 77, 'no list'])
    const failure = await client.nextError()
    expect(failure).toMatchObject({ correlationId: 77, code: 'BAD_FRAME' })
    expect(failure.message).toContain('METADATA.names')
    const fields = produceFields(topicId, bytesOf(10), { correlationId: 78 })
    const frame = packFrame([18, 78, new Uint8Array(15), ...Object.values(fields).slice(2)])
    client.webSocket.send(frame)
    expect(await client.nextError()).toMatchObject({ correlationId: 78, code: 'BAD_FRAME' })
    client.sendRaw([24, 'not a subscription', 5])
    expect(await client.nextError()).toMatchObject({ correlationId: 0, code: 'BAD_FRAME' })
    expect(await client.request(ping, {}, pong)).toBeDefined()
    expect(shard.stored(topicId, 0)).toHaveLength(0)
  })

  it.each([2, 99, 250, 65_536])('answers opcode %i with UNKNOWN_OPCODE and goes on', async (opcode) => {
    const { connect } = await startHarness()
    const client = await connect()
    client.sendRaw([opcode, 42])
    expect(await client.nextError()).toMatchObject({ correlationId: 42, code: 'UNKNOWN_OPCODE' })
    client.sendRaw([opcode])
    expect(await client.nextError()).toMatchObject({ correlationId: 0, code: 'UNKNOWN_OPCODE' })
    expect(await client.request(ping, {}, pong)).toBeDefined()
  })

  it('answers a second HELLO with HELLO_REPEATED and goes on', async () => {
    const { connect } = await startHarness()
    const client = await connect()
    void client.hello().catch(() => undefined)
    expect(await client.nextError()).toMatchObject({ correlationId: 2, code: 'HELLO_REPEATED' })
    expect(await client.request(ping, {}, pong)).toBeDefined()
  })

  it('answers a first frame other than HELLO with HELLO_REQUIRED and closes with 1008', async () => {
    const { connect } = await startHarness()
    const client = await connect({ hello: false })
    client.send(ping, { correlationId: 9 })
    expect(await client.nextError()).toMatchObject({ code: 'HELLO_REQUIRED' })
    expect((await client.closed).code).toBe(1008)
  })

  it.each([
    [2, 9],
    [0, 0],
  ])(
    'answers versions %i to %i with UNSUPPORTED_VERSION, says its own, and closes',
    async (minVersion, maxVersion) => {
      const { connect } = await startHarness()
      const client = await connect({ hello: false })
      const fields = { clientName: 'future', credential: null, features: [] }
      client.send(hello, { correlationId: 5, minVersion, maxVersion, ...fields })
      expect(await client.nextError()).toMatchObject({
        correlationId: 5,
        code: 'UNSUPPORTED_VERSION',
        details: { minVersion: 1, maxVersion: 1 },
      })
      expect((await client.closed).code).toBe(1008)
    },
  )

  it('does nothing more of a connection that it closes', async () => {
    const { connect, shard } = await startHarness()
    const { topicId } = shard.addTopic({ name: 't' })
    const client = await connect()
    client.webSocket.send(bytesOf(100))
    client.produce(topicId, bytesOf(10))
    await client.closed
    expect(shard.stored(topicId, 0)).toHaveLength(0)
  })

  it('passes the refusals of the shard on, whole', async () => {
    const { connect } = await startHarness()
    const client = await connect()
    const topic = { name: 'no/slash', partitions: 1, keyEncoding: 'text', valueEncoding: 'text' } as const
    client.send(createTopic, { correlationId: 31, requestId, ...topic, ifMissing: false })
    expect(await client.nextError()).toMatchObject({
      correlationId: 31,
      code: 'ILLEGAL_TOPIC_NAME',
      retriable: false,
      outcome: 0,
    })
    const nowhere = { topicId: 'ff'.repeat(16) as never, partition: 0, offset: 0, creditBytes: 1 }
    client.send(subscribe, { correlationId: 32, subscriptionId: 1, ...nowhere })
    expect(await client.nextError()).toMatchObject({ correlationId: 32, code: 'UNKNOWN_TOPIC' })
  })

  it('answers a request that fails unexpectedly with INTERNAL, logs it, and goes on', async () => {
    const { connect, shard, logged } = await startHarness()
    const client = await connect()
    shard.failWith = new TypeError('secret detail')
    const topic = { name: 'x', partitions: 1, keyEncoding: 'text', valueEncoding: 'text' } as const
    client.send(createTopic, { correlationId: 31, requestId, ...topic, ifMissing: false })
    const failure = await client.nextError()
    expect(failure).toMatchObject({ correlationId: 31, code: 'INTERNAL', outcome: 1 })
    expect(failure.message).not.toContain('secret')
    client.send(metadata, { correlationId: 32, names: ['x'], after: null, limit: null })
    expect(await client.nextError()).toMatchObject({ correlationId: 32, code: 'INTERNAL' })
    expect(JSON.stringify(logged)).toContain('secret detail')
    expect(await client.request(ping, {}, pong)).toBeDefined()
  })
})
