import { describe, expect, it } from 'vitest'
import { answeredWrite, catches, rulesBroken, seeInstead } from '../corruption.js'
import { done, duplicate, historyOf, log, read, topic, unknown, write, writeId, written } from '../facts.js'
import { lostWrite } from './lost-write.js'

describe('the rule that no acknowledged write is lost', () => {
  it('lets pass what is there, what nobody answered for, and what was deleted', () => {
    const history = historyOf(
      topic(),
      write(1, ['a', 'b']),
      written(1, 0, 1),
      write(2, ['c']),
      unknown(2),
      write(3, ['d']),
      written(3, 2),
      log(['d'], { startOffset: 2 }),
    )
    expect(rulesBroken(history)).not.toContain('lost-write')
  })

  it('catches an acknowledged record behind the end of the log', () => {
    const history = historyOf(topic(), write(1, ['a', 'b']), written(1, 0, 1), log(['a']))
    expect(rulesBroken(history)).toEqual(['lost-write'])
  })

  it('catches one of which it was only said that it is there', () => {
    const said = [topic(), write(1, ['a']), written(1, 0), write(2, ['b']), done(2)] as const
    expect(rulesBroken(historyOf(...said, log(['a'])))).toEqual(['lost-write'])
    expect(rulesBroken(historyOf(...said, log(['a', 'b'])))).toEqual([])
    expect(rulesBroken(historyOf(...said, log(['a'], { startOffset: 1 })))).not.toContain('lost-write')
  })

  it('catches one that a reader passed without seeing it', () => {
    const history = historyOf(topic(), write(1, ['a', 'b']), written(1, 0, 1), read(0, ['a'], { next: 2 }))
    expect(rulesBroken(history)).toContain('lost-write')
  })

  it('catches another record in its place', () => {
    const history = historyOf(
      topic(),
      write(1, ['a']),
      written(1, 0),
      write(2, ['b']),
      unknown(2),
      log(['b']),
    )
    expect(rulesBroken(history)).toContain('lost-write')
  })

  it('catches a duplicate whose original is not there', () => {
    const first = [topic(), writeId(1, 'a', 'x'), written(1, 0), writeId(2, 'b', 'x')]
    expect(rulesBroken(historyOf(...first, duplicate(2, 0), log(['a'])))).toEqual([])
    const elsewhere = historyOf(...first, write(3, ['c']), written(3, 1), duplicate(2, 1), log(['a', 'c']))
    expect(rulesBroken(elsewhere)).toContain('lost-write')
    expect(rulesBroken(historyOf(...first, duplicate(2, 5), log(['a'])))).toContain('lost-write')
  })

  catches(lostWrite, {
    'an acknowledged record that nobody sees': (events, random) => {
      const found = answeredWrite(events, random)
      if (found === undefined) return undefined
      const lost = random.pick(found.asked.records).value
      return seeInstead(events, (seen) => (seen[1] === lost ? undefined : seen))
    },
  })
})
