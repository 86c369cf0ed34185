import { connect, defineTopic, json, MillraceError, text } from 'millrace'
import { testBroker } from 'millrace/testing'
import { describe, expect, it } from 'vitest'
import { HANDLERS } from '../../broker/session/handlers/index.js'
import { REQUEST_NAMES, RequestFaults } from '../../testing/request-faults.js'

const Numbers = defineTopic({ name: 'numbers', key: text(), value: json<number>() })

async function withTopic() {
  const broker = await testBroker()
  const client = broker.client()
  await client.createTopic(Numbers)
  const values = async (): Promise<number[]> => {
    const found: number[] = []
    for await (const { value } of client.read(Numbers, { from: 'earliest', to: 'end' })) found.push(value)
    return found
  }
  return { broker, client, producer: client.producer(Numbers), values }
}

describe('a request that is made to fail', () => {
  it('gets the error of the catalogue, and nothing of it is done', async () => {
    const { broker, producer, values } = await withTopic()
    await using _ = broker
    const fault = broker.failNext('produce', 'RECORD_TOO_LARGE')
    const error = await producer.send({ key: 'a', value: 1 }).catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(MillraceError)
    expect(error).toMatchObject({ code: 'RECORD_TOO_LARGE', retriable: false, outcome: 'notWritten' })
    expect(fault.hits).toBe(1)
    await producer.send({ key: 'a', value: 2 })
    expect(await values()).toEqual([2])
  })

  it('is tried again by the client where the error is retriable: the record is there, once', async () => {
    const { broker, producer, values } = await withTopic()
    await using _ = broker
    const fault = broker.failNext('produce', 'BACKPRESSURE')
    await producer.send({ key: 'a', value: 1 })
    expect(fault.hits).toBe(1)
    expect(await values()).toEqual([1])
  })

  it('fails as often as it is told, then no more', async () => {
    const { broker, producer, values } = await withTopic()
    await using _ = broker
    const fault = broker.failNext('produce', 'BACKPRESSURE', { times: 3, retryAfterMs: 1 })
    await producer.send({ key: 'a', value: 1 })
    await producer.send({ key: 'a', value: 2 })
    expect(fault.hits).toBe(3)
    expect(await values()).toEqual([1, 2])
  })

  it('fails always until it is cancelled: a client then gives up at its deadline', async () => {
    const { broker, client, values } = await withTopic()
    await using _ = broker
    const producer = client.producer(Numbers, { deliveryTimeoutMs: 60_000 })
    const fault = broker.failNext('produce', 'DISK_FULL', { times: Number.POSITIVE_INFINITY })
    const sent = producer.send({ key: 'a', value: 1 })
    sent.catch(() => {})
    await broker.advance(61_000)
    await expect(sent).rejects.toMatchObject({ code: 'TIMEOUT' })
    expect(fault.hits).toBeGreaterThan(1)
    fault.cancel()
    await producer.send({ key: 'a', value: 2 })
    expect(await values()).toEqual([2])
  })

  it('may be any client’s, and one with dedup ids or in an atomic write', async () => {
    const { broker, client, producer, values } = await withTopic()
    await using _ = broker
    const other = connect(broker.url)
    broker.failNext('produce', 'DEDUP_FULL', { times: 2, retryAfterMs: 1 })
    await other.producer(Numbers).send({ key: 'a', value: 1, dedupId: 'x' })
    broker.failNext('atomic', 'ATOMIC_TOO_LARGE')
    const writes = [Numbers.record({ key: 'a', value: 2 })]
    await expect(client.atomic({ writes })).rejects.toMatchObject({ code: 'ATOMIC_TOO_LARGE' })
    await producer.send({ key: 'a', value: 3 })
    expect(await values()).toEqual([1, 3])
    await other.close()
  })

  it('brings what the test says with it', async () => {
    const { broker, producer } = await withTopic()
    await using _ = broker
    const details = { actualOffset: 7 }
    broker.failNext('produce', 'EXPECTED_OFFSET_CONFLICT', { message: 'too late', details })
    await expect(producer.send({ key: 'a', value: 1 })).rejects.toMatchObject({
      code: 'EXPECTED_OFFSET_CONFLICT',
      message: 'too late',
      details,
    })
  })

  it('is the first of its name, and leaves the others alone', async () => {
    const { broker, client, producer } = await withTopic()
    await using _ = broker
    const fault = broker.failNext('deleteTopic', 'TOPIC_READ_ONLY')
    await producer.send({ key: 'a', value: 1 })
    await client.listTopics()
    expect(fault.hits).toBe(0)
    await expect(client.deleteTopic(Numbers)).rejects.toMatchObject({ code: 'TOPIC_READ_ONLY' })
    await client.deleteTopic(Numbers)
  })

  it('fails in the order in which failures were asked for, also over a crash', async () => {
    const { broker, client } = await withTopic()
    await using _ = broker
    broker.failNext('deleteTopic', 'TOPIC_READ_ONLY')
    broker.failNext('deleteTopic', 'UNKNOWN_TOPIC')
    await broker.crash()
    await broker.restart()
    await expect(client.deleteTopic(Numbers)).rejects.toMatchObject({ code: 'TOPIC_READ_ONLY' })
    await expect(client.deleteTopic(Numbers)).rejects.toMatchObject({ code: 'UNKNOWN_TOPIC' })
    await client.deleteTopic(Numbers)
  })

  it('fences a consumer in the middle of its work', async () => {
    const { broker, client, producer } = await withTopic()
    await using _ = broker
    await producer.send({ key: 'a', value: 1 })
    const consumer = client.consume(Numbers, { group: 'read', ifNoCursor: 'earliest' })
    const { value: record } = await consumer[Symbol.asyncIterator]().next()
    const fault = broker.failNext('ack', 'UNKNOWN_MEMBER')
    await record?.acked().catch(() => {})
    expect(fault.hits).toBe(1)
  })
})

describe('what can be made to fail', () => {
  it('is every request that is answered, but for the handshake', () => {
    const answered = HANDLERS.filter(({ isAnswered }) => isAnswered).map(({ name }) => name)
    const covered = REQUEST_NAMES.flatMap((name) => {
      const faults = new RequestFaults()
      faults.add(name, 'INTERNAL', { times: 100 })
      return answered.filter((frame) => faults.next(frame) !== undefined)
    })
    expect([...covered, 'HELLO', 'PING'].sort()).toEqual([...new Set([...answered, 'HELLO', 'PING'])].sort())
  })

  it('has a type: names and codes that there are not do not compile', async () => {
    const faults = new RequestFaults()
    // @ts-expect-error no request of this name
    expect(() => faults.add('produced', 'BACKPRESSURE')).toThrow(
      'there is no request "produced"; there are produce,',
    )
    // @ts-expect-error no code of this name
    expect(() => faults.add('produce', 'BACK_PRESSURE')).toThrow('there is no error code "BACK_PRESSURE"')
    // @ts-expect-error a code that no broker sends
    expect(() => faults.add('produce', 'TIMEOUT')).toThrow('TIMEOUT is raised by clients: no broker sends it')
  })

  it.each([0, -1, 1.5, Number.NaN])('is no request %s times', (times) => {
    const add = () => new RequestFaults().add('produce', 'BACKPRESSURE', { times })
    expect(add).toThrow(expect.objectContaining({ code: 'ILLEGAL_ARGUMENT' }))
  })
})
