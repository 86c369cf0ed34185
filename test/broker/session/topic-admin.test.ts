import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Broker, startBroker } from '../../../broker/broker.js'
import { requestIdFrom, type TopicId } from '../../../protocol/ids.js'
import {
  alterTopic,
  createTopic,
  deleteBefore,
  deleteTopic,
  fetch,
  metadata,
  metadataListed,
  produce,
  recordsDeleted,
  topicAltered,
  topicCreated,
} from '../../../protocol/messages/index.js'
import {
  DEFAULT_TOPIC_OPTIONS,
  EMPTY_TOPIC_OPTIONS_PATCH,
  type TopicOptionsPatch,
} from '../../../protocol/topic-options.js'
import { SeededRandom } from '../../support/seeded-random.js'
import { textBatch } from '../../support/test-shard.js'
import { WireClient } from './wire-client.js'

const CHANGES = '_millrace.changes'

let directory: string
let broker: Broker
let client: WireClient
const random = new SeededRandom(12)
const newRequestId = () => requestIdFrom(Buffer.from(random.bytes(16)).toString('hex'))

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'millrace-topic-admin-'))
  broker = await startBroker({ dataDir: directory, port: 0, log: pino({ level: 'silent' }) })
  client = await WireClient.open(broker.port)
})

afterAll(async () => {
  await client.close()
  await broker.close()
  await rm(directory, { recursive: true })
})

const create = async (name: string, options: Partial<TopicOptionsPatch> = {}): Promise<TopicId> => {
  const kind = { keyEncoding: 'text', valueEncoding: 'text', ifMissing: false } as const
  const request = {
    requestId: newRequestId(),
    name,
    partitions: 1,
    ...kind,
    options: { ...EMPTY_TOPIC_OPTIONS_PATCH, ...options },
  }
  return (await client.request(createTopic, request, topicCreated)).topicId
}

const described = async (name: string) => {
  const { topics } = await client.request(
    metadata,
    { names: [name], after: null, limit: null },
    metadataListed,
  )
  return topics[0]
}

describe('the options of a topic', () => {
  it('are set when it is created, told, altered and cleared', async () => {
    await create('orders', { untilAcked: true, maxBytes: 1e9 })
    expect(await described('orders')).toMatchObject({
      internal: false,
      options: { ...DEFAULT_TOPIC_OPTIONS, untilAcked: true, maxBytes: 1e9 },
    })
    const request = {
      requestId: newRequestId(),
      name: 'orders',
      options: { ...EMPTY_TOPIC_OPTIONS_PATCH, onLag: 'drop' as const, maxLagBytes: 5e8, untilAcked: false },
      clear: ['maxBytes'],
    }
    const options = { ...DEFAULT_TOPIC_OPTIONS, onLag: 'drop', maxLagBytes: 5e8 }
    expect(await client.request(alterTopic, request, topicAltered)).toMatchObject({ options })
    expect(await client.request(alterTopic, request, topicAltered)).toMatchObject({ options })
    expect(await described('orders')).toMatchObject({ options })
  })

  it('are refused where they make no sense, and for what is not there or belongs to the broker', async () => {
    await create('bad-options')
    const alter = (change: { name?: string; options?: Partial<TopicOptionsPatch>; clear?: string[] }) =>
      client.send(alterTopic, {
        correlationId: 500,
        requestId: newRequestId(),
        name: change.name ?? 'bad-options',
        options: { ...EMPTY_TOPIC_OPTIONS_PATCH, ...change.options },
        clear: change.clear ?? [],
      })
    for (const change of [
      { options: { maxBytes: 0 } },
      { clear: ['size'] },
      { options: { maxAgeMs: 1 }, clear: ['maxAgeMs'] },
    ]) {
      alter(change)
      expect(await client.nextError()).toMatchObject({ correlationId: 500, code: 'ILLEGAL_ARGUMENT' })
    }
    alter({ name: 'nothing' })
    expect(await client.nextError()).toMatchObject({ code: 'UNKNOWN_TOPIC' })
    alter({ name: CHANGES, options: { maxBytes: 1 } })
    expect(await client.nextError()).toMatchObject({ code: 'TOPIC_READ_ONLY' })
    expect((await described('bad-options'))?.options).toEqual(DEFAULT_TOPIC_OPTIONS)
  })
})

describe('deleting before an offset', () => {
  it('moves the start, tells how much went, and readers below it learn both ends', async () => {
    const topicId = await create('short')
    for (let i = 0; i < 3; i++) {
      client.send(produce, { ...textBatch(['a', 'b'], { topicId }), correlationId: 40 + i })
      await client.acks(1)
    }
    const request = { requestId: newRequestId(), topicId, partition: 0, offset: 3 }
    const deleted = { startOffset: 3, records: 3, bytes: 0 }
    expect(await client.request(deleteBefore, request, recordsDeleted)).toMatchObject(deleted)
    expect(await client.request(deleteBefore, request, recordsDeleted)).toMatchObject(deleted)
    client.send(fetch, {
      correlationId: 77,
      topicId,
      partition: 0,
      offset: 2,
      minBytes: 1,
      maxBytes: 1000,
      maxWaitMs: 0,
    })
    expect(await client.nextError()).toMatchObject({
      correlationId: 77,
      code: 'OFFSET_OUT_OF_RANGE',
      details: { startOffset: 3, endOffset: 6 },
    })
    client.send(deleteBefore, { correlationId: 78, ...request, requestId: newRequestId(), offset: 7 })
    expect(await client.nextError()).toMatchObject({ correlationId: 78, code: 'OFFSET_OUT_OF_RANGE' })
  })
})

describe('the topic of changes', () => {
  it('is listed last, and is written by the broker alone', async () => {
    const list = { names: null, after: null, limit: null }
    const { topics } = await client.request(metadata, list, metadataListed)
    const { topicId, internal } = topics.at(-1) ?? {}
    expect([topics.at(-1)?.name, internal]).toEqual([CHANGES, true])
    if (topicId === undefined) throw new Error('the topic has no id')
    client.send(produce, { ...textBatch(['{}'], { topicId }), correlationId: 90 })
    expect(await client.nextError()).toMatchObject({ correlationId: 90, code: 'TOPIC_READ_ONLY' })
    client.send(deleteTopic, { correlationId: 91, requestId: newRequestId(), name: CHANGES })
    expect(await client.nextError()).toMatchObject({ correlationId: 91, code: 'TOPIC_READ_ONLY' })
    client.send(deleteBefore, {
      correlationId: 92,
      requestId: newRequestId(),
      topicId,
      partition: 0,
      offset: 0,
    })
    expect(await client.nextError()).toMatchObject({ correlationId: 92, code: 'TOPIC_READ_ONLY' })
  })
})
