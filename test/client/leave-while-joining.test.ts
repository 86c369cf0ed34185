import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Client, connect, defineTopic, text } from '../../client/index.js'
import { ScriptedBroker } from '../support/scripted-broker.js'

const Lines = defineTopic({ name: 'lines', key: text(), value: text() })
const SESSION_TIMEOUT_MS = 1_000

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

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

describe('a consumer that is closed while its connection is lost', () => {
  it('leaves no member behind when the broker takes it back after it gave up leaving', async () => {
    broker.script = async ({ name, count }) => {
      if (name === 'JOIN_GROUP' && count === 2) await sleep(SESSION_TIMEOUT_MS + 300)
      return undefined
    }
    const { members } = broker.groups.named('billing')
    const consumer = client.consume(Lines, {
      group: 'billing',
      ifNoCursor: 'earliest',
      sessionTimeoutMs: SESSION_TIMEOUT_MS,
    })
    const loop = (async () => {
      for await (const record of consumer) record.ack()
    })()
    await expect.poll(() => consumer.assignment.length).toBe(1)
    broker.cutAll()
    await expect.poll(() => [...members.values()].map(({ session }) => session)).toEqual([undefined])
    await Promise.all([consumer.close(), loop])
    await expect.poll(() => broker.countOf('LEAVE_GROUP')).toBe(1)
    expect(members.size).toBe(0)
  })
})
