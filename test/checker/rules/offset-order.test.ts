import { describe, expect, it } from 'vitest'
import { catches, isAt, pick, replace, rulesBroken, seeInstead } from '../corruption.js'
import { deleteBefore, duplicate, historyOf, log, read, topic, write, writeId, written } from '../facts.js'
import type { EventOf, HistoryEvent, Seen } from '../history.js'
import { offsetOrder } from './offset-order.js'

describe('the rule that offsets are monotonic', () => {
  it('lets pass readers in their order, and a gap that a duplicate explains', () => {
    const both = {
      records: ['b', 'c'].map((value) => ({ topicId: 't', partition: 0, value, dedupId: value })),
    }
    const history = historyOf(
      topic(),
      writeId(1, 'a', 'b'),
      written(1, 0),
      write(2, [], both),
      {
        type: 'written',
        op: 2,
        places: [
          { partition: 0, offset: 0, duplicate: true },
          { partition: 0, offset: 2 },
        ],
      },
      read(0, ['a']),
      { ...read(1, []), next: 3, records: [[2, 'c']] },
      {
        ...log([]),
        endOffset: 3,
        records: [
          [0, 'a'],
          [2, 'c'],
        ],
      },
    )
    expect(rulesBroken(history)).toEqual([])
  })

  it('lets a reader go on behind what was deleted', () => {
    const history = historyOf(topic(), write(1, ['a', 'b']), read(0, []), deleteBefore(2, 1), read(1, ['b']))
    expect(rulesBroken(history)).toEqual([])
  })

  it('catches offsets that come twice or backwards', () => {
    const records = [
      [1, 'b'],
      [0, 'a'],
    ] as const
    expect(
      rulesBroken(historyOf(topic(), write(1, ['a', 'b']), { ...read(0, []), next: 2, records })),
    ).toContain('offset-order')
    const again = historyOf(topic(), write(1, ['a', 'b']), read(0, ['a', 'b']), read(1, ['b']))
    expect(rulesBroken(again)).toEqual(['offset-order'])
  })

  it('catches a reader that leaves something out', () => {
    const history = historyOf(topic(), write(1, ['a', 'b', 'c']), read(0, ['a']), read(2, ['c']))
    expect(rulesBroken(history)).toEqual(['offset-order'])
  })

  it('catches a gap that nothing explains, or more gaps than duplicates', () => {
    const hole = { ...log([]), endOffset: 2, records: [[1, 'a']] } as const
    expect(rulesBroken(historyOf(topic(), write(1, ['a']), hole))).toEqual(['offset-order'])
    const holes = { ...log([]), endOffset: 3, records: [[0, 'a']] } as const
    const history = historyOf(
      topic(),
      writeId(1, 'a', 'x'),
      written(1, 0),
      writeId(2, 'b', 'x'),
      duplicate(2, 0),
      holes,
    )
    expect(rulesBroken(history)).toEqual(['offset-order'])
  })

  catches(offsetOrder, {
    'two records of one read are exchanged': (events, random) => {
      const read = pick(events, random, { type: 'read', isFit: ({ records }) => records.length > 1 })
      return read && replace(events, read, { records: [...read.records].reverse() })
    },
    'a reader that goes back': (events, random) => {
      const read = pick(events, random, {
        type: 'read',
        isFit: (one) => one.from > 0 && events.some((other) => isBefore(other, one)),
      })
      return read && replace(events, read, { from: 0 })
    },
    'more holes than there are duplicates': (events) => {
      const isCopy = ([, value]: Seen): boolean => value.startsWith('copy')
      const isRead = events.some((event) => event.type === 'log' && event.records.some(isCopy))
      return isRead ? seeInstead(events, (seen) => (isCopy(seen) ? undefined : seen)) : undefined
    },
  })
})

const isBefore = (other: HistoryEvent, read: EventOf<'read'>): boolean =>
  other.type === 'read' && other.index < read.index && other.reader === read.reader && isAt(other, read)
