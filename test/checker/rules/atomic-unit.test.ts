import { describe, expect, it } from 'vitest'
import { answeredWrite, catches, rulesBroken, seeInstead } from '../corruption.js'
import { bounds, historyOf, log, read, topic, unknown, write } from '../facts.js'
import type { CursorAck } from '../history.js'
import { atomicUnit } from './atomic-unit.js'

const records = ['a', 'b'].map((value, partition) => ({ topicId: 't', partition, value }))
const unit = (op: number) => write(op, [], { records, atomic: true })
const second = { partition: 1 }

describe('the rule that atomic writes are there all or nothing', () => {
  it('lets pass one that is there, one that is not, and one that is deleted', () => {
    expect(rulesBroken(historyOf(topic(), unit(1), unknown(1), log(['a']), log(['b'], second)))).toEqual([])
    expect(rulesBroken(historyOf(topic(), unit(1), unknown(1), log([]), log([], second)))).toEqual([])
    const deleted = historyOf(
      topic({ expires: true }),
      unit(1),
      log(['a']),
      log([], { ...second, startOffset: 1 }),
    )
    expect(rulesBroken(deleted)).toEqual([])
  })

  it('catches one that is there in part', () => {
    const history = historyOf(topic(), unit(1), unknown(1), log(['a']), log([], second))
    expect(rulesBroken(history)).toEqual(['atomic-unit'])
  })

  it('catches one of which a part is seen before the rest is there', () => {
    const early = historyOf(
      topic(),
      unit(1),
      read(0, ['a']),
      bounds(0, 0, second),
      log(['a']),
      log(['b'], second),
    )
    expect(rulesBroken(early)).toEqual(['atomic-unit'])
    const fine = historyOf(
      topic(),
      unit(1),
      bounds(0, 0, second),
      read(0, ['a']),
      log(['a']),
      log(['b'], second),
    )
    expect(rulesBroken(fine)).toEqual([])
  })

  it('catches two that carry the same ack', () => {
    const acks: CursorAck[] = [
      { kind: 'cursor', group: 'g', member: 'm', topicId: 'in', partition: 0, offset: 5 },
    ]
    const one = (op: number, value: string) => write(op, [value], { atomic: true, acks })
    expect(rulesBroken(historyOf(topic(), one(1, 'a'), unknown(1), one(2, 'b'), log(['a', 'b'])))).toContain(
      'atomic-unit',
    )
    expect(rulesBroken(historyOf(topic(), one(1, 'a'), unknown(1), one(2, 'a'), log(['a'])))).toEqual([])
    expect(rulesBroken(historyOf(topic(), one(1, 'a'), unknown(1), one(2, 'b'), log(['b'])))).toEqual([])
  })

  catches(atomicUnit, {
    'one of its records is nowhere': (events, random) => {
      const found = answeredWrite(events, random, ({ atomic }) => atomic === true)
      if (found === undefined) return undefined
      const lost = random.pick(found.asked.records).value
      return seeInstead(events, (seen) => (seen[1] === lost ? undefined : seen))
    },
  })
})
