import { describe, expect, it } from 'vitest'
import { catches, insert, isAt, pick, rulesBroken } from '../corruption.js'
import {
  ack,
  assigned,
  bounds,
  deleteBefore,
  done,
  given,
  historyOf,
  leased,
  log,
  read,
  settle,
  topic,
  write,
} from '../facts.js'
import { truncation } from './truncation.js'

const values = ['a', 'b', 'c']
const start = [topic({ untilAcked: true }), write(1, values), read(0, values)] as const
const consumed = [assigned('m', 0), given('m', 0, ['a', 'b']), ack(2, 'm', 2)] as const

describe('the rule that nothing is deleted that a cursor holds', () => {
  it('lets pass what every cursor has passed, and what was asked for', () => {
    expect(rulesBroken(historyOf(...start, ...consumed, done(2), bounds(2, 3)))).toEqual([])
    expect(rulesBroken(historyOf(topic(), write(1, values), deleteBefore(2, 3), bounds(3, 3)))).toEqual([])
    expect(rulesBroken(historyOf(topic({ expires: true }), bounds(2, 3)))).toEqual([])
    const queue = [leased('w', 0), settle(2, 'w', 0), bounds(1, 3)] as const
    expect(rulesBroken(historyOf(...start, ...queue))).toEqual([])
  })

  it('catches a start past a cursor', () => {
    expect(rulesBroken(historyOf(...start, ...consumed, done(2), bounds(3, 3)))).toEqual(['truncation'])
    const late = { ...log(['c'], { startOffset: 2 }) }
    expect(
      rulesBroken(historyOf(...start, assigned('m', 0), given('m', 0, ['a']), ack(2, 'm', 1), late)),
    ).toEqual(['truncation'])
  })

  it('catches a start past a job that is not done', () => {
    const queue = [leased('w', 0), settle(2, 'w', 0), leased('w', 1), bounds(2, 3)] as const
    expect(rulesBroken(historyOf(...start, ...queue))).toEqual(['truncation'])
  })

  it('catches a deletion that nobody asked for, or from which no cursor is the reason', () => {
    expect(rulesBroken(historyOf(topic(), bounds(1, 3)))).toEqual(['truncation'])
    expect(rulesBroken(historyOf(...start, bounds(1, 3)))).toEqual(['truncation'])
  })

  it('lets a group that is gone hold nothing', () => {
    const gone = [
      { type: 'groupGone', group: 'g' },
      assigned('n', 0, { group: 'h' }),
      ack(3, 'n', 3, { group: 'h' }),
    ] as const
    expect(rulesBroken(historyOf(...start, ...consumed, ...gone, bounds(3, 3)))).toEqual([])
  })

  it('catches a start that goes back, and a deletion that is undone', () => {
    const expiring = topic({ expires: true })
    expect(rulesBroken(historyOf(expiring, bounds(2, 3), bounds(1, 3)))).toEqual(['truncation'])
    expect(rulesBroken(historyOf(expiring, deleteBefore(1, 2), done(1), bounds(0, 3)))).toEqual([
      'truncation',
    ])
  })

  catches(truncation, {
    'a start past every cursor': (events, random) => {
      const last = events.at(-1)
      const place = { topicId: 'orders', partition: random.below(2) }
      const seen = pick(events, random, {
        type: 'assigned',
        isFit: ({ partition }) => partition === place.partition,
      })
      return (
        seen &&
        last &&
        insert(events, last, { type: 'bounds', ...place, startOffset: 5_000, endOffset: 5_001 })
      )
    },
    'a start that was higher before': (events, random) => {
      const last = pick(events, random, {
        type: 'log',
        isFit: (piece) =>
          piece.startOffset > 0 &&
          events.find((event) => event.type === 'log' && isAt(event, piece)) === piece,
      })
      if (last === undefined) return undefined
      const { topicId, partition, endOffset } = last
      return insert(events, last, { type: 'bounds', topicId, partition, startOffset: 0, endOffset })
    },
  })
})
