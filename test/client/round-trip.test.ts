import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { bytes, type Client, connect, defineTopic, json, msgpack, text } from '../../client/index.js'
import { ScriptedBroker } from '../support/scripted-broker.js'

let broker: ScriptedBroker
let client: Client

beforeEach(async () => {
  broker = await ScriptedBroker.start()
  client = connect(broker.url)
})

afterEach(async () => {
  await client.close()
  await broker.stop()
})

describe('a client', () => {
  it('reads back what it has sent, in each encoding', async () => {
    const cases = [
      { topic: defineTopic({ name: 'texts', key: text(), value: text() }), value: 'größer 🌊' },
      {
        topic: defineTopic({ name: 'jsons', key: text(), value: json<unknown>() }),
        value: { a: [1, null, 'x'] },
      },
      {
        topic: defineTopic({ name: 'packs', key: text(), value: msgpack() }),
        value: { n: 2n ** 60n, b: new Uint8Array([1]) },
      },
      {
        topic: defineTopic({ name: 'bytes', key: text(), value: bytes() }),
        value: new Uint8Array([0, 255, 7]),
      },
    ]
    for (const { topic, value } of cases) {
      await client.ensureTopic(topic)
      const producer = client.producer(topic)
      const timestamp = Date.UTC(2026, 1, 3)
      const sent = await producer.send({
        key: 'k',
        value: value as never,
        headers: { trace: '1', raw: new Uint8Array([9]) },
        timestamp,
      })
      expect(sent).toEqual({ partition: 0, offset: 0, timestamp, duplicate: false })
      const records = []
      for await (const record of client.read(topic, { from: 'earliest', to: 'end' })) records.push(record)
      expect(records).toEqual([
        {
          topic: topic.name,
          partition: 0,
          offset: 0,
          timestamp,
          appendTime: expect.any(Number),
          key: 'k',
          value,
          headers: { trace: '1', raw: new Uint8Array([9]) },
        },
      ])
    }
  })
})
