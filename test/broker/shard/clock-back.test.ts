import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { MemberId, TopicId } from '../../../protocol/ids.js'
import { idBatch } from '../../support/checked-writes.js'
import { append, createTopic, textBatch } from '../../support/test-shard.js'
import { QueueHarness, type ReceivedJob, RecordingLink } from '../groups/queue-harness.js'
import { member } from '../groups/queue-world.js'

const HOUR_MS = 3_600_000
const LEASE_MS = 30_000
const [ada, bob] = [member(1), member(2)]

let harness: QueueHarness
let topicId: TopicId
let groupId: number
let link: RecordingLink

beforeEach(async () => {
  harness = await QueueHarness.open()
  topicId = await createTopic(harness.shard, 'mails', 2)
  await append(harness.shard, textBatch(['a', 'b', 'c'], { topicId }))
  link = new RecordingLink()
  ;({ groupId } = await join(ada, link))
  await harness.rest()
  expect(link.jobs).toHaveLength(3)
})

afterEach(() => harness.simulated.close())

const setBackAnHour = (): void => {
  const { clock } = harness.simulated
  clock.jumpTo(clock.now() - HOUR_MS)
}

const join = (memberId: MemberId, to: RecordingLink) =>
  harness.join('mail', { memberId, topicIds: [topicId], leaseMs: LEASE_MS, prefetch: 3 }, to)

const settle = (
  memberId: MemberId,
  kind: 'ack' | 'extend' | 'nack',
  jobs: readonly ReceivedJob[],
  ms = kind === 'extend' ? LEASE_MS : null,
) =>
  harness.coordinator.queueSettle({
    groupId,
    memberId,
    items: jobs.map(({ topicId, partition, leaseId, offset }) => ({
      kind,
      topicId,
      partition,
      leaseId,
      from: offset,
      to: offset + 1,
      ms,
      reason: null,
    })),
  })

/** Another worker, and what it was given up to now. */
async function another(): Promise<{ values: () => string[] }> {
  const other = new RecordingLink()
  await join(bob, other)
  await harness.rest()
  return { values: () => other.jobs.map(({ value }) => value) }
}

describe('a wall clock that is set back by an hour', () => {
  test('ends no lease and lengthens none', async () => {
    const before = harness.shard.time()
    setBackAnHour()
    expect((await another()).values()).toEqual([])
    expect(await settle(ada, 'ack', link.jobs.slice(0, 1))).toEqual({ results: [], deadlines: [] })
    const { deadlines } = await settle(ada, 'extend', link.jobs.slice(1, 2))
    expect(deadlines).toEqual([{ index: 0, deadline: before + LEASE_MS }])
  })

  test('gives back no lease that had run out before', async () => {
    const other = await another()
    await harness.pass(LEASE_MS + 1_000)
    expect(other.values()).toEqual(['a', 'b', 'c'])
    setBackAnHour()
    expect((await settle(ada, 'ack', link.jobs)).results.map(({ code }) => code)).toEqual(
      Array.from({ length: 3 }, () => 'LEASE_LOST'),
    )
  })

  test('makes a delay of one second last two', async () => {
    setBackAnHour()
    await settle(ada, 'nack', link.jobs.slice(0, 1), 1000)
    harness.coordinator.queueCredit({ groupId, memberId: ada, records: 1 })
    await harness.pass(1750)
    expect(link.jobs).toHaveLength(3)
    await harness.pass(500)
    expect(link.jobs.map(({ value }) => value)).toEqual(['a', 'b', 'c', 'a'])
  })

  test('makes leases run out at half speed until the clock has caught up', async () => {
    setBackAnHour()
    const other = await another()
    await harness.pass(2 * LEASE_MS - 1000)
    expect(other.values()).toEqual([])
    await harness.pass(2000)
    expect(other.values()).toEqual(['a', 'b', 'c'])
    const { clock } = harness.simulated
    expect(harness.shard.time()).toBeGreaterThan(clock.now())
    clock.jumpTo(clock.now() + 2 * HOUR_MS)
    expect(harness.shard.time()).toBe(clock.now())
  })

  test('does not hold up the jobs of a worker that is lost', async () => {
    setBackAnHour()
    harness.coordinator.closed(link)
    await harness.pass(10_500)
    expect((await another()).values()).toEqual(['a', 'b', 'c'])
  })

  test('changes none of it over a crash of the broker', async () => {
    await append(harness.shard, idBatch(['id=1'], { topicId, partition: 1 }))
    const before = harness.shard.time()
    setBackAnHour()
    await harness.crash('power cut')
    expect(harness.simulated.clock.now()).toBeLessThan(before)
    expect(harness.shard.time()).toBe(before)
    // Of what was written only the last was not leased.
    const other = await another()
    expect(other.values()).toEqual(['id=1'])
    const again = await append(harness.shard, idBatch(['id=2'], { topicId, partition: 1 }))
    expect(again.duplicates).toEqual([{ index: 0, partition: 1, offset: 0 }])
    // Once the clock is right again they run out as if nothing had been.
    harness.simulated.clock.jumpTo(before)
    await harness.pass(LEASE_MS - 1_000)
    expect(other.values()).toHaveLength(1)
    await harness.pass(2_000)
    // It has room for two more.
    expect(other.values()).toEqual(['id=1', 'a', 'b'])
  })
})
