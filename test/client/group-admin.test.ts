import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Client, connect, defineTopic, json, type MillraceError, text } from '../../client/index.js'
import * as messages from '../../protocol/messages/index.js'
import {
  DEFAULT_TOPIC_OPTIONS,
  EMPTY_TOPIC_OPTIONS_PATCH,
  patchedTopicOptions,
} from '../../protocol/topic-options.js'
import { ScriptedBroker } from '../support/scripted-broker.js'

const Orders = defineTopic({ name: 'orders', key: text(), value: json<{ id: number }>() })

let broker: ScriptedBroker
let client: Client
let asked: Record<string, unknown>[]

beforeEach(async () => {
  broker = await ScriptedBroker.start()
  broker.createTopic({ name: 'orders', partitions: 2, keyEncoding: 'text', valueEncoding: 'json' })
  client = connect(broker.url, { backoffBaseMs: 1, backoffCapMs: 20 })
  asked = []
})

afterEach(async () => {
  await client.close({ drainMs: 0 })
  await broker.stop()
})

/** Answers requests of this name; what was asked is kept. */
function answer(name: string, write: (fields: Record<string, unknown>) => unknown[]): void {
  broker.handlers.set(name, (fields) => {
    asked.push({ ...fields })
    return write(fields as Record<string, unknown>)
  })
}

const id = (fields: Record<string, unknown>) => ({ correlationId: fields.correlationId as number })
const topicId = (): string => broker.topics.get('orders')?.topicId ?? ''

const failureOf = (promise: Promise<unknown>): Promise<MillraceError> =>
  promise.then(
    () => {
      throw new Error('it did not fail')
    },
    (error: MillraceError) => error,
  )

describe('groups', () => {
  it('are listed over all pages', async () => {
    const group = (name: string) => ({ name, kind: 'queue' as const, members: 1, topics: 2, lagRecords: 3 })
    answer('LIST_GROUPS', (fields) =>
      messages.groupsListed.write({
        ...id(fields),
        groups: [group(fields.after === null ? 'a' : 'b')],
        next: fields.after === null ? 'a' : null,
      }),
    )
    expect(await client.groups.list()).toEqual([group('a'), group('b')])
  })

  it('are described with their members, cursors and lag', async () => {
    const memberId = '0123456789abcdef0123456789abcdef'
    answer('DESCRIBE_GROUP', (fields) =>
      messages.groupDescribed.write({
        ...id(fields),
        name: 'billing',
        kind: 'consumer',
        state: 'active',
        epoch: 4,
        members: [{ memberId: memberId as never, clientName: 'app', connected: true, partitions: 1 }],
        parts: [
          {
            topic: 'orders',
            partition: 1,
            hasCursor: true,
            position: 7,
            startOffset: 2,
            durableEnd: 9,
            lagRecords: 2,
            lagBytes: 80,
            lagMs: 1_500,
            memberId: memberId as never,
            leased: 0,
            ready: 0,
            movedAt: 5,
          },
        ],
        partsLeft: 0,
        deadLetters: [{ topic: 'orders', dlqTopic: 'orders.billing.dlq', records: 1 }],
      }),
    )
    const description = await client.groups.describe('billing', { topic: Orders })
    expect(asked[0]).toMatchObject({ name: 'billing', topicId: topicId() })
    expect(description).toMatchObject({ kind: 'consumer', isActive: true, epoch: 4, partitionsLeft: 0 })
    expect(description.partitions[0]).toEqual({
      topic: 'orders',
      partition: 1,
      hasCursor: true,
      position: 7,
      startOffset: 2,
      endOffset: 9,
      lag: { records: 2, bytes: 80, seconds: 1.5 },
      memberId,
      leased: 0,
      ready: 0,
      movedAt: 5,
    })
    expect(description.deadLetters[0]?.records).toBe(1)
  })

  it('are reset to an end, a time or an offset, or only asked what that would do', async () => {
    answer('RESET_CURSORS', (fields) =>
      messages.cursorsReset.write({
        ...id(fields),
        parts: [{ topic: 'orders', partition: 0, from: null, to: 3 }],
      }),
    )
    const parts = await client.groups.reset('g', { to: 'earliest' })
    expect(parts).toEqual([{ topic: 'orders', partition: 0, from: null, to: 3 }])
    await client.groups.reset('g', { to: new Date(77), topic: 'orders', dryRun: true })
    await client.groups.reset('g', { to: { offset: 5 }, topic: Orders, partitions: [1], create: true })
    expect(asked).toMatchObject([
      { group: 'g', topicId: null, partitions: null, to: 'earliest', value: 0, dryRun: false, create: false },
      { topicId: topicId(), to: 'time', value: 77, dryRun: true },
      { topicId: topicId(), partitions: [1], to: 'offset', value: 5, create: true },
    ])
    expect(new Set(asked.map(({ requestId }) => requestId)).size).toBe(3)
  })

  it('are not reset to what is no place', async () => {
    for (const options of [
      { to: { offset: 5 } },
      { to: { offset: -1 }, topic: 'orders' },
      { to: 'latest', partitions: [0] },
      { to: new Date(Number.NaN) },
    ] as const) {
      expect((await failureOf(client.groups.reset('g', options))).code).toBe('ILLEGAL_ARGUMENT')
    }
  })

  it('are deleted, once, though the answer was lost', async () => {
    answer('DELETE_GROUP', (fields) => messages.groupDeleted.write(id(fields)))
    broker.script = ({ name, count }) => (name === 'DELETE_GROUP' && count === 1 ? 'loseAnswer' : undefined)
    await client.groups.delete('g', { topic: 'orders' })
    expect(asked).toHaveLength(2)
    expect(asked[0]?.requestId).toBe(asked[1]?.requestId)
    expect(asked[0]).toMatchObject({ group: 'g', topicId: topicId() })
  })
})

describe('dead letters', () => {
  it('are listed with why and whence, also those that cannot be decoded', async () => {
    broker.createTopic({
      name: 'orders.billing.dlq',
      partitions: 1,
      keyEncoding: 'text',
      valueEncoding: 'json',
    })
    const Raw = defineTopic({
      name: 'orders.billing.dlq',
      key: text(),
      value: { ...text(), encoding: 'json' as const },
    })
    const headers = {
      trace: 't',
      'millrace-reason': 'no such customer',
      'millrace-count': '5',
      'millrace-topic': 'orders',
      'millrace-partition': '1',
      'millrace-offset': '42',
      'millrace-group': 'billing',
      'millrace-time': '1700000000000',
    }
    await client.producer(Raw).send({ key: 'a', value: '{"id":1}', headers })
    await client.producer(Raw).send({ value: 'no JSON', headers })
    const letters = []
    for await (const letter of client.deadLetters.list(Orders, 'billing')) letters.push(letter)
    expect(letters[0]).toMatchObject({
      offset: 0,
      reason: 'no such customer',
      count: 5,
      group: 'billing',
      time: 1_700_000_000_000,
      origin: { topic: 'orders', partition: 1, offset: 42 },
      error: undefined,
      raw: { key: 'a', value: '{"id":1}' },
    })
    expect(letters[0]?.record).toMatchObject({
      topic: 'orders',
      key: 'a',
      value: { id: 1 },
      headers: { trace: 't' },
    })
    expect(Object.keys(letters[0]?.record?.headers ?? {})).toEqual(['trace'])
    expect(letters[1]?.record).toBeUndefined()
    expect(letters[1]?.error?.code).toBe('ENCODING_MISMATCH')
    expect(letters[1]?.raw.value).toBe('no JSON')
    const later = []
    for await (const letter of client.deadLetters.list(Orders, 'billing', { from: 1 }))
      later.push(letter.offset)
    expect(later).toEqual([1])
  })

  it('are none where the group never gave anything up', async () => {
    for await (const _ of client.deadLetters.list(Orders, 'nobody')) throw new Error('there is one')
  })

  it('are replayed and purged by topic and group', async () => {
    answer('DLQ_REPLAY', (fields) => messages.dlqReplayed.write({ ...id(fields), replayed: 3, left: 4 }))
    answer('DLQ_PURGE', (fields) => messages.dlqPurged.write({ ...id(fields), records: 4 }))
    expect(await client.deadLetters.replay(Orders, 'billing', { max: 3 })).toEqual({ replayed: 3, left: 4 })
    await client.deadLetters.replay('orders', 'billing')
    expect(await client.deadLetters.purge(Orders, 'billing')).toEqual({ records: 4 })
    expect(asked).toMatchObject([
      { topicId: topicId(), group: 'billing', max: 3 },
      { max: Number.MAX_SAFE_INTEGER },
      { topicId: topicId(), group: 'billing' },
    ])
    expect((await failureOf(client.deadLetters.replay(Orders, 'billing', { max: 0 }))).code).toBe(
      'ILLEGAL_ARGUMENT',
    )
  })
})

describe('settings of a topic', () => {
  const none = EMPTY_TOPIC_OPTIONS_PATCH

  it('go with its making, as far as they are given', async () => {
    const created: unknown[] = []
    broker.script = ({ name, fields }) => {
      if (name === 'CREATE_TOPIC') created.push(fields.options)
      return undefined
    }
    const make = (name: string) => defineTopic({ name, key: text(), value: text() })
    await client.createTopic(make('plain'))
    await client.createTopic(make('kept'), {
      retention: { maxAgeMs: 1_000, untilAcked: true },
      dedupWindowMs: 5_000,
    })
    await client.ensureTopic(make('ensured'), { retention: { maxLagBytes: 7, onLag: 'drop' } })
    expect(created).toEqual([
      undefined,
      { ...none, maxAgeMs: 1_000, untilAcked: true, dedupWindowMs: 5_000 },
      { ...none, maxLagBytes: 7, onLag: 'drop' },
    ])
  })

  it('are changed: what is left out stays, null clears', async () => {
    answer('ALTER_TOPIC', (fields) => {
      const { options: patch, clear } = fields as unknown as messages.AlterTopic
      const options = patchedTopicOptions(
        { ...DEFAULT_TOPIC_OPTIONS, maxBytes: 5, maxAgeMs: 6 },
        { patch, clear: clear as never },
      )
      return messages.topicAltered.write({ ...id(fields), options })
    })
    const altered = await client.alterTopic(Orders, { retention: { maxBytes: null, cursorIdleMs: 9 } })
    expect(asked[0]).toMatchObject({
      name: 'orders',
      options: { ...none, cursorIdleMs: 9 },
      clear: ['maxBytes'],
    })
    expect(altered).toMatchObject({
      retention: { maxAgeMs: 6, maxBytes: null, cursorIdleMs: 9 },
      dedupWindowMs: 600_000,
    })
  })

  it('are refused where they make no sense', async () => {
    for (const settings of [
      { retention: { maxAgeMs: 0 } },
      { retention: { maxBytes: -1 } },
      { retention: { maxBytes: 1.5 } },
      { retention: { onLag: 'forget' as never } },
      { retention: { untilAcked: 1 as never } },
      { retention: { maxAge: 5 } as never },
      { dedupWindowMs: 10 },
    ]) {
      expect((await failureOf(client.alterTopic(Orders, settings))).code).toBe('ILLEGAL_ARGUMENT')
    }
    const none = defineTopic({ name: 'none', key: text(), value: text() })
    expect((await failureOf(client.createTopic(none, { dedupWindowMs: 0 }))).code).toBe('ILLEGAL_ARGUMENT')
  })

  it('are told by listing and describing, with the defaults of an older broker', async () => {
    const [info] = await client.listTopics()
    expect(info).toMatchObject({
      retention: { maxAgeMs: null, onLag: 'keep' },
      dedupWindowMs: 600_000,
      internal: false,
    })
    expect((await client.describeTopic(Orders)).retention.untilAcked).toBe(false)
  })

  it('do not keep records from being deleted by offset', async () => {
    answer('DELETE_BEFORE', (fields) =>
      messages.recordsDeleted.write({ ...id(fields), startOffset: 4, records: 4, bytes: 100 }),
    )
    expect(await client.deleteBefore(Orders, 1, 4)).toEqual({ startOffset: 4, records: 4, bytes: 100 })
    await client.deleteBefore('orders', 0, 'end')
    expect(asked).toMatchObject([
      { topicId: topicId(), partition: 1, offset: 4 },
      { partition: 0, offset: Number.MAX_SAFE_INTEGER },
    ])
    expect((await failureOf(client.deleteBefore(Orders, 0, -1))).code).toBe('ILLEGAL_ARGUMENT')
  })
})
