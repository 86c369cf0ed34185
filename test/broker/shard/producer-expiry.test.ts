import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { ProducerIdentity } from '../../../broker/shard/producer-ids.js'
import type { Shard } from '../../../broker/shard/shard.js'
import type { TopicId } from '../../../protocol/ids.js'
import { DEFAULT_TOPIC_OPTIONS } from '../../../protocol/topic-options.js'
import { append, createTopic, someRequestId, textBatch } from '../../support/test-shard.js'
import { outcomeOf, SimulatedShard } from './simulated-shard.js'

const IDLE_MS = 10_000
const forgotten = { code: 'SEQUENCE_GAP', outcome: 'notWritten' }

let simulated: SimulatedShard
let shard: Shard
let topicId: TopicId

async function open(limits: Parameters<SimulatedShard['open']>[0]): Promise<void> {
  shard = await simulated.open(limits)
  topicId = await createTopic(shard, 'orders')
}

beforeEach(() => {
  simulated = new SimulatedShard()
})

afterEach(async () => {
  await simulated.close()
  expect(simulated.failures).toEqual([])
})

const newProducer = () => shard.initProducer({ requestId: someRequestId(), name: null })
const send = (producer: ProducerIdentity, baseSequence: number) =>
  append(shard, textBatch(['x'], { topicId, ...producer, baseSequence }))

describe('what a producer wrote', () => {
  test('is forgotten once it has long been silent, and stays forgotten after a restart', async () => {
    await open({ producerIdleMs: IDLE_MS })
    const [silent, busy] = [await newProducer(), await newProducer()]
    await send(silent, 0)
    await send(busy, 0)
    await simulated.clock.advanceAndSettle(IDLE_MS + 2_000)
    await send(busy, 1)
    await simulated.clock.advanceAndSettle(IDLE_MS - 1_000)
    expect(await outcomeOf(send(silent, 1))).toEqual(forgotten)
    expect(await send(busy, 1)).toMatchObject({ duplicate: true })
    shard = await simulated.crash()
    expect(await outcomeOf(send(silent, 1))).toEqual(forgotten)
    expect(await send(busy, 2)).toMatchObject({ duplicate: false })
  })

  test('is kept of so many producers, and those go first that were silent longest', async () => {
    await open({ producersMax: 20 })
    const producers: ProducerIdentity[] = []
    for (let i = 0; i < 30; i++) {
      producers.push(await newProducer())
      await send(producers[i] as ProducerIdentity, 0)
      simulated.clock.advance(2)
    }
    await simulated.clock.advanceAndSettle(1_100)
    const results = []
    for (const producer of producers) results.push(await outcomeOf(send(producer, 1)))
    expect(results.slice(0, 12)).toEqual(Array(12).fill(forgotten))
    expect(results.slice(12).every((result) => 'baseOffset' in result)).toBe(true)
  })

  test('is kept when the producer wrote between the look and the decision', async () => {
    await open({ producerIdleMs: IDLE_MS })
    const [returning, silent] = [await newProducer(), await newProducer()]
    await send(silent, 0)
    await send(returning, 0)
    await simulated.clock.advanceAndSettle(9_500)
    const stall = simulated.stall('walBeforeWrite')
    const back = send(returning, 1)
    await stall.held()
    // The second look since the start, and the first that finds both idle.
    await simulated.clock.advanceAndSettle(11_000)
    stall.release()
    await back
    await simulated.clock.advanceAndSettle(0)
    expect(await outcomeOf(send(silent, 1))).toEqual(forgotten)
    expect(await outcomeOf(send(returning, 2))).toMatchObject({ baseOffset: 3 })
  })
})

describe('the name of a producer', () => {
  const named = (name: string) => shard.initProducer({ requestId: someRequestId(), name })

  test('is forgotten with its id once neither was used for long, and stays forgotten after a restart', async () => {
    await open({ producerIdleMs: IDLE_MS })
    const [silent, busy] = [await named('silent'), await named('busy')]
    expect(await named('silent')).toEqual({ ...silent, producerEpoch: 1 })
    await send({ ...silent, producerEpoch: 1 }, 0)
    await simulated.clock.advanceAndSettle(IDLE_MS - 2_000)
    await send(busy, 0)
    await simulated.clock.advanceAndSettle(IDLE_MS - 4_000)
    shard = await simulated.crash('power cut')
    expect(await outcomeOf(send({ ...silent, producerEpoch: 1 }, 1))).toMatchObject({
      code: 'UNKNOWN_PRODUCER',
    })
    expect(await send(busy, 1)).toMatchObject({ duplicate: false })
    expect((await named('silent')).producerId).toBeGreaterThan(busy.producerId)
    expect(await named('busy')).toEqual({ ...busy, producerEpoch: 1 })
  })

  test('is never what a registration is refused for while older ones can go', async () => {
    await open({ producersMax: 20 })
    const identities: ProducerIdentity[] = []
    for (let i = 0; i < 100; i++) {
      identities.push(await named(`short-${i}`))
      simulated.clock.advance(2)
    }
    await simulated.clock.advanceAndSettle(1_100)
    // The newest are there: a second registration gets the same id.
    for (const i of [90, 99]) expect((await named(`short-${i}`)).producerId).toBe(identities[i]?.producerId)
    expect((await named('short-0')).producerId).not.toBe(identities[0]?.producerId)
  })

  test('is kept when it registers again between the look and the decision', async () => {
    await open({ producerIdleMs: IDLE_MS })
    const before = await named('returning')
    await simulated.clock.advanceAndSettle(9_500)
    const stall = simulated.stall('walBeforeWrite')
    const back = named('returning')
    await stall.held()
    await simulated.clock.advanceAndSettle(11_000)
    stall.release()
    expect(await back).toEqual({ ...before, producerEpoch: 1 })
    await simulated.clock.advanceAndSettle(0)
    expect(await named('returning')).toEqual({ ...before, producerEpoch: 2 })
  })
})

describe('more producers than fit one call', () => {
  test('in one partition are looked through all the same', async () => {
    const { ShardState, TopicState } = await import('../../../broker/shard/state.js')
    const { ProducerExpiry } = await import('../../../broker/shard/producer-expiry.js')
    const { applyAppend, applyCommand } = await import('../../../broker/shard/apply.js')
    const state = new ShardState({ clusterId: 'c'.repeat(32) as never, walId: 'a'.repeat(32) })
    const id = 'b'.repeat(32) as TopicId
    state.addTopic(
      new TopicState({
        topicId: id,
        name: 'orders',
        partitions: 1,
        keyEncoding: 'text',
        valueEncoding: 'text',
        createdAt: 0,
        options: DEFAULT_TOPIC_OPTIONS,
        internal: false,
      }),
    )
    const partition = state.partition(id, 0)
    if (partition === undefined) throw new Error('there is no partition')
    const count = 200_000
    for (let i = 0; i < count; i++) {
      const entry = { baseOffset: i, lastOffsetDelta: 0, recordCount: 1, appendTime: i, baseSequence: 0 }
      applyAppend(state, partition, { ...entry, producerId: i + 1, producerEpoch: 0 })
    }
    const expiry = new ProducerExpiry({
      state,
      limits: { producersMax: 100_000, producerIdleMs: 1e9 },
      submit: async (change) => {
        const decided = change.decide({ time: count, claimed: new Set() })
        for (const command of decided?.commands ?? []) applyCommand(state, command, count)
        return decided?.result as never
      },
    })
    await expiry.run(count)
    expect(state.producerWindows).toBe(90_000)
  })
})

describe('ids of producers', () => {
  test('are never given twice, not across a crash either', async () => {
    await open({})
    const given: number[] = []
    const take = async () => given.push((await newProducer()).producerId)
    await Promise.all(Array.from({ length: 1_500 }, take))
    shard = await simulated.crash('power cut')
    await Promise.all(Array.from({ length: 1_500 }, take))
    const named = await shard.initProducer({ requestId: someRequestId(), name: 'shop-1' })
    given.push(named.producerId)
    expect(new Set(given).size).toBe(3_001)
  })
})
