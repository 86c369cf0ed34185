import { describe, expectTypeOf, it } from 'vitest'
import {
  type AnyTopicRecord,
  bytes,
  connect,
  defineTopic,
  json,
  nullable,
  type ReadRecord,
  type ReadRecordOf,
  type RecordOf,
  type StandardSchemaV1,
  text,
} from '../../client/index.js'

/*
 * Nothing here asks a broker: `npm run check` has the compiler look at each line, and each `@ts-expect-error` fails
 * there when the line below it compiles.
 */

interface Order {
  id: string
  total: number
  note?: string
}

const Orders = defineTopic({ name: 'orders', key: text(), value: json<Order>() })
const Blobs = defineTopic({ name: 'blobs', key: bytes(), value: nullable(bytes()) })
declare const schema: StandardSchemaV1<{ at: string }, { at: Date }>
const compiled = (_: () => unknown): void => {}

describe('the types', () => {
  it('infer what is sent and what is read from the topic', () => {
    expectTypeOf<RecordOf<typeof Orders>['value']>().toEqualTypeOf<Order>()
    expectTypeOf<ReadRecordOf<typeof Orders>>().toEqualTypeOf<ReadRecord<string, Order, 'orders'>>()
    expectTypeOf<ReadRecordOf<typeof Blobs>['value']>().toEqualTypeOf<Uint8Array | null>()
    expectTypeOf<ReadRecordOf<typeof Orders>['key']>().toEqualTypeOf<string | null>()
  })

  it('tell what a schema takes from what it gives', () => {
    compiled(() => {
      const Events = defineTopic({ name: 'events', key: text(), value: json(schema) })
      expectTypeOf<RecordOf<typeof Events>['value']>().toEqualTypeOf<{ at: string }>()
      expectTypeOf<ReadRecordOf<typeof Events>['value']>().toEqualTypeOf<{ at: Date }>()
    })
  })

  it('let no misspelt or wrong field of a record compile', () => {
    compiled(async () => {
      const producer = connect('ws://127.0.0.1').producer(Orders)
      await producer.send({
        key: 'a',
        value: { id: '1', total: 2 },
        headers: { trace: 'x' },
        timestamp: new Date(),
      })
      // @ts-expect-error: misspelt field of the value
      await producer.send({ key: 'a', value: { id: '1', totl: 2 } })
      // @ts-expect-error: a field too many
      await producer.send({ key: 'a', value: { id: '1', total: 2, colour: 'red' } })
      // @ts-expect-error: wrong type in the value
      await producer.send({ key: 'a', value: { id: 1, total: 2 } })
      // @ts-expect-error: wrong type of key
      await producer.send({ key: 7, value: { id: '1', total: 2 } })
      // @ts-expect-error: no value
      await producer.send({ key: 'a' })
      // @ts-expect-error: misspelt field of the record
      await producer.send({ ky: 'a', value: { id: '1', total: 2 } })
      // @ts-expect-error: a header that is neither text nor bytes
      await producer.send({ value: { id: '1', total: 2 }, headers: { trace: 1 } })
      // @ts-expect-error: null is no order
      await producer.send({ key: 'a', value: null })
      // @ts-expect-error: wrong type in one of many
      await producer.sendBatch([{ value: { id: '1', total: 2 } }, { value: { id: '2', total: '3' } }])
      // @ts-expect-error: wrong type in an enqueued record
      await producer.enqueue({ value: 'order' })
    })
  })

  it('check a record that is built ahead', () => {
    compiled(async () => {
      const record = Orders.record({ key: 'a', value: { id: '1', total: 2 } })
      expectTypeOf(record.topic.name).toEqualTypeOf<'orders'>()
      await connect('ws://127.0.0.1').producer(Orders).send(record)
      // @ts-expect-error: misspelt field
      Orders.record({ key: 'a', value: { id: '1', totl: 2 } })
      // @ts-expect-error: a record of another topic
      await connect('ws://127.0.0.1').producer(Blobs).send(record)
    })
  })

  it('let no misspelt or wrong field of what is read compile', () => {
    compiled(async () => {
      const client = connect('ws://127.0.0.1')
      for await (const record of client.read(Orders, { from: 'earliest', to: 'end' })) {
        expectTypeOf(record.value.total).toEqualTypeOf<number>()
        // @ts-expect-error: misspelt
        record.value.totl
        // @ts-expect-error: misspelt
        record.ofset
        // @ts-expect-error: read-only
        record.offset = 1
      }
      for await (const batch of client.readBatches(Orders)) {
        expectTypeOf(batch.records[0]?.value).toEqualTypeOf<Order | undefined>()
        expectTypeOf(batch.topic).toEqualTypeOf<'orders'>()
      }
    })
  })

  it('tell the records of several topics apart by their topic', () => {
    compiled(async () => {
      const client = connect('ws://127.0.0.1')
      for await (const record of client.read([Orders, Blobs], {
        from: { orders: { 0: 1 }, blobs: { 0: 2 } },
      })) {
        if (record.topic === 'orders') expectTypeOf(record.value).toEqualTypeOf<Order>()
        else expectTypeOf(record.value).toEqualTypeOf<Uint8Array | null>()
      }
      // @ts-expect-error: no such topic in this read
      client.read([Orders, Blobs], { from: { oders: { 0: 1 } } })
    })
  })

  it('know the records of a group by their topics', () => {
    compiled(async () => {
      const client = connect('ws://127.0.0.1')
      const options = { group: 'billing', ifNoCursor: 'earliest' } as const
      for await (const record of client.consume(Orders, options)) {
        expectTypeOf(record.value).toEqualTypeOf<Order>()
        expectTypeOf(record.topic).toEqualTypeOf<'orders'>()
        expectTypeOf(record.ack()).toEqualTypeOf<void>()
        expectTypeOf(record.acked()).toEqualTypeOf<Promise<void>>()
        expectTypeOf(record.signal).toEqualTypeOf<AbortSignal>()
        expectTypeOf(record.origin?.offset).toEqualTypeOf<number | undefined>()
        // @ts-expect-error: misspelt field of the value
        record.value.totl
        // @ts-expect-error: misspelt
        record.acknowledge()
      }
      for await (const record of client.consume([Orders, Blobs], options)) {
        if (record.topic === 'orders') expectTypeOf(record.value).toEqualTypeOf<Order>()
        else expectTypeOf(record.value).toEqualTypeOf<Uint8Array | null>()
      }
      for await (const batch of client.consume(Orders, options).batches()) {
        expectTypeOf(batch.records[0]?.value).toEqualTypeOf<Order | undefined>()
        expectTypeOf(batch.topic).toEqualTypeOf<'orders'>()
        batch.ack()
      }
      const run = client.consume(Orders, options).run(
        async (record) => {
          expectTypeOf(record.value.total).toEqualTypeOf<number>()
          // @ts-expect-error: misspelt
          record.ofset
        },
        { concurrency: 16, order: 'key', onError: 'deadLetter' },
      )
      expectTypeOf(run).toEqualTypeOf<Promise<void>>()
    })
  })

  it('have a group say where it begins', () => {
    compiled(() => {
      const client = connect('ws://127.0.0.1')
      // @ts-expect-error: no ifNoCursor
      client.consume(Orders, { group: 'billing' })
      // @ts-expect-error: no group
      client.consume(Orders, { ifNoCursor: 'earliest' })
      // @ts-expect-error: no such place
      client.consume(Orders, { group: 'billing', ifNoCursor: 'beginning' })
      // @ts-expect-error: misspelt
      client.consume(Orders, { group: 'billing', ifNoCursor: 'earliest', sesionTimeoutMs: 5_000 })
      const consumer = client.consume(Orders, { group: 'billing', ifNoCursor: 'earliest' })
      // @ts-expect-error: no such order
      consumer.run(() => {}, { order: 'topic' })
      // @ts-expect-error: misspelt
      consumer.run(() => {}, { concurency: 4 })
      // @ts-expect-error: no such event
      consumer.on('rebalanced', () => {})
      // @ts-expect-error: no partition
      consumer.pause([{ topic: 'orders' }])
    })
  })

  it('tell what a work queue and its jobs are', () => {
    compiled(async () => {
      const queue = connect('ws://127.0.0.1').queue(Orders, { group: 'bills', leaseMs: 5_000 })
      for await (const job of queue) {
        expectTypeOf(job.value.total).toEqualTypeOf<number>()
        expectTypeOf(job.topic).toEqualTypeOf<'orders'>()
        expectTypeOf(job.deliveryCount).toEqualTypeOf<number>()
        await job.nack({ delayMs: 5, reason: 'later' })
        // @ts-expect-error: misspelt
        await job.nack({ delay: 5 })
        // @ts-expect-error: how long is missing
        await job.extend()
      }
      await queue.run((job) => expectTypeOf(job.value).toEqualTypeOf<Order>(), { concurrency: 4 })
      // @ts-expect-error: misspelt
      await queue.run(() => {}, { concurency: 4 })
      // @ts-expect-error: no group
      connect('ws://127.0.0.1').queue(Orders, {})
    })
  })

  it('check conditions, atomic writes and their acks', () => {
    compiled(async () => {
      const client = connect('ws://127.0.0.1')
      const value = { id: '1', total: 2 }
      const sent = await client.producer(Orders).send({ value, dedupId: 'a' }, { expectedOffset: 4 })
      expectTypeOf(sent.duplicate).toEqualTypeOf<boolean>()
      // @ts-expect-error: an id is text
      await client.producer(Orders).send({ value, dedupId: 7 })
      // @ts-expect-error: an offset is a number
      await client.producer(Orders).send({ value }, { expectedOffset: '4' })
      for await (const job of client.queue(Orders, { group: 'g' })) {
        const { writes } = await client.atomic({
          writes: [
            Orders.record({ value, partition: 1, expectedOffset: 3 }),
            Blobs.record({ value: null, dedupId: 'b' }),
          ],
          acks: [job],
        })
        expectTypeOf(writes[0]?.offset).toEqualTypeOf<number | undefined>()
        // @ts-expect-error: a number cannot be acknowledged
        await client.atomic({ acks: [job.offset] })
        // @ts-expect-error: no topic
        await client.atomic({ writes: [{ value }] })
        // @ts-expect-error: only `record` checks what is written against its topic
        await client.atomic({ writes: [{ topic: Orders, value }] })
        // @ts-expect-error: misspelt field of the value
        await client.atomic({ writes: [Orders.record({ value: { id: '1', totl: 2 } })] })
        // @ts-expect-error: misspelt field of the record
        await client.atomic({ writes: [Orders.record({ ky: 'a', value })] })
        const built: AnyTopicRecord[] = [Orders.record({ value }), Blobs.record({ value: null })]
        await client.atomic({ writes: built })
      }
      for await (const record of client.consume(Orders, { group: 'c', ifNoCursor: 'latest' })) {
        await client.atomic({ acks: [record] })
      }
      for await (const record of client.read(Orders)) {
        // @ts-expect-error: a record that was only read has no ack
        await client.atomic({ acks: [record] })
      }
    })
  })

  it('tell what groups, dead letters and settings are', () => {
    compiled(async () => {
      const client = connect('ws://127.0.0.1')
      const { partitions } = await client.groups.describe('g')
      expectTypeOf(partitions[0]?.lag.seconds).toEqualTypeOf<number | undefined>()
      await client.groups.reset('g', { to: new Date(), dryRun: true })
      // @ts-expect-error: where to?
      await client.groups.reset('g', { dryRun: true })
      // @ts-expect-error: no such place
      await client.groups.reset('g', { to: 'begin' })
      for await (const letter of client.deadLetters.list(Orders, 'g')) {
        expectTypeOf(letter.record?.value).toEqualTypeOf<Order | undefined>()
      }
      await client.createTopic(Orders, {
        retention: { untilAcked: true, onLag: 'drop' },
        dedupWindowMs: 1_000,
      })
      // @ts-expect-error: misspelt
      await client.alterTopic(Orders, { retention: { maxAge: 5 } })
      // @ts-expect-error: no such choice
      await client.alterTopic(Orders, { retention: { onLag: 'forget' } })
      // @ts-expect-error: no such place
      await client.deleteBefore(Orders, 0, 'start')
    })
  })

  it('let no misspelt option compile', () => {
    compiled(() => {
      // @ts-expect-error: misspelt
      connect('ws://127.0.0.1', { tokn: 'x' })
      const client = connect('ws://127.0.0.1')
      // @ts-expect-error: misspelt
      client.read(Orders, { form: 'earliest' })
      // @ts-expect-error: no such place
      client.read(Orders, { from: 'beginning' })
      // @ts-expect-error: misspelt
      client.producer(Orders, { linger: 5 })
      // @ts-expect-error: misspelt
      client.ensureTopic(Orders, { partition: 4 })
      // @ts-expect-error: misspelt
      defineTopic({ name: 'orders', keys: text(), value: text() })
      // @ts-expect-error: no such event
      client.on('conected', () => {})
      client.on('reconnecting', ({ delayMs }) => expectTypeOf(delayMs).toEqualTypeOf<number>())
    })
  })
})
