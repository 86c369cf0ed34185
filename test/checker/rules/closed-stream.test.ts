import { describe, expect, it } from 'vitest'
import { rulesBroken } from '../corruption.js'
import { done, historyOf, log, read, refused, streamEnd, topic, unknown, write, written } from '../facts.js'

const start = [topic(), write(1, ['a']), written(1, 0)] as const
/** With the record "b", at offset 1. */
const closing = write(2, ['b'], { closes: 't' })
/** The same once more. */
const again = write(3, ['b'], { closes: 't' })
const closed = [...start, closing, written(2, 1)] as const

describe('the rule that a closed stream stays closed', () => {
  it('lets pass one that is closed and stays as it is, and one whose closing failed', () => {
    expect(
      rulesBroken(historyOf(...closed, streamEnd(2, true), write(3, ['c']), refused(3), log(['a', 'b']))),
    ).toEqual([])
    expect(rulesBroken(historyOf(...start, closing, refused(2), streamEnd(1, false), log(['a'])))).toEqual([])
    const maybe = historyOf(...start, closing, unknown(2), streamEnd(1, false), streamEnd(2, true))
    expect(rulesBroken(maybe)).toEqual([])
  })

  it('lets pass an answer that was on its way while the stream was closed', () => {
    expect(rulesBroken(historyOf(...closed, streamEnd(1, false, { since: 3 })))).toEqual([])
    const early = [...start, write(3, ['c']), closing, written(2, 2), written(3, 1)] as const
    expect(rulesBroken(historyOf(...early, log(['a', 'c', 'b'])))).toEqual([])
  })

  it('lets pass a retry of what closed it', () => {
    expect(rulesBroken(historyOf(...closed, again, done(3), log(['a', 'b'])))).toEqual([])
  })

  it('catches one that is open again', () => {
    expect(rulesBroken(historyOf(...closed, streamEnd(2, false)))).toEqual(['closed-stream'])
    expect(rulesBroken(historyOf(...start, streamEnd(1, true), streamEnd(1, false)))).toEqual([
      'closed-stream',
    ])
    const alone = [...start, write(2, [], { closes: 't' }), done(2), streamEnd(1, false)] as const
    expect(rulesBroken(historyOf(...alone))).toEqual(['closed-stream'])
  })

  it('catches one that takes a write', () => {
    expect(rulesBroken(historyOf(...closed, write(3, ['c']), written(3, 2)))).toEqual(['closed-stream'])
  })

  it('catches one that has more than it ended with', () => {
    const unasked = [...start, write(3, ['c']), streamEnd(1, true), unknown(3)] as const
    expect(rulesBroken(historyOf(...unasked, read(0, ['a', 'c'])))).toEqual(['closed-stream'])
    expect(rulesBroken(historyOf(...unasked, log(['a', 'c'])))).toEqual(['closed-stream'])
  })

  it('catches one that ends in two places', () => {
    expect(rulesBroken(historyOf(...closed, streamEnd(1, true)))).toEqual(['closed-stream'])
  })
})
