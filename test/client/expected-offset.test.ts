import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Client, connect, defineTopic, MillraceError, text } from '../../client/index.js'
import { ScriptedBroker } from '../support/scripted-broker.js'
import { ScriptedConditions } from '../support/scripted-conditions.js'
import { until } from '../support/until.js'

const Lines = defineTopic({ name: 'lines', key: text(), value: text() })

let broker: ScriptedBroker
let client: Client

beforeEach(async () => {
  broker = await ScriptedBroker.start()
  new ScriptedConditions(broker)
  broker.createTopic({ name: 'lines', partitions: 1, keyEncoding: 'text', valueEncoding: 'text' })
  client = connect(broker.url, { backoffBaseMs: 1, backoffCapMs: 20 })
})

afterEach(async () => {
  await client.close({ drainMs: 0 })
  await broker.stop()
})

async function valuesIn(): Promise<string[]> {
  const values: string[] = []
  for await (const record of client.read(Lines, { from: 'earliest', to: 'end' })) values.push(record.value)
  return values
}

const failureOf = (promise: Promise<unknown>): Promise<MillraceError> =>
  promise.then(
    () => {
      throw new Error('it did not fail')
    },
    (error: MillraceError) => error,
  )

describe('a record with an expected offset', () => {
  it('is written when it gets that offset', async () => {
    const producer = client.producer(Lines)
    await expect(producer.send({ value: 'a' }, { expectedOffset: 0 })).resolves.toMatchObject({ offset: 0 })
    await expect(producer.send(Lines.record({ value: 'b', expectedOffset: 1 }))).resolves.toMatchObject({
      offset: 1,
    })
  })

  it('is refused with the actual offset, and the producer goes on', async () => {
    const producer = client.producer(Lines)
    await producer.send({ value: 'a' })
    const error = await failureOf(producer.send({ value: 'b' }, { expectedOffset: 0 }))
    expect(error).toBeInstanceOf(MillraceError)
    expect([error.code, error.retriable, error.outcome]).toEqual([
      'EXPECTED_OFFSET_CONFLICT',
      false,
      'notWritten',
    ])
    expect(error.details).toMatchObject({ expectedOffset: 0, actualOffset: 1 })
    await producer.send({ value: 'c' }, { expectedOffset: 1 })
    expect(await valuesIn()).toEqual(['a', 'c'])
  })

  it('is a batch of its own, in order among the others, and a conflict fails it alone', async () => {
    const counts: unknown[] = []
    broker.script = ({ name, fields }) => {
      if (name.startsWith('PRODUCE')) counts.push([fields.recordCount, fields.expectedOffset ?? null])
      return undefined
    }
    const producer = client.producer(Lines)
    const sends = [
      producer.send({ value: 'a' }),
      producer.send({ value: 'b' }),
      producer.send({ value: 'c' }, { expectedOffset: 2 }),
      producer.send({ value: 'd' }, { expectedOffset: 7 }),
      producer.send({ value: 'e' }),
      producer.send({ value: 'f' }),
    ]
    const settled = await Promise.allSettled(sends)
    expect(settled.map(({ status }) => status === 'fulfilled')).toEqual([true, true, true, false, true, true])
    expect(await valuesIn()).toEqual(['a', 'b', 'c', 'e', 'f'])
    expect(counts).toEqual([
      [2, null],
      [1, 2],
      [1, 7],
      [2, null],
    ])
  })

  it('is alone on the wire, so that a conflict leaves no fate unknown', async () => {
    let underWay = 0
    let most = 0
    broker.script = async ({ name, fields }) => {
      if (!name.startsWith('PRODUCE')) return undefined
      underWay++
      if (fields.expectedOffset !== undefined) most = Math.max(most, underWay)
      await new Promise((resolve) => setTimeout(resolve, 5))
      underWay--
      return undefined
    }
    const producer = client.producer(Lines, { batchBytes: 1 })
    const sends: Promise<unknown>[] = []
    for (let i = 0; i < 12; i++)
      sends.push(producer.send({ value: `${i}` }, i % 4 === 3 ? { expectedOffset: i } : {}))
    await Promise.all(sends)
    expect(most).toBe(1)
  })

  it('is written once when the answer was lost, though the partition has grown by itself since', async () => {
    broker.script = ({ name, count }) =>
      name === 'PRODUCE_CHECKED' && count === 1 ? 'loseAnswer' : undefined
    const producer = client.producer(Lines)
    await expect(producer.send({ value: 'a' }, { expectedOffset: 0 })).resolves.toMatchObject({ offset: 0 })
    expect(await valuesIn()).toEqual(['a'])
  })

  it('is known not to be written when another took its offset while its connection was lost', async () => {
    const other = connect(broker.url)
    broker.script = async ({ name, count }) => {
      if (name !== 'PRODUCE_CHECKED' || count > 1) return undefined
      await other.producer(Lines).send({ value: 'b' })
      return 'cut'
    }
    const producer = client.producer(Lines, { name: 'writer' })
    const error = await failureOf(producer.send({ value: 'a' }, { expectedOffset: 0 }))
    expect([error.code, error.outcome]).toEqual(['EXPECTED_OFFSET_CONFLICT', 'notWritten'])
    // One with a name cannot take a new identity: it has to be sure of the sequence.
    await producer.send({ value: 'c' }, { expectedOffset: 1 })
    expect(await valuesIn()).toEqual(['b', 'c'])
    await other.close()
  })

  it('has an unknown outcome when it was sent twice without a sequence', async () => {
    broker.script = ({ name, count }) =>
      name === 'PRODUCE_CHECKED' && count === 1 ? 'loseAnswer' : undefined
    const producer = client.producer(Lines, { idempotent: false })
    const error = await failureOf(producer.send({ value: 'a' }, { expectedOffset: 0 }))
    expect([error.code, error.outcome]).toEqual(['EXPECTED_OFFSET_CONFLICT', 'unknown'])
  })

  it('is never sent once its time ran out while it waited for another, and leaves no hole', async () => {
    let answerFirst = (): void => {}
    const isHeld = new Promise<void>((resolve) => {
      answerFirst = resolve
    })
    const frames: unknown[] = []
    broker.script = async ({ name, fields, count }) => {
      if (!name.startsWith('PRODUCE')) return undefined
      frames.push([name, fields.baseSequence, fields.payload instanceof Uint8Array])
      if (name === 'PRODUCE_CHECKED' && count === 1) await isHeld
      return undefined
    }
    await client.describeTopic(Lines)
    const producer = client.producer(Lines, { deliveryTimeoutMs: 800 })
    const sends = [
      producer.send({ value: 'a' }, { expectedOffset: 0 }),
      producer.send({ value: 'b' }, { expectedOffset: 1 }),
    ]
    const [first, second] = await Promise.all(sends.map(failureOf))
    expect([first?.code, first?.outcome, second?.code, second?.outcome]).toEqual([
      'TIMEOUT',
      'unknown',
      'TIMEOUT',
      'notWritten',
    ])
    answerFirst()
    await until(async () => (await valuesIn()).length === 1)
    expect(await producer.send({ value: 'c' }, { expectedOffset: 1 })).toMatchObject({ offset: 1 })
    expect(frames).toEqual([
      ['PRODUCE_CHECKED', 0, true],
      ['PRODUCE_CHECKED', 1, true],
    ])
  })

  it('needs a partition or a key when there are several partitions', async () => {
    broker.createTopic({ name: 'wide', partitions: 3, keyEncoding: 'text', valueEncoding: 'text' })
    const producer = client.producer(defineTopic({ name: 'wide', key: text(), value: text() }))
    const error = await failureOf(producer.send({ value: 'a' }, { expectedOffset: 0 }))
    expect(error.code).toBe('ILLEGAL_ARGUMENT')
    await producer.send({ value: 'a', partition: 2 }, { expectedOffset: 0 })
    await producer.send({ value: 'a', key: 'k', expectedOffset: 1 })
  })

  it.each([-1, 1.5, Number.NaN, '0' as unknown as number])(
    'is refused when that is %s',
    async (expectedOffset) => {
      const error = await failureOf(client.producer(Lines).send({ value: 'a' }, { expectedOffset }))
      expect(error.code).toBe('ILLEGAL_ARGUMENT')
    },
  )
})
