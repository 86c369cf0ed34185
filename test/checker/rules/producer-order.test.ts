import { describe, expect, it } from 'vitest'
import { catches, finalLog, rulesBroken, seeInstead } from '../corruption.js'
import { historyOf, log, topic, unknown, write, written } from '../facts.js'
import { producerOrder } from './producer-order.js'

const stream = { stream: 's' }
const at = (sequence: number, epoch = 0) => ({ producer: { id: 1, epoch, sequence } })

describe('the rule that the order of a producer is kept', () => {
  it('lets pass producers that are mixed, each in its order', () => {
    const history = historyOf(
      topic(),
      write(1, ['a1', 'a2'], stream),
      write(2, ['b1'], { stream: 'other' }),
      write(3, ['a3'], stream),
      written(1, 0, 2),
      log(['a1', 'b1', 'a2', 'a3']),
    )
    expect(rulesBroken(history)).toEqual([])
  })

  it('lets a record that is sent again stand where it was sent first', () => {
    const history = historyOf(
      topic(),
      write(1, ['a'], at(0)),
      unknown(1),
      write(2, ['b'], at(1)),
      write(3, ['a'], at(0)),
      log(['a', 'b']),
    )
    expect(rulesBroken(history)).toEqual([])
  })

  it('lets dead letters stand in an order of their own', () => {
    const letters = { topicId: 'dlq' }
    const history = historyOf(
      topic(),
      topic({ ...letters, writtenByBroker: true }),
      write(1, ['a', 'b'], stream),
      log(['b', 'a'], letters),
      log(['a', 'b']),
    )
    expect(rulesBroken(history)).toEqual([])
  })

  it('catches records of one stream that are exchanged', () => {
    const history = historyOf(topic(), write(1, ['a'], stream), write(2, ['b'], stream), log(['b', 'a']))
    expect(rulesBroken(history)).toEqual(['producer-order'])
  })

  it('catches sequences that go back, and an old epoch behind a new one', () => {
    const back = historyOf(topic(), write(1, ['a', 'b'], at(4)), log(['b', 'a']))
    expect(rulesBroken(back)).toEqual(['producer-order'])
    const epochs = historyOf(topic(), write(1, ['a'], at(5, 1)), write(2, ['b'], at(0, 2)), log(['b', 'a']))
    expect(rulesBroken(epochs)).toEqual(['producer-order'])
  })

  catches(producerOrder, {
    'two records of one producer are exchanged for everybody': (events, random) => {
      const streams = new Map<string, string>()
      for (const event of events)
        if (event.type === 'write' && event.stream !== undefined)
          for (const { value } of event.records) streams.set(value, event.stream)
      const place = { topicId: random.pick(['orders', 'jobs']), partition: 0 }
      const values = finalLog(events, place).map(([, value]) => value)
      const first = values.find((value, i) =>
        values.slice(i + 1).some((later) => streams.get(later) === streams.get(value)),
      )
      const second = values.findLast(
        (value) => value !== first && streams.get(value) === streams.get(first ?? ''),
      )
      if (first === undefined || second === undefined) return undefined
      const other = new Map([
        [first, second],
        [second, first],
      ])
      return seeInstead(events, ([offset, value]) => [offset, other.get(value) ?? value])
    },
  })
})
