import { describe, expect, it } from 'vitest'
import { catches, insert, pick, replace, rulesBroken } from '../corruption.js'
import { ack, assigned, cursor, done, given, historyOf, reset, topic, unknown, write } from '../facts.js'
import { ackKept } from './ack-kept.js'

const start = [topic(), write(1, ['a', 'b', 'c']), assigned('m', 0), given('m', 0, ['a', 'b'])] as const
const acked = [...start, ack(2, 'm', 2), done(2)] as const

describe('the rule that an answered ack is never undone', () => {
  it('lets pass a group that goes on where it was, or repeats what was not acknowledged', () => {
    expect(rulesBroken(historyOf(...acked, assigned('n', 2, { since: 6 }), given('n', 2, ['c'])))).toEqual([])
    expect(
      rulesBroken(historyOf(...start, ack(2, 'm', 2), unknown(2), assigned('n', 0, { since: 6 }))),
    ).toEqual([])
    expect(rulesBroken(historyOf(...acked, assigned('n', 0, { since: 5 })))).toEqual([])
  })

  it('lets a reset take it back', () => {
    const history = historyOf(...acked, reset(3, 0), done(3), cursor(0), assigned('n', 0, { since: 8 }))
    expect(rulesBroken(history)).toEqual([])
    // One that came between a join and its answer, and one that may yet be done.
    expect(rulesBroken(historyOf(...acked, reset(3, 0), done(3), assigned('n', 0, { since: 6 })))).toEqual([])
    expect(rulesBroken(historyOf(...acked, reset(3, 0), unknown(3), cursor(2), cursor(0)))).toEqual([])
    // Two at once: either may have been the last.
    const both = [...acked, reset(3, 0), reset(4, 2), done(3), done(4)]
    expect(rulesBroken(historyOf(...both, cursor(0)))).toEqual([])
    expect(rulesBroken(historyOf(...acked, reset(3, 0), done(3), reset(4, 2), done(4), cursor(0)))).toEqual([
      'ack-kept',
    ])
  })

  it('lets a reset to a place that only the broker knows go as far as it may', () => {
    const free = { ...reset(3, 1), upTo: 9 }
    expect(rulesBroken(historyOf(...acked, free, done(3), cursor(3)))).toEqual([])
    expect(rulesBroken(historyOf(...acked, free, done(3), cursor(0)))).toEqual(['ack-kept'])
    expect(rulesBroken(historyOf(...acked, { ...free, upTo: 2 }, done(3), cursor(3)))).toEqual([
      'cursor-rises',
    ])
  })

  it('catches a cursor below what was acknowledged', () => {
    expect(rulesBroken(historyOf(...acked, cursor(1)))).toEqual(['ack-kept'])
    expect(
      rulesBroken(historyOf(...acked, reset(3, 1), done(3), ack(4, 'm', 2), done(4), cursor(1))),
    ).toEqual(['ack-kept'])
  })

  it('catches a member that begins below it, told so or not', () => {
    expect(rulesBroken(historyOf(...acked, assigned('n', 1, { since: 6 })))).toEqual(['ack-kept'])
    const untold = { ...assigned('n', 0, { since: 6 }), cursor: undefined }
    expect(rulesBroken(historyOf(...acked, untold, given('n', 1, ['b'])))).toEqual(['ack-kept'])
  })

  it('catches a newer generation below the acks of an older one, whoever speaks first', () => {
    const history = historyOf(
      topic(),
      assigned('m', 0, { generation: 1 }),
      ack(1, 'm', 2, { generation: 1 }),
      assigned('n', 0, { generation: 2 }),
      done(1),
    )
    expect(rulesBroken(history)).toEqual(['ack-kept'])
  })

  it('catches a member that is given something twice', () => {
    expect(rulesBroken(historyOf(...start, given('m', 1, ['b'])))).toEqual(['ack-kept'])
  })

  catches(ackKept, {
    'a cursor that is back below an answered ack': (events, random) => {
      const answers = new Set(events.flatMap((event) => (event.type === 'done' ? [event.op] : [])))
      const acked = pick(events, random, {
        type: 'ack',
        isFit: ({ op, offset }) => offset > 0 && answers.has(op),
      })
      const last = events.at(-1)
      if (acked === undefined || last === undefined) return undefined
      const { group, topicId, partition, offset } = acked
      return insert(events, last, { type: 'cursor', group, topicId, partition, offset: offset - 1 })
    },
    'an assignment that begins too low': (events, random) => {
      const answers = new Set(events.flatMap((event) => (event.type === 'done' ? [event.op] : [])))
      const isAcked = (place: { partition: number; index: number }): boolean =>
        events.some(
          (event) =>
            event.type === 'ack' &&
            answers.has(event.op) &&
            event.partition === place.partition &&
            event.offset > 0 &&
            event.index < place.index,
        )
      const assigned = pick(events, random, {
        type: 'assigned',
        isFit: ({ cursor, partition, index }) => (cursor ?? 0) > 0 && isAcked({ partition, index }),
      })
      return assigned && replace(events, assigned, { cursor: -1 })
    },
  })
})
