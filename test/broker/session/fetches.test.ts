import { describe, expect, it } from 'vitest'
import { ENTRY_HEADER_BYTES } from '../../../protocol/entry.js'
import type { TopicId } from '../../../protocol/ids.js'
import { type Fetch, fetch, fetched, ping, pong } from '../../../protocol/messages/index.js'
import { ManualClock } from '../../support/manual-clock.js'
import { until } from '../../support/until.js'
import { bytesOf, quiet, startHarness } from './harness.js'
import type { WireClient } from './wire-client.js'

const ENTRY_BYTES = 1_000
const payload = bytesOf(ENTRY_BYTES - ENTRY_HEADER_BYTES)

function fetchOf(topicId: TopicId, fields: Partial<Fetch>): Omit<Fetch, 'correlationId'> {
  return { topicId, partition: 0, offset: 0, minBytes: 1, maxBytes: 1_000_000, maxWaitMs: 0, ...fields }
}

const ask = (client: WireClient, topicId: TopicId, fields: Partial<Fetch> = {}) =>
  client.request(fetch, fetchOf(topicId, fields), fetched)

describe.each(['cache', 'disk'] as const)('FETCH served from %s', (readMode) => {
  async function start() {
    const clock = new ManualClock()
    const harness = await startHarness({ clock })
    harness.shard.readMode = readMode
    const { topicId } = harness.shard.addTopic({ name: 't' })
    const client = await harness.connect()
    return { ...harness, clock, topicId, client, baseTimers: clock.timers }
  }

  it('answers at once when there is enough', async () => {
    const { shard, client, topicId } = await start()
    for (let i = 0; i < 10; i++) shard.put(topicId, 0, payload)
    const answer = await ask(client, topicId, { maxWaitMs: 60_000, minBytes: 10_000 })
    expect(answer).toMatchObject({ startOffset: 0, durableEnd: 10 })
    expect(Buffer.from(answer.entries).equals(shard.stored(topicId, 0))).toBe(true)
    await until(() => shard.heldResults === 0)
  })

  it('sends at most maxBytes, but at least one entry', async () => {
    const { shard, client, topicId } = await start()
    for (let i = 0; i < 10; i++) shard.put(topicId, 0, payload)
    expect((await ask(client, topicId, { maxBytes: 3_500 })).entries).toHaveLength(3_000)
    expect((await ask(client, topicId, { maxBytes: 0 })).entries).toHaveLength(1_000)
    // Two entries are all that fits, so waiting for a third would be in vain.
    const cut = await ask(client, topicId, { minBytes: 2_500, maxBytes: 2_500, maxWaitMs: 60_000 })
    expect(cut.entries).toHaveLength(2_000)
  })

  it('waits until minBytes are there', async () => {
    const { shard, client, topicId, clock, baseTimers } = await start()
    client.send(fetch, { correlationId: 9, ...fetchOf(topicId, { minBytes: 2_500, maxWaitMs: 60_000 }) })
    await until(() => shard.followers === 1)
    for (let i = 0; i < 2; i++) {
      shard.put(topicId, 0, payload)
      await quiet()
      expect(client.received).toEqual([])
    }
    shard.put(topicId, 0, payload)
    expect((await client.next(fetched)).entries).toHaveLength(3_000)
    expect(shard.followers).toBe(0)
    await until(() => shard.heldResults === 0)
    expect(clock.timers).toBe(baseTimers)
  })

  it('answers with what there is when the time is over, if that is nothing', async () => {
    const { shard, client, topicId, clock } = await start()
    client.send(fetch, { correlationId: 9, ...fetchOf(topicId, { minBytes: 2_500, maxWaitMs: 2_000 }) })
    await until(() => shard.followers === 1)
    await clock.advanceAndSettle(1_999)
    await quiet()
    expect(client.received).toEqual([])
    await clock.advanceAndSettle(1)
    expect(await client.next(fetched)).toMatchObject({
      correlationId: 9,
      entries: Buffer.alloc(0),
      durableEnd: 0,
    })
    shard.put(topicId, 0, payload)
    client.send(fetch, { correlationId: 10, ...fetchOf(topicId, { minBytes: 2_500, maxWaitMs: 2_000 }) })
    await until(() => shard.followers === 1)
    await clock.advanceAndSettle(2_000)
    expect((await client.next(fetched)).entries).toHaveLength(1_000)
  })

  it('is refused with the reason of the read', async () => {
    const { shard, client, topicId } = await start()
    shard.put(topicId, 0, payload)
    client.send(fetch, { correlationId: 9, ...fetchOf(topicId, { offset: 2 }) })
    expect(await client.nextError()).toMatchObject({
      correlationId: 9,
      code: 'OFFSET_OUT_OF_RANGE',
      details: { startOffset: 0, endOffset: 1 },
    })
    client.send(fetch, { correlationId: 10, ...fetchOf(topicId, { partition: 3 }) })
    expect(await client.nextError()).toMatchObject({ correlationId: 10, code: 'UNKNOWN_PARTITION' })
    client.send(fetch, { correlationId: 11, ...fetchOf(topicId, { offset: 1, maxWaitMs: 60_000 }) })
    await until(() => shard.followers === 1)
    await shard.deleteTopic({ name: 't' })
    expect(await client.nextError()).toMatchObject({ correlationId: 11, code: 'UNKNOWN_TOPIC' })
  })
})

describe('waiting FETCH requests', () => {
  it('are capped, hold up nothing else, and end with their connection', async () => {
    const clock = new ManualClock()
    const { connect, shard } = await startHarness({ clock, limits: { fetchesPerConnectionMax: 20 } })
    const { topicId } = shard.addTopic({ name: 't' })
    const client = await connect()
    for (let id = 1; id <= 21; id++) {
      client.send(fetch, { correlationId: id, ...fetchOf(topicId, { maxWaitMs: 60_000 }) })
    }
    expect(await client.nextError()).toMatchObject({ correlationId: 21, code: 'LIMIT_REACHED' })
    expect(await client.request(ping, {}, pong)).toBeDefined()
    expect(shard.followers).toBe(20)
    await client.close()
    await until(() => shard.followers === 0)
    expect(clock.timers).toBe(0)
  })
})
