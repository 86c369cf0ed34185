import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  type Client,
  connect,
  defineTopic,
  type MillraceError,
  type SendResult,
  text,
} from '../../client/index.js'
import type { ProduceChecked } from '../../protocol/messages/index.js'
import { ScriptedBroker } from '../support/scripted-broker.js'
import { ScriptedConditions } from '../support/scripted-conditions.js'
import { SeededRandom } from '../support/seeded-random.js'

const Lines = defineTopic({ name: 'lines', key: text(), value: text() })

let broker: ScriptedBroker
let client: Client

beforeEach(async () => {
  broker = await ScriptedBroker.start()
  new ScriptedConditions(broker)
  broker.createTopic({ name: 'lines', partitions: 2, keyEncoding: 'text', valueEncoding: 'text' })
  client = connect(broker.url, { backoffBaseMs: 1, backoffCapMs: 20 })
})

afterEach(async () => {
  await client.close({ drainMs: 0 })
  await broker.stop()
})

async function valuesIn(partition = 0): Promise<string[]> {
  const values: string[] = []
  const range = { from: 'earliest', to: 'end', partitions: [partition] } as const
  for await (const record of client.read(Lines, range)) values.push(record.value)
  return values
}

const failureOf = (promise: Promise<unknown>): Promise<MillraceError> =>
  promise.then(
    () => {
      throw new Error('it did not fail')
    },
    (error: MillraceError) => error,
  )

describe('a record with a dedup id', () => {
  it('is written once, and the second send is told where the first one is', async () => {
    const first = await client.producer(Lines).send({ value: 'a', partition: 1, dedupId: 'id' })
    expect(first).toMatchObject({ partition: 1, offset: 0, duplicate: false })
    const second = await client.producer(Lines).send({ value: 'b', partition: 0, dedupId: 'id' })
    expect(second).toMatchObject({ partition: 1, offset: 0, duplicate: true })
    expect(await valuesIn(1)).toEqual(['a'])
    expect(await valuesIn(0)).toEqual([])
  })

  it('may be one of many in a batch, of which only some are duplicates', async () => {
    const producer = client.producer(Lines)
    await producer.send({ value: 'x', partition: 1, dedupId: '2' })
    const results = await producer.sendBatch([
      { value: 'none', partition: 0 },
      { value: 'new', partition: 0, dedupId: '1' },
      { value: 'known', partition: 0, dedupId: '2' },
      { value: 'again', partition: 0, dedupId: '1' },
      { value: 'last', partition: 0 },
    ])
    expect(results.map(({ partition, offset, duplicate }) => [partition, offset, duplicate])).toEqual([
      [0, 0, false],
      [0, 1, false],
      [1, 0, true],
      [0, 1, true],
      [0, 4, false],
    ])
    expect(await valuesIn(0)).toEqual(['none', 'new', 'last'])
    expect(broker.countOf('PRODUCE')).toBe(0)
  })

  it('travels as a hash of 16 bytes beside those that have none', async () => {
    const sent: ProduceChecked[] = []
    broker.script = ({ name, fields }) => {
      if (name === 'PRODUCE_CHECKED') sent.push(fields as unknown as ProduceChecked)
      return undefined
    }
    await client
      .producer(Lines)
      .sendBatch([
        { value: 'plain', partition: 0 },
        { value: 'one', partition: 0, dedupId: 'order-1' },
        ...Array.from({ length: 40 }, (_, i) => ({ value: 'more', partition: 0, dedupId: `${i}` })),
      ])
    expect(sent).toHaveLength(1)
    expect([...(sent[0]?.idBitmap ?? [])]).toEqual([0xfe, 0xff, 0xff, 0xff, 0xff, 0x03])
    const hash = Buffer.from(sent[0]?.ids?.subarray(0, 16) ?? []).toString('hex')
    expect(hash).toBe('90ed807f3477f536613e9734613e9734')
    expect(sent[0]?.ids).toHaveLength(41 * 16)
    expect(sent[0]?.expectedOffset).toBeNull()
  })

  it('leaves batches without ids to PRODUCE', async () => {
    const producer = client.producer(Lines)
    await producer.send({ value: 'a', partition: 0 })
    await producer.send({ value: 'b', partition: 0, dedupId: 'b' })
    await producer.send({ value: 'c', partition: 0 })
    expect([broker.countOf('PRODUCE'), broker.countOf('PRODUCE_CHECKED')]).toEqual([2, 1])
  })

  it('is refused with an id that is no text, empty, too long or no Unicode', async () => {
    const producer = client.producer(Lines)
    for (const dedupId of ['', 'x'.repeat(1_025), '\ud800', 7 as unknown as string]) {
      const error = await failureOf(producer.send({ value: 'a', dedupId }))
      expect([error.code, error.outcome]).toEqual(['ILLEGAL_ARGUMENT', 'notWritten'])
    }
    await expect(producer.send({ value: 'a', dedupId: 'x'.repeat(1_024) })).resolves.toMatchObject({
      duplicate: false,
    })
  })

  it('compresses its batch like any other', async () => {
    const producer = client.producer(Lines, { compression: 'gzip' })
    const records = Array.from({ length: 50 }, (_, i) => ({
      value: 'same',
      partition: 0,
      dedupId: `${i % 25}`,
    }))
    const results = await producer.sendBatch(records)
    expect(results.filter(({ duplicate }) => duplicate)).toHaveLength(25)
    expect(await valuesIn(0)).toHaveLength(25)
  })

  it('gives back the room on the wire that its batch took', async () => {
    broker.limits.inFlightBytesMax = 3_000
    const producer = client.producer(Lines, { batchBytes: 1_000 })
    const sends = Array.from({ length: 200 }, (_, i) =>
      producer.send({ value: 'v'.repeat(100), partition: i % 2, dedupId: `${i}` }),
    )
    expect((await Promise.all(sends)).every(({ duplicate }) => !duplicate)).toBe(true)
  })
})

describe('a batch with dedup ids that is sent again', () => {
  it.each(Array.from({ length: 12 }, (_, i) => 700 + i))(
    'is written once and answered alike over broken connections (seed %i)',
    async (seed) => {
      const random = new SeededRandom(seed)
      broker.script = ({ name }) => {
        if (name !== 'PRODUCE_CHECKED' && name !== 'PRODUCE') return undefined
        const dice = random.fraction()
        return dice < 0.1 ? 'loseAnswer' : dice < 0.2 ? 'cut' : dice < 0.25 ? 'late' : undefined
      }
      const producer = client.producer(Lines, { batchBytes: 300 })
      const sends: Promise<SendResult>[] = []
      for (let i = 0; i < 300; i++) {
        const dedupId = random.fraction() < 0.7 ? `${Math.floor(random.fraction() * 100)}` : undefined
        sends.push(producer.send({ value: `${i} ${dedupId ?? ''}`, partition: i % 2, dedupId }))
        if (i % 20 === 0) await new Promise((resolve) => setTimeout(resolve, 1))
      }
      const results = await Promise.all(sends)
      broker.script = () => undefined
      const written = [await valuesIn(0), await valuesIn(1)].flat()
      const originals = results.flatMap(({ duplicate }, i) => (duplicate ? [] : [i]))
      expect(written.map((value) => Number(value.split(' ')[0])).sort((a, b) => a - b)).toEqual(originals)
      const ids = written.flatMap((value) => value.split(' ')[1] || [])
      expect(new Set(ids).size).toBe(ids.length)
      const places = new Set(
        results.filter(({ duplicate }) => !duplicate).map((r) => `${r.partition}/${r.offset}`),
      )
      for (const { partition, offset } of results) expect(places).toContain(`${partition}/${offset}`)
    },
  )
})
