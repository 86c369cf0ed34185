import { describe, expect, it } from 'vitest'
import { answeredWrite, catches, pick, rulesBroken, seeInstead } from '../corruption.js'
import { historyOf, log, read, refused, topic, unknown, write, written } from '../facts.js'
import { unwantedWrite } from './unwanted-write.js'

const registered = (epoch: number) => ({ type: 'producer', process: 'p', producerId: 7, epoch }) as const
const by = (epoch: number) => ({ producer: { id: 7, epoch, sequence: 0 } })

describe('the rule that nothing is seen that was refused or never asked for', () => {
  it('lets pass what was asked for, answered or not, and what the broker writes itself', () => {
    const history = historyOf(
      topic(),
      registered(1),
      write(1, ['a'], by(1)),
      written(1, 0),
      write(2, ['b']),
      registered(2),
      write(3, ['c'], by(1)),
      refused(3),
      log(['a', 'b']),
      topic({ topicId: 'dlq', writtenByBroker: true }),
      read(0, ['a'], { topicId: 'dlq' }),
    )
    expect(rulesBroken(history)).toEqual([])
  })

  it('catches a write that was refused', () => {
    expect(rulesBroken(historyOf(topic(), write(1, ['a']), refused(1), log(['a'])))).toEqual([
      'unwanted-write',
    ])
  })

  it('catches a value that nobody wrote, or not yet, or not there', () => {
    expect(rulesBroken(historyOf(topic(), log(['?'])))).toEqual(['unwanted-write'])
    expect(rulesBroken(historyOf(topic(), read(0, ['a']), write(1, ['a'])))).toEqual(['unwanted-write'])
    const elsewhere = historyOf(topic(), write(1, ['a']), unknown(1), log(['a'], { partition: 1 }))
    expect(rulesBroken(elsewhere)).toEqual(['unwanted-write'])
  })

  it('catches a record that is not at the offset that it was to have', () => {
    const records = [{ topicId: 't', partition: 0, value: 'b', expectedOffset: 3 }]
    const history = historyOf(topic(), write(1, ['a']), write(2, [], { records }), log(['a', 'b']))
    expect(rulesBroken(history)).toEqual(['unwanted-write'])
  })

  it('catches a producer that writes with an epoch that is over', () => {
    const late = historyOf(
      topic(),
      registered(1),
      registered(2),
      write(1, ['a'], by(1)),
      written(1, 0),
      log(['a']),
    )
    expect(rulesBroken(late)).toEqual(['unwanted-write'])
    const unanswered = historyOf(topic(), registered(2), write(1, ['a'], by(1)), unknown(1), log(['a']))
    expect(rulesBroken(unanswered)).toEqual(['unwanted-write'])
    // It was there before the epoch was over, and is sent again.
    const again = historyOf(
      topic(),
      registered(1),
      write(1, ['a'], by(1)),
      registered(2),
      write(2, ['a'], by(1)),
      unknown(2),
      log(['a']),
    )
    expect(rulesBroken(again)).toEqual([])
  })

  catches(unwantedWrite, {
    'a write that is seen was refused': (events, random) => {
      // Not one of those that are asked for again and again until they are there.
      const found = answeredWrite(events, random, ({ atomic }) => atomic !== true)
      if (found === undefined) return undefined
      const { index, op } = found.answer
      return events.map((event) => (event.index === index ? { index, type: 'refused', op } : event))
    },
    'a value that is not what was written': (events, random) => {
      const read = pick(events, random, { type: 'read', isFit: ({ records }) => records.length > 0 })
      if (read === undefined) return undefined
      const [, damaged] = random.pick(read.records)
      return seeInstead(events, (seen) => (seen[1] === damaged ? [seen[0], `${damaged}!`] : seen))
    },
    'a producer whose epoch was over': (events, random) => {
      const found = answeredWrite(events, random, ({ producer }) => producer !== undefined)
      const id = found?.asked.producer?.id
      if (id === undefined) return undefined
      return events.map((event) =>
        event.type === 'producer' && event.producerId === id ? { ...event, epoch: 9 } : event,
      )
    },
  })
})
