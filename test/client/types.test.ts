import { describe, expectTypeOf, it } from 'vitest'
import {
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
