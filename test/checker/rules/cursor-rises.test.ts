import { describe, expect, it } from 'vitest'
import { catches, insert, pick, rulesBroken } from '../corruption.js'
import { ack, assigned, cursor, done, given, historyOf, refused, reset, topic, write } from '../facts.js'
import { cursorRises } from './cursor-rises.js'

const start = [
  topic(),
  write(1, ['a', 'b', 'c']),
  assigned('m', 0),
  given('m', 0, ['a', 'b']),
  ack(2, 'm', 2),
] as const

describe('the rule that cursors are monotonic', () => {
  it('lets pass a cursor that follows its acks, and one that is reset', () => {
    expect(rulesBroken(historyOf(...start, cursor(0), cursor(2), done(2), cursor(2)))).toEqual([])
    expect(rulesBroken(historyOf(...start, cursor(2), reset(3, 1), cursor(1), done(3), cursor(1)))).toEqual(
      [],
    )
  })

  it('lets pass an answer that was on its way while the cursor moved', () => {
    expect(rulesBroken(historyOf(...start, cursor(2), cursor(0, { since: 5 })))).toEqual([])
    // Asked before the reset was answered.
    const late = historyOf(...start, reset(3, 1), done(3), cursor(2, { since: 6 }), cursor(1))
    expect(rulesBroken(late)).toEqual([])
  })

  it('catches a cursor that was seen to move and is back', () => {
    expect(rulesBroken(historyOf(...start, cursor(2), cursor(0)))).toEqual(['cursor-rises'])
    const after = historyOf(...start, cursor(2), assigned('n', 1, { since: 6 }))
    expect(rulesBroken(after)).toEqual(['cursor-rises'])
    const again = historyOf(...start, reset(3, 1), done(3), cursor(2), cursor(1))
    expect(rulesBroken(again)).toEqual(['cursor-rises'])
  })

  it('catches a cursor that is further than anybody acknowledged', () => {
    expect(rulesBroken(historyOf(...start, cursor(3)))).toContain('cursor-rises')
    expect(rulesBroken(historyOf(...start, refused(2), cursor(2)))).toContain('cursor-rises')
  })

  catches(cursorRises, {
    'a cursor that nobody put there': (events, random) => {
      const seen = pick(events, random, { type: 'cursor', isFit: ({ group }) => group === 'copiers' })
      return seen && insert(events, seen, { ...withoutPlace(seen), offset: 5_000 })
    },
    'a cursor that falls': (events, random) => {
      const seen = pick(events, random, { type: 'cursor', isFit: ({ offset }) => offset > 0 })
      return seen && insert(events, seen, { ...withoutPlace(seen), offset: seen.offset - 1 })
    },
  })
})

const withoutPlace = ({ type, group, topicId, partition, offset }: ReturnType<typeof cursor>) => ({
  type,
  group,
  topicId,
  partition,
  offset,
})
