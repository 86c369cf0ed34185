import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Client, connect, defineTopic, type Job, json, MillraceError, text } from '../../client/index.js'
import { ScriptedBroker } from '../support/scripted-broker.js'
import { ScriptedQueue } from '../support/scripted-queue.js'
import { until as untilSoon } from '../support/until.js'

const Mails = defineTopic({ name: 'mails', key: text(), value: text() })
type Mail = Job<{ offset: number; value: string }>

let broker: ScriptedBroker
let queue: ScriptedQueue
let client: Client

beforeEach(async () => {
  broker = await ScriptedBroker.start()
  broker.createTopic({ name: 'mails', partitions: 1, keyEncoding: 'text', valueEncoding: 'text' })
  queue = new ScriptedQueue(broker, 'mails')
  client = connect(broker.url, { backoffBaseMs: 1, backoffCapMs: 20 })
})

afterEach(async () => {
  await client.close({ drainMs: 0 })
  queue.stop()
  await broker.stop()
})

async function write(count: number, value = (i: number): string => `mail ${i}`): Promise<void> {
  const producer = client.producer(Mails)
  await producer.sendBatch(Array.from({ length: count }, (_, i) => ({ value: value(i) })))
}

const until = (holds: () => boolean): Promise<void> => untilSoon(holds, { everyMs: 2 })

const failureOf = (promise: Promise<unknown>): Promise<MillraceError> =>
  promise.then(
    () => {
      throw new Error('it did not fail')
    },
    (error: MillraceError) => error,
  )

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

describe('the loop of a work queue', () => {
  it('gives each record as a job and acknowledges it for good', async () => {
    await write(5)
    const seen: [number, string, number][] = []
    for await (const job of client.queue(Mails, { group: 'mail' })) {
      seen.push([job.offset, job.value, job.deliveryCount])
      await job.ack()
      expect(queue.job(job.offset).state).toBe('done')
      if (seen.length === 5) break
    }
    expect(seen).toEqual([0, 1, 2, 3, 4].map((i) => [i, `mail ${i}`, 1]))
    expect(queue.members.size).toBe(0)
  })

  it('joins with what was asked for, and only when it begins', async () => {
    const jobs = client.queue(Mails, { group: 'mail', leaseMs: 5_000, maxDeliveries: 3, prefetch: 7 })
    await client.listTopics()
    expect(queue.joins).toEqual([])
    const next = jobs.next()
    await until(() => queue.joins.length === 1)
    expect(queue.joins[0]).toMatchObject({
      group: 'mail',
      kind: 'queue',
      attempt: 1,
      ifNoCursor: 'earliest',
      leaseMs: 5_000,
      maxDeliveries: 3,
      prefetch: 7,
    })
    await jobs.return()
    expect(await next).toEqual({ done: true, value: undefined })
  })

  it('tells the broker that a job is started before the program has it', async () => {
    await write(3)
    const jobs = client.queue(Mails, { group: 'mail' })
    await jobs.next()
    await until(() => queue.started.length === 1)
    expect(queue.started).toEqual([0])
    await jobs.next()
    await until(() => queue.started.length === 2)
    expect([queue.job(0).isStarted, queue.job(1).isStarted, queue.job(2).isStarted]).toEqual([
      true,
      true,
      false,
    ])
  })

  it('tells in one frame of all jobs that it gave in one turn, and acknowledges them in another', async () => {
    await write(30)
    const jobs = client.queue(Mails, { group: 'mail' })
    await ((await jobs.next()).value as Mail).ack()
    const [starts, settlements] = [broker.countOf('QUEUE_STARTED'), broker.countOf('QUEUE_SETTLE')]
    const acks: Promise<void>[] = []
    for (let i = 0; i < 29; i++) acks.push(((await jobs.next()).value as Mail).ack())
    await Promise.all(acks)
    expect(queue.started).toEqual(Array.from({ length: 30 }, (_, i) => i))
    // Two, if the turn was long.
    expect(broker.countOf('QUEUE_STARTED') - starts).toBeLessThanOrEqual(2)
    expect(broker.countOf('QUEUE_SETTLE') - settlements).toBeLessThanOrEqual(2)
    expect(queue.settled.at(-1)).toMatchObject({ kind: 'ack', to: 30 })
  })

  it('tells of a job that others were given before the program has it, and of no other with it', async () => {
    await write(6)
    const jobs = client.queue(Mails, { group: 'mail' })
    const first = (await jobs.next()).value as Mail
    await until(() => queue.offsetsIn('leased').length === 6)
    queue.expelAll()
    await until(() => first.signal.aborted)
    queue.started.length = 0
    const seen: { offset: number; started: number[] }[] = []
    let acked = 0
    const running = jobs.run(
      async ({ offset }) => {
        await pause(20)
        seen.push({ offset, started: [...queue.started] })
        if (++acked === 6) void jobs.close()
      },
      { concurrency: 6 },
    )
    await running
    expect(seen.map(({ offset }) => offset)).toEqual([0, 1, 2, 3, 4, 5])
    expect(queue.started).toEqual([0, 1, 2, 3, 4, 5])
    expect(broker.countOf('QUEUE_STARTED')).toBe(1 + 6)
  })

  it('lets timers have their turn while there are jobs enough', async () => {
    await write(400)
    const jobs = client.queue(Mails, { group: 'mail', prefetch: 400 })
    await jobs.next()
    await until(() => queue.offsetsIn('leased').length === 400)
    let ticks = 0
    const timer = setInterval(() => ticks++, 1)
    for (let i = 0; i < 399; i++) {
      const { value } = await jobs.next()
      const endMs = performance.now() + 0.2
      while (performance.now() < endMs) void value?.ack()
    }
    clearInterval(timer)
    expect(ticks).toBeGreaterThan(5)
  })

  it('gives a failed job again after its delay, and counts', async () => {
    await write(1)
    const counts: number[] = []
    const startedAt = Date.now()
    for await (const job of client.queue(Mails, { group: 'mail' })) {
      counts.push(job.deliveryCount)
      if (job.deliveryCount === 1) await job.nack({ delayMs: 60, reason: 'not yet' })
      else {
        await job.ack()
        break
      }
    }
    expect(counts).toEqual([1, 2])
    expect(Date.now() - startedAt).toBeGreaterThanOrEqual(55)
    expect(queue.settled.find(({ kind }) => kind === 'nack')).toMatchObject({ ms: 60, reason: 'not yet' })
  })

  it('hands back what it has not done on break: unseen jobs uncounted, those in hand counted', async () => {
    await write(20)
    let aborted = false
    for await (const job of client.queue(Mails, { group: 'mail', prefetch: 10 })) {
      job.signal.addEventListener('abort', () => {
        aborted = true
      })
      if (job.offset === 0) void job.ack()
      if (job.offset === 2) break
    }
    expect(aborted).toBe(true)
    expect(queue.members.size).toBe(0)
    expect(queue.job(0).state).toBe('done')
    const rest = queue.jobs.slice(1)
    expect(rest.every(({ state }) => state === 'ready')).toBe(true)
    expect(rest.map(({ count }) => count)).toEqual([1, 1, ...new Array(17).fill(0)])
    expect(queue.job(1).visibleAt).toBeLessThanOrEqual(Date.now())
  })

  it('hands back what it has when its body throws', async () => {
    await write(4)
    const loop = (async () => {
      for await (const job of client.queue(Mails, { group: 'mail' })) throw new Error(`at ${job.offset}`)
    })()
    await expect(loop).rejects.toThrow('at 0')
    expect(queue.offsetsIn('ready')).toEqual([0, 1, 2, 3])
    expect(queue.members.size).toBe(0)
  })

  it('lets another worker have the rest at once after a break', async () => {
    await write(10)
    // Long before the leases end.
    const options = { group: 'mail', leaseMs: 3_600_000 }
    for await (const job of client.queue(Mails, options)) if (job.offset === 0) break
    const seen = new Set<number>()
    for await (const job of client.queue(Mails, options)) {
      seen.add(job.offset)
      await job.ack()
      if (seen.size === 10) break
    }
  })

  it('ends on break when the client is closed while it joins again', async () => {
    await write(1)
    broker.script = ({ name, connection }) => (name === 'JOIN_GROUP' && connection > 1 ? 'ignore' : undefined)
    const loop = (async () => {
      for await (const _ of client.queue(Mails, { group: 'mail' })) {
        broker.cutAll()
        await until(() => broker.countOf('JOIN_GROUP') === 2)
        break
      }
    })()
    await until(() => broker.countOf('JOIN_GROUP') === 2)
    await pause(20)
    await client.close({ drainMs: 20 })
    await loop
  })

  it('throws what ends it', async () => {
    const error = await failureOf(
      client.queue(defineTopic({ name: 'none', key: text(), value: text() }), { group: 'g' }).next(),
    )
    expect(error.code).toBe('UNKNOWN_TOPIC')
    broker.script = ({ name }) =>
      name === 'JOIN_GROUP' ? new MillraceError('GROUP_KIND_CONFLICT') : undefined
    expect((await failureOf(client.queue(Mails, { group: 'mail' }).next())).code).toBe('GROUP_KIND_CONFLICT')
  })

  it('asks for the topic again when it was made anew', async () => {
    await write(1)
    for await (const _ of client.queue(Mails, { group: 'mail' })) break
    const old = broker.topics.get('mails')?.topicId
    broker.deleteTopic('mails')
    broker.createTopic({ name: 'mails', partitions: 1, keyEncoding: 'text', valueEncoding: 'text' })
    queue.stop()
    queue = new ScriptedQueue(broker, 'mails')
    broker.script = ({ name, fields }) =>
      name === 'JOIN_GROUP' && (fields.topicIds as unknown[])[0] === old
        ? new MillraceError('UNKNOWN_TOPIC')
        : undefined
    const writer = connect(broker.url)
    await writer.producer(Mails).send({ value: 'new' })
    await writer.close()
    for await (const job of client.queue(Mails, { group: 'mail' })) {
      expect(job.offset).toBe(0)
      break
    }
  })

  it('ends with the reason of its signal, and hands everything back', async () => {
    await write(3)
    const abort = new AbortController()
    const jobs = client.queue(Mails, { group: 'mail', signal: abort.signal })
    const first = (await jobs.next()).value as Mail
    const waiting = (async () => {
      for (;;) await jobs.next()
    })()
    abort.abort(new Error('enough'))
    await expect(waiting).rejects.toThrow('enough')
    expect(first.signal.aborted).toBe(true)
    expect(queue.offsetsIn('ready')).toEqual([0, 1, 2])
    expect((await failureOf(first.ack())).code).toBe('LEASE_LOST')
  })

  it.each([
    { group: '' },
    { group: 'a b' },
    { group: 'g', leaseMs: 0 },
    { group: 'g', maxDeliveries: 0 },
    { group: 'g', prefetch: 10_001 },
    { group: 'g', prefetchBytes: 0.5 },
    { group: 'g', sessionTimeoutMs: 10 },
  ])('refuses %o', (options) => {
    expect(() => client.queue(Mails, options)).toThrow(MillraceError)
  })
})

describe('a job', () => {
  it('is settled once: the same again is the same, another is refused', async () => {
    await write(2)
    const jobs = client.queue(Mails, { group: 'mail' })
    const job = (await jobs.next()).value as Mail
    expect(job.ack()).toBe(job.ack())
    await job.ack()
    expect((await failureOf(job.nack())).code).toBe('ALREADY_ACKED')
    expect((await failureOf(job.extend(1_000))).code).toBe('ALREADY_ACKED')
    const other = (await jobs.next()).value as Mail
    await other.nack()
    expect((await failureOf(other.ack())).code).toBe('ALREADY_ACKED')
  })

  it('refuses times that are none', async () => {
    await write(1)
    const job = (await client.queue(Mails, { group: 'mail' }).next()).value as Mail
    for (const ms of [-1, 0.5, 8 * 24 * 3_600_000]) {
      expect((await failureOf(job.nack({ delayMs: ms }))).code).toBe('ILLEGAL_ARGUMENT')
      expect((await failureOf(job.extend(ms))).code).toBe('ILLEGAL_ARGUMENT')
    }
    await job.ack()
  })

  it('ends no process when nobody awaits what it was told and cannot do', async () => {
    await write(1)
    const unheard: unknown[] = []
    const heard = (error: unknown): void => void unheard.push(error)
    process.on('unhandledRejection', heard)
    const job = (await client.queue(Mails, { group: 'mail' }).next()).value as Mail
    const promises = [job.extend(-1), job.nack({ delayMs: -1 }), job.ack()]
    await promises[2]
    promises.push(job.nack(), job.extend(5))
    await pause(20)
    process.off('unhandledRejection', heard)
    expect(unheard).toEqual([])
    const codes = await Promise.all(
      promises.map((one) =>
        one.then(
          () => 'done',
          ({ code }) => code,
        ),
      ),
    )
    expect(codes).toEqual(['ILLEGAL_ARGUMENT', 'ILLEGAL_ARGUMENT', 'done', 'ALREADY_ACKED', 'ALREADY_ACKED'])
  })

  it('can be held longer', async () => {
    await write(1)
    const job = (await client.queue(Mails, { group: 'mail', leaseMs: 600 }).next()).value as Mail
    await job.extend(3_600_000)
    const { deadline } = queue.job(0)
    expect(deadline - Date.now()).toBeGreaterThan(3_000_000)
    // What the client does by itself does not shorten that.
    await pause(700)
    expect(queue.job(0).deadline).toBeGreaterThanOrEqual(deadline)
    await job.ack()
  })

  it('is not acknowledged by side when a neighbour in the same request is lost', async () => {
    await write(4)
    const jobs = client.queue(Mails, { group: 'mail' })
    const taken: Mail[] = []
    for (let i = 0; i < 4; i++) taken.push((await jobs.next()).value as Mail)
    Object.assign(queue.job(1), { state: 'ready', visibleAt: Number.POSITIVE_INFINITY })
    const settled = await Promise.allSettled(taken.map((job) => job.ack()))
    expect(settled.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled', 'fulfilled'])
    expect((settled[1] as PromiseRejectedResult).reason.code).toBe('LEASE_LOST')
    expect(queue.offsetsIn('done')).toEqual([0, 2, 3])
  })

  it('that cannot be decoded fails, until it is a dead letter, and the others go on', async () => {
    const Numbers = defineTopic({
      name: 'mails',
      key: text(),
      value: { ...json<number>(), encoding: 'text' },
    })
    await write(3, (i) => (i === 1 ? 'no JSON' : `${i}`))
    const seen: number[] = []
    for await (const job of client.queue(Numbers, { group: 'mail', maxDeliveries: 2 })) {
      seen.push(job.value)
      await job.ack()
      if (queue.job(1).state === 'dead' || seen.length === 2) break
    }
    expect(seen).toEqual([0, 2])
    expect(queue.job(1).reason).toContain('not JSON')
  })

  it('that was replayed tells where it was first', async () => {
    const headers = { 'millrace-topic': 'mails', 'millrace-partition': '3', 'millrace-offset': '17' }
    await client.producer(Mails).send({ value: 'again', headers })
    const job = (await client.queue(Mails, { group: 'mail' }).next()).value
    expect(job?.origin).toEqual({ topic: 'mails', partition: 3, offset: 17 })
    await write(1)
  })
})

describe('leases', () => {
  it('of jobs that wait or are worked on are extended as long as it takes', async () => {
    await write(6)
    const leaseMs = 500
    const jobs = client.queue(Mails, { group: 'mail', leaseMs })
    const job = (await jobs.next()).value as Mail
    const { deadline } = queue.job(5)
    await until(() => queue.job(5).deadline > deadline + 2 * leaseMs)
    expect(job.signal.aborted).toBe(false)
    expect(queue.jobs.map(({ count, state }) => [count, state])).toEqual(new Array(6).fill([0, 'leased']))
    await job.ack()
  })

  it('are extended with one item for all jobs of a delivery', async () => {
    await write(30)
    const jobs = client.queue(Mails, { group: 'mail', leaseMs: 500 })
    await jobs.next()
    const extensions = () => queue.settled.filter(({ kind }) => kind === 'extend')
    await until(() => extensions().length >= 2)
    for (const extension of extensions()) expect(extension).toMatchObject({ from: 0, to: 30, ms: 500 })
  })

  it('of jobs that are done soon are left alone', async () => {
    await write(50)
    let done = 0
    for await (const job of client.queue(Mails, { group: 'mail', leaseMs: 60_000 })) {
      await job.ack()
      if (++done === 50) break
    }
    expect(queue.settled.filter(({ kind }) => kind === 'extend')).toEqual([])
  })

  it('that the broker took away abort the signal and drop what waits', async () => {
    await write(3)
    const jobs = client.queue(Mails, { group: 'mail', leaseMs: 400 })
    const job = (await jobs.next()).value as Mail
    for (const one of queue.jobs) Object.assign(one, { state: 'done' })
    await until(() => job.signal.aborted)
    expect((job.signal.reason as MillraceError).code).toBe('LEASE_LOST')
    expect((await failureOf(job.ack())).code).toBe('LEASE_LOST')
    await write(1)
    expect((await jobs.next()).value?.offset).toBe(3)
  })

  it('are not given up while the answer to their extension is on its way, however late that is', async () => {
    await write(2)
    const jobs = client.queue(Mails, { group: 'mail', leaseMs: 500 })
    const job = (await jobs.next()).value as Mail
    // The broker has granted it, and tells so only later.
    for (const one of queue.jobs) one.deadline = Number.POSITIVE_INFINITY
    let answer = (): void => {}
    const late = new Promise<void>((resolve) => (answer = resolve))
    broker.script = async ({ name, count }) => {
      if (name === 'QUEUE_SETTLE' && count === 1) await late
      return undefined
    }
    await until(() => broker.countOf('QUEUE_SETTLE') === 1)
    await pause(700)
    expect(job.signal.aborted).toBe(false)
    answer()
    await job.ack()
    expect(queue.job(0).state).toBe('done')
    await ((await jobs.next()).value as Mail).ack()
  })

  it('run out while the broker is out of reach: the signal aborts, and the ack says that it may be done', async () => {
    await write(2)
    const jobs = client.queue(Mails, { group: 'mail', leaseMs: 500 })
    const first = (await jobs.next()).value as Mail
    const second = (await jobs.next()).value as Mail
    broker.script = ({ name }) => (name === 'QUEUE_SETTLE' ? 'ignore' : undefined)
    const acked = failureOf(first.ack())
    await until(() => broker.countOf('QUEUE_SETTLE') > 0)
    await broker.stop()
    await until(() => second.signal.aborted)
    expect(await acked).toMatchObject({ code: 'LEASE_LOST', outcome: 'unknown' })
    expect(await failureOf(second.ack())).toMatchObject({ code: 'LEASE_LOST', outcome: 'notWritten' })
    await broker.restart()
  })
})

describe('over a broken connection', () => {
  it('the worker joins again, names what it has, and loses nothing', async () => {
    await write(10)
    const jobs = client.queue(Mails, { group: 'mail', prefetch: 5 })
    const first = (await jobs.next()).value as Mail
    const second = (await jobs.next()).value as Mail
    await until(() => queue.started.length === 2)
    broker.cutAll()
    await until(() => queue.joins.length === 2)
    const [before, again] = queue.joins
    expect(again?.memberId).toBe(before?.memberId)
    expect(again?.attempt).toBe(2)
    expect(again?.heldLeases.flatMap(({ started }) => started)).toEqual([{ from: 0, to: 2 }])
    await first.ack()
    await second.ack()
    const seen = [first.offset, second.offset]
    for await (const job of jobs) {
      seen.push(job.offset)
      expect(job.deliveryCount).toBe(1)
      await job.ack()
      if (seen.length === 10) break
    }
    expect(seen).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    expect(queue.jobs.every(({ count, state }) => count === 0 && state === 'done')).toBe(true)
  })

  it('an ack of a worker that the broker has given up says that the lease is lost', async () => {
    await write(1)
    const jobs = client.queue(Mails, { group: 'mail' })
    const job = (await jobs.next()).value as Mail
    broker.script = ({ name }) => (name === 'QUEUE_SETTLE' ? new MillraceError('UNKNOWN_MEMBER') : undefined)
    expect(await failureOf(job.ack())).toMatchObject({ code: 'LEASE_LOST', outcome: 'notWritten' })
  })

  it('an ack whose answer was lost goes again, and says that it may be done when its lease is gone', async () => {
    await write(2)
    const jobs = client.queue(Mails, { group: 'mail' })
    const job = (await jobs.next()).value as Mail
    let isFirst = true
    broker.script = ({ name }) => {
      if (name !== 'QUEUE_SETTLE' || !isFirst) return undefined
      isFirst = false
      return 'loseAnswer'
    }
    expect(await failureOf(job.ack())).toMatchObject({ code: 'LEASE_LOST', outcome: 'unknown' })
    expect(queue.job(0).state).toBe('done')
    const next = (await jobs.next()).value as Mail
    isFirst = true
    broker.script = ({ name }) => {
      if (name !== 'QUEUE_SETTLE' || !isFirst) return undefined
      isFirst = false
      return 'cut'
    }
    await next.ack()
    expect(queue.job(1).state).toBe('done')
  })

  it('an ack that is refused for now goes again', async () => {
    await write(1)
    const job = (await client.queue(Mails, { group: 'mail' }).next()).value as Mail
    let refusals = 3
    broker.script = ({ name }) =>
      name === 'QUEUE_SETTLE' && refusals-- > 0
        ? new MillraceError('BACKPRESSURE', { retryAfterMs: 1 })
        : undefined
    await job.ack()
    expect(queue.job(0).state).toBe('done')
  })

  it.each(Array.from({ length: 6 }, (_, i) => i))('every job is done in the end (run %i)', async (run) => {
    let requests = 0
    broker.script = ({ name }) => {
      if (!name.startsWith('QUEUE') && !name.startsWith('JOIN')) return undefined
      requests++
      if (requests % (11 + run) === 0) return 'cut'
      return requests % (17 + run) === 0 ? 'loseAnswer' : undefined
    }
    await write(150)
    const jobs = client.queue(Mails, { group: 'mail', prefetch: 16, maxDeliveries: 1_000, leaseMs: 60_000 })
    const running = jobs.run(() => {}, { concurrency: 4 })
    await until(() => queue.jobs.length === 150 && queue.jobs.every(({ state }) => state === 'done'))
    broker.script = () => undefined
    await jobs.close()
    await running
    expect(queue.jobs.every(({ count }) => count === 0)).toBe(true)
  })

  it('a worker that was expelled joins anew, without its jobs', async () => {
    await write(4)
    const jobs = client.queue(Mails, { group: 'mail', prefetch: 4 })
    const job = (await jobs.next()).value as Mail
    queue.expelAll()
    await until(() => job.signal.aborted)
    expect((await failureOf(job.ack())).code).toBe('LEASE_LOST')
    const again = (await jobs.next()).value as Mail
    expect(again.offset).toBe(0)
    const [first, second] = queue.joins
    expect(second?.memberId).not.toBe(first?.memberId)
    expect(second?.heldLeases).toEqual([])
    await again.ack()
  })
})

describe('what waits', () => {
  it('is bounded by the prefetch, beside the jobs in hand', async () => {
    await write(100)
    const jobs = client.queue(Mails, { group: 'mail', prefetch: 8 })
    await jobs.next()
    await pause(50)
    expect(queue.offsetsIn('leased').length).toBeLessThanOrEqual(9)
    for (let i = 0; i < 20; i++) await jobs.next()
    await until(() => queue.offsetsIn('leased').length > 21)
    await pause(50)
    expect(queue.offsetsIn('leased').length).toBeLessThanOrEqual(21 + 8)
  })

  it('is bounded by its bytes, once their size is known', async () => {
    const producer = client.producer(Mails)
    for (let i = 0; i < 120; i++) void producer.enqueue({ value: 'x'.repeat(10_000) })
    await producer.flush()
    const jobs = client.queue(Mails, { group: 'mail', prefetch: 100, prefetchBytes: 100_000 })
    let most = 0
    for (let i = 0; i < 60; i++) {
      const { value: job } = await jobs.next()
      await job?.ack()
      if (i > 35) most = Math.max(most, queue.offsetsIn('leased').length)
    }
    expect(most).toBeGreaterThan(0)
    expect(most).toBeLessThanOrEqual(11)
  })
})

describe('run', () => {
  it('acknowledges what succeeds, fails what throws, and tells why', async () => {
    await write(6)
    const failures: unknown[] = []
    const jobs = client.queue(Mails, { group: 'mail', maxDeliveries: 2 })
    const running = jobs.run(
      async (job) => {
        await pause(1)
        if (job.offset === 3) throw new Error('bad mail')
      },
      { concurrency: 3, onFailed: (error, job) => failures.push([(error as Error).message, job.offset]) },
    )
    await until(
      () => queue.jobs.length === 6 && queue.jobs.every(({ state }) => state === 'done' || state === 'dead'),
    )
    await jobs.close()
    await running
    expect(queue.offsetsIn('dead')).toEqual([3])
    expect(queue.job(3).reason).toBe('bad mail')
    expect(failures).toEqual([
      ['bad mail', 3],
      ['bad mail', 3],
    ])
  })

  it('lets timers have their turn between functions that end at once, and what they did is acknowledged meanwhile', async () => {
    await write(400)
    const jobs = client.queue(Mails, { group: 'mail', prefetch: 400 })
    let done = 0
    let ticks = 0
    let ackedBeforeLast = 0
    const timer = setInterval(() => ticks++, 1)
    const running = jobs.run(() => {
      const endMs = performance.now() + 0.2
      while (performance.now() < endMs);
      if (++done < 400) return
      ackedBeforeLast = queue.offsetsIn('done').length
      void jobs.close()
    })
    await running
    clearInterval(timer)
    expect(ticks).toBeGreaterThan(5)
    expect(ackedBeforeLast).toBeGreaterThan(100)
    expect(queue.offsetsIn('done')).toHaveLength(400)
  })

  it('works on jobs that end at once, later or never well, each at its place', async () => {
    await write(60)
    const jobs = client.queue(Mails, { group: 'mail', maxDeliveries: 1 })
    const failures: number[] = []
    let done = 0
    const running = jobs.run(
      (job) => {
        if (++done === 60) void jobs.close()
        const kind = job.offset % 4
        if (kind === 0) return 'at once'
        if (kind === 1) return pause(2)
        if (kind === 2) return Promise.reject(new Error('later'))
        throw new Error('at once')
      },
      { concurrency: 3, onFailed: (_, job) => failures.push(job.offset) },
    )
    await running
    const failed = Array.from({ length: 60 }, (_, i) => i).filter((i) => i % 4 > 1)
    expect(failures.sort((a, b) => a - b)).toEqual(failed)
    expect(queue.offsetsIn('dead')).toEqual(failed)
    expect(queue.offsetsIn('done')).toHaveLength(30)
  })

  it('works on as many jobs at a time as it is told', async () => {
    await write(30)
    let now = 0
    let most = 0
    const jobs = client.queue(Mails, { group: 'mail' })
    const running = jobs.run(
      async () => {
        most = Math.max(most, ++now)
        await pause(3)
        now--
      },
      { concurrency: 5 },
    )
    await until(() => queue.offsetsIn('done').length === 30)
    await jobs.close()
    await running
    expect(most).toBe(5)
    for (const concurrency of [0, 1.5]) {
      const error = await failureOf(client.queue(Mails, { group: 'mail' }).run(() => {}, { concurrency }))
      expect(error.code).toBe('ILLEGAL_ARGUMENT')
    }
  })

  it('leaves a job that was settled by the function as it is', async () => {
    await write(2)
    const jobs = client.queue(Mails, { group: 'mail' })
    const failures: unknown[] = []
    const running = jobs.run(
      async (job) => {
        if (job.offset === 0) await job.nack({ delayMs: 10_000 })
        else await job.ack()
      },
      { onFailed: (error) => failures.push(error) },
    )
    await until(() => queue.settled.length === 2)
    await jobs.close()
    await running
    expect(failures).toEqual([])
    expect([queue.job(0).state, queue.job(1).state]).toEqual(['ready', 'done'])
  })

  it('lets jobs in hand be finished on close, and gives the others back at once', async () => {
    await write(8)
    let finish = (): void => {}
    const jobs = client.queue(Mails, { group: 'mail' })
    const running = jobs.run(() => new Promise<void>((resolve) => (finish = resolve)))
    await until(() => queue.started.length === 1)
    const closing = jobs.close()
    await until(() => queue.offsetsIn('ready').length === 7)
    expect(queue.job(0).state).toBe('leased')
    finish()
    await Promise.all([closing, running])
    expect(queue.job(0).state).toBe('done')
    expect(queue.jobs.slice(1).every(({ count }) => count === 0)).toBe(true)
    expect(queue.members.size).toBe(0)
  })

  it('ends at once with the reason of its signal', async () => {
    await write(4)
    const abort = new AbortController()
    const running = client
      .queue(Mails, { group: 'mail' })
      .run((job) => new Promise((resolve) => job.signal.addEventListener('abort', resolve)), {
        signal: abort.signal,
      })
    await until(() => queue.started.length === 1)
    abort.abort(new Error('stop'))
    await expect(running).rejects.toThrow('stop')
    expect(queue.jobs.map(({ count }) => count)).toEqual([1, 0, 0, 0])
  })

  it('ends by its signal though a function never returns: its job goes back at once, and it is waited for so long', async () => {
    await write(2)
    for (const graceMs of [60, 0]) {
      const abort = new AbortController()
      let signal: AbortSignal | undefined
      const running = client.queue(Mails, { group: 'mail' }).run(
        (job) => {
          signal = job.signal
          return new Promise(() => {})
        },
        { signal: abort.signal, graceMs },
      )
      let membersAtEnd: number | undefined
      const over = running.catch(() => {}).then(() => (membersAtEnd = queue.members.size))
      await until(() => signal !== undefined)
      const abortedAt = Date.now()
      abort.abort(new Error('stop'))
      expect(signal?.aborted).toBe(true)
      await until(() => queue.members.size === 0)
      expect(queue.offsetsIn('leased')).toEqual([])
      await over
      expect(membersAtEnd).toBe(0)
      await expect(running).rejects.toThrow('stop')
      expect(Date.now() - abortedAt).toBeGreaterThanOrEqual(graceMs - 5)
    }
    const error = await failureOf(client.queue(Mails, { group: 'mail' }).run(() => {}, { graceMs: -1 }))
    expect(error.code).toBe('ILLEGAL_ARGUMENT')
  })

  it('ends with an error of one worker though the function of another never returns', async () => {
    await write(2)
    const running = client.queue(Mails, { group: 'mail', maxDeliveries: 9 }).run(
      (job) => {
        if (job.offset === 1) throw new Error('bad mail')
        return new Promise(() => {})
      },
      {
        concurrency: 2,
        graceMs: 20,
        onFailed: (error) => {
          throw error
        },
      },
    )
    await expect(running).rejects.toThrow('bad mail')
    expect(queue.members.size).toBe(0)
  })

  it('ends with what `onFailed` throws, about an acknowledgement too', async () => {
    await write(1)
    broker.script = ({ name, count }) =>
      name === 'QUEUE_SETTLE' && count === 1 ? new MillraceError('INTERNAL', { retriable: false }) : undefined
    const jobs = client.queue(Mails, { group: 'mail' })
    const running = jobs.run(() => {}, {
      onFailed: () => {
        throw new Error('mine')
      },
    })
    await expect(running).rejects.toThrow('mine')
  })

  it.each([
    ['', false],
    [' in its grace', true],
  ])('is ended%s by the client after `drainMs`, though a function never returns', async (_, isAborted) => {
    await write(1)
    const other = connect(broker.url)
    const abort = new AbortController()
    const running = failureOf(
      other
        .queue(Mails, { group: 'mail' })
        .run(() => new Promise(() => {}), { graceMs: 60_000, signal: abort.signal }),
    )
    await until(() => queue.started.length === 1)
    if (isAborted) abort.abort(new Error('stop'))
    await until(() => !isAborted || queue.members.size === 0)
    await other.close({ drainMs: 20 })
    expect((await running).message).toBe(isAborted ? 'stop' : 'the client is closed')
  })

  it('is ended by the client, which waits for the jobs in hand', async () => {
    await write(3)
    let isDone = false
    const other = connect(broker.url)
    const running = other.queue(Mails, { group: 'mail' }).run(async () => {
      await pause(50)
      isDone = true
    })
    await until(() => queue.started.length === 1)
    await other.close()
    await running
    expect(isDone).toBe(true)
    expect([queue.job(0).state, queue.job(1).state]).toEqual(['done', 'ready'])
  })
})
