import { describe, expect, test } from 'vitest'
import type { Shard } from '../../../broker/shard/shard.js'
import type { TopicId } from '../../../protocol/ids.js'
import { append, readAll, someRequestId, textBatch } from '../../support/test-shard.js'
import { shardForEach } from './shard-for-each.js'
import { quiet, type SimulatedShard, until } from './simulated-shard.js'

const HOUR_MS = 3_600_000

let simulated: SimulatedShard
let shard: Shard
let topicId: TopicId

shardForEach((made) => {
  ;({ simulated, shard, topicId } = made)
})

const send = (value: string, partition = 0) => append(shard, textBatch([value], { topicId, partition }))

describe('followers', () => {
  test('are woken once a record is durable and can be read, and only those of its partition', async () => {
    const ends: number[] = []
    let others = 0
    const unfollow = shard.follow({ topicId, partition: 0 }, () =>
      ends.push(shard.bounds(topicId, 0).durableEnd),
    )
    shard.follow({ topicId, partition: 1 }, () => others++)
    const stall = simulated.stall('walBeforeWrite')
    const acknowledged = send('a')
    await stall.held()
    await quiet()
    expect(ends).toEqual([])
    stall.release()
    await acknowledged
    expect(ends).toEqual([1])
    expect((await readAll(shard, topicId)).records).toHaveLength(1)
    unfollow()
    await send('b')
    expect(ends).toEqual([1])
    expect(others).toBe(0)
  })

  test('are woken when their topic is deleted, and find that it is gone', async () => {
    const seen: unknown[] = []
    for (const partition of [0, 1]) {
      shard.follow({ topicId, partition }, () => {
        try {
          seen.push(shard.bounds(topicId, partition))
        } catch (error) {
          seen.push((error as { code: string }).code)
        }
      })
    }
    await shard.deleteTopic({ requestId: someRequestId(), name: 'orders' })
    await quiet()
    expect(seen).toEqual(['UNKNOWN_TOPIC', 'UNKNOWN_TOPIC'])
  })
})

describe('broker time', () => {
  test('never falls when the clock jumps back an hour, not across a restart either', async () => {
    const times: number[] = []
    const sendSome = async (): Promise<void> => {
      for (let i = 0; i < 3; i++) {
        times.push((await send('x')).appendTime)
        simulated.clock.advance(10)
      }
      expect(shard.time()).toBeGreaterThanOrEqual(times.at(-1) as number)
    }
    await sendSome()
    simulated.clock.jumpTo(simulated.clock.now() - HOUR_MS)
    await sendSome()
    shard = await simulated.crash()
    expect(simulated.clock.now()).toBeLessThan(times[0] as number)
    expect(shard.time()).toBeGreaterThanOrEqual(times.at(-1) as number)
    await sendSome()
    shard = await simulated.reopen()
    await sendSome()
    expect(times).toEqual([...times].sort((a, b) => a - b))
    simulated.clock.jumpTo((times.at(-1) as number) + 5)
    expect((await send('y')).appendTime).toBe((times.at(-1) as number) + 5)
  })
})

test('what came while a group was written is on its way to the disk before that group is acknowledged', async () => {
  const stall = simulated.stall('walBeforeWrite')
  const writes = () => simulated.failpoints.hits('walBeforeWrite')
  const first = send('a')
  await stall.held()
  const begun = writes()
  const second = send('b')
  stall.release()
  await first
  expect(writes()).toBe(begun + 1)
  await second
  expect(writes()).toBe(begun + 1)
})

describe('a quiet time', () => {
  test('is not between groups that keep coming: each proves the one before it', async () => {
    await send('first')
    const groups = simulated.counter('walGroups')
    for (let i = 0; i < 10; i++) {
      await simulated.clock.advanceAndSettle(15)
      await send('next')
    }
    expect(simulated.counter('walGroups')).toBe(groups + 10)
    await simulated.clock.advanceAndSettle(20)
    await until(() => simulated.counter('walGroups') === groups + 11)
  })

  test('is followed by one group that proves the last, even while duplicates keep coming', async () => {
    const producer = await shard.initProducer({ requestId: someRequestId(), name: null })
    const batch = textBatch(['once'], { topicId, ...producer })
    await append(shard, batch)
    const groups = simulated.counter('walGroups')
    for (let i = 0; i < 10; i++) {
      expect(await append(shard, batch)).toMatchObject({ duplicate: true })
      await simulated.clock.advanceAndSettle(5)
    }
    await until(() => simulated.counter('walGroups') === groups + 1)
    await simulated.clock.advanceAndSettle(500)
    expect(simulated.counter('walGroups')).toBe(groups + 1)
  })
})
