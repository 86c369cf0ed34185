import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Broker, startBroker } from '../../../broker/broker.js'
import { memberIdFrom, type TopicId } from '../../../protocol/ids.js'
import {
  atomic,
  atomicDone,
  createTopic,
  listOffsets,
  offsetsListed,
  produceChecked,
  producedChecked,
  topicCreated,
} from '../../../protocol/messages/index.js'
import { idBatch } from '../../support/checked-writes.js'
import { someRequestId } from '../../support/test-shard.js'
import { WireClient } from './wire-client.js'

let directory: string
let broker: Broker
let client: WireClient
let topicId: TopicId

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'millrace-checked-'))
  broker = await startBroker({ dataDir: directory, port: 0, log: pino({ level: 'silent' }) })
  client = await WireClient.open(broker.port)
  const kind = { keyEncoding: 'text', valueEncoding: 'text', ifMissing: false } as const
  const request = { requestId: someRequestId(), name: 'orders', partitions: 2, ...kind }
  topicId = (await client.request(createTopic, request, topicCreated)).topicId
})

afterAll(async () => {
  await client.close()
  await broker.close()
  await rm(directory, { recursive: true })
})

/** A write as ATOMIC has it; a value with a dedup id is `id=value`. */
function writeOf(records: string[], expectedOffset: number | null = null) {
  const { dedupIds, producerId, producerEpoch, baseSequence, ...batch } = idBatch(records, { topicId })
  const conditions = { expectedOffset, idBitmap: dedupIds?.bitmap ?? null, ids: dedupIds?.hashes ?? null }
  return { ...batch, ...conditions }
}

const checkedOf = (records: string[], expectedOffset: number | null = null) => ({
  ...writeOf(records, expectedOffset),
  ...{ producerId: null, producerEpoch: 0, baseSequence: 0 },
})

const endOf = async (): Promise<number | undefined> => {
  const queries = [{ partition: 0, at: 1, time: 0 }]
  const { offsets } = await client.request(listOffsets, { topicId, queries }, offsetsListed)
  return offsets[0]?.offset
}

describe('PRODUCE_CHECKED', () => {
  test('answers each request by itself, with the duplicates of its batch', async () => {
    client.send(produceChecked, { ...checkedOf(['a=1', 'b=1']), correlationId: 901 })
    client.send(produceChecked, { ...checkedOf(['b=2', 'c=1']), correlationId: 902 })
    client.send(produceChecked, { ...checkedOf(['plain']), correlationId: 903 })
    const answers = [
      await client.next(producedChecked),
      await client.next(producedChecked),
      await client.next(producedChecked),
    ]
    expect(answers).toMatchObject([
      { correlationId: 901, baseOffset: 0, duplicate: false, duplicates: [] },
      { correlationId: 902, baseOffset: 2, duplicates: [{ index: 0, partition: 0, offset: 1 }] },
      { correlationId: 903, baseOffset: 4, duplicates: [] },
    ])
  })

  test('refuses what does not hold, naming the actual offset, and ids that are not whole', async () => {
    const end = (await endOf()) as number
    client.send(produceChecked, { ...checkedOf(['x'], end + 1), correlationId: 911 })
    expect(await client.nextError()).toMatchObject({
      correlationId: 911,
      code: 'EXPECTED_OFFSET_CONFLICT',
      details: { expectedOffset: end + 1, actualOffset: end },
    })
    client.send(produceChecked, { ...checkedOf(['x=1']), ids: null, correlationId: 912 })
    expect(await client.nextError()).toMatchObject({ correlationId: 912, code: 'BAD_BATCH' })
    client.send(produceChecked, { ...checkedOf(['x=1']), ids: new Uint8Array(15), correlationId: 913 })
    expect(await client.nextError()).toMatchObject({ correlationId: 913, code: 'BAD_BATCH' })
    expect(await endOf()).toBe(end)
  })
})

describe('ATOMIC', () => {
  test('answers with where each write went, and a retry with the same', async () => {
    const end = (await endOf()) as number
    const request = {
      requestId: someRequestId(),
      writes: [writeOf(['k=1', 'l=1'], end), { ...writeOf(['k=2', 'm=1']), partition: 1 }],
      acks: [],
      jobs: [],
    }
    const first = await client.request(atomic, request, atomicDone)
    expect(first).toMatchObject({
      writes: [
        { partition: 0, baseOffset: end, duplicates: [] },
        { partition: 1, baseOffset: 0, duplicates: [{ index: 0, partition: 0, offset: end }] },
      ],
      retried: false,
    })
    const again = await client.request(atomic, request, atomicDone)
    expect(again).toEqual({ ...first, correlationId: again.correlationId, retried: true })
  })

  test('is refused as a whole, and other requests of the connection go on', async () => {
    const end = await endOf()
    const member = { groupId: 77, memberId: memberIdFrom('ad'.repeat(16)), topicId, partition: 0 }
    const refusals: [Partial<Parameters<typeof atomic.write>[0]>, string][] = [
      [{ acks: [{ ...member, epoch: 1, offset: 1 }] }, 'UNKNOWN_GROUP'],
      [{ jobs: [{ ...member, leaseId: 1, ranges: [{ from: 0, to: 1 }] }] }, 'UNKNOWN_GROUP'],
      [{ writes: [writeOf(['y']), writeOf(['y'], 0)] }, 'EXPECTED_OFFSET_CONFLICT'],
      [{ writes: [] }, 'ILLEGAL_ARGUMENT'],
      [{ writes: [{ ...writeOf(['y=1']), idBitmap: null }] }, 'BAD_BATCH'],
    ]
    for (const [parts, code] of refusals) {
      const correlationId = client.nextId()
      const request = { requestId: someRequestId(), writes: [writeOf(['y'])], acks: [], jobs: [], ...parts }
      client.send(atomic, { ...request, correlationId })
      expect(await client.nextError()).toMatchObject({ correlationId, code, outcome: 0 })
    }
    expect(await endOf()).toBe(end)
  })
})

test('the memory of frames is given back once their requests are answered, whatever the answer', async () => {
  const value = 'z'.repeat(200_000)
  for (let i = 0; i < 40; i++) {
    const kind = i % 4
    const correlationId = 2_000 + i
    const unit = { requestId: someRequestId(), writes: [writeOf([value])], acks: [], jobs: [] }
    if (kind === 0) client.send(produceChecked, { ...checkedOf([value]), correlationId })
    else if (kind === 1)
      client.send(produceChecked, { ...checkedOf([`${i}=${value}`]), ids: null, correlationId })
    else if (kind === 2) client.send(atomic, { ...unit, correlationId })
    else client.send(atomic, { ...unit, writes: [writeOf([value], 0)], correlationId })
    if (kind === 0) await client.next(producedChecked)
    else if (kind === 2) await client.next(atomicDone)
    else await client.nextError()
  }
  expect(broker.metrics.snapshot().gauges.frameMemoryBytes).toBeLessThanOrEqual(2 * 1024 * 1024)
})
