import { describe, expect, it } from 'vitest'
import { HARD_LIMITS, illegalGroupName, illegalTopicName } from '../../protocol/limits.js'

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

describe('a group name', () => {
  it('is made of what topic names are made of, and may be 200 characters long', () => {
    for (const name of ['billing', 'A-b-c_9', 'x'.repeat(200)]) expect(illegalGroupName(name)).toBeUndefined()
  })

  it('is refused with the reason otherwise', () => {
    expect(illegalGroupName('')).toBe('a group name is empty')
    expect(illegalGroupName('x'.repeat(201))).toContain('at most 200')
    expect(illegalGroupName('..')).toContain('cannot be named')
    expect(illegalGroupName('a.b')).toBe('a group name may hold only letters, digits, "_" and "-"')
    expect(illegalGroupName('a b')).toContain('only letters')
    expect(illegalGroupName('_millrace.x')).toContain('reserved')
  })
})
