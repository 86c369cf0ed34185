import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  type AnyTopic,
  type Client,
  type Codec,
  connect,
  defineTopic,
  json,
  MillraceError,
  nullable,
  type ReadOptions,
  type ReadRecordOf,
  type Stream,
  type Topic,
  text,
} from '../../client/index.js'
import type { Credit, Subscribe } from '../../protocol/messages/index.js'
import { ScriptedBroker, type Verdict } from '../support/scripted-broker.js'
import { SeededRandom } from '../support/seeded-random.js'

const Lines = defineTopic({ name: 'lines', key: text(), value: text() })
const Wide = defineTopic({ name: 'wide', key: text(), value: text() })
type TextTopic = Topic<Codec<string>, Codec<string>>

let broker: ScriptedBroker
let client: Client

beforeEach(async () => {
  broker = await ScriptedBroker.start()
  broker.createTopic({ name: 'lines', partitions: 1, keyEncoding: 'text', valueEncoding: 'text' })
  broker.createTopic({ name: 'wide', partitions: 4, keyEncoding: 'text', valueEncoding: 'text' })
  client = connect(broker.url, { backoffBaseMs: 1, backoffCapMs: 20 })
})

afterEach(async () => {
  await client.close({ drainMs: 0 })
  await broker.stop()
})

const numbered = (count: number, start = 0): string[] =>
  Array.from({ length: count }, (_, i) => `${start + i}`)

async function write(values: readonly string[], topic: TextTopic = Lines, batchBytes = 100): Promise<void> {
  const producer = client.producer(topic, { batchBytes })
  await producer.sendBatch(values.map((value) => ({ key: value, value })))
  await producer.close()
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

async function collect<T>(stream: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const one of stream) all.push(one)
  return all
}

const valuesOf = async (stream: Stream<{ value: string }>): Promise<string[]> =>
  (await collect(stream)).map(({ value }) => value)

async function failureOf(promise: Promise<unknown>): Promise<MillraceError> {
  const error = await promise.then(
    () => undefined,
    (error: unknown) => error,
  )
  expect(error).toBeInstanceOf(MillraceError)
  return error as MillraceError
}

/** Takes `count` records and leaves the stream open. */
async function takeSome<T extends AnyTopic>(stream: Stream<ReadRecordOf<T>>, count: number) {
  const taken: ReadRecordOf<T>[] = []
  while (taken.length < count) {
    const { value, done } = await stream.next()
    if (done) break
    taken.push(value)
  }
  return taken
}

describe('a range', () => {
  it('goes from the earliest to the end that was durable when the reading began', async () => {
    await write(numbered(50))
    const stream = client.read(Lines, { from: 'earliest', to: 'end' })
    await stream.ready
    await write(['late'])
    expect(await valuesOf(stream)).toEqual(numbered(50))
    await stream.caughtUp
  })

  it('is empty where nothing was written, and then ends at once', async () => {
    const stream = client.read(Wide, { from: 'earliest', to: 'end' })
    expect(await collect(stream)).toEqual([])
    await stream.caughtUp
  })

  it('begins and ends in the middle of batches', async () => {
    await write(numbered(40), Lines, 10_000)
    expect(broker.log('lines').entries.length).toBe(1)
    expect(await valuesOf(client.read(Lines, { from: { 0: 13 }, to: { 0: 27 } }))).toEqual(numbered(14, 13))
    const batches = await collect(client.readBatches(Lines, { from: { 0: 13 }, to: { 0: 27 } }))
    expect(batches).toMatchObject([{ topic: 'lines', partition: 0, nextOffset: 27, endOffset: 40 }])
    expect(batches[0]?.records.map(({ offset }) => offset)).toEqual(numbered(14, 13).map(Number))
  })

  it('begins at a date', async () => {
    await write(numbered(5))
    await new Promise((resolve) => setTimeout(resolve, 5))
    const date = new Date()
    await write(numbered(5, 5))
    expect(await valuesOf(client.read(Lines, { from: date, to: 'end' }))).toEqual(numbered(5, 5))
  })

  it('holds the partitions that are named, and no others', async () => {
    await write(numbered(200), Wide)
    const partitionsIn = async (options: ReadOptions) => {
      const records = await collect(client.read(Wide, options))
      return [...new Set(records.map(({ partition }) => partition))].sort()
    }
    expect(await partitionsIn({ from: 'earliest', to: 'end' })).toEqual([0, 1, 2, 3])
    expect(await partitionsIn({ from: 'earliest', to: 'end', partitions: [2, 3] })).toEqual([2, 3])
    expect(await partitionsIn({ from: { 1: 0 }, to: 'end' })).toEqual([1])
  })

  it('is refused when it names what is not there', async () => {
    const refusals: [ReadOptions, string][] = [
      [{ partitions: [4] }, 'UNKNOWN_PARTITION'],
      [{ from: { 9: 0 } }, 'UNKNOWN_PARTITION'],
      [{ from: { 0: -1 } }, 'ILLEGAL_ARGUMENT'],
      [{ from: { 0: 0, 1: 0 }, to: { 0: 5 } }, 'ILLEGAL_ARGUMENT'],
      [{ from: new Date('never') }, 'ILLEGAL_ARGUMENT'],
      [{ bufferBytes: 0 }, 'ILLEGAL_ARGUMENT'],
    ]
    for (const [options, code] of refusals) {
      expect((await failureOf(collect(client.read(Wide, options)))).code).toBe(code)
    }
    const gone = defineTopic({ name: 'gone', key: text(), value: text() })
    expect((await failureOf(collect(client.read(gone)))).code).toBe('UNKNOWN_TOPIC')
    const other = defineTopic({ name: 'lines', key: text(), value: json<string>() })
    expect((await failureOf(collect(client.read(other)))).code).toBe('TOPIC_MISMATCH')
  })

  it('joins several topics, each from its own offsets', async () => {
    await write(numbered(10))
    await write(numbered(10), Wide)
    const all = await collect(client.read([Lines, Wide], { from: 'earliest', to: 'end' }))
    expect(all.filter(({ topic }) => topic === 'lines').length).toBe(10)
    expect(all.filter(({ topic }) => topic === 'wide').length).toBe(10)
    const some = await collect(client.read([Lines, Wide], { from: { lines: { 0: 8 } }, to: 'end' }))
    expect(some.map(({ topic, offset }) => `${topic} ${offset}`)).toEqual(['lines 8', 'lines 9'])
  })
})

describe('following', () => {
  it('gives what is written from the start on, and says when it has caught up', async () => {
    await write(['before'])
    const stream = client.read(Lines, { from: 'latest' })
    await stream.ready
    let isCaughtUp = false
    void stream.caughtUp.then(() => {
      isCaughtUp = true
    })
    const next = takeSome(stream, 3)
    await expect.poll(() => isCaughtUp).toBe(true)
    await write(numbered(3))
    expect((await next).map(({ value }) => value)).toEqual(numbered(3))
    await stream.return()
  })

  it('has not caught up before the loop has taken the last record', async () => {
    await write(numbered(3))
    const stream = client.read(Lines, { from: 'earliest' })
    let isCaughtUp = false
    void stream.caughtUp.then(() => {
      isCaughtUp = true
    })
    await takeSome(stream, 2)
    await new Promise((resolve) => setTimeout(resolve, 20))
    expect(isCaughtUp).toBe(false)
    await takeSome(stream, 1)
    const next = stream.next()
    await stream.caughtUp
    await stream.return()
    expect(await next).toEqual({ done: true, value: undefined })
  })

  it('answers calls that do not wait for each other in order', async () => {
    const stream = client.read(Lines, { from: 'earliest' })
    const nexts = [stream.next(), stream.next(), stream.next()]
    await write(numbered(3))
    expect((await Promise.all(nexts)).map(({ value }) => value?.value)).toEqual(numbered(3))
    await stream.return()
  })
})

describe('a lost connection', () => {
  const seeds = Array.from({ length: 8 }, (_, i) => i + 1)
  it.each(seeds)('leaves no gap and repeats nothing (seed %i)', async (seed) => {
    const random = new SeededRandom(seed)
    const values = numbered(400)
    await write(values, Wide, 50 + random.below(400))
    broker.script = ({ name }): Verdict => {
      if (name === 'CREDIT' && random.chance(0.2)) return 'cut'
      if (name === 'SUBSCRIBE' && random.chance(0.1)) return 'cut'
      if (name === 'SUBSCRIBE' && random.chance(0.1))
        return new MillraceError('BACKPRESSURE', { retryAfterMs: 1 })
      return undefined
    }
    const stream = client.read(Wide, {
      from: 'earliest',
      to: 'end',
      bufferBytes: 4 * (200 + random.below(2000)),
    })
    const next: number[] = [0, 0, 0, 0]
    const seen: string[] = []
    for await (const { partition, offset, value } of stream) {
      expect(offset).toBe(next[partition])
      next[partition] = offset + 1
      seen.push(value)
      if (random.chance(0.02)) broker.cutAll()
      if (random.chance(0.1)) await new Promise((resolve) => setImmediate(resolve))
    }
    expect(seen.length).toBe(400)
    expect(new Set(seen)).toEqual(new Set(values))
    expect(broker.connections).toBeGreaterThan(1)
  })
})

describe('a slow loop', () => {
  it('is sent no more than its buffer holds, and one batch', async () => {
    await write(numbered(2000), Lines, 500)
    let granted = 0
    broker.script = ({ name, fields }): Verdict => {
      if (name === 'SUBSCRIBE') granted += (fields as unknown as Subscribe).creditBytes
      if (name === 'CREDIT') granted += (fields as unknown as Credit).bytes
      return undefined
    }
    const bufferBytes = 5_000
    const stream = client.read(Lines, { from: 'earliest', bufferBytes })
    const entries = broker.log('lines').entries
    for (let taken = 0; taken < 1000; taken++) {
      const { value } = await stream.next()
      const offset = value?.offset ?? 0
      const consumed = entries
        .filter(({ nextOffset }) => nextOffset <= offset)
        .reduce((sum, { bytes }) => sum + bytes.length, 0)
      expect(granted - consumed).toBeLessThanOrEqual(bufferBytes)
    }
    await stream.return()
  })
})

describe('a busy loop', () => {
  it('lets timers have their turn while there are batches enough', async () => {
    await write(numbered(400), Lines, 1)
    const stream = client.readBatches(Lines, { from: 'earliest', to: 'end' })
    await stream.next()
    await sleep(100)
    let ticks = 0
    const timer = setInterval(() => ticks++, 1)
    let batches = 1
    for await (const _ of stream) {
      batches++
      const endMs = performance.now() + 0.2
      while (performance.now() < endMs);
    }
    clearInterval(timer)
    expect(batches).toBe(400)
    expect(ticks).toBeGreaterThan(5)
  })
})

describe('a loop that has stopped', () => {
  it('is not sent another buffer full when the connection is made again', async () => {
    await write(numbered(2000), Lines, 500)
    const credits: number[] = []
    broker.script = ({ name, fields }): Verdict => {
      if (name === 'SUBSCRIBE') credits.push((fields as unknown as Subscribe).creditBytes)
      return undefined
    }
    const stream = client.read(Lines, { from: 'earliest', bufferBytes: 5_000 })
    await takeSome(stream, 1)
    broker.cutAll()
    await expect.poll(() => credits.length).toBe(2)
    expect(credits[0]).toBe(5_000)
    // The first delivery held about all of it, and is still here.
    expect(credits[1]).toBeLessThan(1_500)
    await stream.return()
  })
})

describe('the end of an iteration', () => {
  it('unsubscribes after break', async () => {
    await write(numbered(10))
    for await (const { value } of client.read(Lines, { from: 'earliest' })) {
      if (value === '3') break
    }
    await expect.poll(() => broker.countOf('UNSUBSCRIBE')).toBe(1)
  })

  it('throws the reason of the signal', async () => {
    const controller = new AbortController()
    const stream = client.read(Lines, { from: 'earliest', signal: controller.signal })
    const next = stream.next()
    await stream.caughtUp
    controller.abort(new Error('enough'))
    await expect(next).rejects.toThrow('enough')
    await expect(stream.next()).rejects.toThrow('enough')
    const late = client.read(Lines, { signal: AbortSignal.abort(new Error('before')) })
    await expect(late.next()).rejects.toThrow('before')
  })

  it('throws CLOSED when the client is closed', async () => {
    const failure = failureOf(client.read(Lines, { from: 'earliest' }).next())
    await new Promise((resolve) => setTimeout(resolve, 20))
    await client.close()
    expect((await failure).code).toBe('CLOSED')
  })

  it('comes when the topic is deleted, after what had been delivered', async () => {
    await write(numbered(3))
    const stream = client.read(Lines, { from: 'earliest' })
    const taken = await takeSome(stream, 1)
    broker.deleteTopic('lines')
    broker.createTopic({ name: 'lines', partitions: 1, keyEncoding: 'text', valueEncoding: 'text' })
    await new Promise((resolve) => setTimeout(resolve, 20))
    taken.push(...(await takeSome(stream, 2)))
    expect(taken.map(({ value }) => value)).toEqual(numbered(3))
    expect((await failureOf(stream.next())).code).toBe('UNKNOWN_TOPIC')
  })

  it('comes when the topic was deleted and made anew while the connection was lost', async () => {
    await write(numbered(3))
    const stream = client.read(Lines, { from: 'earliest' })
    await takeSome(stream, 3)
    broker.cutAll()
    broker.topics.delete('lines')
    broker.createTopic({ name: 'lines', partitions: 1, keyEncoding: 'text', valueEncoding: 'text' })
    expect((await failureOf(stream.next())).code).toBe('UNKNOWN_TOPIC')
  })
})

describe('an offset that is no longer there', () => {
  it('throws with both ends', async () => {
    await write(numbered(10), Lines, 50)
    broker.log('lines').deleteBefore(4)
    const error = await failureOf(collect(client.read(Lines, { from: { 0: 2 }, to: 'end' })))
    expect(error).toMatchObject({
      code: 'OFFSET_OUT_OF_RANGE',
      details: { topic: 'lines', partition: 0, startOffset: 4, endOffset: 10 },
    })
  })

  it('is jumped over when asked to', async () => {
    await write(numbered(10), Lines, 50)
    broker.log('lines').deleteBefore(4)
    const range = { from: { 0: 2 }, to: 'end' } as const
    const earliest = await collect(client.read(Lines, { ...range, onOutOfRange: 'earliest' }))
    expect(earliest.at(0)?.offset).toBe(4)
    expect(await collect(client.read(Lines, { ...range, onOutOfRange: 'latest' }))).toEqual([])
  })

  it('throws beyond the end too, where a range to that end would be empty', async () => {
    await write(numbered(10), Lines, 50)
    broker.log('lines').deleteBefore(4)
    const range = { from: { 0: 11 }, to: 'end' } as const
    expect(await failureOf(collect(client.read(Lines, range)))).toMatchObject({
      code: 'OFFSET_OUT_OF_RANGE',
      details: { topic: 'lines', partition: 0, offset: 11, startOffset: 4, endOffset: 10 },
    })
    const earliest = await collect(client.read(Lines, { ...range, onOutOfRange: 'earliest' }))
    expect(earliest.map(({ offset }) => offset)).toEqual([4, 5, 6, 7, 8, 9])
    expect(await collect(client.read(Lines, { ...range, onOutOfRange: 'latest' }))).toEqual([])
    expect(await collect(client.read(Lines, { from: { 0: 10 }, to: 'end' }))).toEqual([])
  })

  it('is no matter to a reader from the earliest that has not begun', async () => {
    await write(numbered(10), Lines, 50)
    broker.script = ({ name, count }): Verdict => {
      if (name === 'SUBSCRIBE' && count === 1) broker.log('lines').deleteBefore(6)
      return undefined
    }
    const records = await collect(client.read(Lines, { from: 'earliest', to: 'end' }))
    expect(records.map(({ offset }) => offset)).toEqual([6, 7, 8, 9])
  })
})

describe('what is not as it should be', () => {
  /** Breaks the second entry and reads: the first must still come. */
  async function readBroken(
    corrupt: (entry: Uint8Array) => void,
  ): Promise<{ values: string[]; error: MillraceError }> {
    await write(numbered(3), Lines, 1)
    const entry = broker.log('lines').entries[1]
    if (entry === undefined) throw new Error('no entry')
    corrupt(entry.bytes)
    const values: string[] = []
    const reading = (async () => {
      for await (const { value } of client.read(Lines, { from: 'earliest', to: 'end' })) values.push(value)
    })()
    return { error: await failureOf(reading), values }
  }

  const flips: [string, number][] = [
    ['in the header', 40],
    ['in the payload', 115],
  ]
  it.each(flips)('is CORRUPT_DATA with its place: a flipped bit %s', async (_, position) => {
    const { values, error } = await readBroken((entry) => {
      entry[position] = (entry[position] as number) ^ 4
    })
    expect(values).toEqual(['0'])
    expect(error).toMatchObject({
      code: 'CORRUPT_DATA',
      details: { topic: 'lines', partition: 0, offset: 1 },
    })
  })

  it('is CORRUPT_DATA when another partition comes instead', async () => {
    await write(numbered(40), Wide, 1)
    const other = broker.log('wide', 1).entries[0]
    if (other === undefined) throw new Error('no entry')
    broker.log('wide', 0).entries.splice(0, 1, other)
    const range = { from: 'earliest', to: 'end', partitions: [0] } as const
    expect((await failureOf(collect(client.read(Wide, range)))).code).toBe('CORRUPT_DATA')
  })

  it('is CORRUPT_DATA when offsets come again', async () => {
    await write(numbered(3), Lines, 1)
    const { entries } = broker.log('lines')
    entries.splice(2, 0, entries[0] as (typeof entries)[0])
    const error = await failureOf(collect(client.read(Lines, { from: 'earliest', to: 'end' })))
    expect(error).toMatchObject({ code: 'CORRUPT_DATA', details: { offset: 2 } })
  })

  it('is SCHEMA_MISMATCH with its place where a value does not fit the schema', async () => {
    const positive = {
      '~standard': {
        version: 1 as const,
        vendor: 'test',
        types: undefined as { input: number; output: number } | undefined,
        validate: (value: unknown) =>
          typeof value === 'number' && value > 0 ? { value } : { issues: [{ message: 'not positive' }] },
      },
    }
    const Loose = defineTopic({ name: 'numbers', key: text(), value: json<number>() })
    const Strict = defineTopic({ name: 'numbers', key: text(), value: json(positive) })
    await client.ensureTopic(Loose)
    const producer = client.producer(Loose)
    await producer.sendBatch([{ value: 1 }, { value: -1 }, { value: 2 }])
    const values: number[] = []
    const reading = (async () => {
      for await (const { value } of client.read(Strict, { from: 'earliest', to: 'end' })) values.push(value)
    })()
    expect(await failureOf(reading)).toMatchObject({
      code: 'SCHEMA_MISMATCH',
      message: 'topic "numbers", partition 0, offset 1: the value does not fit the schema: not positive',
      details: { topic: 'numbers', partition: 0, offset: 1 },
    })
    expect(values).toEqual([1])
    expect(await collect(client.read(Strict, { from: { 0: 2 }, to: 'end' }))).toMatchObject([{ value: 2 }])
  })
})

describe('records', () => {
  it('come from compressed batches as from others', async () => {
    const producer = client.producer(Lines, { compression: 'gzip', batchBytes: 2_000 })
    const values = numbered(1000)
    await producer.sendBatch(values.map((value) => ({ value })))
    expect(broker.log('lines').entries.some(({ bytes }) => bytes[6] === 1)).toBe(true)
    expect(await valuesOf(client.read(Lines, { from: 'earliest', to: 'end' }))).toEqual(values)
    expect(await valuesOf(client.read(Lines, { from: { 0: 501 }, to: { 0: 503 } }))).toEqual(['501', '502'])
    const batches = await collect(client.readBatches(Lines, { from: 'earliest', to: 'end' }))
    expect(batches.flatMap(({ records }) => records.map(({ value }) => value))).toEqual(values)
  })

  it('are themselves, in a batch too, where a schema validates later', async () => {
    const later = {
      '~standard': {
        version: 1 as const,
        vendor: 'test',
        types: undefined as { input: number; output: number } | undefined,
        validate: async (value: unknown) =>
          (value as number) >= 0 ? { value: value as number } : { issues: [{ message: 'negative' }] },
      },
    }
    const Loose = defineTopic({ name: 'numbers', key: text(), value: json<number>() })
    const Later = defineTopic({ name: 'numbers', key: text(), value: json(later) })
    await client.ensureTopic(Loose)
    const sent = [0, 1, 2, -1].map((value) => ({ key: `key ${value}`, value, timestamp: 1_000 + value }))
    await client.producer(Loose).sendBatch(sent)
    for (const records of [
      await collect(client.read(Later, { from: { 0: 1 }, to: { 0: 3 } })),
      (await collect(client.readBatches(Later, { from: { 0: 1 }, to: { 0: 3 } }))).flatMap((b) => b.records),
    ]) {
      expect(records).toMatchObject([
        { offset: 1, key: 'key 1', value: 1, timestamp: 1_001 },
        { offset: 2, key: 'key 2', value: 2, timestamp: 1_002 },
      ])
    }
    expect(
      await failureOf(collect(client.readBatches(Later, { from: 'earliest', to: 'end' }))),
    ).toMatchObject({
      code: 'SCHEMA_MISMATCH',
      details: { topic: 'numbers', partition: 0, offset: 3 },
    })
  })

  it('may have no key, no value and no headers', async () => {
    const Tombs = defineTopic({ name: 'lines', key: text(), value: nullable(text()) })
    const producer = client.producer(Tombs)
    await producer.sendBatch([{ key: 'a', value: null }, { value: 'b' }, { key: '', value: '' }])
    const records = await collect(client.read(Tombs, { from: 'earliest', to: 'end' }))
    expect(records.map(({ key, value, headers }) => [key, value, headers])).toEqual([
      ['a', null, {}],
      [null, 'b', {}],
      ['', '', {}],
    ])
  })
})
