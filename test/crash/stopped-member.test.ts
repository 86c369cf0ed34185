import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type AnyTopic, type Client, connect, defineTopic, text } from '../../client/index.js'
import { BrokerProcess } from '../support/broker-process.js'
import { ChildScript } from '../support/child-script.js'
import { MEMBER_SCRIPT, MemberProcess } from '../support/member-process.js'
import { until } from '../support/until.js'

/** Longer than a machine that is in trouble stands still: who is there is never taken for one who is not. */
const SESSION_TIMEOUT_MS = 5_000

let dataDir: string
let broker: BrokerProcess
let script: ChildScript
let client: Client

beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'millrace-stopped-'))
  broker = new BrokerProcess({ dataDir, flags: { 'wal-segment-bytes': '6MiB' } })
  const [compiled] = await Promise.all([ChildScript.compile(MEMBER_SCRIPT), broker.start()])
  script = compiled
  client = connect(broker.url)
})

afterAll(async () => {
  await client.close({ drainMs: 0 })
  await broker.kill()
  script.remove()
  await rm(dataDir, { recursive: true })
})

async function topicNamed(name: string, { partitions = 1, records = 10 } = {}) {
  const Topic = defineTopic({ name, key: text(), value: text() })
  await client.createTopic(Topic, { partitions })
  const producer = client.producer(Topic)
  for (let partition = 0; partition < partitions && records > 0; partition++) {
    await producer.sendBatch(Array.from({ length: records }, (_, i) => ({ value: `${i}`, partition })))
  }
  await producer.close()
  return Topic
}

function holder(topic: AnyTopic): MemberProcess {
  const { url } = broker
  return new MemberProcess(script, {
    kind: 'hold',
    url,
    topic: topic.name,
    group: `of-${topic.name}`,
    sessionTimeoutMs: SESSION_TIMEOUT_MS,
    once: true,
  })
}

const cursorOf = async (topic: AnyTopic): Promise<unknown> => {
  const { partitions } = await client.groups.describe(`of-${topic.name}`)
  return partitions.map(({ position, movedAt }) => ({ position, movedAt }))
}

/** Reads the group's records until the first comes; leaves without an ack. */
async function firstOfAnother(topic: AnyTopic): Promise<number | undefined> {
  const options = { group: `of-${topic.name}`, ifNoCursor: 'earliest' } as const
  for await (const { offset } of client.consume(topic, options)) return offset
  return undefined
}

describe.concurrent('a member that is not there for longer than its session timeout', {
  timeout: 300_000,
}, () => {
  test('gets FENCED for its late ack after a SIGSTOP, moves no cursor, and its loop throws', async () => {
    const Topic = await topicNamed('stopped')
    const member = holder(Topic)
    await member.next('given')
    member.tell('ack')
    const first = await member.next('acked')
    await member.next('given', member.events.indexOf(first))
    const before = await cursorOf(Topic)
    member.stop()
    // It finds the command as soon as it wakes up, with all that the broker sent meanwhile.
    member.tell('ack')
    expect(await firstOfAnother(Topic)).toBe(1)
    await sleep(500)
    member.resume()
    expect(await member.next('refused')).toMatchObject({ partition: 0, offset: 1, code: 'FENCED' })
    expect(await member.next('ended')).toMatchObject({ code: 'FENCED' })
    expect(await cursorOf(Topic)).toEqual(before)
    await member.kill()
  })

  test('gets FENCED for the ack that it gave before its event loop was blocked', async () => {
    const Topic = await topicNamed('blocked')
    const member = holder(Topic)
    await member.next('given')
    const before = await cursorOf(Topic)
    // The ack goes out when the loop turns again, ahead of anything that is read from the socket.
    member.tell(`block ${2 * SESSION_TIMEOUT_MS}`)
    expect(await firstOfAnother(Topic)).toBe(0)
    expect(await member.next('refused')).toMatchObject({ partition: 0, offset: 0, code: 'FENCED' })
    expect(await member.next('ended')).toMatchObject({ code: 'FENCED' })
    expect(await cursorOf(Topic)).toEqual(before)
    await member.kill()
  })

  test('keeps its partitions if only its handler is slow, ten times slower than the timeout', async () => {
    const Topic = await topicNamed('slow', { partitions: 2, records: 0 })
    const group = `of-${Topic.name}`
    const events: string[] = []
    const aborted: string[] = []
    const consumers = [0, 1].map((i) => {
      return client.consume(Topic, {
        group,
        ifNoCursor: 'earliest',
        sessionTimeoutMs: SESSION_TIMEOUT_MS,
        onRebalance: ({ type, partitions }) => events.push(`${i} ${type} ${partitions.length}`),
      })
    })
    const handled: number[] = []
    const runs = consumers.map((consumer) =>
      consumer.run(async (record) => {
        record.signal.addEventListener('abort', () => aborted.push(`partition ${record.partition}`))
        await sleep(10 * SESSION_TIMEOUT_MS)
        handled.push(record.partition)
      }),
    )
    await until(() => consumers.every(({ assignment }) => assignment.length === 1))
    // Not before: who joins late takes a partition from the one who was there.
    for (const partition of [0, 1]) await client.producer(Topic).send({ value: 'a', partition })
    const { epoch } = await client.groups.describe(group)
    const settled = [...events]
    await until(() => handled.length === 2, { timeoutMs: 200_000 })
    for (const consumer of consumers) await consumer.flush()
    const { epoch: epochAfter, partitions } = await client.groups.describe(group)
    expect(epochAfter).toBe(epoch)
    expect(events).toEqual(settled)
    expect(aborted).toEqual([])
    expect(partitions.map(({ position }) => position)).toEqual([1, 1])
    for (const consumer of consumers) await consumer.close()
    await Promise.all(runs)
  })
})
