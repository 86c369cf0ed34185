import { describe, expect, test } from 'vitest'
import { batchOf, illegalQueueTopic, letterRecord, originTopicName } from '../../../broker/groups/letter.js'
import type { MemberId, TopicId } from '../../../protocol/ids.js'
import { HARD_LIMITS } from '../../../protocol/limits.js'
import { decodeRecords, recordsFault } from '../../../protocol/records.js'
import { someTopicId } from '../../support/entries.js'
import { append, createTopic, readAll, someRequestId, textBatch } from '../../support/test-shard.js'
import { QueueHarness } from './queue-harness.js'
import { member } from './queue-world.js'

const record = { offset: 7, key: 'k', value: 'v', headers: { trace: 't' }, timestamp: 123 }
const letter = {
  record,
  topic: 'mails',
  partition: 2,
  group: 'mail',
  reason: 'no such street',
  count: 5,
  time: 99,
}

describe('a dead letter', () => {
  test('is the record as it was, with headers that say where it is from and why it is here', () => {
    expect(letterRecord(letter)).toEqual({
      key: 'k',
      value: 'v',
      timestamp: 123,
      headers: {
        trace: 't',
        'millrace-reason': 'no such street',
        'millrace-count': '5',
        'millrace-topic': 'mails',
        'millrace-partition': '2',
        'millrace-offset': '7',
        'millrace-group': 'mail',
        'millrace-time': '99',
      },
    })
  })

  test('of a record that was replayed goes on from where it was first', () => {
    const replayed = { ...record, offset: 0, headers: letterRecord(letter).headers ?? null }
    const again = letterRecord({
      ...letter,
      record: replayed,
      topic: 'mails.mail.retry',
      partition: 0,
      count: 3,
    })
    expect(again.headers).toMatchObject({
      'millrace-count': '8',
      'millrace-topic': 'mails',
      'millrace-partition': '2',
      'millrace-offset': '7',
    })
  })

  test('does not believe what a producer wrote into a record of an ordinary topic', () => {
    const headers = {
      'millrace-topic': 'secrets',
      'millrace-partition': '9',
      'millrace-offset': '1',
      'millrace-count': '70',
    }
    expect(letterRecord({ ...letter, record: { ...record, headers } }).headers).toMatchObject({
      'millrace-topic': 'mails',
      'millrace-count': '5',
    })
  })

  test('has no more headers, and no longer reason, than a record may have', () => {
    const headers = Object.fromEntries(
      Array.from({ length: HARD_LIMITS.headersPerRecordMax }, (_, i) => [`h${i}`, 'x']),
    )
    const reason = 'r'.repeat(5000)
    const written = letterRecord({ ...letter, reason, record: { ...record, headers } })
    expect(Object.keys(written.headers ?? {})).toHaveLength(HARD_LIMITS.headersPerRecordMax)
    expect(written.headers?.['millrace-reason']).toHaveLength(HARD_LIMITS.reasonCharsMax)
    expect(written.headers?.['millrace-time']).toBe('99')
  })

  test('is a batch like any other', () => {
    const batch = batchOf([letterRecord(letter), letterRecord(letter)], {
      topicId: someTopicId,
      partition: 0,
    })
    const expected = { recordCount: 2, keyTextual: true, valueTextual: true, recordBytesMax: 10_000 }
    expect(recordsFault(batch.payload, expected)).toBeUndefined()
    expect(decodeRecords(batch.payload, 2)[1]).toMatchObject({ key: 'k', value: 'v' })
    expect(batch.baseTimestamp).toBe(123)
  })
})

describe('the name of a topic', () => {
  test('says for which topic a retry topic stands', () => {
    expect(originTopicName('mails.mail.retry', 'mail')).toBe('mails')
    expect(originTopicName('mails.mail.retry', 'calls')).toBe('mails.mail.retry')
    expect(originTopicName('.mail.retry', 'mail')).toBe('.mail.retry')
    expect(originTopicName('mails', 'mail')).toBe('mails')
  })

  test('may be such that its own group cannot take it', () => {
    expect(illegalQueueTopic('mails', 'mail')).toBeUndefined()
    expect(illegalQueueTopic('mails.mail.dlq', 'mail')).toMatch(/gave up/)
    expect(illegalQueueTopic('mails.mail.retry', 'mail')).toMatch(/gave up/)
    expect(illegalQueueTopic('mails.mail.dlq', 'undertaker')).toBeUndefined()
    expect(illegalQueueTopic('m'.repeat(240), 'mail')).toMatch(/characters/)
    expect(illegalQueueTopic('_millrace.changes', 'mail')).toMatch(/reserved/)
  })
})

describe('a consumer group', () => {
  const ada = member(1)

  /** A consumer group of which ada has the one partition of a topic with three records. */
  async function consuming(): Promise<{
    harness: QueueHarness
    topicId: TopicId
    giveUp: (fields?: Record<string, unknown>) => Promise<{ dlqOffset: number }>
    cursor: () => number | undefined
  }> {
    const harness = await QueueHarness.open()
    const { groups } = harness.shard
    const topicId = await createTopic(harness.shard, 'orders')
    await append(harness.shard, textBatch(['a', 'b', 'c'], { topicId }))
    const asked = { name: 'billing', kind: 'consumer', queue: null, requestId: null } as const
    const { groupId } = await groups.createGroup(asked)
    const move = { topicId, partition: 0, memberId: ada, ifNoCursor: 'earliest' } as const
    const { epoch } = await groups.assign(groupId, [move])
    const at = { groupId, memberId: ada as MemberId, topicId, partition: 0, epoch }
    return {
      harness,
      topicId,
      giveUp: (fields = {}) =>
        harness.letters.ofConsumer({
          ...at,
          requestId: someRequestId(),
          offset: 1,
          cursor: 2,
          count: 3,
          reason: 'bad',
          ...fields,
        }),
      cursor: () => groups.state.groups.get(groupId)?.cursors.get(`${topicId}/0`)?.offset,
    }
  }

  test('gives a record up and moves its cursor past it, as one', async () => {
    const { harness, giveUp, cursor } = await consuming()
    expect(await giveUp()).toEqual({ dlqOffset: 0 })
    expect(cursor()).toBe(2)
    const dlq = harness.shard.topicNamed('orders.billing.dlq')?.topicId as TopicId
    const written = await harness.letters.record({ topicId: dlq, partition: 0, offset: 0 })
    expect(written).toMatchObject({
      value: 'b',
      headers: { 'millrace-count': '3', 'millrace-offset': '1', 'millrace-group': 'billing' },
    })
  })

  test('gets the first answer when it asks again', async () => {
    const { harness, giveUp } = await consuming()
    const requestId = someRequestId()
    expect(await giveUp({ requestId })).toEqual({ dlqOffset: 0 })
    expect(await giveUp({ requestId })).toEqual({ dlqOffset: 0 })
    const dlq = harness.shard.topicNamed('orders.billing.dlq')?.topicId as TopicId
    expect((await readAll(harness.shard, dlq)).records).toHaveLength(1)
    await expect(giveUp()).rejects.toMatchObject({ code: 'ALREADY_ACKED' })
  })

  test('whose member is stale, or asks for what cannot be, changes nothing', async () => {
    const { harness, giveUp } = await consuming()
    const before = harness.shard.stateHash()
    await expect(giveUp({ memberId: member(2) })).rejects.toMatchObject({ code: 'FENCED' })
    await expect(giveUp({ epoch: 99 })).rejects.toMatchObject({ code: 'FENCED' })
    await expect(giveUp({ groupId: 99 })).rejects.toMatchObject({ code: 'UNKNOWN_GROUP' })
    await expect(giveUp({ topicId: 'ee'.repeat(16) })).rejects.toMatchObject({ code: 'UNKNOWN_TOPIC' })
    await expect(giveUp({ cursor: 1 })).rejects.toMatchObject({ code: 'ILLEGAL_ARGUMENT' })
    await expect(giveUp({ cursor: 4 })).rejects.toMatchObject({ code: 'ACK_OUT_OF_RANGE' })
    expect(harness.shard.stateHash()).toBe(before)
  })
})
