import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  type Client,
  type Codec,
  type ConsumeOptions,
  connect,
  defineTopic,
  type GroupRecord,
  json,
  MillraceError,
  type ReadRecordOf,
  type RunOptions,
  type Topic,
  text,
} from '../../client/index.js'
import type { MemberId } from '../../protocol/ids.js'
import type { DeadLetter } from '../../protocol/messages/index.js'
import { type Request, ScriptedBroker, type Verdict } from '../support/scripted-broker.js'

const Lines = defineTopic({ name: 'lines', key: text(), value: text() })
const Wide = defineTopic({ name: 'wide', key: text(), value: text() })
type TextTopic = Topic<Codec<string>, Codec<string>>
type TextRecord = GroupRecord<ReadRecordOf<TextTopic>>

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

/** On a busy machine things take their time. */
const eventually = <T>(get: () => T) => expect.poll(get, { interval: 10 })

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

async function write(
  records: readonly { key?: string; value: string }[],
  topic: TextTopic = Lines,
  batchBytes = 100,
): Promise<void> {
  const producer = client.producer(topic, { batchBytes })
  await producer.sendBatch(records)
  await producer.close()
}

const keyed = (values: readonly string[], keys: number) =>
  values.map((value, i) => ({ key: `k${i % keys}`, value }))

const group = () => broker.groups.named('billing')

/** Runs until everything written is acknowledged, or it fails. */
function run(
  handle: (record: TextRecord) => unknown,
  options: RunOptions = {},
  { topic = Lines, ...more }: Partial<ConsumeOptions> & { topic?: TextTopic } = {},
) {
  const consumer = client.consume(topic, {
    group: 'billing',
    ifNoCursor: 'earliest',
    ackIntervalMs: 1,
    ...more,
  })
  const done = consumer.run(handle, options)
  done.catch(() => {})
  return { consumer, done }
}

async function failureOf(promise: Promise<unknown>): Promise<MillraceError> {
  const error = await promise.then(
    () => undefined,
    (error: unknown) => error,
  )
  expect(error).toBeInstanceOf(MillraceError)
  return error as MillraceError
}

const onRequest =
  (name: string, act: (request: Request) => Verdict | Promise<Verdict>) =>
  (request: Request): Verdict | Promise<Verdict> =>
    request.name === name ? act(request) : undefined

describe('a run', () => {
  it('handles every record once and acknowledges what was handled', async () => {
    await write(keyed(numbered(200), 7), Wide)
    const seen: string[] = []
    const { consumer, done } = run(({ value }) => seen.push(value), { concurrency: 4 }, { topic: Wide })
    await eventually(() => seen.length).toBe(200)
    await consumer.close()
    await done
    expect(seen.map(Number).sort((a, b) => a - b)).toEqual(numbered(200).map(Number))
    for (let partition = 0; partition < 4; partition++) {
      expect(group().cursor('wide', partition)).toBe(broker.log('wide', partition).end)
    }
    expect(group().members.size).toBe(0)
  })

  it('has so many handlers at once and no more', async () => {
    await write(keyed(numbered(60), 60))
    let running = 0
    let most = 0
    let handled = 0
    run(
      async () => {
        most = Math.max(most, ++running)
        await sleep(2)
        running--
        handled++
      },
      { concurrency: 5 },
    )
    await eventually(() => handled).toBe(60)
    expect(most).toBe(5)
  })

  /** How many handlers of the same key, and of the same partition, were running at the same time. */
  async function overlap(order: 'key' | 'partition' | 'none') {
    await write(keyed(numbered(80), 4), Wide)
    const running: TextRecord[] = []
    const ended: TextRecord[] = []
    const most = { key: 0, partition: 0, all: 0 }
    run(
      async (record) => {
        running.push(record)
        const same = (field: 'key' | 'partition') =>
          running.filter((other) => other[field] === record[field]).length
        most.key = Math.max(most.key, same('key'))
        most.partition = Math.max(most.partition, same('partition'))
        most.all = Math.max(most.all, running.length)
        await sleep(Math.random() * 4)
        running.splice(running.indexOf(record), 1)
        ended.push(record)
      },
      { concurrency: 8, order },
      { topic: Wide },
    )
    await eventually(() => ended.length).toBe(80)
    return { most, ended }
  }

  it('handles records of one key one after the other, in order', async () => {
    const { most, ended } = await overlap('key')
    expect(most.key).toBe(1)
    expect(most.all).toBeGreaterThan(1)
    for (const key of ['k0', 'k1', 'k2', 'k3']) {
      const values = ended.filter((record) => record.key === key).map(({ value }) => Number(value))
      expect(values).toEqual([...values].sort((a, b) => a - b))
    }
  })

  it('handles records of one partition one after the other when asked to', async () => {
    const { most } = await overlap('partition')
    expect(most.partition).toBe(1)
    expect(most.all).toBeGreaterThan(1)
  })

  it('handles them in no order when asked to', async () => {
    const { most } = await overlap('none')
    expect(most.key).toBeGreaterThan(1)
  })

  it('keeps the cursor below what is not finished', async () => {
    await write(keyed(numbered(20), 20))
    let finish = (): void => {}
    const seen: number[] = []
    const { consumer, done } = run(
      ({ offset }) => {
        seen.push(offset)
        return offset === 5 ? new Promise<void>((resolve) => (finish = resolve)) : undefined
      },
      { concurrency: 3 },
    )
    await eventually(() => seen.length).toBe(20)
    await eventually(() => group().cursor('lines')).toBe(5)
    await sleep(20)
    expect(group().cursor('lines')).toBe(5)
    finish()
    await eventually(() => group().cursor('lines')).toBe(20)
    await consumer.close()
    await done
  })

  it('does not lock itself up when its handlers wait for their records to be durable', async () => {
    await write(keyed(numbered(60), 3))
    let durable = 0
    run(
      async (record) => {
        await record.acked()
        durable++
      },
      { concurrency: 2 },
    )
    await eventually(() => durable).toBe(60)
  })

  it('holds no more than it may while a handler has no end', async () => {
    await write(keyed(numbered(4_000), 4_000), Lines, 500)
    let finish = (): void => {}
    const seen: number[] = []
    let granted = 0
    broker.script = ({ name, fields }): Verdict => {
      if (name === 'SUBSCRIBE') granted += fields.creditBytes as number
      if (name === 'CREDIT') granted += fields.bytes as number
      return undefined
    }
    const prefetchBytes = 3_000
    run(
      ({ offset }) => {
        seen.push(offset)
        return offset === 0 ? new Promise<void>((resolve) => (finish = resolve)) : undefined
      },
      { concurrency: 2 },
      { prefetchBytes },
    )
    await eventually(() => seen.length).toBeGreaterThan(5)
    await sleep(50)
    const { entries } = broker.log('lines')
    const handled = entries.filter(({ nextOffset }) => nextOffset <= Math.max(...seen) + 1)
    const handledBytes = handled.reduce((sum, { bytes }) => sum + bytes.length, 0)
    // The batch of the record that hangs is held, the others are given back.
    expect(granted).toBeLessThanOrEqual(handledBytes + prefetchBytes)
    finish()
    await eventually(() => seen.length).toBe(4_000)
    await eventually(() => group().cursor('lines')).toBe(4_000)
  })

  it('rejects with the reason of a signal, its own or that of the consumer, when everything is handed back', async () => {
    await write(keyed(numbered(5), 5))
    const own = new AbortController()
    const first = run(() => {}, { signal: own.signal })
    await eventually(() => group().cursor('lines')).toBe(5)
    own.abort(new Error('own'))
    await expect(first.done).rejects.toThrow('own')
    expect(group().members.size).toBe(0)
    const consumers = new AbortController()
    const second = run(() => {}, {}, { signal: consumers.signal })
    await eventually(() => second.consumer.assignment.length).toBe(1)
    consumers.abort(new Error("consumer's"))
    await expect(second.done).rejects.toThrow("consumer's")
    expect(group().members.size).toBe(0)
  })

  it('gives handlers a second to finish when it ends, and no longer', async () => {
    await write(keyed(numbered(2), 2))
    const aborted: number[] = []
    let begun = 0
    const { consumer, done } = run(
      async ({ offset, signal }) => {
        signal.addEventListener('abort', () => aborted.push(offset))
        begun++
        await (offset === 0 ? sleep(50) : new Promise(() => {}))
      },
      { concurrency: 2 },
    )
    await eventually(() => begun).toBe(2)
    const before = Date.now()
    await consumer.close()
    await done
    expect(Date.now() - before).toBeGreaterThan(900)
    expect(group().cursor('lines')).toBe(1)
    expect(aborted).toEqual([1])
  })

  it('ends by its signal after the grace that it was given, though a handler never finishes', async () => {
    await write(keyed(numbered(1), 1))
    const abort = new AbortController()
    let signal: AbortSignal | undefined
    const { done } = run(
      (record) => {
        signal = record.signal
        return new Promise(() => {})
      },
      { signal: abort.signal, graceMs: 30 },
    )
    await eventually(() => signal !== undefined).toBe(true)
    const before = Date.now()
    abort.abort(new Error('stop'))
    await expect(done).rejects.toThrow('stop')
    expect(Date.now() - before).toBeGreaterThanOrEqual(25)
    expect(signal?.aborted).toBe(true)
    expect(group().members.size).toBe(0)
    expect(group().cursor('lines')).toBe(0)
  })

  it('lets a hundred handlers listen to the loss of their records without a warning of Node', async () => {
    await write(keyed(numbered(100), 100))
    const warnings: string[] = []
    const heard = ({ message }: Error): void => void warnings.push(message)
    process.on('warning', heard)
    let aborted = 0
    let same = 0
    const { done } = run(
      (record) => {
        const { signal } = record
        if (signal === record.signal) same++
        return new Promise((resolve) => {
          signal.addEventListener('abort', () => {
            aborted++
            resolve(undefined)
          })
        })
      },
      { concurrency: 100 },
    )
    await eventually(() => same).toBe(100)
    group().expel([...group().members.keys()][0] as MemberId)
    expect((await failureOf(done)).code).toBe('FENCED')
    await sleep(10)
    process.off('warning', heard)
    expect(aborted).toBe(100)
    expect(warnings).toEqual([])
  })

  it('begins nothing of a partition that is asked back, and hands it over when what runs is done', async () => {
    await write(keyed(numbered(30), 30))
    const seen: number[] = []
    const waiting: (() => void)[] = []
    let isOpen = false
    run(
      ({ offset }) => {
        seen.push(offset)
        return isOpen ? undefined : new Promise<void>((resolve) => waiting.push(resolve))
      },
      { concurrency: 2 },
    )
    await eventually(() => seen).toEqual([0, 1])
    const [part] = group().parts()
    if (part === undefined) throw new Error('no partition')
    let handedBackAt: number | undefined
    broker.script = onRequest('GROUP_REVOKED', () => {
      handedBackAt = group().cursor('lines')
      return undefined
    })
    group().askBack(part)
    await sleep(30)
    expect(broker.countOf('GROUP_REVOKED')).toBe(0)
    isOpen = true
    for (const finish of waiting) finish()
    await eventually(() => handedBackAt).toBe(2)
    await eventually(() => seen).toEqual(numbered(30).map(Number))
  })

  it('tells at once that an atomic write cannot wait for two records of one partition', async () => {
    await write(keyed(numbered(2), 2))
    const held: TextRecord[] = []
    const { done } = run(
      async (record) => {
        held.push(record)
        if (held.length === 2) await client.atomic({ acks: held })
        else await eventually(() => held.length).toBe(2)
      },
      { concurrency: 2 },
    )
    expect(await failureOf(done)).toMatchObject({
      code: 'ILLEGAL_ARGUMENT',
      message: expect.stringContaining('one record of a partition'),
    })
  })

  it('lets two atomic writes wait for the same record', async () => {
    await write(keyed(numbered(2), 2))
    let letGo = (): void => {}
    let codes: string[] | undefined
    const { consumer, done } = run(
      async (record) => {
        if (record.offset === 0) return new Promise<void>((resolve) => (letGo = resolve))
        const atomics = [0, 1].map(() => client.atomic({ acks: [record] }))
        await sleep(20)
        letGo()
        codes = (await Promise.all(atomics.map(failureOf))).map(({ code }) => code)
      },
      { concurrency: 2 },
    )
    // The script knows no atomic writes: that both are asked for is what counts.
    await eventually(() => codes).toEqual(['UNKNOWN_OPCODE', 'UNKNOWN_OPCODE'])
    await consumer.close()
    await done
  })

  it('has its slow handlers left alone: nothing is rebalanced', async () => {
    await write(keyed(numbered(3), 3))
    let handled = 0
    const { consumer } = run(
      async () => {
        await sleep(1_200)
        handled++
      },
      { concurrency: 3 },
      { sessionTimeoutMs: 1_000 },
    )
    const told: string[] = []
    for (const name of ['revoked', 'lost'] as const) consumer.on(name, () => told.push(name))
    await eventually(() => handled).toBe(3)
    expect(told).toEqual([])
    expect(broker.countOf('JOIN_GROUP')).toBe(1)
  })
})

describe('a handler that throws', () => {
  const failing = (offsets: readonly number[]) => (record: TextRecord) => {
    if (offsets.includes(record.offset)) throw new Error(`no ${record.value}`)
  }

  it('ends the run, with what came before acknowledged and the record not', async () => {
    await write(keyed(numbered(20), 20))
    await expect(run(failing([7]), { concurrency: 1 }).done).rejects.toThrow('no 7')
    expect(group().cursor('lines')).toBe(7)
    expect(group().members.size).toBe(0)
  })

  it('is skipped when asked to', async () => {
    await write(keyed(numbered(20), 20))
    run(failing([0, 7, 19]), { concurrency: 4, onError: 'skip' })
    await eventually(() => group().cursor('lines')).toBe(20)
    expect(group().deadLetters).toEqual([])
  })

  it('is tried again so many times', async () => {
    await write(keyed(numbered(3), 3))
    let tries = 0
    const { done } = run(
      ({ offset }) => {
        if (offset === 1 && ++tries < 3) throw new Error('not yet')
      },
      { retries: 2 },
    )
    done.catch(() => {})
    await eventually(() => group().cursor('lines')).toBe(3)
    expect(tries).toBe(3)
  })

  it('waits for another try beside many others without a warning of Node', async () => {
    await write(keyed(numbered(30), 30))
    const warnings: string[] = []
    const heard = ({ message }: Error): void => void warnings.push(message)
    process.on('warning', heard)
    let tries = 0
    const { consumer, done } = run(
      () => {
        if (++tries <= 30) throw new Error('not yet')
      },
      { concurrency: 30, retries: 1 },
    )
    await eventually(() => tries).toBe(60)
    await consumer.close()
    await done
    process.off('warning', heard)
    expect(warnings).toEqual([])
  })

  it('sends its record to the dead letters as the cursor moves past it', async () => {
    await write(keyed(numbered(20), 20))
    const cursors: (number | undefined)[] = []
    broker.script = onRequest('DEAD_LETTER', () => void cursors.push(group().cursor('lines')))
    let finish = (): void => {}
    const seen: number[] = []
    run(
      (record) => {
        seen.push(record.offset)
        failing([3, 7])(record)
        return record.offset === 5 ? new Promise<void>((resolve) => (finish = resolve)) : undefined
      },
      { concurrency: 4, onError: 'deadLetter' },
    )
    await eventually(() => seen.length).toBe(20)
    await eventually(() => group().deadLetters.length).toBe(1)
    await sleep(20)
    // The second one waits for what is not finished before it.
    expect(group().deadLetters.length).toBe(1)
    finish()
    await eventually(() => group().cursor('lines')).toBe(20)
    expect(group().deadLetters).toMatchObject([
      { offset: 3, count: 1, reason: 'Error: no 3' },
      { offset: 7, count: 1, reason: 'Error: no 7' },
    ])
    expect(cursors.every((cursor, i) => (cursor ?? 0) <= [3, 7][i]!)).toBe(true)
  })

  it('has its record in the dead letters once, when the answer is lost too', async () => {
    await write(keyed(numbered(5), 5))
    const requestIds: unknown[] = []
    broker.script = onRequest('DEAD_LETTER', ({ count, fields }) => {
      requestIds.push((fields as unknown as DeadLetter).requestId)
      return count === 1 ? 'loseAnswer' : undefined
    })
    run(failing([2]), { onError: 'deadLetter' })
    await eventually(() => group().cursor('lines')).toBe(5)
    expect(group().deadLetters.length).toBe(1)
    expect(requestIds.length).toBe(2)
    expect(new Set(requestIds).size).toBe(1)
  })

  it('ends the run when its record cannot be given up', async () => {
    await write(keyed(numbered(5), 5))
    broker.script = onRequest('DEAD_LETTER', () => new MillraceError('TOPIC_MISMATCH'))
    const { done } = run(failing([2]), { onError: 'deadLetter' })
    expect((await failureOf(done)).code).toBe('TOPIC_MISMATCH')
    expect(group().cursor('lines')).toBe(2)
  })

  it('counts its tries', async () => {
    await write(keyed(numbered(1), 1))
    run(failing([0]), { onError: 'deadLetter', retries: 1 })
    await eventually(() => group().deadLetters).toMatchObject([{ offset: 0, count: 2 }])
  })
})

describe('a record that cannot be decoded', () => {
  const Numbers = defineTopic({ name: 'lines', key: text(), value: json<number>() })

  beforeEach(async () => {
    broker.deleteTopic('lines')
    broker.createTopic({ name: 'lines', partitions: 1, keyEncoding: 'text', valueEncoding: 'json' })
    const strict = {
      '~standard': {
        version: 1 as const,
        vendor: 'test',
        validate: (value: unknown) => (value === 'poison' ? { issues: [{ message: 'poison' }] } : { value }),
      },
    }
    Poisoned = defineTopic({ name: 'lines', key: text(), value: json(strict) })
    const producer = client.producer(Numbers)
    await producer.sendBatch([{ value: 1 }, { value: 'poison' as unknown as number }, { value: 3 }])
  })
  let Poisoned: TextTopic | Topic

  it('is treated as one that cannot be handled', async () => {
    const options = { group: 'billing', ifNoCursor: 'earliest', ackIntervalMs: 1 } as const
    const consumer = client.consume(Poisoned as Topic, options)
    const values: unknown[] = []
    const done = consumer.run(({ value }) => values.push(value), { onError: 'deadLetter' })
    await eventually(() => group().cursor('lines')).toBe(3)
    expect(values).toEqual([1, 3])
    expect(group().deadLetters).toMatchObject([{ offset: 1 }])
    expect(group().deadLetters[0]?.reason).toContain('poison')
    await consumer.close()
    await done
  })

  it('ends a run that stops at errors, and a loop', async () => {
    const options = { group: 'billing', ifNoCursor: 'earliest', ackIntervalMs: 1 } as const
    const stopped = client.consume(Poisoned as Topic, options).run(() => {})
    expect(await failureOf(stopped)).toMatchObject({ code: 'SCHEMA_MISMATCH', details: { offset: 1 } })
    expect(group().cursor('lines')).toBe(1)
    const loop = async (): Promise<void> => {
      for await (const record of client.consume(Poisoned as Topic, options)) record.ack()
    }
    expect((await failureOf(loop())).code).toBe('SCHEMA_MISMATCH')
    expect(group().members.size).toBe(0)
  })
})
