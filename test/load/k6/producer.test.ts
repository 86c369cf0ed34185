import { describe, expect, it } from 'vitest'
import { prepareBatch } from '../../../load/k6/batch.js'
import type { LoadClock } from '../../../load/k6/clock.js'
import { LoadProducer } from '../../../load/k6/producer.js'
import { Session } from '../../../load/k6/session.js'
import { packFrame, unpackFrame } from '../../../protocol/frame.js'
import { topicIdFrom } from '../../../protocol/ids.js'
import { type Produce, produce, produced, producerReady } from '../../../protocol/messages/index.js'
import { decodeRecords } from '../../../protocol/records.js'
import { notedMeasures } from '../../support/noted-measures.js'

/** Time that a test moves by hand. */
class HandClock implements LoadClock {
  #now = 1_000_000
  #ticks: { task: () => void; isOver: boolean }[] = []
  now = (): number => this.#now
  after = (): (() => void) => () => {}
  every(_ms: number, task: () => void): () => void {
    const tick = { task, isOver: false }
    this.#ticks.push(tick)
    return () => {
      tick.isOver = true
    }
  }
  pass(ms: number): void {
    this.#now += ms
    for (const tick of this.#ticks) if (!tick.isOver) tick.task()
  }
}

function started(options: { recordsPerSecond?: number; inFlight?: number }) {
  const { measures, wrongs, noted } = notedMeasures()
  const sent: unknown[][] = []
  const push = (frame: ArrayBuffer): void => void sent.push(unpackFrame(new Uint8Array(frame)))
  const session = new Session({ send: push, close: () => {} }, measures)
  const receive = (frame: unknown[]): void => session.receive(packFrame(frame).slice().buffer as ArrayBuffer)
  const clock = new HandClock()
  const producer = new LoadProducer({
    session,
    topic: { name: 't', topicId: topicIdFrom('0f'.repeat(16)), partitions: 2 },
    batch: prepareBatch({ recordCount: 10, recordBytes: 5 }),
    measures,
    clock,
    inFlight: options.inFlight ?? 3,
    recordsPerSecond: options.recordsPerSecond ?? 0,
  })
  producer.start()
  receive(producerReady.write({ correlationId: 1, producerId: 9, producerEpoch: 4 }))
  const batches = (): Produce[] => sent.slice(1).map((frame) => produce.read(frame))
  const ack = (correlationId: number, baseOffset: number, duplicate = false): void =>
    receive(produced.write({ acks: [{ correlationId, baseOffset, appendTime: 0, duplicate }] }))
  return { producer, clock, batches, ack, wrongs, noted }
}

describe('a load producer', () => {
  it('fills its window round robin, each partition with sequences of its own', () => {
    const { batches } = started({})
    expect(batches().map(({ partition, baseSequence }) => [partition, baseSequence])).toEqual([
      [0, 0],
      [1, 0],
      [0, 10],
    ])
    expect(batches()[0]).toMatchObject({ producerId: 9, producerEpoch: 4, recordCount: 10 })
  })

  it('sends records of the size that was asked for', () => {
    const [batch] = started({}).batches()
    const records = decodeRecords(batch?.payload ?? new Uint8Array(0), 10)
    expect(records.map(({ value }) => String(value).length)).toEqual(new Array(10).fill(5))
  })

  it('sends one more for each ack, and times it', () => {
    const { clock, ack, batches, noted, wrongs } = started({})
    clock.pass(7)
    ack(2, 0)
    expect(batches()).toHaveLength(4)
    expect(noted).toEqual({ acked: [7], produced: [10] })
    expect(wrongs).toEqual([])
  })

  it('keeps to its rate, and times a batch that had no room from when it was due', () => {
    const { clock, ack, batches, noted } = started({ recordsPerSecond: 1000, inFlight: 1 })
    expect(batches()).toHaveLength(1)
    clock.pass(9)
    ack(2, 0)
    expect(batches(), 'the second is due after 10 ms').toHaveLength(1)
    clock.pass(1)
    clock.pass(30)
    ack(3, 0)
    ack(4, 10)
    expect(noted.acked).toEqual([9, 30, 20])
  })

  it('reports acks of a partition that go back, and batches that the broker had seen', () => {
    const { ack, wrongs } = started({})
    ack(2, 100)
    ack(4, 100)
    ack(3, 0, true)
    expect(wrongs).toEqual([
      'order: partition 0, offset 100: acked after 110',
      'repeat: partition 1, offset 0: the broker had seen the batch before',
    ])
  })

  it('sends no more once it stops, and is done with its last ack', () => {
    const { producer, ack, batches } = started({ inFlight: 2 })
    let isDone = false
    producer.stop(() => {
      isDone = true
    })
    ack(2, 0)
    expect(isDone).toBe(false)
    ack(3, 0)
    expect(isDone).toBe(true)
    expect(batches()).toHaveLength(2)
  })
})
