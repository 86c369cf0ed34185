import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  type Client,
  type Codec,
  type ConsumeOptions,
  type Consumer,
  connect,
  defineTopic,
  type GroupRecord,
  MillraceError,
  type ReadRecordOf,
  type Topic,
  text,
} from '../../client/index.js'
import type { TopicId } from '../../protocol/ids.js'
import {
  type Ack,
  type Credit,
  groupDescribed,
  type JoinGroup,
  type Subscribe,
} from '../../protocol/messages/index.js'
import { type Request, ScriptedBroker, type Verdict } from '../support/scripted-broker.js'

const Lines = defineTopic({ name: 'lines', key: text(), value: text() })
const Wide = defineTopic({ name: 'wide', key: text(), value: text() })
type TextTopic = Topic<Codec<string>, Codec<string>>
type TextRecord = GroupRecord<ReadRecordOf<TextTopic>>

const OPTIONS = { group: 'billing', ifNoCursor: 'earliest', ackIntervalMs: 1 } as const

let broker: ScriptedBroker
let client: Client
const clients: Client[] = []

beforeEach(async () => {
  broker = await ScriptedBroker.start()
  broker.createTopic({ name: 'lines', partitions: 1, keyEncoding: 'text', valueEncoding: 'text' })
  broker.createTopic({ name: 'wide', partitions: 4, keyEncoding: 'text', valueEncoding: 'text' })
  client = newClient()
})

afterEach(async () => {
  for (const one of clients.splice(0)) await one.close({ drainMs: 0 })
  await broker.stop()
})

function newClient(): Client {
  const one = connect(broker.url, { backoffBaseMs: 1, backoffCapMs: 20 })
  clients.push(one)
  return one
}

const numbered = (count: number, start = 0): string[] =>
  Array.from({ length: count }, (_, i) => `${start + i}`)

/** On a busy machine things take their time. */
const eventually = <T>(get: () => T) => expect.poll(get, { interval: 10 })

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

async function write(values: readonly string[], topic: TextTopic = Lines, batchBytes = 100): Promise<void> {
  const producer = client.producer(topic, { batchBytes })
  await producer.sendBatch(values.map((value) => ({ key: value, value })))
  await producer.close()
}

const group = () => broker.groups.named('billing')

async function failureOf(promise: Promise<unknown>): Promise<MillraceError> {
  const error = await promise.then(
    () => undefined,
    (error: unknown) => error,
  )
  expect(error).toBeInstanceOf(MillraceError)
  return error as MillraceError
}

/** A loop that runs by itself and keeps what it got. */
function follow(
  consumer: Consumer<ReadRecordOf<TextTopic>>,
  act: (record: TextRecord) => unknown = (record) => record.ack(),
): { records: TextRecord[]; values: () => string[]; done: Promise<void> } {
  const records: TextRecord[] = []
  const done = (async () => {
    for await (const record of consumer) {
      records.push(record)
      await act(record)
    }
  })()
  done.catch(() => {})
  return { records, values: () => records.map(({ value }) => value), done }
}

const consume = (topic: TextTopic, options: Partial<ConsumeOptions> = {}, by: Client = client) =>
  by.consume(topic, { ...OPTIONS, ...options })

const onRequest =
  (name: string, act: (request: Request) => Verdict | Promise<Verdict>) =>
  (request: Request): Verdict | Promise<Verdict> =>
    request.name === name ? act(request) : undefined

describe('a loop over a group', () => {
  it('is given what is there and what comes, in the order of each partition', async () => {
    await write(numbered(20))
    const { values } = follow(consume(Lines))
    await eventually(values).toEqual(numbered(20))
    await write(numbered(5, 20))
    await eventually(values).toEqual(numbered(25))
  })

  it('begins at the end where the group has no cursor and that was asked for', async () => {
    await write(numbered(5))
    const { values } = follow(consume(Lines, { ifNoCursor: 'latest' }))
    await eventually(() => group().shares).toEqual([1])
    await write(['new'])
    await eventually(values).toEqual(['new'])
  })

  it('goes on where the group was', async () => {
    await write(numbered(10))
    for await (const record of consume(Lines)) {
      record.ack()
      if (record.offset === 3) break
    }
    expect(group().cursor('lines')).toBe(4)
    const { values } = follow(consume(Lines, { ifNoCursor: 'latest' }))
    await eventually(values).toEqual(numbered(6, 4))
  })

  it('reads several topics', async () => {
    await write(numbered(3))
    await write(numbered(9), Wide)
    const seen: string[] = []
    for await (const record of client.consume([Lines, Wide], OPTIONS)) {
      seen.push(`${record.topic} ${record.value}`)
      record.ack()
      if (seen.length === 12) break
    }
    const expected = [...numbered(3).map((value) => `lines ${value}`), ...numbered(9).map((v) => `wide ${v}`)]
    expect(seen.sort()).toEqual(expected.sort())
  })

  it('joins when it begins, and not before', async () => {
    const consumer = consume(Lines)
    await sleep(20)
    expect(broker.countOf('JOIN_GROUP')).toBe(0)
    follow(consumer)
    await eventually(() => broker.countOf('JOIN_GROUP')).toBe(1)
    await consumer.close()
  })

  it('lets timers have their turn while there are batches enough', async () => {
    await write(numbered(400), Lines, 1)
    let ticks = 0
    let timer: NodeJS.Timeout | undefined
    for await (const record of consume(Lines)) {
      if (record.offset === 0) await sleep(100)
      timer ??= setInterval(() => ticks++, 1)
      const endMs = performance.now() + 0.2
      while (performance.now() < endMs);
      if (record.offset === 399) break
    }
    clearInterval(timer)
    expect(ticks).toBeGreaterThan(5)
  })

  it('can be had once', async () => {
    const consumer = consume(Lines)
    follow(consumer)
    expect((await failureOf(consumer.run(() => {}))).code).toBe('ILLEGAL_ARGUMENT')
    expect((await failureOf(consumer.batches().next())).code).toBe('ILLEGAL_ARGUMENT')
  })

  it('is refused what makes no sense', () => {
    const refused = (options: object): string => {
      try {
        client.consume(Lines, { ...OPTIONS, ...options })
        return 'taken'
      } catch (error) {
        return (error as MillraceError).code
      }
    }
    expect(refused({})).toBe('taken')
    expect(refused({ group: 'a b' })).toBe('ILLEGAL_GROUP_NAME')
    expect(refused({ ifNoCursor: undefined })).toBe('ILLEGAL_ARGUMENT')
    expect(refused({ sessionTimeoutMs: 10 })).toBe('ILLEGAL_ARGUMENT')
    expect(refused({ prefetchBytes: 0 })).toBe('ILLEGAL_ARGUMENT')
    expect(refused({ onLost: 'latest' })).toBe('ILLEGAL_ARGUMENT')
    expect(() => client.consume([], OPTIONS)).toThrow('1 to 1000 topics')
    expect(() => client.consume([Lines, Lines], OPTIONS)).toThrow('named twice')
  })

  it('throws what the broker refuses it with', async () => {
    const Missing = defineTopic({ name: 'missing', key: text(), value: text() })
    expect((await failureOf(follow(consume(Missing)).done)).code).toBe('UNKNOWN_TOPIC')
    broker.script = onRequest('JOIN_GROUP', () => new MillraceError('GROUP_KIND_CONFLICT'))
    expect((await failureOf(follow(consume(Lines)).done)).code).toBe('GROUP_KIND_CONFLICT')
  })

  it('asks again what the broker cannot do just now', async () => {
    await write(['a'])
    broker.script = onRequest('JOIN_GROUP', ({ count }) =>
      count < 3 ? new MillraceError('SHUTTING_DOWN') : undefined,
    )
    await eventually(follow(consume(Lines)).values).toEqual(['a'])
  })

  it('finds a topic that was made anew since it was last heard of', async () => {
    await write(['old'])
    broker.deleteTopic('lines')
    broker.createTopic({ name: 'lines', partitions: 1, keyEncoding: 'text', valueEncoding: 'text' })
    const { values } = follow(consume(Lines))
    await eventually(() => group().shares).toEqual([1])
    await write(['new'])
    await eventually(values).toEqual(['new'])
  })
})

describe('an acknowledgement', () => {
  it('is gathered with others', async () => {
    await write(numbered(500))
    const { values } = follow(consume(Lines, { ackIntervalMs: 30 }))
    await eventually(() => values().length).toBe(500)
    await eventually(() => group().cursor('lines')).toBe(500)
    expect(broker.countOf('ACK')).toBeLessThanOrEqual(3)
  })

  it('of a loop holds for what was given before', async () => {
    await write(numbered(5))
    for await (const record of consume(Lines)) {
      if (record.offset < 4) continue
      record.ack()
      break
    }
    expect(group().cursor('lines')).toBe(5)
  })

  it('is durable when `acked` resolves, and not before', async () => {
    await write(numbered(2))
    let answer = (): void => {}
    const held = new Promise<void>((resolve) => {
      answer = resolve
    })
    broker.script = onRequest('ACK', async () => {
      await held
      return undefined
    })
    let isDurable = false
    const { records } = follow(consume(Lines, { ackIntervalMs: 60_000 }), () => {})
    await eventually(() => records.length).toBe(2)
    const durable = records[1]?.acked().then(() => {
      isDurable = true
    })
    await eventually(() => broker.countOf('ACK')).toBe(1)
    await sleep(30)
    expect(isDurable).toBe(false)
    expect(group().cursor('lines')).toBe(0)
    answer()
    await durable
    expect(group().cursor('lines')).toBe(2)
    await records[0]?.acked()
  })

  it('is sent one request after the other', async () => {
    await write(numbered(50), Lines, 20)
    let unanswered = 0
    let most = 0
    broker.script = onRequest('ACK', async () => {
      most = Math.max(most, ++unanswered)
      await sleep(5)
      unanswered--
      return undefined
    })
    const { done } = follow(consume(Lines), async (record) => {
      record.ack()
      await sleep(1)
    })
    void done
    await eventually(() => group().cursor('lines')).toBe(50)
    expect(most).toBe(1)
    expect(broker.countOf('ACK')).toBeGreaterThan(2)
  })

  it('is sent again when its connection is lost', async () => {
    await write(numbered(3))
    broker.script = onRequest('ACK', ({ count }) => (count === 1 ? 'cut' : undefined))
    const { records } = follow(consume(Lines), () => {})
    await eventually(() => records.length).toBe(3)
    await records[2]?.acked()
    expect(group().cursor('lines')).toBe(3)
    expect(broker.countOf('JOIN_GROUP')).toBe(2)
  })

  it('is sent again when the broker cannot take it just now', async () => {
    await write(numbered(3))
    broker.script = onRequest('ACK', ({ count }) =>
      count < 3 ? new MillraceError('SHUTTING_DOWN', { retryAfterMs: 1 }) : undefined,
    )
    const { records } = follow(consume(Lines), () => {})
    await eventually(() => records.length).toBe(3)
    await records[2]?.acked()
    expect(group().cursor('lines')).toBe(3)
  })

  it('is durable for all given so far when `flush` resolves', async () => {
    await write(numbered(8), Wide)
    const consumer = consume(Wide, { ackIntervalMs: 60_000 })
    const { values } = follow(consumer)
    await eventually(() => values().length).toBe(8)
    await consumer.flush()
    const cursors = [0, 1, 2, 3].map((partition) => group().cursor('wide', partition) ?? 0)
    expect(cursors.reduce((sum, cursor) => sum + cursor, 0)).toBe(8)
  })
})

describe('a stale member', () => {
  it('throws FENCED in its loop when an ack of it is refused, and moves nothing', async () => {
    await write(numbered(5))
    const { records, done } = follow(consume(Lines), () => {})
    await eventually(() => records.length).toBe(5)
    group().steal('lines')
    const acked = failureOf(records[2]?.acked() ?? Promise.resolve())
    const error = await failureOf(done)
    expect(error).toMatchObject({ code: 'FENCED', details: { topic: 'lines', partition: 0 } })
    expect((await acked).code).toBe('FENCED')
    expect(group().cursor('lines')).toBe(0)
    expect(records[0]?.signal.aborted).toBe(true)
  })

  it('is thrown by the loop, and ends no process when nobody awaits `acked`, `flush` or `close`', async () => {
    await write(numbered(3))
    const unheard: unknown[] = []
    const heard = (error: unknown): void => void unheard.push(error)
    process.on('unhandledRejection', heard)
    const promises: Promise<void>[] = []
    const consumer = consume(Lines)
    const { done } = follow(consumer, (record) => {
      if (record.offset === 0) group().steal('lines')
      promises.push(record.acked(), consumer.flush())
    })
    expect((await failureOf(done)).code).toBe('FENCED')
    promises.push(consumer.close(), consumer.flush())
    await sleep(20)
    process.off('unhandledRejection', heard)
    expect(unheard).toEqual([])
    for (const promise of promises) expect((await failureOf(promise)).code).toBe('FENCED')
  })

  it('throws FENCED when it was expelled', async () => {
    await write(numbered(5))
    const { records, done } = follow(consume(Lines), () => {})
    await eventually(() => records.length).toBe(5)
    const [memberId] = group().members.keys()
    group().expel(memberId as never)
    expect((await failureOf(done)).code).toBe('FENCED')
    expect(records[0]?.signal.aborted).toBe(true)
    expect((await failureOf(records[0]?.acked() ?? Promise.resolve())).code).toBe('FENCED')
    expect(broker.countOf('LEAVE_GROUP')).toBe(0)
  })

  it('throws FENCED when it comes back too late', async () => {
    await write(numbered(5))
    const { records, done } = follow(consume(Lines), () => {})
    await eventually(() => records.length).toBe(5)
    const [memberId] = group().members.keys()
    broker.script = onRequest('JOIN_GROUP', () => {
      group().members.delete(memberId as never)
      return undefined
    })
    broker.cutAll()
    expect((await failureOf(done)).code).toBe('FENCED')
  })

  it('throws FENCED out of `break` when what it acknowledged does not count', async () => {
    await write(numbered(5))
    const loop = async (): Promise<void> => {
      for await (const record of consume(Lines, { ackIntervalMs: 60_000 })) {
        group().steal('lines')
        record.ack()
        break
      }
    }
    expect((await failureOf(loop())).code).toBe('FENCED')
    expect(group().cursor('lines')).toBe(0)
  })
})

describe('leaving the loop', () => {
  it('by break sends the acks that were given, no others, and hands everything back at once', async () => {
    await write(numbered(10))
    for await (const record of consume(Lines, { ackIntervalMs: 60_000 })) {
      if (record.offset <= 4) record.ack()
      if (record.offset === 6) break
    }
    expect(group().cursor('lines')).toBe(5)
    expect(group().members.size).toBe(0)
    await eventually(() => broker.countOf('UNSUBSCRIBE')).toBe(1)
  })

  it('by throw does the same, and throws what was thrown', async () => {
    await write(numbered(10))
    const loop = follow(consume(Lines, { ackIntervalMs: 60_000 }), (record) => {
      if (record.offset === 3) throw new Error('no more')
      record.ack()
    })
    await expect(loop.done).rejects.toThrow('no more')
    expect(group().cursor('lines')).toBe(3)
    expect(group().members.size).toBe(0)
  })

  it('by abort does the same, and throws the reason', async () => {
    await write(numbered(10))
    const controller = new AbortController()
    const options = { ackIntervalMs: 60_000, signal: controller.signal }
    const { records, done } = follow(consume(Lines, options), (record) => {
      if (record.offset < 7) record.ack()
    })
    await eventually(() => records.length).toBe(10)
    controller.abort(new Error('enough'))
    await expect(done).rejects.toThrow('enough')
    expect(group().cursor('lines')).toBe(7)
    expect(group().members.size).toBe(0)
    const late = consume(Lines, { signal: AbortSignal.abort(new Error('before')) })
    await expect(follow(late).done).rejects.toThrow('before')
  })

  it('by close ends it without an error', async () => {
    await write(numbered(3))
    const consumer = consume(Lines, { ackIntervalMs: 60_000 })
    const { records, done } = follow(consumer)
    await eventually(() => records.length).toBe(3)
    await consumer.close()
    await done
    expect(group().cursor('lines')).toBe(3)
    expect(group().members.size).toBe(0)
  })

  it('while it is being taken in leaves no member behind', async () => {
    broker.script = onRequest('JOIN_GROUP', async () => {
      await sleep(50)
      return undefined
    })
    const consumer = consume(Lines)
    const { done } = follow(consumer)
    await eventually(() => broker.countOf('JOIN_GROUP')).toBe(1)
    await consumer.close()
    await done
    expect(group().members.size).toBe(0)
    await client.close()
    expect(broker.countOf('LEAVE_GROUP')).toBe(1)
  })

  it('by closing the client throws CLOSED, with what was acknowledged sent', async () => {
    await write(numbered(3))
    const { records, done } = follow(consume(Lines, { ackIntervalMs: 60_000 }))
    await eventually(() => records.length).toBe(3)
    const failure = failureOf(done)
    await client.close()
    expect((await failure).code).toBe('CLOSED')
    expect(group().cursor('lines')).toBe(3)
    expect(group().members.size).toBe(0)
  })

  it('sends the acks on the next connection when this one is lost on the way', async () => {
    await write(numbered(10))
    broker.script = onRequest('ACK', ({ count }) => (count === 1 ? 'cut' : undefined))
    for await (const record of consume(Lines, { ackIntervalMs: 60_000 })) {
      record.ack()
      if (record.offset === 4) break
    }
    expect(group().cursor('lines')).toBe(5)
    await eventually(() => group().members.size).toBe(0)
  })

  it('settles `acked` of a record whose partition went while its ack was on the way', async () => {
    await write(numbered(1))
    const { topicId } = broker.topics.get('lines') as { topicId: TopicId }
    broker.script = async ({ name, connection }) => {
      if (name === 'JOIN_GROUP' && connection > 1) return 'ignore'
      if (name !== 'ACK') return undefined
      group().askBack({ topicId, partition: 0 })
      await sleep(50)
      return 'cut'
    }
    let acked: Promise<void> | undefined
    const { done } = follow(consume(Lines), (record) => {
      acked = record.acked()
      return acked
    })
    done.catch(() => {})
    await eventually(() => broker.countOf('JOIN_GROUP')).toBe(2)
    await client.close({ drainMs: 20 })
    expect((await failureOf(acked as Promise<void>)).code).toBe('CLOSED')
  })

  /** Leaving is done and its answer lost, with those to the acks before it; `isAcked`: whether these were done. */
  function loseWhatLeavingTells({ isAcked }: { isAcked: boolean }): void {
    broker.script = onRequest('LEAVE_GROUP', () => 'loseAnswer')
    broker.handlers.set('ACK', (fields) => {
      if (isAcked) group().ack(fields as unknown as Ack)
      return undefined
    })
    broker.handlers.set('DESCRIBE_GROUP', ({ correlationId }) => {
      const part = { topic: 'lines', partition: 0, hasCursor: true, position: group().cursor('lines') ?? 0 }
      const lag = { startOffset: 0, durableEnd: 3, lagRecords: 0, lagBytes: 0, lagMs: 0, movedAt: 0 }
      return groupDescribed.write({
        correlationId: correlationId as number,
        name: 'billing',
        kind: 'consumer',
        state: 'empty',
        epoch: 1,
        members: [],
        parts: [{ ...part, ...lag, memberId: null, leased: 0, ready: 0 }],
        partsLeft: 0,
        deadLetters: [],
      })
    })
  }

  it('is done when the answer is lost: that it is no member any more is no failure', async () => {
    await write(numbered(3))
    loseWhatLeavingTells({ isAcked: true })
    for await (const record of consume(Lines, { ackIntervalMs: 60_000 })) {
      record.ack()
      if (record.offset === 2) break
    }
    expect(broker.countOf('JOIN_GROUP')).toBe(2)
    expect(broker.countOf('DESCRIBE_GROUP')).toBe(1)
    expect(group().cursor('lines')).toBe(3)
  })

  it('throws FENCED when the answer is lost, and so are acks that were given', async () => {
    await write(numbered(3))
    loseWhatLeavingTells({ isAcked: false })
    const loop = async (): Promise<void> => {
      for await (const record of consume(Lines, { ackIntervalMs: 60_000 })) {
        record.ack()
        if (record.offset === 2) break
      }
    }
    expect((await failureOf(loop())).code).toBe('FENCED')
    expect(group().cursor('lines')).toBe(0)
  })

  it('says when acks that were given may not count, since the broker is gone', async () => {
    await write(numbered(3))
    const loop = async (): Promise<void> => {
      for await (const record of consume(Lines, { ackIntervalMs: 60_000, sessionTimeoutMs: 1_000 })) {
        record.ack()
        if (record.offset < 2) continue
        await broker.stop()
        break
      }
    }
    expect((await failureOf(loop())).code).toBe('CONNECTION_LOST')
    await broker.restart()
  })
})

describe('a connection that is lost', () => {
  it('is no matter to the loop: the same member goes on behind what it was given', async () => {
    await write(numbered(400), Wide, 60)
    const joins: JoinGroup[] = []
    broker.script = onRequest('JOIN_GROUP', ({ fields }) => void joins.push(fields as unknown as JoinGroup))
    // So little is held ahead that most records come over a connection that was made anew.
    const options = { prefetchBytes: 4_000 }
    const { records, values } = follow(consume(Wide, options), async (record) => {
      record.ack()
      if (records.length % 50 === 0) {
        broker.cutAll()
        await sleep(5)
      }
    })
    await eventually(() => values().length).toBe(400)
    await sleep(30)
    expect(
      values()
        .map(Number)
        .sort((a, b) => a - b),
    ).toEqual(numbered(400).map(Number))
    expect(records.every(({ signal }) => !signal.aborted)).toBe(true)
    expect(joins.length).toBeGreaterThan(3)
    expect(new Set(joins.map(({ memberId }) => memberId)).size).toBe(1)
    const attempts = joins.map(({ attempt }) => attempt)
    expect(attempts).toEqual([...new Set(attempts)].sort((a, b) => a - b))
    expect(joins.at(-1)?.held.length).toBe(4)
  })

  it('leaves what is being handed back to the broker, which says anew what is whose', async () => {
    await write(numbered(3))
    const consumer = consume(Lines)
    let release = (): void => {}
    const first = follow(consumer, (record) => {
      if (record.offset > 0) return record.ack()
      return new Promise<void>((resolve) => {
        release = resolve
      })
    })
    await eventually(() => first.records.length).toBe(1)
    const part = group().parts()[0]
    if (part === undefined) throw new Error('no partition')
    const lost: unknown[] = []
    consumer.on('lost', ({ partitions }) => lost.push(...partitions))
    group().askBack(part)
    await sleep(10)
    broker.cutAll()
    await eventually(() => lost).toEqual([{ topic: 'lines', partition: 0 }])
    expect(first.records[0]?.signal.aborted).toBe(true)
    release()
    // It gives the partition back, and is given it again.
    await eventually(() => first.values()).toEqual(['0', '0'])
    release()
    await eventually(() => group().cursor('lines')).toBe(3)
  })
})

describe('a rebalance', () => {
  it('shares the partitions: what moves is not given twice when it was acknowledged', async () => {
    await write(numbered(200), Wide)
    const seen: string[] = []
    const act = async (record: TextRecord): Promise<void> => {
      seen.push(record.value)
      record.ack()
      await sleep(0)
    }
    const first = follow(consume(Wide), act)
    await eventually(() => first.records.length).toBeGreaterThan(10)
    const second = follow(consume(Wide, {}, newClient()), act)
    await eventually(() => group().shares).toEqual([2, 2])
    await eventually(() => seen.length).toBe(200)
    expect(second.records.length).toBeGreaterThan(0)
    expect(seen.map(Number).sort((a, b) => a - b)).toEqual(numbered(200).map(Number))
  })

  it('tells what comes and goes', async () => {
    const told: string[] = []
    const onRebalance: ConsumeOptions['onRebalance'] = ({ type, partitions }) =>
      told.push(`${type} ${partitions.map(({ topic, partition }) => `${topic}/${partition}`)}`)
    const consumer = consume(Wide, { onRebalance })
    const own: unknown[] = []
    const stop = consumer.on('assigned', ({ partitions }) => own.push(...partitions))
    follow(consumer)
    await eventually(() => told).toEqual(['assigned wide/0,wide/1,wide/2,wide/3'])
    expect(own).toEqual(consumer.assignment)
    stop()
    const other = consume(Wide, {}, newClient())
    const { done } = follow(other)
    await eventually(() => told).toEqual(['assigned wide/0,wide/1,wide/2,wide/3', 'revoked wide/2,wide/3'])
    expect(consumer.assignment).toEqual([
      { topic: 'wide', partition: 0 },
      { topic: 'wide', partition: 1 },
    ])
    await other.close()
    await done
    await eventually(() => told.at(-1)).toBe('assigned wide/2,wide/3')
    expect(own.length).toBe(4)
  })

  it('lets a record in hand be finished and acknowledged before its partition goes', async () => {
    await write(numbered(3))
    let finish = (): void => {}
    const first = follow(consume(Lines, { ackIntervalMs: 60_000 }), async (record) => {
      await new Promise<void>((resolve) => {
        finish = resolve
      })
      record.ack()
    })
    await eventually(() => first.records.length).toBe(1)
    const part = group().parts()[0]
    if (part === undefined) throw new Error('no partition')
    group().askBack(part)
    await sleep(50)
    expect(broker.countOf('GROUP_REVOKED')).toBe(0)
    expect(first.records[0]?.signal.aborted).toBe(false)
    finish()
    await eventually(() => broker.countOf('GROUP_REVOKED')).toBe(1)
    expect(group().acked).toMatchObject([{ offset: 1 }])
    expect(first.records[0]?.signal.aborted).toBe(true)
    // It is its only member, so it is given the partition again, at the cursor.
    await eventually(() => first.values()).toEqual(['0', '1'])
  })

  it('takes the partition after a second from a handler that has no end, and drops its ack without an error', async () => {
    await write(numbered(3))
    const finishers: (() => void)[] = []
    const first = follow(consume(Lines), (record) =>
      new Promise<void>((resolve) => finishers.push(resolve)).then(() => record.ack()),
    )
    await eventually(() => first.records.length).toBe(1)
    const part = group().parts()[0]
    if (part === undefined) throw new Error('no partition')
    group().askBack(part)
    await eventually(() => broker.countOf('GROUP_REVOKED')).toBe(1)
    const [record] = first.records
    expect(record?.signal.aborted).toBe(true)
    expect((await failureOf(record?.acked() ?? Promise.resolve())).code).toBe('FENCED')
    finishers[0]?.()
    await eventually(() => first.values()).toEqual(['0', '0'])
    expect(group().cursor('lines')).toBe(0)
  })

  it('goes on with other topics when one is deleted', async () => {
    await write(numbered(3))
    await write(['a'], Wide)
    const lost: unknown[] = []
    const onRebalance: ConsumeOptions['onRebalance'] = (event) => {
      if (event.type === 'lost') lost.push(...event.partitions)
    }
    const consumer = client.consume([Lines, Wide], { ...OPTIONS, onRebalance })
    const { records } = follow(consumer as Consumer<ReadRecordOf<TextTopic>>)
    await eventually(() => records.length).toBe(4)
    broker.deleteTopic('lines')
    await eventually(() => lost).toEqual([{ topic: 'lines', partition: 0 }])
    await write(['b'], Wide)
    await eventually(() => records.at(-1)?.value).toBe('b')
  })
})

describe('partitions', () => {
  it('give a batch in turn, so that none waits until another has nothing left', async () => {
    await write(numbered(400), Wide, 100)
    const consumer = consume(Wide)
    consumer.on('assigned', () => consumer.pause())
    const { records } = follow(consumer)
    await eventually(() => broker.countOf('SUBSCRIBE')).toBe(4)
    // Its answer comes behind what the broker has sent.
    await client.listTopics()
    await sleep(30)
    consumer.resume()
    await eventually(() => records.length).toBe(400)
    const batchOf = ({ partition, offset }: TextRecord): string => {
      const { entries } = broker.log('wide', partition)
      return `${partition}/${entries.findIndex(({ nextOffset }) => nextOffset > offset)}`
    }
    const batches = records.map(batchOf).filter((batch, i, all) => batch !== all[i - 1])
    expect(new Set(batches).size).toBe(batches.length)
    expect(batches.slice(0, 8).map((batch) => batch.split('/')[1])).toEqual([...'00001111'])
  })
})

describe('a paused partition', () => {
  it('gives nothing, and asks for no more than it may hold, until it is resumed', async () => {
    await write(numbered(400), Wide, 100)
    const prefetchBytes = 8_000
    let granted = 0
    broker.script = ({ name, fields }): Verdict => {
      if (name === 'SUBSCRIBE') granted += (fields as unknown as Subscribe).creditBytes
      if (name === 'CREDIT') granted += (fields as unknown as Credit).bytes
      return undefined
    }
    const consumer = consume(Wide, { prefetchBytes })
    const { records, values } = follow(consumer)
    consumer.on('assigned', () => consumer.pause())
    await eventually(() => consumer.assignment.length).toBe(4)
    await eventually(() => granted).toBe(prefetchBytes)
    await sleep(30)
    expect(values()).toEqual([])
    expect(granted).toBe(prefetchBytes)
    consumer.resume([{ topic: 'wide', partition: 1 }])
    const count = broker.log('wide', 1).end
    await eventually(() => values().length).toBe(count)
    expect(new Set(records.map(({ partition }) => partition))).toEqual(new Set([1]))
    consumer.resume()
    await eventually(() => values().length).toBe(400)
  })

  it('gives no record of the batch that was begun', async () => {
    await write(numbered(10), Lines, 10_000)
    const consumer = consume(Lines)
    const { values } = follow(consumer, (record) => {
      if (record.offset === 3) consumer.pause([{ topic: 'lines', partition: 0 }])
    })
    await eventually(() => values().length).toBe(4)
    await sleep(20)
    expect(values().length).toBe(4)
    consumer.resume()
    await eventually(values).toEqual(numbered(10))
  })
})

describe('what is held ahead', () => {
  /** By subscription of the first connection: what it was granted, and where it began. */
  const granted = new Map<number, { bytes: number; partition: number; offset: number }>()

  beforeEach(() => {
    granted.clear()
    broker.script = ({ name, fields, connection }): Verdict => {
      if (connection !== 2) return undefined
      const { subscriptionId, creditBytes, partition, offset } = fields as unknown as Subscribe
      if (name === 'SUBSCRIBE') granted.set(subscriptionId, { bytes: creditBytes, partition, offset })
      if (name === 'UNSUBSCRIBE') granted.delete(subscriptionId)
      const one = granted.get(subscriptionId)
      if (name === 'CREDIT' && one !== undefined) one.bytes += (fields as unknown as Credit).bytes
      return undefined
    }
  })

  const sum = (numbers: Iterable<number>): number => [...numbers].reduce((total, one) => total + one, 0)
  const grantedBytes = (): number => sum([...granted.values()].map(({ bytes }) => bytes))
  /** Granted and not used, once everything has been sent. */
  const openBytes = (): number =>
    sum(
      [...granted.values()].map(({ bytes, partition, offset }) => {
        const sent = broker.log('wide', partition).entries.filter(({ nextOffset }) => nextOffset > offset)
        return bytes - sum(sent.map((entry) => entry.bytes.length))
      }),
    )

  it('is bounded over all partitions, which share it anew when some come and go', async () => {
    const prefetchBytes = 8_000
    await write(numbered(2_000), Wide, 50)
    let go = (): void => {}
    const first = follow(consume(Wide, { prefetchBytes }, newClient()), async (record) => {
      record.ack()
      if (record === first.records[0]) await new Promise<void>((resolve) => (go = resolve))
    })
    await eventually(() => first.records.length).toBe(1)
    expect(grantedBytes()).toBe(prefetchBytes)
    const other = consume(Wide, { prefetchBytes }, newClient())
    const second = follow(other)
    await eventually(() => second.records.length).toBeGreaterThan(0)
    await eventually(() => granted.size).toBe(2)
    expect(grantedBytes()).toBe(prefetchBytes)
    await other.close()
    await eventually(() => granted.size).toBe(4)
    go()
    await eventually(() => group().acked.length).toBeGreaterThan(4)
    const ends = [0, 1, 2, 3].map((partition) => broker.log('wide', partition).end)
    await eventually(() => ends.map((_, partition) => group().cursor('wide', partition))).toEqual(ends)
    expect(openBytes()).toBeGreaterThan(prefetchBytes / 2)
    expect(openBytes()).toBeLessThanOrEqual(prefetchBytes)
  })
})

describe('records that were deleted before they were acknowledged', () => {
  beforeEach(async () => {
    await write(numbered(10), Lines, 50)
    group().cursors.set(`${broker.topics.get('lines')?.topicId}/0`, 2)
    broker.log('lines').deleteBefore(4)
  })

  it('are passed over', async () => {
    const { values } = follow(consume(Lines))
    await eventually(values).toEqual(numbered(6, 4))
  })

  it('end the loop when that was asked for', async () => {
    const error = await failureOf(follow(consume(Lines, { onLost: 'throw' })).done)
    expect(error).toMatchObject({
      code: 'OFFSET_OUT_OF_RANGE',
      details: { topic: 'lines', partition: 0, startOffset: 4, endOffset: 10, lost: 2 },
    })
  })
})

describe('batches', () => {
  it('come as they were written, and are acknowledged whole', async () => {
    await write(numbered(40), Lines, 10_000)
    await write(numbered(10, 40), Lines, 10_000)
    const offsets: number[][] = []
    for await (const batch of consume(Lines).batches()) {
      offsets.push(batch.records.map(({ offset }) => offset))
      expect(batch).toMatchObject({ topic: 'lines', partition: 0 })
      await batch.acked()
      expect(group().cursor('lines')).toBe(batch.nextOffset)
      if (batch.nextOffset === 50) break
    }
    expect(offsets.map(({ length }) => length)).toEqual([40, 10])
  })

  it('begin at the cursor, and may be acknowledged in part', async () => {
    await write(numbered(40), Lines, 10_000)
    for await (const batch of consume(Lines).batches()) {
      batch.records[9]?.ack()
      break
    }
    expect(group().cursor('lines')).toBe(10)
    for await (const batch of consume(Lines).batches()) {
      expect(batch.records[0]?.offset).toBe(10)
      break
    }
  })
})

describe('a record of the retry topic', () => {
  it('bears the name of its own topic, and says where it was', async () => {
    broker.createTopic({
      name: 'lines.billing.retry',
      partitions: 1,
      keyEncoding: 'text',
      valueEncoding: 'text',
    })
    const Retries = defineTopic({ name: 'lines.billing.retry', key: text(), value: text() })
    const idOf = (name: string) => broker.topics.get(name)?.topicId as never
    group().origins.set(idOf('lines.billing.retry'), idOf('lines'))
    const headers = { 'millrace-topic': 'lines', 'millrace-partition': '0', 'millrace-offset': '17' }
    await client.producer(Retries).send({ key: 'k', value: 'again', headers })
    await write(['new'])
    const { records } = follow(consume(Lines), (record) => record.acked())
    await eventually(() => records.length).toBe(2)
    const again = records.find(({ value }) => value === 'again')
    expect(again).toMatchObject({ topic: 'lines', partition: 0, offset: 0 })
    expect(again?.origin).toEqual({ topic: 'lines', partition: 0, offset: 17 })
    expect(records.find(({ value }) => value === 'new')?.origin).toBeUndefined()
    await eventually(() => group().cursor('lines.billing.retry')).toBe(1)
  })
})
