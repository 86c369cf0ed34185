import { afterEach, expect, test } from 'vitest'
import { type Clock, systemClock } from '../../broker/platform/clock.js'
import { listOffsets, offsetsListed, produceChecked, producedChecked } from '../../protocol/messages/index.js'
import { markedBatch } from '../fuzz/legal-frames.js'
import { FaultedBroker } from './faulted-broker.js'

const HOUR = 3_600_000

/** The machine's clock with the wall clock set off; timers go on as ever. */
class JumpingClock implements Clock {
  offsetMs = 0
  now = (): number => systemClock.now() + this.offsetMs
  monotonic = (): number => systemClock.monotonic()
  setTimer: Clock['setTimer'] = (...args) => systemClock.setTimer(...args)
}

let faulted: FaultedBroker | undefined

afterEach(async () => {
  await faulted?.end()
  faulted = undefined
})

test('a clock that jumps back and forth moves neither offsets, nor append times, nor dedup windows back', {
  timeout: 300_000,
}, async () => {
  const clock = new JumpingClock()
  const broker = await FaultedBroker.start({ clock })
  faulted = broker
  const times: number[] = []
  let jumps = 0
  const hash = new Uint8Array(16).fill(7)
  const identified = async () => {
    const batch = markedBatch('the same', { records: 1, textual: true })
    const fields = {
      topicId: broker.topicId,
      partition: 0,
      producerId: null,
      producerEpoch: 0,
      baseSequence: 0,
    }
    const ids = { expectedOffset: null, idBitmap: Uint8Array.of(1), ids: hash }
    return await broker.client.request(produceChecked, { ...fields, ...ids, ...batch }, producedChecked)
  }
  const first = await identified()
  broker.outcomes.set('the same 0', { offset: first.baseOffset })
  // Forth by less than the dedup window of ten minutes, and back by much more.
  for (const offsetMs of [0, -HOUR, 120_000, -24 * HOUR, 240_000, -1_000, 0]) {
    clock.offsetMs = offsetMs
    for (let i = 0; i < 5; i++) expect(await broker.send()).toHaveProperty('offset')
    const again = await identified()
    expect(again.duplicates).toEqual([{ index: 0, partition: 0, offset: first.baseOffset }])
    times.push(again.appendTime)
    if (++jumps === 4) {
      await broker.stop()
      await broker.start()
    }
  }
  expect(times).toEqual([...times].sort((a, b) => a - b))
  const query = { topicId: broker.topicId, queries: [{ partition: 0, at: 2, time: 0 }] }
  const { offsets } = await broker.client.request(listOffsets, query, offsetsListed)
  expect(offsets[0]).toMatchObject({ offset: 0 })
  await broker.assertKept()
  clock.offsetMs = -48 * HOUR
  await broker.assertRecovers()
})
