import { describe, expect, it } from 'vitest'
import { rulesBroken } from '../corruption.js'
import { bounds, chunk, chunkGone, deleteBefore, done, historyOf, topic, unknown } from '../facts.js'

describe("the rule that a chunk's URL gives the same bytes for ever", () => {
  it('lets pass one that does, until it is deleted', () => {
    const history = historyOf(
      topic(),
      chunk('x'),
      chunk('x'),
      deleteBefore(1, 1),
      chunk('x'),
      done(1),
      chunkGone(),
    )
    expect(rulesBroken(history)).toEqual([])
    expect(rulesBroken(historyOf(topic(), chunk('x'), chunk('y', { url: '/d', from: 2 })))).toEqual([])
  })

  it('lets pass answers that were on their way while it was deleted', () => {
    const history = historyOf(
      topic(),
      deleteBefore(1, 2),
      chunkGone(),
      done(1),
      chunk('x', { since: 1 }),
      bounds(2, 2),
      chunk('x', { since: 1 }),
    )
    expect(rulesBroken(history)).toEqual([])
  })

  it('lets pass one that goes by its age', () => {
    expect(rulesBroken(historyOf(topic({ expires: true }), chunk('x'), chunkGone()))).toEqual([])
  })

  it('catches other bytes', () => {
    expect(rulesBroken(historyOf(topic(), chunk('x'), chunk('y')))).toEqual(['chunk-bytes'])
  })

  it('catches one that comes back', () => {
    const history = historyOf(topic(), deleteBefore(1, 1), unknown(1), chunkGone(), chunk('x'))
    expect(rulesBroken(history)).toEqual(['chunk-bytes'])
  })

  it('catches one that is served when it is deleted', () => {
    expect(rulesBroken(historyOf(topic(), deleteBefore(1, 1), done(1), chunk('x')))).toEqual(['chunk-bytes'])
    expect(rulesBroken(historyOf(topic({ expires: true }), bounds(1, 2), chunk('x')))).toEqual([
      'chunk-bytes',
    ])
  })

  it('catches one that is gone though nobody deleted it', () => {
    expect(rulesBroken(historyOf(topic(), chunk('x'), chunkGone()))).toEqual(['chunk-bytes'])
    const others = [deleteBefore(1, 2), done(1), chunkGone({ from: 2, next: 3 })] as const
    expect(rulesBroken(historyOf(topic(), ...others))).toEqual(['chunk-bytes'])
  })
})
