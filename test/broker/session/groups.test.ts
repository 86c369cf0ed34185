import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { crc32 } from '#crc32'
import { type Broker, startBroker } from '../../../broker/broker.js'
import { COMPRESSION } from '../../../protocol/entry.js'
import type { ErrorCode } from '../../../protocol/error-codes.js'
import type { MemberId, RequestId, TopicId } from '../../../protocol/ids.js'
import {
  ack,
  acked,
  createTopic,
  cursorsReset,
  deleteGroup,
  describeGroup,
  groupAssignment,
  groupDeleted,
  groupDescribed,
  groupEnded,
  groupJoined,
  groupLeft,
  groupRevoked,
  groupsListed,
  type JoinGroup,
  joinGroup,
  leaveGroup,
  listGroups,
  produce,
  resetCursors,
  topicCreated,
} from '../../../protocol/messages/index.js'
import { RecordBatchBuilder } from '../../../protocol/records.js'
import { SeededRandom } from '../../support/seeded-random.js'
import { quiet } from './harness.js'
import { WireClient } from './wire-client.js'

let directory: string
let broker: Broker
const random = new SeededRandom(5)
const newId = (): string => Buffer.from(random.bytes(16)).toString('hex')
const clients: WireClient[] = []
let groups = 0

async function start(): Promise<void> {
  broker = await startBroker({ dataDir: directory, port: 0, log: pino({ level: 'silent' }) })
}

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'millrace-groups-'))
  await start()
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

/** A topic with ten records in each partition, and a name for a group that does not exist. */
async function newTopic(partitions = 2) {
  const client = await connect()
  const kind = { keyEncoding: 'text', valueEncoding: 'text', ifMissing: false } as const
  const name = `topic-${newId()}`
  const request = { requestId: newId() as RequestId, name, partitions, ...kind }
  const { topicId } = await client.request(createTopic, request, topicCreated)
  const builder = new RecordBatchBuilder()
  for (let n = 0; n < 10; n++) builder.append({ key: null, value: `${n}`, timestamp: 1_700_000_000_000 })
  const payload = builder.finish().payload.slice()
  for (let partition = 0; partition < partitions; partition++) {
    client.send(produce, {
      correlationId: partition + 100,
      topicId,
      partition,
      producerId: null,
      producerEpoch: 0,
      baseSequence: 0,
      attributes: COMPRESSION.none,
      baseTimestamp: 1_700_000_000_000,
      recordCount: 10,
      inflatedBytes: payload.length,
      payloadCrc: crc32(payload),
      payload,
    })
  }
  await client.acks(partitions)
  return { topicId, name, group: `group-${++groups}` }
}

type Joining = { group: string; topicId: TopicId } & Partial<Omit<JoinGroup, 'correlationId'>>

const joinOf = ({ topicId, ...more }: Joining): Omit<JoinGroup, 'correlationId'> => ({
  kind: 'consumer',
  memberId: newId() as MemberId,
  attempt: 1,
  topicIds: [topicId],
  ifNoCursor: 'earliest',
  sessionTimeoutMs: 5000,
  leaseMs: 0,
  maxDeliveries: 0,
  prefetch: 0,
  held: [],
  heldLeases: [],
  ...more,
})

/** A member on a connection of its own, that is in the group. */
async function member(joining: Joining, client?: WireClient) {
  const on = client ?? (await connect())
  const request = joinOf(joining)
  const { memberId } = request
  const { groupId } = await on.request(joinGroup, request, groupJoined)
  const me = { groupId, memberId }
  const { topicId } = joining
  const ackOf = (partition: number, offset: number, epoch: number) => ({ topicId, partition, epoch, offset })
  return {
    client: on,
    me,
    request,
    assignment: () => on.next(groupAssignment),
    ack: async (partition: number, offset: number, epoch: number) =>
      (await on.request(ack, { ...me, acks: [ackOf(partition, offset, epoch)] }, acked)).results,
  }
}

async function positions(name: string): Promise<number[]> {
  const client = await connect()
  const { parts } = await client.request(describeGroup, { name, topicId: null }, groupDescribed)
  return parts.map(({ position }) => position)
}

describe('a consumer group over the wire', () => {
  it('assigns to its first member everything from the start, and takes its acks', async () => {
    const topic = await newTopic()
    const ada = await member(topic)
    const { assigned, revoked, epoch } = await ada.assignment()
    expect(revoked).toEqual([])
    expect(assigned).toMatchObject([
      { partition: 0, cursor: 0, durableEnd: 10, lost: 0, name: topic.name, valueEncoding: 'text' },
      { partition: 1, cursor: 0, durableEnd: 10, lost: 0 },
    ])
    expect(await ada.ack(0, 4, epoch)).toEqual([])
    expect(await ada.ack(1, 10, epoch)).toEqual([])
    expect(await ada.ack(1, 11, epoch)).toEqual([{ index: 0, code: 'ACK_OUT_OF_RANGE' }])
    expect(await ada.ack(1, 10, epoch + 1)).toEqual([{ index: 0, code: 'FENCED' }])
    expect(await positions(topic.group)).toEqual([4, 10])
  })

  it('hands over what a second member is to have once the first let go, after the acks before that', async () => {
    const topic = await newTopic()
    const ada = await member(topic)
    const { epoch } = await ada.assignment()
    const bob = await member(topic)
    const { revoked } = await ada.assignment()
    expect(revoked).toHaveLength(1)
    const { partition } = revoked[0] as { partition: number }
    const acks = [{ topicId: topic.topicId, partition, epoch, offset: 7 }]
    ada.client.send(ack, { ...ada.me, acks, correlationId: 50 })
    ada.client.send(groupRevoked, { ...ada.me, epoch, parts: revoked })
    ada.client.send(ack, { ...ada.me, acks: [{ ...acks[0]!, offset: 9 }], correlationId: 51 })
    expect(await ada.client.next(acked)).toMatchObject({ correlationId: 50, results: [] })
    const { assigned } = await bob.assignment()
    expect(assigned).toMatchObject([{ partition, cursor: 7, epoch: epoch + 1 }])
    expect(await ada.client.next(acked)).toMatchObject({
      correlationId: 51,
      results: [{ index: 0, code: 'FENCED' }],
    })
  })

  it('gives everything of a member that leaves to the others at once, its acks included', async () => {
    const topic = await newTopic()
    const ada = await member(topic)
    const { epoch } = await ada.assignment()
    const bob = await member(topic)
    const acks = [0, 1].map((partition) => ({ topicId: topic.topicId, partition, epoch, offset: 5 }))
    ada.client.send(ack, { ...ada.me, acks, correlationId: 60 })
    await ada.client.request(leaveGroup, ada.me, groupLeft)
    // The acks were answered first; what it was to let go of for the other it may have been told or not.
    const received = ada.client.received.map(({ name }) => name)
    expect(received.filter((name) => name !== 'GROUP_ASSIGNMENT')).toEqual(['ACKED'])
    expect(await ada.client.next(acked)).toMatchObject({ correlationId: 60, results: [] })
    const { assigned } = await bob.assignment()
    expect(assigned.map(({ cursor }) => cursor)).toEqual([5, 5])
    expect(await ada.ack(0, 6, epoch)).toEqual([{ index: 0, code: 'FENCED' }])
  })

  it('keeps the partitions of a member whose connection breaks, and of one that finds a new broker', async () => {
    const topic = await newTopic()
    const ada = await member(topic)
    const { epoch, assigned } = await ada.assignment()
    await ada.client.close()
    const held = assigned.map(({ topicId, partition, epoch }) => ({ topicId, partition, epoch }))
    const again = await member({ ...topic, ...ada.request, attempt: 2, held })
    expect(await again.assignment()).toMatchObject({ epoch, revoked: [], assigned: [{ epoch }, { epoch }] })
    expect(await again.ack(0, 3, epoch)).toEqual([])
    await broker.close()
    await start()
    const third = await member({ ...topic, ...ada.request, attempt: 3, held })
    expect(await third.assignment()).toMatchObject({
      epoch,
      assigned: [
        { cursor: 3, epoch },
        { cursor: 0, epoch },
      ],
    })
    expect(await third.ack(0, 4, epoch)).toEqual([])
  })

  it('expels a member that shows no sign of life, and fences it when it wakes up', async () => {
    const topic = await newTopic()
    const ada = await member({ ...topic, sessionTimeoutMs: 1000 })
    const { epoch } = await ada.assignment()
    const bob = await member({ ...topic, sessionTimeoutMs: 60_000 })
    ada.client.socket.pause()
    // After a second and a half one is taken that is not let go of, after the timeout all.
    const seen = new Set<number>()
    while (seen.size < 2) for (const { partition } of (await bob.assignment()).assigned) seen.add(partition)
    ada.client.socket.resume()
    expect(await ada.client.next(groupEnded)).toMatchObject({ ...ada.me, code: 'FENCED', retriable: false })
    expect(await ada.ack(0, 9, epoch)).toEqual([{ index: 0, code: 'FENCED' }])
    expect(await positions(topic.group)).toEqual([0, 0])
  })

  it('lives as long as it answers pings, however long it says nothing', async () => {
    const topic = await newTopic()
    const ada = await member({ ...topic, sessionTimeoutMs: 1000 })
    const { epoch } = await ada.assignment()
    await new Promise((resolve) => setTimeout(resolve, 2500))
    expect(await ada.ack(0, 9, epoch)).toEqual([])
  })

  it('lets nobody speak for a member of another connection', async () => {
    const topic = await newTopic()
    const ada = await member(topic)
    const { epoch, assigned } = await ada.assignment()
    const stranger = await connect()
    const acks = [{ topicId: topic.topicId, partition: 0, epoch, offset: 9 }]
    const { results } = await stranger.request(ack, { ...ada.me, acks }, acked)
    expect(results).toEqual([{ index: 0, code: 'FENCED' }])
    stranger.send(groupRevoked, { ...ada.me, epoch, parts: assigned })
    await stranger.request(leaveGroup, ada.me, groupLeft)
    await quiet()
    expect(await ada.ack(0, 5, epoch)).toEqual([])
    expect(await positions(topic.group)).toEqual([5, 0])
  })

  it('takes the newer of two connections of a member, and fences the older', async () => {
    const topic = await newTopic()
    const ada = await member(topic)
    const { epoch } = await ada.assignment()
    const newer = await member({ ...topic, ...ada.request, attempt: 2 })
    expect(await ada.client.next(groupEnded)).toMatchObject({ ...ada.me, code: 'FENCED' })
    expect(await ada.ack(0, 9, epoch)).toEqual([{ index: 0, code: 'FENCED' }])
    // It named nothing as its own, so what it had is assigned to it anew.
    expect((await newer.assignment()).assigned).toEqual([])
    const again = await newer.assignment()
    expect(again.assigned.map((part) => part.epoch)).toEqual([again.epoch, again.epoch])
    expect(again.epoch).toBeGreaterThan(epoch)
    expect(await newer.ack(0, 4, epoch)).toEqual([{ index: 0, code: 'FENCED' }])
    expect(await newer.ack(0, 5, again.epoch)).toEqual([])
    expect(await positions(topic.group)).toEqual([5, 0])
  })
})

describe('looking at groups and changing them over the wire', () => {
  it('lists, describes, resets and deletes', async () => {
    const topic = await newTopic()
    const ada = await member(topic)
    const { epoch } = await ada.assignment()
    await ada.ack(0, 6, epoch)
    const client = await connect()
    const { groups: listed } = await client.request(listGroups, { after: null, limit: null }, groupsListed)
    expect(listed.find(({ name }) => name === topic.group)).toEqual({
      name: topic.group,
      kind: 'consumer',
      members: 1,
      topics: 1,
      lagRecords: 14,
    })
    const described = await client.request(
      describeGroup,
      { name: topic.group, topicId: null },
      groupDescribed,
    )
    expect(described).toMatchObject({
      state: 'active',
      members: [{ memberId: ada.me.memberId, clientName: 'test', connected: true, partitions: 2 }],
      parts: [{ topic: topic.name, partition: 0, position: 6, lagRecords: 4, memberId: ada.me.memberId }, {}],
      deadLetters: [],
    })
    expect(described.parts[0]?.lagBytes).toBeGreaterThan(0)
    const reset = { requestId: newId() as RequestId, group: topic.group, topicId: null, partitions: null }
    const toEarliest = { ...reset, to: 'earliest', value: 0, dryRun: false, create: false } as const
    client.send(resetCursors, { ...toEarliest, correlationId: 70 })
    expect(await client.nextError()).toMatchObject({ correlationId: 70, code: 'GROUP_ACTIVE' })
    await ada.client.request(leaveGroup, ada.me, groupLeft)
    expect(await client.request(resetCursors, toEarliest, cursorsReset)).toMatchObject({
      parts: [
        { topic: topic.name, partition: 0, from: 6, to: 0 },
        { partition: 1, from: 0, to: 0 },
      ],
    })
    const deletion = { requestId: newId() as RequestId, group: topic.group, topicId: null }
    await client.request(deleteGroup, deletion, groupDeleted)
    client.send(describeGroup, { name: topic.group, topicId: null, correlationId: 71 })
    expect(await client.nextError()).toMatchObject({ correlationId: 71, code: 'UNKNOWN_GROUP' })
  })

  it('refuses bad requests, each with its code', async () => {
    const topic = await newTopic()
    const ada = await member(topic)
    await ada.assignment()
    const client = await connect()
    const unknown = newId() as TopicId
    const cases: [Partial<Joining>, ErrorCode][] = [
      [{ group: '' }, 'ILLEGAL_GROUP_NAME'],
      [{ group: 'a b' }, 'ILLEGAL_GROUP_NAME'],
      [{ topicIds: [] }, 'ILLEGAL_ARGUMENT'],
      [{ topicIds: [unknown] }, 'UNKNOWN_TOPIC'],
      [{ memberId: ada.me.memberId }, 'MEMBER_EXISTS'],
      [{ held: [{ topicId: topic.topicId, partition: 0, epoch: 1 }] }, 'FENCED'],
    ]
    for (const [more, code] of cases) {
      const correlationId = client.nextId()
      client.send(joinGroup, { ...joinOf({ ...topic, ...more }), correlationId })
      expect(await client.nextError(), code).toMatchObject({ correlationId, code })
    }
    const queue = { ...topic, kind: 'queue', leaseMs: 1000, maxDeliveries: 3, prefetch: 1 } as const
    client.send(joinGroup, { ...joinOf(queue), correlationId: 90 })
    expect(await client.nextError()).toMatchObject({ correlationId: 90, code: 'GROUP_KIND_CONFLICT' })
  })
})
