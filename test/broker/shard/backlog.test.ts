import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { gzipSync } from 'node:zlib'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { crc32 } from '#crc32'
import type { AppendSource } from '../../../broker/shard/append-queue.js'
import type { AppendBatch } from '../../../broker/shard/batch-check.js'
import type { Shard } from '../../../broker/shard/shard.js'
import type { MillraceError } from '../../../protocol/error-codes.js'
import type { TopicId } from '../../../protocol/ids.js'
import { append, createTopic, textBatch } from '../../support/test-shard.js'
import { SimulatedShard, until } from './simulated-shard.js'

const KIB = 1024

let simulated: SimulatedShard
let shard: Shard
let topicId: TopicId

beforeEach(async () => {
  simulated = new SimulatedShard()
  shard = await simulated.open({ walBacklogBytes: 256 * KIB, backpressureDeadlineMs: 2_000 })
  topicId = await createTopic(shard, 'orders')
})

afterEach(async () => {
  await simulated.close()
  expect(simulated.failures).toEqual([])
})

/** One connection, with what it was told. */
class Connection {
  readonly pressure: boolean[] = []
  readonly refusals: MillraceError[] = []
  acks = 0
  readonly source: AppendSource

  constructor() {
    this.source = shard.openSource({ onPressure: (paused) => this.pressure.push(paused) })
  }

  send(batch: AppendBatch, done: () => void = () => {}): void {
    this.source.append(batch, (error) => {
      if (error === null) this.acks++
      else this.refusals.push(error)
      done()
    })
  }

  sendKib(kib: number): void {
    this.send(textBatch(['x'.repeat(kib * KIB)], { topicId }))
  }
}

const gzipBatch = (value: string): AppendBatch => {
  const plain = textBatch([value], { topicId })
  const payload = gzipSync(plain.payload)
  return { ...plain, attributes: 1, payload, payloadCrc: crc32(payload) }
}

describe('a backlog', () => {
  test('pauses the sources that feed it past its cap, and no other, and resumes them when it is half empty', async () => {
    const stall = simulated.stall('walBeforeWrite')
    const [feeder, idle] = [new Connection(), new Connection()]
    for (let i = 0; i < 4; i++) feeder.sendKib(60)
    expect(feeder.pressure).toEqual([])
    feeder.sendKib(60)
    feeder.sendKib(60)
    expect(feeder.pressure).toEqual([true])
    stall.release()
    await until(() => feeder.acks === 6)
    expect(feeder.pressure).toEqual([true, false])
    expect(idle.pressure).toEqual([])
    expect(simulated.metrics.snapshot().gauges.walBacklogBytes).toBe(0)
  })

  test('answers BACKPRESSURE with retryAfterMs past the deadline, and resumes the sources', async () => {
    const stall = simulated.stall('walBeforeWrite')
    const connection = new Connection()
    for (let i = 0; i < 6; i++) connection.sendKib(60)
    await stall.held()
    await simulated.clock.advanceAndSettle(1_900)
    expect(connection.refusals).toEqual([])
    await simulated.clock.advanceAndSettle(700)
    // What is in the group that is being written can only wait for it.
    expect(connection.refusals.length).toBeGreaterThan(2)
    for (const refusal of connection.refusals) {
      expect(refusal).toMatchObject({ code: 'BACKPRESSURE', retriable: true, outcome: 'notWritten' })
      expect(refusal.retryAfterMs).toBeGreaterThan(0)
    }
    expect(connection.pressure).toEqual([true, false])
    stall.release()
    await until(() => connection.acks + connection.refusals.length === 6)
    expect(shard.bounds(topicId, 0).durableEnd).toBe(connection.acks)
    await append(shard, textBatch(['after'], { topicId }))
  })

  test('keeps nothing of the batches that it refused, however long the disk stalls', async () => {
    const stall = simulated.stall('walBeforeWrite')
    const connection = new Connection()
    connection.sendKib(1)
    await stall.held()
    const refs: WeakRef<AppendBatch>[] = []
    for (let i = 0; i < 20; i++) {
      const batch = textBatch(['y'.repeat(50 * KIB)], { topicId })
      refs.push(new WeakRef(batch))
      connection.send(batch)
    }
    await simulated.clock.advanceAndSettle(3_000)
    expect(connection.refusals).toHaveLength(20)
    collectGarbage()
    await new Promise((resolve) => setTimeout(resolve, 5))
    collectGarbage()
    expect(refs.filter((ref) => ref.deref() !== undefined).length).toBeLessThanOrEqual(1)
    stall.release()
  })

  test('goes on with what stands behind a refused batch that was still to be inflated', async () => {
    const connection = new Connection()
    // Inflated off the loop: not before the timer that refuses it fires.
    for (let i = 0; i < 3; i++) connection.send(gzipBatch(`zipped ${i}`))
    simulated.clock.advance(1_999)
    connection.sendKib(1)
    simulated.clock.advance(600)
    expect(connection.refusals.map(({ code }) => code)).toEqual(Array(3).fill('BACKPRESSURE'))
    await until(() => connection.acks === 1)
    expect(shard.bounds(topicId, 0).durableEnd).toBe(1)
  })

  test('refuses what waits in a source that is closed, and what comes to it later, with CLOSED', async () => {
    const stall = simulated.stall('walBeforeWrite')
    const [first, closed] = [new Connection(), new Connection()]
    first.sendKib(1)
    await stall.held()
    closed.sendKib(1)
    closed.send(gzipBatch('zipped'))
    closed.source.close()
    closed.sendKib(1)
    expect(closed.refusals.map(({ code }) => code)).toEqual(['CLOSED', 'CLOSED', 'CLOSED'])
    stall.release()
    await until(() => first.acks === 1)
    await append(shard, textBatch(['after'], { topicId }))
    expect(shard.bounds(topicId, 0).durableEnd).toBe(2)
  })
})

describe('groups', () => {
  test('take a small batch soon, however much another source has to write', async () => {
    const stall = simulated.stall('walBeforeWrite')
    const [bulk, small] = [new Connection(), new Connection()]
    for (let i = 0; i < 100; i++) bulk.sendKib(60)
    await stall.held()
    let groups = Number.POSITIVE_INFINITY
    // Too large for what a group of full batches has left.
    small.send(textBatch(['x'.repeat(20 * KIB)], { topicId }), () => {
      groups = simulated.counter('walGroups')
    })
    const before = simulated.counter('walGroups')
    stall.release()
    await until(() => bulk.acks === 100)
    expect(simulated.counter('walGroups') - before).toBeGreaterThan(40)
    expect(groups - before).toBeLessThanOrEqual(3)
  })

  test('take small batches ahead of large ones, alone, but never twice in a row', async () => {
    const stall = simulated.stall('walBeforeWrite')
    const [bulk, small] = [new Connection(), new Connection()]
    const groupsOfBulk: number[] = []
    const groupsOfSmall: number[] = []
    const large = (): void =>
      bulk.send(textBatch(['x'.repeat(60 * KIB)], { topicId }), () => {
        groupsOfBulk.push(simulated.counter('walGroups'))
      })
    const sendSmall = (): void =>
      small.send(textBatch(['x'], { topicId }), () => {
        groupsOfSmall.push(simulated.counter('walGroups'))
        if (groupsOfSmall.length < 10) sendSmall()
      })
    for (let i = 0; i < 200; i++) large()
    await stall.held()
    sendSmall()
    stall.release()
    await until(() => groupsOfBulk.length === 200 && groupsOfSmall.length === 10)
    expect(groupsOfBulk).not.toContain(groupsOfSmall[0])
    // Each comes with the answer to the one before: every other group at most is without bulk.
    const alone = groupsOfSmall.filter((group) => !groupsOfBulk.includes(group))
    expect(alone.length).toBeGreaterThan(2)
    expect(alone.every((group) => !alone.includes(group + 1))).toBe(true)
  })

  test('take a batch larger than a group even while every group has commands of its own', async () => {
    await simulated.close()
    shard = await simulated.open({ groupBytesMax: 16 * KIB })
    const connection = new Connection()
    let isOver = false
    const commands = async (name: string): Promise<void> => {
      for (let i = 0; !isOver && i < 200; i++) await createTopic(shard, `${name}-${i}`)
    }
    const busy = Promise.all(['a', 'b', 'c'].map(commands))
    let created = 0
    connection.send(textBatch(['x'.repeat(60 * KIB)], { topicId }), () => {
      created = shard.topicsAfter(null, 1_000).length
      isOver = true
    })
    await busy
    expect(connection.acks).toBe(1)
    expect(created).toBeLessThan(50)
  })
})

let gc: (() => void) | undefined

function collectGarbage(): void {
  if (gc === undefined) {
    setFlagsFromString('--expose-gc')
    gc = runInNewContext('gc') as () => void
  }
  gc()
}
