import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ACKNOWLEDGEMENT, type Acknowledgeable, type CarriedAck } from '../../client/acknowledgement.js'
import { type Client, connect, defineTopic, type Job, MillraceError, text } from '../../client/index.js'
import type { Atomic } from '../../protocol/messages/index.js'
import { decodeRecords } from '../../protocol/records.js'
import { ScriptedBroker } from '../support/scripted-broker.js'
import { ScriptedConditions } from '../support/scripted-conditions.js'
import { ScriptedQueue } from '../support/scripted-queue.js'

const Orders = defineTopic({ name: 'orders', key: text(), value: text() })
const Audit = defineTopic({ name: 'audit', key: text(), value: text() })

let broker: ScriptedBroker
let conditions: ScriptedConditions
let client: Client

beforeEach(async () => {
  broker = await ScriptedBroker.start()
  conditions = new ScriptedConditions(broker)
  for (const name of ['orders', 'audit']) {
    broker.createTopic({ name, partitions: 3, keyEncoding: 'text', valueEncoding: 'text' })
  }
  client = connect(broker.url, { backoffBaseMs: 1, backoffCapMs: 20 })
})

afterEach(async () => {
  await client.close({ drainMs: 0 })
  await broker.stop()
})

async function valuesIn(topic: typeof Orders | typeof Audit): Promise<string[]> {
  const values: string[] = []
  for await (const record of client.read(topic, { from: 'earliest', to: 'end' })) values.push(record.value)
  return values
}

const failureOf = (promise: Promise<unknown>): Promise<MillraceError> =>
  promise.then(
    () => {
      throw new Error('it did not fail')
    },
    (error: MillraceError) => error,
  )

const sent = (): Atomic => conditions.atomics[0] as Atomic

describe('an atomic write', () => {
  it('writes records of several topics in one request, and says where they are', async () => {
    const { writes } = await client.atomic({
      writes: [
        Orders.record({ value: 'o1', partition: 1, headers: { trace: 'x' } }),
        Audit.record({ value: 'a1', partition: 0 }),
        Orders.record({ value: 'o2', partition: 1 }),
      ],
    })
    expect(writes.map(({ partition, offset, duplicate }) => [partition, offset, duplicate])).toEqual([
      [1, 0, false],
      [0, 0, false],
      [1, 1, false],
    ])
    expect(broker.countOf('ATOMIC')).toBe(1)
    expect(sent().writes.map(({ recordCount }) => recordCount)).toEqual([2, 1])
    expect(await valuesIn(Orders)).toEqual(['o1', 'o2'])
    expect(await valuesIn(Audit)).toEqual(['a1'])
  })

  it('puts a record where the producer would', async () => {
    for (const key of ['a', 'b', 'c', 'd', 'e', 'f', 'g']) {
      const { partition } = await client.producer(Orders).send({ key, value: 'by the producer' })
      const { writes } = await client.atomic({ writes: [Orders.record({ key, value: 'atomically' })] })
      expect(writes[0]?.partition).toBe(partition)
    }
  })

  it('goes round the partitions with records that have no key', async () => {
    const partitions: (number | undefined)[] = []
    for (let i = 0; i < 6; i++) {
      const { writes } = await client.atomic({
        writes: [Orders.record({ value: 'x' }), Orders.record({ value: 'y' })],
      })
      expect(writes[0]?.partition).toBe(writes[1]?.partition)
      partitions.push(writes[0]?.partition)
    }
    expect(new Set(partitions.slice(0, 3)).size).toBe(3)
  })

  it('carries dedup ids and tells duplicates, also within itself', async () => {
    await client.producer(Orders).send({ value: 'first', partition: 2, dedupId: 'known' })
    const { writes } = await client.atomic({
      writes: [
        Orders.record({ value: 'a', partition: 0 }),
        Orders.record({ value: 'b', partition: 0, dedupId: 'known' }),
        Orders.record({ value: 'c', partition: 0, dedupId: 'new' }),
        Orders.record({ value: 'd', partition: 1, dedupId: 'new' }),
      ],
    })
    expect(writes.map(({ partition, offset, duplicate }) => [partition, offset, duplicate])).toEqual([
      [0, 0, false],
      [2, 0, true],
      [0, 2, false],
      [0, 2, true],
    ])
  })

  it('begins a batch at each expected offset, and a conflict writes nothing', async () => {
    const records = [
      Orders.record({ value: 'a', partition: 0 }),
      Orders.record({ value: 'b', partition: 0, expectedOffset: 1 }),
      Orders.record({ value: 'c', partition: 0 }),
    ]
    conditions.onAtomic = ({ writes }) => {
      const offsets = writes.map(({ expectedOffset, recordCount, payload }) => {
        return [expectedOffset, decodeRecords(payload, recordCount).map(({ value }) => value)]
      })
      expect(offsets).toEqual([
        [null, ['a']],
        [1, ['b', 'c']],
      ])
      throw new MillraceError('EXPECTED_OFFSET_CONFLICT', { details: { expectedOffset: 1, actualOffset: 4 } })
    }
    const error = await failureOf(client.atomic({ writes: records }))
    expect([error.code, error.outcome, error.details?.actualOffset]).toEqual([
      'EXPECTED_OFFSET_CONFLICT',
      'notWritten',
      4,
    ])
    expect(await valuesIn(Orders)).toEqual([])
  })

  it('is repeated under its id until there is an answer, and is done once', async () => {
    const ids = new Set<unknown>()
    broker.script = ({ name, fields, count }) => {
      if (name !== 'ATOMIC') return undefined
      ids.add(fields.requestId)
      return count === 1
        ? 'loseAnswer'
        : count === 2
          ? 'cut'
          : count === 3
            ? new MillraceError('BACKPRESSURE')
            : undefined
    }
    const { writes } = await client.atomic({ writes: [Orders.record({ value: 'once', partition: 0 })] })
    expect(writes[0]).toMatchObject({ partition: 0, offset: 0, duplicate: false })
    expect(ids.size).toBe(1)
    expect(broker.countOf('ATOMIC')).toBe(4)
    expect(await valuesIn(Orders)).toEqual(['once'])
  })

  it('gives up after its time, with an outcome that says what is known', async () => {
    broker.script = ({ name }) => (name === 'ATOMIC' ? 'ignore' : undefined)
    const record = Orders.record({ value: 'x', partition: 0 })
    const error = await failureOf(client.atomic({ writes: [record] }, { deliveryTimeoutMs: 300 }))
    expect([error.code, error.outcome]).toEqual(['TIMEOUT', 'unknown'])
    broker.script = ({ name }) =>
      name === 'ATOMIC' ? new MillraceError('BACKPRESSURE', { retryAfterMs: 10_000 }) : undefined
    const refused = await failureOf(client.atomic({ writes: [record] }, { deliveryTimeoutMs: 300 }))
    expect([refused.code, refused.outcome]).toEqual(['BACKPRESSURE', 'notWritten'])
  })

  it('is refused when it is too large, before anything is sent', async () => {
    const value = 'x'.repeat(1_000_000)
    const records = Array.from({ length: 5 }, () => Orders.record({ value, partition: 0 }))
    const error = await failureOf(client.atomic({ writes: records }))
    expect(error.code).toBe('ATOMIC_TOO_LARGE')
    expect(error.details?.bytesMax).toBe(4 * 1024 * 1024)
    expect(error.details?.bytes).toBeGreaterThan(5_000_000)
    const many = Array.from({ length: 1_001 }, (_, i) =>
      Orders.record({ value: '', partition: 0, expectedOffset: i }),
    )
    expect((await failureOf(client.atomic({ writes: many }))).details).toEqual({
      writes: 1_001,
      writesMax: 1_000,
    })
    const huge = Orders.record({ value: 'x'.repeat(1_100_000), partition: 0 })
    expect((await failureOf(client.atomic({ writes: [huge] }))).code).toBe('RECORD_TOO_LARGE')
    expect(broker.countOf('ATOMIC')).toBe(0)
  })

  it('is refused with what can never be written', async () => {
    const codeOf = async (writes: Parameters<Client['atomic']>[0]): Promise<string> =>
      (await failureOf(client.atomic(writes))).code
    expect(await codeOf({})).toBe('ILLEGAL_ARGUMENT')
    expect(await codeOf({ writes: [Orders.record({ value: 'x', partition: 3 })] })).toBe('UNKNOWN_PARTITION')
    expect(await codeOf({ writes: [Orders.record({ value: 'x', expectedOffset: 0 })] })).toBe(
      'ILLEGAL_ARGUMENT',
    )
    expect(await codeOf({ writes: [Orders.record({ value: 7 as unknown as string })] })).toBe(
      'ENCODING_MISMATCH',
    )
    const Nowhere = defineTopic({ name: 'nowhere', key: text(), value: text() })
    expect(await codeOf({ writes: [Nowhere.record({ value: 'x' })] })).toBe('UNKNOWN_TOPIC')
    expect(broker.countOf('ATOMIC')).toBe(0)
  })

  it('ends its wait with the reason of its signal', async () => {
    broker.script = ({ name }) => (name === 'ATOMIC' ? 'ignore' : undefined)
    const abort = new AbortController()
    const writing = client.atomic({ writes: [Orders.record({ value: 'x' })] }, { signal: abort.signal })
    setTimeout(() => abort.abort(new Error('enough')), 20)
    await expect(writing).rejects.toThrow('enough')
  })
})

describe('an atomic write with jobs', () => {
  let queue: ScriptedQueue

  beforeEach(async () => {
    queue = new ScriptedQueue(broker, 'orders')
    const producer = client.producer(Orders)
    await producer.sendBatch(Array.from({ length: 6 }, (_, i) => ({ value: `${i}`, partition: 0 })))
  })

  afterEach(() => queue.stop())

  async function taken(count: number, leaseMs = 30_000): Promise<Job<{ offset: number }>[]> {
    const loop = client.queue(Orders, { group: 'work', leaseMs })
    const jobs: Job<{ offset: number }>[] = []
    while (jobs.length < count) jobs.push((await loop.next()).value as Job<{ offset: number }>)
    return jobs
  }

  it('carries their acks, by lease, in place of their own', async () => {
    const jobs = await taken(4)
    const acks = [jobs[0], jobs[3], jobs[1]] as Job<{ offset: number }>[]
    await client.atomic({ writes: [Audit.record({ value: 'done' })], acks })
    expect(sent().acks).toEqual([])
    expect(sent().jobs).toHaveLength(1)
    expect(sent().jobs[0]).toMatchObject({
      groupId: 7,
      partition: 0,
      leaseId: 1,
      ranges: [
        { from: 0, to: 2 },
        { from: 3, to: 4 },
      ],
    })
    expect(broker.countOf('QUEUE_SETTLE')).toBe(0)
    for (const job of acks) expect((await failureOf(job.ack())).code).toBe('ALREADY_ACKED')
    expect((await failureOf(client.atomic({ acks: [jobs[0] as Job] }))).code).toBe('ALREADY_ACKED')
  })

  it('leaves them to the program when it fails', async () => {
    const [job] = await taken(1)
    conditions.onAtomic = () => {
      throw new MillraceError('FENCED')
    }
    const error = await failureOf(
      client.atomic({ writes: [Audit.record({ value: 'x' })], acks: [job as Job] }),
    )
    expect([error.code, error.outcome]).toEqual(['FENCED', 'notWritten'])
    expect(await valuesIn(Audit)).toEqual([])
    await job?.ack()
    expect(queue.job(0).state).toBe('done')
  })

  it('gives back those that it took over when another cannot be', async () => {
    const [first, second] = await taken(2)
    await second?.ack()
    const error = await failureOf(client.atomic({ acks: [first as Job, second as Job] }))
    expect(error.code).toBe('ALREADY_ACKED')
    expect(broker.countOf('ATOMIC')).toBe(0)
    await first?.nack()
    expect(queue.job(0).count).toBe(1)
  })

  it('gives back at once what is handed over after it has ended', async () => {
    let handOver: (carried: CarriedAck) => void = () => {}
    const pending: Acknowledgeable = {
      [ACKNOWLEDGEMENT]: () => new Promise<CarriedAck>((resolve) => (handOver = resolve)),
    }
    const error = await failureOf(client.atomic({ acks: [pending] }, { deliveryTimeoutMs: 20 }))
    expect([error.code, error.outcome]).toEqual(['TIMEOUT', 'notWritten'])
    const failed = new Promise((resolve) => {
      handOver({ ack: {} as CarriedAck['ack'], done: () => resolve('done'), failed: () => resolve('failed') })
    })
    expect(await failed).toBe('failed')
  })

  it('keeps their leases while it is under way', async () => {
    const [job] = await taken(1, 400)
    broker.script = ({ name, count }) =>
      name === 'ATOMIC' && count < 8 ? new MillraceError('BACKPRESSURE', { retryAfterMs: 100 }) : undefined
    conditions.onAtomic = ({ jobs }) => {
      if (queue.job(0).state !== 'leased' || queue.job(0).leaseId !== jobs[0]?.leaseId)
        throw new MillraceError('LEASE_LOST')
    }
    await client.atomic({ acks: [job as Job] })
    expect(broker.countOf('ATOMIC')).toBe(8)
    expect(job?.signal.aborted).toBe(false)
  })

  it('are lost with the queue that was left while it was under way', async () => {
    const abort = new AbortController()
    const loop = client.queue(Orders, { group: 'work', signal: abort.signal })
    broker.script = ({ name }) => (name === 'ATOMIC' ? 'ignore' : undefined)
    const { value: job } = await loop.next()
    const writing = client.atomic({ acks: [job as Job] }, { deliveryTimeoutMs: 200 })
    await expect.poll(() => broker.countOf('ATOMIC')).toBe(1)
    abort.abort(new Error('stop'))
    expect((await failureOf(writing)).code).toBe('TIMEOUT')
    expect(job?.signal.aborted).toBe(true)
    expect((await failureOf((job as Job).nack())).code).toBe('LEASE_LOST')
  })

  it('is all that a run needs to do: the job is not acknowledged twice', async () => {
    const loop = client.queue(Orders, { group: 'work' })
    const failures: unknown[] = []
    conditions.onAtomic = ({ jobs }) => {
      for (const { ranges } of jobs) for (const { from } of ranges) queue.job(from).state = 'done'
    }
    const running = loop.run(
      async (job) =>
        void (await client.atomic({ writes: [Audit.record({ value: job.value })], acks: [job] })),
      { concurrency: 3, onFailed: (error) => failures.push(error) },
    )
    while (queue.offsetsIn('done').length < 6) await new Promise((resolve) => setTimeout(resolve, 2))
    await loop.close()
    await running
    expect(failures).toEqual([])
    expect((await valuesIn(Audit)).sort()).toEqual(['0', '1', '2', '3', '4', '5'])
    expect(queue.settled.filter(({ kind }) => kind === 'ack')).toEqual([])
  })
})
