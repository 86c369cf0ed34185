import { describe, expect, it } from 'vitest'
import { rulesBroken } from '../corruption.js'
import { historyOf, log, read, topic, write, written } from '../facts.js'

const inFork = { topicId: 'f' }
const source = [topic(), write(1, ['a', 'b', 'c']), written(1, 0, 1, 2)] as const
/** From offset 2 on. */
const forked = [
  ...source,
  topic({ topicId: 'f', name: 'f', partitions: 1, fork: { topicId: 't', offset: 2 } }),
] as const
const own = write(2, [], { records: [{ topicId: 'f', partition: 0, value: 'x' }] })

describe('the rule that a fork begins with its source', () => {
  it('lets pass a fork with records of its own, also when its source is gone', () => {
    const fork = log(['a', 'b', 'x'], inFork)
    expect(rulesBroken(historyOf(...forked, own, written(2, 2), fork, log(['a', 'b', 'c'])))).toEqual([])
    const gone = { type: 'topicGone', topicId: 't' } as const
    expect(rulesBroken(historyOf(...forked, own, written(2, 2), gone, fork))).toEqual([])
  })

  it('lets pass a fork of a fork', () => {
    const again = topic({ topicId: 'g', name: 'g', partitions: 1, fork: { topicId: 'f', offset: 3 } })
    const history = historyOf(...forked, own, written(2, 2), again, log(['a', 'b', 'x'], { topicId: 'g' }))
    expect(rulesBroken(history)).toEqual([])
  })

  it('catches another value than the source has', () => {
    const history = historyOf(...forked, read(0, ['b', 'b'], inFork), log(['a', 'b', 'c']))
    expect(rulesBroken(history)).toEqual(['fork-prefix'])
  })

  it('catches a value that nobody wrote to the source', () => {
    expect(rulesBroken(historyOf(...forked, own, read(0, ['a', 'x'], inFork)))).toEqual(['fork-prefix'])
  })

  it('catches a value where the source has nothing', () => {
    const hole = { ...read(0, ['a']), next: 2 }
    expect(rulesBroken(historyOf(...forked, hole, read(0, ['a', 'b'], inFork)))).toContain('fork-prefix')
  })

  it('catches one that is cut short, or has a hole', () => {
    expect(rulesBroken(historyOf(...forked, log(['a'], inFork)))).toContain('fork-prefix')
    expect(rulesBroken(historyOf(...forked, { ...read(0, ['a'], inFork), next: 2 }))).toContain('fork-prefix')
  })

  it('catches one that takes a write below its own beginning, or goes on with what its source got later', () => {
    expect(rulesBroken(historyOf(...forked, own, written(2, 1)))).toEqual(['fork-prefix'])
    const later = historyOf(...forked, log(['a', 'b', 'c'], inFork))
    expect(rulesBroken(later)).toEqual(['unwanted-write', 'fork-prefix'])
  })
})
