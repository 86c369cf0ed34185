import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { crc32 } from '#crc32'
import { type Broker, startBroker } from '../../../broker/broker.js'
import { COMPRESSION, entryBytes, entryPayload, readEntryHeader } from '../../../protocol/entry.js'
import { omittedBits } from '../../../protocol/entry-section.js'
import { requestIdFrom, type TopicId } from '../../../protocol/ids.js'
import {
  createTopic,
  deleteTopic,
  fetch,
  fetched,
  listOffsets,
  offsetsListed,
  type Produce,
  ping,
  pong,
  produce,
  subscribe,
  subscribed,
  subscriptionEnded,
  topicCreated,
  topicDeleted,
} from '../../../protocol/messages/index.js'
import { decodeRecords, RecordBatchBuilder } from '../../../protocol/records.js'
import { SeededRandom } from '../../support/seeded-random.js'
import { until } from '../../support/until.js'
import { quiet } from './harness.js'
import { WireClient } from './wire-client.js'

let directory: string
let broker: Broker
const random = new SeededRandom(11)
const newRequestId = () => requestIdFrom(Buffer.from(random.bytes(16)).toString('hex'))

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'millrace-session-'))
  const log = pino({ level: 'silent' })
  broker = await startBroker({ dataDir: directory, port: 0, log, tailCacheBytes: 5 * 1024 * 1024 })
})

afterAll(async () => {
  await broker.close()
  await rm(directory, { recursive: true })
})

async function topicOf(client: WireClient, name: string, partitions = 1): Promise<TopicId> {
  const kind = { keyEncoding: 'text', valueEncoding: 'text', ifMissing: false } as const
  const request = { requestId: newRequestId(), name, partitions, ...kind }
  return (await client.request(createTopic, request, topicCreated)).topicId
}

function batchOf(values: readonly (string | Uint8Array)[]): Uint8Array {
  const builder = new RecordBatchBuilder()
  for (const value of values) builder.append({ key: null, value, timestamp: 1_700_000_000_000 })
  return builder.finish().payload.slice()
}

function produceOf(topicId: TopicId, values: readonly string[], fields: Partial<Produce> = {}): Produce {
  const payload = fields.payload ?? batchOf(values)
  return {
    correlationId: 1,
    topicId,
    partition: 0,
    producerId: null,
    producerEpoch: 0,
    baseSequence: 0,
    attributes: 0,
    baseTimestamp: 1_700_000_000_000,
    recordCount: values.length,
    inflatedBytes: payload.length,
    payloadCrc: crc32(payload),
    payload,
    ...fields,
  }
}

function valuesOf(entries: Uint8Array): string[] {
  const values: string[] = []
  for (let at = 0; at < entries.length; ) {
    const header = readEntryHeader(entries, at)
    const omitted = omittedBits(entries, header, at)
    const records = decodeRecords(entryPayload(entries, header, at), header.recordCount, omitted)
    for (const { value } of records) values.push(String(value))
    at += entryBytes(header)
  }
  return values
}

describe('sessions before a real shard', () => {
  it('carry pipelined batches in and deliver them to followers, in order', async () => {
    const [writer, reader] = [await WireClient.open(broker.port), await WireClient.open(broker.port)]
    const topicId = await topicOf(writer, 'orders')
    const where = { topicId, partition: 0, offset: 0 }
    await reader.request(
      subscribe,
      { subscriptionId: 1, ...where, creditBytes: 200 * 1024 * 1024 },
      subscribed,
    )
    const count = 500
    const expected: string[] = []
    for (let i = 0; i < count; i++) {
      const values = Array.from(
        { length: 1 + random.below(20) },
        (_, k) => `${i}-${k}-${'x'.repeat(random.below(2_000))}`,
      )
      expected.push(...values)
      writer.send(produce, produceOf(topicId, values, { correlationId: i + 1 }))
    }
    const acks = await writer.acks(count)
    expect(acks.map(({ correlationId }) => correlationId)).toEqual(
      Array.from({ length: count }, (_, i) => i + 1),
    )
    const answer = await writer.request(
      listOffsets,
      { topicId, queries: [{ partition: 0, at: 1, time: 0 }] },
      offsetsListed,
    )
    expect(answer.offsets[0]).toMatchObject({ offset: expected.length, startOffset: 0 })
    const read: string[] = []
    while (read.length < expected.length) read.push(...valuesOf(await reader.delivered(1, 1)))
    expect(read).toEqual(expected)
    for (const client of [writer, reader]) await client.close()
  })

  it('serve a reader from the start though the tail cache has long moved on', async () => {
    const client = await WireClient.open(broker.port)
    const topicId = await topicOf(client, 'history')
    const value = 'v'.repeat(100_000)
    for (let i = 0; i < 100; i++)
      client.send(produce, produceOf(topicId, [`${i}-${value}`], { correlationId: i + 1 }))
    await client.acks(100)
    const rest = { topicId, partition: 0, creditBytes: 200 * 1024 * 1024 }
    await client.request(subscribe, { subscriptionId: 1, offset: 0, ...rest }, subscribed)
    const ask = { topicId, partition: 0, offset: 3, minBytes: 1, maxBytes: 250_000, maxWaitMs: 0 }
    const read: string[] = []
    while (read.length < 100) read.push(...valuesOf(await client.delivered(1, 1)))
    expect(read.map((text) => Number(text.split('-')[0]))).toEqual(Array.from({ length: 100 }, (_, i) => i))
    const { entries } = await client.request(fetch, ask, fetched)
    expect(valuesOf(entries).map((text) => text.split('-')[0])).toEqual(['3', '4'])
    await client.close()
  })

  it('end a subscription when another connection deletes its topic', async () => {
    const [client, other] = [await WireClient.open(broker.port), await WireClient.open(broker.port)]
    const topicId = await topicOf(client, 'short-lived')
    const rest = { topicId, partition: 0, offset: 0, creditBytes: 1_000 }
    await client.request(subscribe, { subscriptionId: 7, ...rest }, subscribed)
    await other.request(deleteTopic, { requestId: newRequestId(), name: 'short-lived' }, topicDeleted)
    expect(await client.next(subscriptionEnded)).toMatchObject({ subscriptionId: 7, code: 'UNKNOWN_TOPIC' })
    for (const one of [client, other]) await one.close()
  })
})

describe('a bad batch', () => {
  const text = batchOf(['a', 'b'])
  const bomb = gzipSync(Buffer.alloc(20 * 1024 * 1024))
  const gzip = COMPRESSION.gzip
  const cases: [what: string, fields: Partial<Produce>, code: string][] = [
    ['whose CRC does not match', { payloadCrc: 1 }, 'BAD_CRC'],
    ['whose record count lies', { recordCount: 3 }, 'BAD_BATCH'],
    ['with bytes after its records', { payload: Buffer.concat([text, Buffer.of(0)]) }, 'BAD_BATCH'],
    ['of garbage', { payload: Buffer.from(random.bytes(100)) }, 'BAD_BATCH'],
    [
      'with binary values in a text topic',
      { payload: batchOf([Buffer.of(1), Buffer.of(2)]) },
      'ENCODING_MISMATCH',
    ],
    [
      'with a record that is too large',
      { payload: batchOf(['x'.repeat(1_100_000), 'b']) },
      'RECORD_TOO_LARGE',
    ],
    ['that is too large', { payload: Buffer.alloc(5 * 1024 * 1024) }, 'BATCH_TOO_LARGE'],
    ['that is a gzip bomb', { attributes: gzip, payload: bomb, inflatedBytes: 1_000 }, 'BAD_COMPRESSION'],
    [
      'that is not the gzip it says',
      { attributes: gzip, payload: text, inflatedBytes: 10 },
      'BAD_COMPRESSION',
    ],
    ['for an unknown topic', { topicId: 'ab'.repeat(16) as TopicId }, 'UNKNOWN_TOPIC'],
    ['for an unknown partition', { partition: 1 }, 'UNKNOWN_PARTITION'],
    ['of an unknown producer', { producerId: 999_999 }, 'UNKNOWN_PRODUCER'],
  ]

  it.each(cases)('%s is refused alone: nothing of it is written', async (what, fields, code) => {
    const client = await WireClient.open(broker.port)
    const topicId = await topicOf(client, `bad-${cases.findIndex(([other]) => other === what)}`)
    client.send(produce, produceOf(topicId, ['before'], { correlationId: 1 }))
    client.send(produce, produceOf(topicId, ['a', 'b'], { correlationId: 2, ...fields }))
    client.send(produce, produceOf(topicId, ['after'], { correlationId: 3 }))
    expect(await client.nextError()).toMatchObject({ correlationId: 2, code, outcome: 0 })
    expect((await client.acks(2)).map(({ correlationId }) => correlationId)).toEqual([1, 3])
    const ask = { topicId, partition: 0, offset: 0, minBytes: 1, maxBytes: 1_000_000, maxWaitMs: 0 }
    expect(valuesOf((await client.request(fetch, ask, fetched)).entries)).toEqual(['before', 'after'])
    expect(await client.request(ping, {}, pong)).toBeDefined()
    await client.close()
  })
})

describe('a client that vanishes with batches in flight', () => {
  it('leaves nothing counted and the readable end at the durable end', async () => {
    const client = await WireClient.open(broker.port)
    const topicId = await topicOf(client, 'vanished')
    const value = 'v'.repeat(100_000)
    for (let i = 0; i < 60; i++) client.send(produce, produceOf(topicId, [value], { correlationId: i + 1 }))
    await client.acks(1)
    client.socket.resetAndDestroy()
    await client.closed
    await until(() => broker.metrics.snapshot().gauges.inFlightBytes === 0)
    await quiet()
    const next = await WireClient.open(broker.port)
    const queries = [{ partition: 0, at: 1, time: 0 }]
    const { offsets } = await next.request(listOffsets, { topicId, queries }, offsetsListed)
    const { durableEnd = 0 } = offsets[0] ?? {}
    const ask = { topicId, partition: 0, offset: durableEnd - 1, minBytes: 1, maxBytes: 1, maxWaitMs: 0 }
    expect(valuesOf((await next.request(fetch, ask, fetched)).entries)).toEqual([value])
    await next.close()
  })
})
