import { afterEach, beforeEach, expect, it } from 'vitest'
import { connect, defineTopic, text } from '../../client/index.js'
import { ScriptedBroker } from '../support/scripted-broker.js'

const Lines = defineTopic({ name: 'lines', key: text(), value: text() })
const closed = { code: 'CLOSED' }

let broker: ScriptedBroker

beforeEach(async () => {
  broker = await ScriptedBroker.start()
  broker.createTopic({ name: 'lines', partitions: 1, keyEncoding: 'text', valueEncoding: 'text' })
})

afterEach(() => broker.stop())

it('a client is closed at the end of its block, after what its producers hold has gone', async () => {
  const client = connect(broker.url)
  let sent: Promise<{ offset: number }>
  {
    await using owner = client
    sent = owner.producer(Lines, { lingerMs: 60_000 }).send({ value: 'x' })
  }
  expect(await sent).toMatchObject({ offset: 0 })
  await expect(client.listTopics()).rejects.toMatchObject(closed)
})

it('a producer and a reading are closed at the end of their blocks, and their client stays', async () => {
  await using client = connect(broker.url)
  const producer = client.producer(Lines, { lingerMs: 60_000 })
  let sent: Promise<{ offset: number }>
  {
    await using owner = producer
    sent = owner.send({ value: 'x' })
  }
  expect(await sent).toMatchObject({ offset: 0 })
  await expect(producer.send({ value: 'y' })).rejects.toMatchObject(closed)
  const reading = client.read(Lines, { from: 'earliest' })
  {
    await using stream = reading
    expect((await stream.next()).value?.value).toBe('x')
  }
  expect((await reading.next()).done).toBe(true)
  await expect.poll(() => broker.countOf('UNSUBSCRIBE')).toBe(1)
  expect(await client.listTopics()).toHaveLength(1)
})
