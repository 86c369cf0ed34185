import { describe, expect, it } from 'vitest'
import { HARD_LIMITS, illegalTopicName } from '../../protocol/limits.js'

describe('a topic name', () => {
  it('may hold letters, digits, dots, underscores and hyphens', () => {
    for (const name of ['orders', 'a', 'A.b-c_9', '...', '_millrace', 'x._millrace.', '0']) {
      expect(illegalTopicName(name)).toBeUndefined()
    }
    expect(illegalTopicName('x'.repeat(HARD_LIMITS.topicNameCharsMax))).toBeUndefined()
  })

  it('is refused with the reason otherwise', () => {
    expect(illegalTopicName('')).toContain('empty')
    expect(illegalTopicName('.')).toContain('cannot be named')
    expect(illegalTopicName('..')).toContain('cannot be named')
    expect(illegalTopicName('x'.repeat(HARD_LIMITS.topicNameCharsMax + 1))).toContain('at most 249')
    for (const name of ['a b', 'a/b', 'ä', 'a\n', 'a\0', '💥'])
      expect(illegalTopicName(name)).toContain('only letters')
    expect(illegalTopicName('_millrace.dead')).toContain('reserved')
  })
})
