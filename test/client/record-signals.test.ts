import { describe, expect, it } from 'vitest'
import { RecordSignals } from '../../client/record-signals.js'

describe('the signals of records', () => {
  it('are one each, and abort with the loss of the partition', () => {
    const signals = new RecordSignals()
    const [first, second] = [signals.newAt(0, 0), signals.newAt(1, 0)]
    expect(first).not.toBe(second)
    signals.abort('lost', 0)
    expect([first.reason, second.reason, signals.newAt(2, 0).reason]).toEqual(['lost', 'lost', 'lost'])
  })

  it('do not abort where the ack is durable', () => {
    const signals = new RecordSignals()
    const of = [0, 1, 2, 3].map((offset) => signals.newAt(offset, 0))
    signals.abort('lost', 2)
    expect(of.map(({ aborted }) => aborted)).toEqual([false, false, true, true])
  })

  it('are kept only for records whose acks are not durable', () => {
    const signals = new RecordSignals()
    for (let offset = 0; offset < 10_000; offset++) {
      signals.newAt(offset, offset - 3)
      expect(signals.count).toBeLessThanOrEqual(4)
    }
  })
})
