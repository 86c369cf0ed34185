import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Broker, startBroker } from '../../../broker/broker.js'
import { requestIdFrom, type TopicId } from '../../../protocol/ids.js'
import {
  createTopic,
  deleteTopic,
  fetch,
  initProducer,
  listOffsets,
  metadata,
  metadataListed,
  ping,
  pong,
  subscribe,
  topicCreated,
} from '../../../protocol/messages/index.js'
import { SeededRandom } from '../../support/seeded-random.js'
import { WireClient } from './wire-client.js'

let directory: string
let broker: Broker
let client: WireClient
let topicId: TopicId
const random = new SeededRandom(5)
const newRequestId = () => requestIdFrom(Buffer.from(random.bytes(16)).toString('hex'))
const topic = (name: string, fields = {}) => ({
  correlationId: 9,
  requestId: newRequestId(),
  name,
  partitions: 1,
  keyEncoding: 'text' as const,
  valueEncoding: 'text' as const,
  ifMissing: false,
  ...fields,
})

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'millrace-refused-'))
  broker = await startBroker({ dataDir: directory, port: 0, log: pino({ level: 'silent' }), topicsMax: 2 })
  client = await WireClient.open(broker.port)
  topicId = (await client.request(createTopic, topic('kept'), topicCreated)).topicId
})

afterAll(async () => {
  await client.close()
  await broker.close()
  await rm(directory, { recursive: true })
})

const position = { partition: 0, offset: 0 }
const wants = { minBytes: 1, maxBytes: 1_000, maxWaitMs: 0 }
const unknown = 'cd'.repeat(16) as TopicId

describe('a request that cannot be served', () => {
  const cases: [what: string, send: () => void, code: string, details?: object][] = [
    ...['', '.', '..', 'a/b', 'a b', 'ä', '\u0000', '_millrace.x', 'x'.repeat(250)].map(
      (name): [string, () => void, string] => [
        `to create the topic ${JSON.stringify(name.slice(0, 20))}`,
        () => client.send(createTopic, topic(name)),
        'ILLEGAL_TOPIC_NAME',
      ],
    ),
    ['to create a topic twice', () => client.send(createTopic, topic('kept')), 'TOPIC_EXISTS'],
    ['for no partitions', () => client.send(createTopic, topic('t', { partitions: 0 })), 'ILLEGAL_ARGUMENT'],
    [
      'for too many partitions',
      () => client.send(createTopic, topic('t', { partitions: 10_001 })),
      'ILLEGAL_ARGUMENT',
    ],
    [
      'to delete what does not exist',
      () => client.send(deleteTopic, { correlationId: 9, requestId: newRequestId(), name: 'none' }),
      'UNKNOWN_TOPIC',
    ],
    [
      'for a producer with an empty name',
      () => client.send(initProducer, { correlationId: 9, requestId: newRequestId(), name: '' }),
      'ILLEGAL_ARGUMENT',
    ],
    [
      'to fetch from an unknown topic',
      () => client.send(fetch, { correlationId: 9, topicId: unknown, ...position, ...wants }),
      'UNKNOWN_TOPIC',
    ],
    [
      'to fetch from an unknown partition',
      () => client.send(fetch, { correlationId: 9, topicId, ...position, ...wants, partition: 7 }),
      'UNKNOWN_PARTITION',
    ],
    [
      'to fetch beyond the end',
      () => client.send(fetch, { correlationId: 9, topicId, ...position, ...wants, offset: 5 }),
      'OFFSET_OUT_OF_RANGE',
      { startOffset: 0, endOffset: 0 },
    ],
    [
      'to subscribe beyond the end',
      () =>
        client.send(subscribe, {
          correlationId: 9,
          subscriptionId: 1,
          topicId,
          partition: 0,
          offset: 5,
          creditBytes: 1,
        }),
      'OFFSET_OUT_OF_RANGE',
      { startOffset: 0, endOffset: 0 },
    ],
    [
      'to subscribe to an unknown topic',
      () =>
        client.send(subscribe, {
          correlationId: 9,
          subscriptionId: 1,
          topicId: unknown,
          ...position,
          creditBytes: 1,
        }),
      'UNKNOWN_TOPIC',
    ],
    [
      'for offsets of an unknown partition',
      () =>
        client.send(listOffsets, { correlationId: 9, topicId, queries: [{ partition: 3, at: 0, time: 0 }] }),
      'UNKNOWN_PARTITION',
    ],
  ]

  it.each(cases)(
    '%s is refused with its code, and the connection goes on',
    async (_what, send, code, details) => {
      send()
      expect(await client.nextError()).toMatchObject({ correlationId: 9, code, ...(details && { details }) })
      expect(await client.request(ping, {}, pong)).toBeDefined()
      const listed = await client.request(metadata, { names: null, after: null, limit: null }, metadataListed)
      expect(listed.topics.map(({ name }) => name)).toEqual(['kept', '_millrace.changes'])
    },
  )

  it('for more topics than are allowed is refused with LIMIT_REACHED', async () => {
    await client.request(createTopic, topic('second'), topicCreated)
    client.send(createTopic, topic('third'))
    expect(await client.nextError()).toMatchObject({ correlationId: 9, code: 'LIMIT_REACHED' })
  })
})
