import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { crc32 } from '#crc32'
import { type Broker, startBroker } from '../../../broker/broker.js'
import { type MemberId, memberIdFrom, requestIdFrom, type TopicId } from '../../../protocol/ids.js'
import {
  createTopic,
  dlqPurge,
  dlqPurged,
  dlqReplay,
  dlqReplayed,
  groupEnded,
  groupJoined,
  groupLeft,
  joinGroup,
  leaveGroup,
  produce,
  type QueueDeliver,
  queueCredit,
  queueDeliver,
  queueSettle,
  queueSettled,
  queueStarted,
  topicCreated,
} from '../../../protocol/messages/index.js'
import { decodeRecords, RecordBatchBuilder } from '../../../protocol/records.js'
import { SeededRandom } from '../../support/seeded-random.js'
import { WireClient } from './wire-client.js'

let directory: string
let broker: Broker
const random = new SeededRandom(23)
const newId = (): string => Buffer.from(random.bytes(16)).toString('hex')
const clients: WireClient[] = []

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'millrace-queues-'))
  broker = await startBroker({ dataDir: directory, port: 0, log: pino({ level: 'silent' }) })
})

afterEach(async () => {
  for (const client of clients.splice(0)) await client.close()
})

afterAll(async () => {
  await broker.close()
  await rm(directory, { recursive: true })
})

async function connect(): Promise<WireClient> {
  const client = await WireClient.open(broker.port)
  clients.push(client)
  return client
}

async function topicWith(client: WireClient, name: string, values: readonly string[]): Promise<TopicId> {
  const fields = {
    name,
    partitions: 1,
    keyEncoding: 'text',
    valueEncoding: 'text',
    ifMissing: false,
  } as const
  const requestId = requestIdFrom(newId())
  const { topicId } = await client.request(createTopic, { requestId, ...fields }, topicCreated)
  const builder = new RecordBatchBuilder()
  for (const value of values) builder.append({ key: null, value, timestamp: 1_700_000_000_000 })
  const { payload, recordCount, baseTimestamp } = builder.finish()
  const bytes = payload.slice()
  client.send(produce, {
    correlationId: 77_777,
    topicId,
    partition: 0,
    producerId: null,
    producerEpoch: 0,
    baseSequence: 0,
    attributes: 0,
    baseTimestamp,
    recordCount,
    inflatedBytes: bytes.length,
    payloadCrc: crc32(bytes),
    payload: bytes,
  })
  await client.acks(1)
  return topicId
}

interface Worker {
  readonly client: WireClient
  readonly groupId: number
  readonly memberId: MemberId
}

async function work(
  topicId: TopicId,
  fields: { group: string; prefetch?: number; maxDeliveries?: number },
): Promise<Worker> {
  const client = await connect()
  const memberId = memberIdFrom(newId())
  const { groupId } = await client.request(
    joinGroup,
    {
      kind: 'queue',
      memberId,
      attempt: 1,
      topicIds: [topicId],
      ifNoCursor: 'earliest',
      sessionTimeoutMs: 10_000,
      leaseMs: 30_000,
      maxDeliveries: 5,
      prefetch: 10,
      held: [],
      heldLeases: [],
      ...fields,
    },
    groupJoined,
  )
  return { client, groupId, memberId }
}

const valuesOf = ({ batches, payloads }: QueueDeliver): unknown[] => {
  let at = 0
  return batches.flatMap(({ recordCount, payloadBytes }) => {
    const records = decodeRecords(payloads.subarray(at, at + payloadBytes), recordCount)
    at += payloadBytes
    return records.map(({ value }) => value)
  })
}

function settle(
  { client, groupId, memberId }: Worker,
  { topicId, partition, leaseId, ranges }: QueueDeliver,
  kind: 'ack' | 'nack' | 'extend' | 'release',
  ms: number | null = null,
) {
  const items = ranges.map((range) => ({ kind, topicId, partition, leaseId, ...range, ms, reason: 'test' }))
  return client.request(queueSettle, { groupId, memberId, items }, queueSettled)
}

test('a worker is delivered jobs over its socket, extends and settles them', async () => {
  const topicId = await topicWith(await connect(), 'letters', ['a', 'b', 'c'])
  const worker = await work(topicId, { group: 'post', prefetch: 2 })
  const { client, groupId, memberId } = worker
  const first = await client.next(queueDeliver)
  expect(first).toMatchObject({
    groupId,
    memberId,
    topicId,
    partition: 0,
    ranges: [{ from: 0, to: 2 }],
    counts: [],
  })
  expect(valuesOf(first)).toEqual(['a', 'b'])
  const { leaseId, ranges } = first
  client.send(queueStarted, { groupId, memberId, topicId, partition: 0, leaseId, ranges })
  const extended = await settle(worker, first, 'extend', 60_000)
  expect(extended.results).toEqual([])
  expect(extended.deadlines[0]?.deadline).toBeGreaterThan(first.deadline)
  expect(await settle(worker, first, 'ack')).toMatchObject({ results: [], deadlines: [] })
  expect((await settle(worker, first, 'ack')).results).toEqual([{ index: 0, code: 'LEASE_LOST' }])
  client.send(queueCredit, { groupId, memberId, records: 2 })
  expect(valuesOf(await client.next(queueDeliver))).toEqual(['c'])
})

test('what a worker gives back by leaving, others get at once', async () => {
  const topicId = await topicWith(await connect(), 'parcels', ['a', 'b'])
  const leaver = await work(topicId, { group: 'post2' })
  await leaver.client.next(queueDeliver)
  const other = await work(topicId, { group: 'post2' })
  const { groupId, memberId } = leaver
  await leaver.client.request(leaveGroup, { groupId, memberId }, groupLeft)
  expect(valuesOf(await other.client.next(queueDeliver))).toEqual(['a', 'b'])
})

test('dead letters are replayed and purged over the wire', async () => {
  const topicId = await topicWith(await connect(), 'bills', ['a', 'b'])
  const worker = await work(topicId, { group: 'post3', maxDeliveries: 1 })
  const { client, groupId, memberId } = worker
  expect((await settle(worker, await client.next(queueDeliver), 'nack', 0)).results).toEqual([])
  const group = 'post3'
  const replay = { requestId: requestIdFrom(newId()), topicId, group, max: 1 }
  expect(await client.request(dlqReplay, replay, dlqReplayed)).toMatchObject({ replayed: 1, left: 1 })
  client.send(queueCredit, { groupId, memberId, records: 2 })
  expect(valuesOf(await client.next(queueDeliver))).toEqual(['a'])
  const purge = { requestId: requestIdFrom(newId()), topicId, group }
  expect(await client.request(dlqPurge, purge, dlqPurged)).toMatchObject({ records: 1 })
})

test('a worker whose id a newer connection takes is told, and changes nothing any more', async () => {
  const topicId = await topicWith(await connect(), 'cards', ['a'])
  const worker = await work(topicId, { group: 'post4' })
  const { client, groupId, memberId } = worker
  const first = await client.next(queueDeliver)
  const newer = await connect()
  const fields = { group: 'post4', kind: 'queue', memberId, attempt: 2 } as const
  const rest = {
    ifNoCursor: 'earliest',
    sessionTimeoutMs: 10_000,
    leaseMs: 30_000,
    maxDeliveries: 5,
  } as const
  await newer.request(
    joinGroup,
    { ...fields, ...rest, topicIds: [topicId], prefetch: 5, held: [], heldLeases: [] },
    groupJoined,
  )
  expect(await client.next(groupEnded)).toMatchObject({ groupId, memberId, code: 'FENCED' })
  const correlationId = 9_999
  const { partition, leaseId } = first
  const item = { kind: 'ack', topicId, partition, leaseId, from: 0, to: 1, ms: null, reason: null } as const
  client.send(queueSettle, { correlationId, groupId, memberId, items: [item] })
  expect(await client.nextError()).toMatchObject({ correlationId, code: 'UNKNOWN_MEMBER' })
  // The newer connection did not say that it has the lease: the job comes to it.
  expect(valuesOf(await newer.next(queueDeliver))).toEqual(['a'])
})
