import { describe, expect, it } from 'vitest'
import { append, readAll, someRequestId, textBatch } from '../../support/test-shard.js'
import { SimulatedShard } from './simulated-shard.js'
import { create, streamsOf, write } from './written-stream.js'

const by = (seq: number, epoch = 0) => ({ producer: { producerId: 'p', epoch, seq } })

describe('writes to a stream', () => {
  it('that come together are checked one against the other: sequences, a repetition, the end', async () => {
    const at = new SimulatedShard()
    const shard = await at.open()
    const topicId = await create(streamsOf(at, shard), 's')
    const given = await Promise.allSettled([
      write(shard, topicId, '0', by(0)),
      write(shard, topicId, '1', by(1)),
      write(shard, topicId, '0', by(0)),
      write(shard, topicId, '3', by(3)),
      write(shard, topicId, '2', { ...by(2), closes: true, seq: 'b' }),
      write(shard, topicId, '2', { ...by(2), closes: true, seq: 'b' }),
      write(shard, topicId, 'late'),
    ])
    const shown = given.map((each) =>
      each.status === 'fulfilled' ? [each.value.isDuplicate, each.value.nextOffset] : each.reason.code,
    )
    expect(shown).toEqual([
      [false, 1],
      [false, 2],
      [true, 2],
      'SEQUENCE_GAP',
      [false, 3],
      [true, 3],
      'STREAM_CLOSED',
    ])
    await expect(append(shard, textBatch(['late'], { topicId }))).rejects.toMatchObject({
      code: 'STREAM_CLOSED',
    })
    const { records } = await readAll(shard, topicId)
    expect(records.map(({ value }) => value)).toEqual(['0', '1', '2'])
  })

  it('are in no group a repetition of what a power cut took back, and always one of what was acknowledged', async () => {
    const at = new SimulatedShard()
    let shard = await at.open()
    const topicId = await create(streamsOf(at, shard), 's')
    await write(shard, topicId, '0', by(0))
    await write(shard, topicId, '1', { ...by(1), seq: 'm' })
    for (const how of ['kill', 'power cut'] as const) {
      shard = await at.crash(how)
      expect(await write(shard, topicId, '1', by(1))).toMatchObject({ isDuplicate: true, nextOffset: 2 })
      const stale = write(shard, topicId, 'x', { seq: 'm' })
      await expect(stale).rejects.toMatchObject({ code: 'STREAM_SEQ_CONFLICT' })
      const epoch = write(shard, topicId, 'x', by(5, 1))
      await expect(epoch).rejects.toMatchObject({ code: 'ILLEGAL_ARGUMENT' })
    }
    expect(await write(shard, topicId, '2', by(0, 1))).toMatchObject({ isDuplicate: false, nextOffset: 3 })
    await expect(write(shard, topicId, 'x', by(2))).rejects.toMatchObject({ code: 'PRODUCER_EPOCH_STALE' })
    expect(await write(shard, topicId, undefined, { closes: true })).toMatchObject({ isClosed: true })
    shard = await at.crash('power cut')
    expect(await write(shard, topicId, undefined, { closes: true })).toMatchObject({ isDuplicate: true })
    const { records } = await readAll(shard, topicId)
    expect(records.map(({ value }) => value)).toEqual(['0', '1', '2'])
  })
})

describe('a stream that lives for so long after its last access', () => {
  it('goes when nobody has asked for it, and not a moment sooner for a crash', async () => {
    const at = new SimulatedShard()
    let shard = await at.open()
    let streams = streamsOf(at, shard)
    const topicId = await create(streams, 's', 40)
    streams.start()
    // Read every second for two minutes: what of that is logged is at most ten seconds old.
    for (let second = 0; second < 120; second++) {
      await at.clock.advanceAndSettle(1_000)
      expect(streams.named('s')?.topicId).toBe(topicId)
      streams.accessed(topicId)
    }
    streams.stop()
    shard = await at.crash('kill')
    streams = streamsOf(at, shard)
    await at.clock.advanceAndSettle(39_000)
    expect(streams.named('s')?.topicId).toBe(topicId)
    await at.clock.advanceAndSettle(15_000)
    expect(streams.named('s')).toBeUndefined()
    streams.start()
    await at.clock.advanceAndSettle(2_000)
    await shard.deleteTopic({ requestId: someRequestId(), name: 'no such topic' }).catch(() => {})
    expect(shard.topicNamed('s')).toBeUndefined()
    streams.stop()
  })
})
