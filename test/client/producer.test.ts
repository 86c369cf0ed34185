import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Client, connect, defineTopic, json, MillraceError, text } from '../../client/index.js'
import type { Produce } from '../../protocol/messages/index.js'
import { decodeRecords } from '../../protocol/records.js'
import { ManualClock } from '../support/manual-clock.js'
import { type Request, ScriptedBroker, type Verdict } from '../support/scripted-broker.js'
import { SeededRandom } from '../support/seeded-random.js'

const Lines = defineTopic({ name: 'lines', key: text(), value: text() })

let broker: ScriptedBroker
let client: Client

beforeEach(async () => {
  broker = await ScriptedBroker.start()
  broker.createTopic({ name: 'lines', partitions: 1, keyEncoding: 'text', valueEncoding: 'text' })
  client = connect(broker.url, { backoffBaseMs: 1, backoffCapMs: 20 })
})

afterEach(async () => {
  await client.close({ drainMs: 0 })
  await broker.stop()
})

async function valuesIn(partition = 0): Promise<(string | null)[]> {
  const reader = connect(broker.url)
  const values: (string | null)[] = []
  const range = { from: 'earliest', to: 'end', partitions: [partition] } as const
  for await (const record of reader.read(Lines, range)) values.push(record.value)
  await reader.close()
  return values
}

/** Calls `act` for PRODUCE requests only. */
const onProduce =
  (act: (produce: Produce, request: Request) => Verdict | Promise<Verdict>) =>
  (request: Request): Verdict | Promise<Verdict> =>
    request.name === 'PRODUCE' ? act(request.fields as unknown as Produce, request) : undefined

function gate(): { opened: Promise<void>; open: () => void } {
  let open = (): void => {}
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  return { opened, open }
}

/** Stops the broker and waits until the client knows. */
async function stopBroker(): Promise<void> {
  const disconnected = new Promise<void>((resolve) => {
    const off = client.on('disconnected', () => {
      off()
      resolve()
    })
  })
  await broker.stop()
  await disconnected
}

const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'resolved',
    (error: unknown) => (error instanceof MillraceError ? `${error.code} ${error.outcome}` : String(error)),
  )

describe('batching', () => {
  it('lets a lone record leave at once and joins those of one synchronous run', async () => {
    const counts: number[] = []
    broker.script = onProduce(({ recordCount }) => void counts.push(recordCount))
    const producer = client.producer(Lines)
    await producer.send({ value: 'alone' })
    await Promise.all(Array.from({ length: 100 }, (_, i) => producer.send({ value: `${i}` })))
    expect(counts).toEqual([1, 100])
  })

  it('fills the next batch while one is under way', async () => {
    const counts: number[] = []
    const first = gate()
    broker.script = onProduce(async ({ recordCount }, { count }) => {
      counts.push(recordCount)
      if (count === 2) await first.opened
      return undefined
    })
    const producer = client.producer(Lines)
    await producer.send({ value: 'warm' })
    const sends = [producer.send({ value: '0' })]
    for (let i = 1; i <= 20; i++) {
      await new Promise((resolve) => setImmediate(resolve))
      sends.push(producer.send({ value: `${i}` }))
    }
    first.open()
    await Promise.all(sends)
    expect(counts).toEqual([1, 1, 20])
  })

  it('sends full batches side by side, as many as maxInFlight', async () => {
    let onWire = 0
    let most = 0
    broker.script = onProduce(async () => {
      most = Math.max(most, ++onWire)
      await new Promise((resolve) => setTimeout(resolve, 5))
      onWire--
      return undefined
    })
    const producer = client.producer(Lines, { batchBytes: 1000, maxInFlight: 3 })
    await producer.send({ value: 'warm' })
    await producer.sendBatch(Array.from({ length: 100 }, () => ({ value: 'x'.repeat(200) })))
    expect(most).toBe(3)
  })

  it('waits for company as long as lingerMs, and not when flush asks', async () => {
    const counts: number[] = []
    broker.script = onProduce(({ recordCount }) => void counts.push(recordCount))
    const clock = new ManualClock()
    const lingering = connect(broker.url, {}, { clock })
    const producer = lingering.producer(Lines, { lingerMs: 40 })
    void producer.send({ value: 'warm' })
    await producer.flush()
    const sends = [producer.send({ value: 'a' })]
    await clock.advanceAndSettle(39)
    sends.push(producer.send({ value: 'b' }))
    await clock.advanceAndSettle(0)
    expect(counts).toEqual([1])
    clock.advance(1)
    await Promise.all(sends)
    expect(counts).toEqual([1, 2])
    void producer.send({ value: 'hurry' })
    await producer.flush()
    expect(counts).toEqual([1, 2, 1])
    await lingering.close()
  })

  it('keeps keyless records together until their batch goes, then takes the next partition', async () => {
    broker.createTopic({ name: 'wide', partitions: 3, keyEncoding: 'text', valueEncoding: 'text' })
    const producer = client.producer(defineTopic({ name: 'wide', key: text(), value: text() }))
    const partitions: number[] = []
    for (let i = 0; i < 6; i++) {
      const results = await Promise.all([producer.send({ value: 'a' }), producer.send({ value: 'b' })])
      expect(results[0].partition).toBe(results[1].partition)
      partitions.push(results[0].partition)
    }
    expect(new Set(partitions.slice(0, 3)).size).toBe(3)
    expect(partitions.slice(3)).toEqual(partitions.slice(0, 3))
  })

  it('puts a key where Kafka puts it, and an explicit partition before the key', async () => {
    broker.createTopic({ name: 'wide', partitions: 7, keyEncoding: 'text', valueEncoding: 'text' })
    const producer = client.producer(defineTopic({ name: 'wide', key: text(), value: text() }))
    // toPositive(murmur2(key)) % 7 by Kafka's own hash: murmur2('21') is -973932308, murmur2('foobar') -790332482.
    expect((await producer.send({ key: '21', value: '' })).partition).toBe((-973932308 & 0x7fffffff) % 7)
    expect((await producer.send({ key: 'foobar', value: '' })).partition).toBe((-790332482 & 0x7fffffff) % 7)
    expect((await producer.send({ key: '21', value: '', partition: 6 })).partition).toBe(6)
    expect(await codeOf(producer.send({ value: '', partition: 7 }))).toBe('UNKNOWN_PARTITION notWritten')
  })

  it('compresses when asked to, unless that makes it larger', async () => {
    const attributes: number[] = []
    broker.script = onProduce((produce) => void attributes.push(produce.attributes))
    const producer = client.producer(Lines, { compression: 'gzip' })
    await producer.send({ value: 'a'.repeat(10_000) })
    await producer.send({ value: 'b' })
    expect(attributes).toEqual([1, 0])
    expect(await valuesIn()).toEqual(['a'.repeat(10_000), 'b'])
  })
})

describe('retries', () => {
  it('write a batch once when its answer is lost', async () => {
    broker.script = onProduce((_, { count }) => (count === 1 ? 'loseAnswer' : undefined))
    const producer = client.producer(Lines)
    expect(await producer.send({ value: 'once' })).toMatchObject({ offset: 0 })
    expect(broker.countOf('PRODUCE')).toBe(2)
    expect(await valuesIn()).toEqual(['once'])
  })

  it('keep the order when the first of several batches is refused', async () => {
    broker.script = onProduce((_, { count }) =>
      count === 2 ? new MillraceError('BACKPRESSURE', { retryAfterMs: 5 }) : undefined,
    )
    const producer = client.producer(Lines, { batchBytes: 100 })
    await producer.send({ value: 'first' })
    const values = Array.from({ length: 10 }, (_, i) => `${i}`.repeat(80))
    await producer.sendBatch(values.map((value) => ({ value })))
    expect(await valuesIn()).toEqual(['first', ...values])
  })

  it('outlast a broker that is away for a while', async () => {
    const producer = client.producer(Lines)
    await producer.send({ value: 'before' })
    await broker.stop()
    const later = producer.send({ value: 'after' })
    await new Promise((resolve) => setTimeout(resolve, 50))
    await broker.restart()
    expect(await later).toMatchObject({ offset: 1 })
  })

  it('wait for the next link when the broker says that it goes away', async () => {
    const producer = client.producer(Lines)
    await producer.send({ value: 'a' })
    broker.sayGoingAway()
    expect(await producer.send({ value: 'b' })).toMatchObject({ offset: 1 })
    expect(await producer.send({ value: 'c' })).toMatchObject({ offset: 2 })
    expect(broker.connections).toBeGreaterThan(1)
  })

  const seeds = Array.from({ length: 12 }, (_, i) => i + 1)
  it.each(seeds)('write each record exactly once and in order whatever breaks (seed %i)', async (seed) => {
    const random = new SeededRandom(seed)
    broker.createTopic({ name: 'storm', partitions: 3, keyEncoding: 'text', valueEncoding: 'text' })
    broker.script = onProduce(async () => {
      if (random.chance(0.3)) await new Promise((resolve) => setTimeout(resolve, random.below(4)))
      const verdicts: Verdict[] = [
        'cut',
        'loseAnswer',
        new MillraceError('BACKPRESSURE', { retryAfterMs: 1 }),
        new MillraceError('STORAGE_FAILED'),
        new MillraceError('BAD_CRC'),
      ]
      return random.chance(0.15) ? random.pick(verdicts) : undefined
    })
    const Storm = defineTopic({ name: 'storm', key: text(), value: text() })
    const producer = client.producer(Storm, {
      batchBytes: 200,
      maxInFlight: 1 + random.below(6),
      compression: random.chance(0.3) ? 'gzip' : 'none',
    })
    const sent = new Map<string, { partition: number; offset: number }>()
    const sends: Promise<unknown>[] = []
    for (let i = 0; i < 300; i++) {
      const value = `${i}`
      const record = { key: `k${i % 17}`, value }
      sends.push(producer.send(record).then((result) => sent.set(value, result)))
      if (random.chance(0.2)) await new Promise((resolve) => setImmediate(resolve))
    }
    await Promise.all(sends)
    broker.script = () => undefined
    const lastOfKey = new Map<string, number>()
    const seen = new Set<string>()
    for await (const record of client.read(Storm, { from: 'earliest', to: 'end' })) {
      expect(seen.has(record.value), `${record.value} twice`).toBe(false)
      seen.add(record.value)
      expect(sent.get(record.value)).toMatchObject({ partition: record.partition, offset: record.offset })
      const key = record.key as string
      expect(Number(record.value)).toBeGreaterThan(lastOfKey.get(key) ?? -1)
      lastOfKey.set(key, Number(record.value))
    }
    expect(seen.size).toBe(300)
  })
})

describe('whatever is lost or refused for good', () => {
  const seeds = Array.from({ length: 16 }, (_, i) => 100 + i)
  it.each(seeds)('is told as it is, and the rest is written once and in order (seed %i)', async (seed) => {
    const random = new SeededRandom(seed)
    broker.createTopic({ name: 'storm', partitions: 2, keyEncoding: 'text', valueEncoding: 'text' })
    const verdicts: Verdict[] = [
      'cut',
      'loseAnswer',
      'ignore',
      'late',
      'late',
      new MillraceError('BACKPRESSURE', { retryAfterMs: 1 }),
      new MillraceError('BAD_BATCH'),
      new MillraceError('INTERNAL'),
      new MillraceError('UNKNOWN_PRODUCER'),
    ]
    broker.script = onProduce(() => (random.chance(0.2) ? random.pick(verdicts) : undefined))
    const Storm = defineTopic({ name: 'storm', key: text(), value: text() })
    const producer = client.producer(Storm, {
      batchBytes: 150,
      maxInFlight: 1 + random.below(6),
      deliveryTimeoutMs: 20 + random.below(60),
    })
    const fates = new Map<string, string>()
    const sends: Promise<unknown>[] = []
    for (let i = 0; i < 300; i++) {
      const value = `${i}`
      sends.push(
        producer.send({ value, partition: i % 2 }).then(
          ({ partition, offset }) => fates.set(value, `${partition}/${offset}`),
          (error: MillraceError) => fates.set(value, error.outcome),
        ),
      )
      if (random.chance(0.2)) await new Promise((resolve) => setTimeout(resolve, random.below(3)))
    }
    await Promise.all(sends)
    broker.script = () => undefined
    // What was late is there by now.
    await new Promise((resolve) => setTimeout(resolve, 30))
    const last = [-1, -1]
    const seen = new Set<string>()
    for await (const { value, partition, offset } of client.read(Storm, { from: 'earliest', to: 'end' })) {
      expect(seen.has(value), `${value} twice`).toBe(false)
      seen.add(value)
      expect([`${partition}/${offset}`, 'unknown'], value).toContain(fates.get(value))
      if (fates.get(value) !== 'unknown') {
        expect(Number(value)).toBeGreaterThan(last[partition] as number)
        last[partition] = Number(value)
      }
    }
    for (const [value, fate] of fates) if (fate.includes('/')) expect(seen.has(value), value).toBe(true)
    expect(fates.size).toBe(300)
    expect(producer.bufferedBytes).toBe(0)
    expect([...fates.values()].some((fate) => fate.includes('/'))).toBe(true)
  })
})

describe('a batch that fails for good', () => {
  /** Refuses the batch that holds the given value. */
  const refuse = (value: string, error: MillraceError) =>
    onProduce(({ payload, recordCount }) =>
      decodeRecords(payload, recordCount).some((record) => record.value === value) ? error : undefined,
    )

  it('fails its own records, and those behind it go on under the same identity', async () => {
    broker.script = refuse('bad'.repeat(30), new MillraceError('BAD_BATCH'))
    const producer = client.producer(Lines, { batchBytes: 80 })
    await producer.send({ value: 'warm' })
    const values = ['a', 'bad', 'c', 'd', 'e'].map((value) => value.repeat(30))
    const codes = await Promise.all(values.map((value) => codeOf(producer.send({ value }))))
    expect(codes).toEqual(['resolved', 'BAD_BATCH notWritten', 'resolved', 'resolved', 'resolved'])
    expect(await valuesIn()).toEqual(['warm', ...values.filter((value) => !value.startsWith('bad'))])
    expect(broker.countOf('INIT_PRODUCER')).toBe(1)
  })

  it('times out with outcome notWritten when it was never sent', async () => {
    const producer = client.producer(Lines, { deliveryTimeoutMs: 500 })
    await producer.send({ value: 'a' })
    await stopBroker()
    expect(await codeOf(producer.send({ value: 'b' }))).toBe('TIMEOUT notWritten')
    await broker.restart()
    expect(await producer.send({ value: 'c' })).toMatchObject({ offset: 1 })
    expect(await valuesIn()).toEqual(['a', 'c'])
  })

  it('times out with outcome unknown when it was sent, and the next go under a new identity', async () => {
    const producer = client.producer(Lines, { deliveryTimeoutMs: 500, batchBytes: 100, maxInFlight: 2 })
    await producer.send({ value: 'a' })
    broker.script = onProduce(() => 'loseAnswer')
    const lost = [
      codeOf(producer.send({ value: 'b'.repeat(90) })),
      codeOf(producer.send({ value: 'c'.repeat(90) })),
    ]
    await broker.stop()
    expect(await Promise.all(lost)).toEqual(['TIMEOUT unknown', 'TIMEOUT unknown'])
    broker.script = () => undefined
    await broker.restart()
    await producer.send({ value: 'd' })
    expect(broker.countOf('INIT_PRODUCER')).toBe(2)
    expect((await valuesIn()).at(-1)).toBe('d')
  })

  it('stops a named producer when its fate is unknown', async () => {
    const producer = client.producer(Lines, { deliveryTimeoutMs: 500, name: 'shop-1' })
    await producer.send({ value: 'a' })
    broker.script = onProduce(() => 'ignore')
    const lost = codeOf(producer.send({ value: 'b' }))
    await expect.poll(() => broker.countOf('PRODUCE')).toBe(2)
    await broker.stop()
    expect(await lost).toBe('TIMEOUT unknown')
    await expect(producer.send({ value: 'c' })).rejects.toMatchObject({
      code: 'TIMEOUT',
      retriable: false,
      outcome: 'notWritten',
      message: expect.stringContaining('make it anew'),
    })
  })

  it('gets a new identity when the broker has forgotten the producer', async () => {
    const producer = client.producer(Lines)
    await producer.send({ value: 'a' })
    broker.script = onProduce((_, { count }) =>
      count === 2 ? new MillraceError('UNKNOWN_PRODUCER') : undefined,
    )
    expect(await producer.send({ value: 'b' })).toMatchObject({ offset: 1 })
    expect(broker.countOf('INIT_PRODUCER')).toBe(2)
  })

  it('gets a new identity when the broker has forgotten what it acknowledged', async () => {
    const producer = client.producer(Lines)
    await producer.send({ value: 'a' })
    broker.log('lines').forgetProducers()
    expect(await producer.send({ value: 'b' })).toMatchObject({ offset: 1 })
    expect(await valuesIn()).toEqual(['a', 'b'])
  })
})

describe('a named producer', () => {
  it('fences its predecessor', async () => {
    const first = client.producer(Lines, { name: 'shop-1' })
    await first.send({ value: 'a' })
    const second = client.producer(Lines, { name: 'shop-1' })
    await second.send({ value: 'b' })
    expect(await codeOf(first.send({ value: 'c' }))).toBe('PRODUCER_FENCED notWritten')
    expect(await codeOf(first.send({ value: 'd' }))).toBe('PRODUCER_FENCED notWritten')
    await second.send({ value: 'e' })
    expect(await valuesIn()).toEqual(['a', 'b', 'e'])
  })
})

describe('a record that can never be written', () => {
  it('is refused at once and spoils no batch', async () => {
    broker.limits.recordBytesMax = 1000
    const producer = client.producer(Lines)
    await producer.send({ value: 'warm' })
    const good = producer.send({ value: 'good' })
    expect(await codeOf(producer.send({ value: 'x'.repeat(1001) }))).toBe('RECORD_TOO_LARGE notWritten')
    expect(await codeOf(producer.send({ value: 'ü'.repeat(700) }))).toBe('RECORD_TOO_LARGE notWritten')
    expect(await codeOf(producer.send({ value: 7 as never }))).toBe('ENCODING_MISMATCH notWritten')
    expect(await codeOf(producer.send({ value: '\ud800' }))).toBe('ENCODING_MISMATCH notWritten')
    expect(await codeOf(producer.send({ value: '', headers: { n: 1 as never } }))).toBe(
      'ILLEGAL_ARGUMENT notWritten',
    )
    expect(await codeOf(producer.send({ value: '', headers: { ['__proto__']: 'x' } }))).toBe(
      'ILLEGAL_ARGUMENT notWritten',
    )
    expect(await codeOf(producer.send({ value: '', timestamp: new Date('no') }))).toBe(
      'ILLEGAL_ARGUMENT notWritten',
    )
    await good
    await producer.send({ value: 'x'.repeat(900) })
    expect(await valuesIn()).toEqual(['warm', 'good', 'x'.repeat(900)])
    expect(producer.bufferedBytes).toBe(0)
  })

  it('stops the whole sendBatch before anything of it is sent', async () => {
    const producer = client.producer(Lines)
    expect(await codeOf(producer.sendBatch([{ value: 'a' }, { value: 1 as never }]))).toBe(
      'ENCODING_MISMATCH notWritten',
    )
    await producer.flush()
    expect(await valuesIn()).toEqual([])
  })
})

describe('the buffer', () => {
  it('stays within its bytes with the broker gone, and every promise settles', async () => {
    const producer = client.producer(Lines, { maxBufferBytes: 1_000_000, deliveryTimeoutMs: 1_000 })
    await producer.send({ value: 'warm' })
    await stopBroker()
    const codes = new Map<string, number>()
    const sends: Promise<void>[] = []
    const count = 60_000
    for (let i = 0; i < count; i++) {
      const counted = (code: string): void => void codes.set(code, (codes.get(code) ?? 0) + 1)
      sends.push(
        producer.send({ value: `${i}` }).then(
          () => counted('resolved'),
          (error: MillraceError) => counted(`${error.code} ${error.outcome} ${error.retriable}`),
        ),
      )
      expect(producer.bufferedBytes).toBeLessThanOrEqual(1_000_000)
    }
    await Promise.all(sends)
    expect([...codes.keys()].sort()).toEqual(['BUFFER_FULL notWritten true', 'TIMEOUT notWritten true'])
    expect(
      (codes.get('BUFFER_FULL notWritten true') ?? 0) + (codes.get('TIMEOUT notWritten true') ?? 0),
    ).toBe(count)
    expect(codes.get('TIMEOUT notWritten true')).toBeGreaterThan(5_000)
    expect(producer.bufferedBytes).toBe(0)
  })

  it('makes enqueue wait, in order, and lets sendBatch through in pieces', async () => {
    const producer = client.producer(Lines, { maxBufferBytes: 3_000 })
    const values = Array.from({ length: 200 }, (_, i) => `${i}`)
    let most = 0
    for (const value of values.slice(0, 100)) {
      await producer.enqueue({ value })
      most = Math.max(most, producer.bufferedBytes)
    }
    const results = await producer.sendBatch(values.slice(100).map((value) => ({ value })))
    expect(results.map(({ offset }) => offset)).toEqual(values.slice(100).map(Number))
    expect(most).toBeLessThanOrEqual(3_000)
    expect(await valuesIn()).toEqual(values)
  })

  it('lets an enqueue that waits be aborted, without losing those behind it', async () => {
    broker.script = onProduce((_, { count }) => (count === 1 ? 'ignore' : undefined))
    const producer = client.producer(Lines, { maxBufferBytes: 150 })
    await producer.enqueue({ value: 'a'.repeat(60) })
    await expect.poll(() => broker.countOf('PRODUCE')).toBe(1)
    const controller = new AbortController()
    const aborted = producer.enqueue({ value: 'b'.repeat(60) }, { signal: controller.signal })
    const kept = producer.enqueue({ value: 'c'.repeat(60) })
    controller.abort(new Error('enough'))
    await expect(aborted).rejects.toThrow('enough')
    broker.cutAll()
    await kept
    await producer.flush()
    expect(await valuesIn()).toEqual(['a'.repeat(60), 'c'.repeat(60)])
  })
})

describe('flush and close', () => {
  it('tell of the first failure of an enqueued record, once', async () => {
    broker.script = onProduce((_, { count }) => (count === 1 ? new MillraceError('BAD_BATCH') : undefined))
    const producer = client.producer(Lines)
    await producer.enqueue({ value: 'lost' })
    expect(await codeOf(producer.flush())).toBe('BAD_BATCH notWritten')
    await producer.enqueue({ value: 'kept' })
    await producer.flush()
    expect(await valuesIn()).toEqual(['kept'])
    await producer.close()
  })

  it('leave the failures of send to their own promises', async () => {
    broker.script = onProduce((_, { count }) => (count === 1 ? new MillraceError('BAD_BATCH') : undefined))
    const producer = client.producer(Lines)
    const failing = codeOf(producer.send({ value: 'x' }))
    await producer.flush()
    expect(await failing).toBe('BAD_BATCH notWritten')
  })

  it('deliver what was handed over, and then take no more', async () => {
    const producer = client.producer(Lines)
    for (let i = 0; i < 1000; i++) void producer.enqueue({ value: `${i}` })
    await producer.close()
    expect((await valuesIn()).length).toBe(1000)
    expect(await codeOf(producer.send({ value: 'late' }))).toBe('CLOSED notWritten')
    expect(await codeOf(producer.enqueue({ value: 'late' }))).toBe('CLOSED notWritten')
  })

  it('have client.close tell what no flush has told', async () => {
    broker.script = onProduce(() => new MillraceError('BAD_BATCH'))
    await client.producer(Lines).enqueue({ value: 'lost' })
    expect(await codeOf(client.close())).toBe('BAD_BATCH notWritten')
    client = connect(broker.url)
  })

  it('can be given up by a signal', async () => {
    await broker.stop()
    const producer = client.producer(Lines)
    const sending = codeOf(producer.send({ value: 'x' }, { signal: AbortSignal.timeout(20) }))
    await expect(producer.flush({ signal: AbortSignal.timeout(20) })).rejects.toThrow(
      'aborted due to timeout',
    )
    expect(await sending).toContain('TimeoutError')
    await broker.restart()
  })
})

describe('a schema that validates asynchronously', () => {
  interface Delayed {
    delay: number
    n: number
  }
  const schema = {
    '~standard': {
      version: 1 as const,
      vendor: 'test',
      types: undefined as { input: Delayed; output: Delayed } | undefined,
      validate: async (value: unknown) => {
        const { delay, n } = value as Delayed
        await new Promise((resolve) => setTimeout(resolve, delay))
        return n < 0 ? { issues: [{ message: 'negative', path: ['n'] }] } : { value: value as Delayed }
      },
    },
  }

  it('keeps the order of the calls and refuses by itself', async () => {
    const Numbers = defineTopic({ name: 'numbers', key: text(), value: json(schema) })
    await client.ensureTopic(Numbers)
    const producer = client.producer(Numbers)
    const sends = [
      producer.send({ value: { delay: 20, n: 0 } }),
      producer.send({ value: { delay: 0, n: 1 } }),
      producer.sendBatch([{ value: { delay: 5, n: 2 } }, { value: { delay: 0, n: 3 } }]),
      producer.send({ value: { delay: 0, n: 4 } }),
    ]
    expect(await codeOf(producer.send({ value: { delay: 0, n: -1 } }))).toBe('SCHEMA_MISMATCH notWritten')
    await producer.enqueue({ value: { delay: 1, n: 5 } })
    await Promise.all(sends)
    await producer.flush()
    const numbers = []
    for await (const { value } of client.read(Numbers, { from: 'earliest', to: 'end' })) numbers.push(value.n)
    expect(numbers).toEqual([0, 1, 2, 3, 4, 5])
  })
})

describe('a topic that goes', () => {
  it('fails what waits, and the producer finds the one made anew', async () => {
    const producer = client.producer(Lines)
    await producer.send({ value: 'a' })
    broker.deleteTopic('lines')
    expect(await codeOf(producer.send({ value: 'b' }))).toBe('UNKNOWN_TOPIC notWritten')
    expect(await codeOf(producer.send({ value: 'c' }))).toBe('UNKNOWN_TOPIC notWritten')
    broker.createTopic({ name: 'lines', partitions: 2, keyEncoding: 'text', valueEncoding: 'text' })
    expect(await producer.send({ value: 'd' })).toMatchObject({ offset: 0 })
  })

  it('is a TOPIC_MISMATCH when its encodings are others', async () => {
    const producer = client.producer(defineTopic({ name: 'lines', key: text(), value: json<string>() }))
    await expect(producer.send({ value: 'x' })).rejects.toMatchObject({
      code: 'TOPIC_MISMATCH',
      message: 'topic "lines" has valueEncoding text, not json',
    })
  })
})

describe('a producer that is not idempotent', () => {
  it('sends without an identity', async () => {
    const identities: unknown[] = []
    broker.script = onProduce(({ producerId }) => void identities.push(producerId))
    const producer = client.producer(Lines, { idempotent: false })
    await producer.sendBatch([{ value: 'a' }, { value: 'b' }])
    expect(identities).toEqual([null])
    expect(broker.countOf('INIT_PRODUCER')).toBe(0)
  })
})
