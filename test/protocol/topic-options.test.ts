import { describe, expect, it } from 'vitest'
import {
  DEFAULT_TOPIC_OPTIONS,
  EMPTY_TOPIC_OPTIONS_PATCH,
  illegalTopicOptions,
  patchedTopicOptions,
  TOPIC_OPTION_NAMES,
  topicOptions,
  topicOptionsPatch,
} from '../../protocol/topic-options.js'

describe('topic options', () => {
  it('have the same names, in the same order, as they hold and as they are set', () => {
    for (const { form } of [topicOptions, topicOptionsPatch]) {
      expect(form.kind === 'tuple' && Object.keys(form.fields)).toEqual([...TOPIC_OPTION_NAMES])
    }
    expect(Object.keys(DEFAULT_TOPIC_OPTIONS)).toEqual([...TOPIC_OPTION_NAMES])
  })

  it('stay as they are where a patch says nothing', () => {
    const base = { ...DEFAULT_TOPIC_OPTIONS, maxAgeMs: 5, onLag: 'drop' as const }
    expect(patchedTopicOptions(base, { patch: EMPTY_TOPIC_OPTIONS_PATCH })).toEqual(base)
  })

  it('take what a patch sets, false among it, and forget what is cleared', () => {
    const base = {
      ...DEFAULT_TOPIC_OPTIONS,
      untilAcked: true,
      maxAgeMs: 5,
      maxBytes: 6,
      dedupWindowMs: 7_000,
    }
    const patch = { ...EMPTY_TOPIC_OPTIONS_PATCH, untilAcked: false, cursorIdleMs: 8 }
    expect(patchedTopicOptions(base, { patch, clear: ['maxAgeMs', 'dedupWindowMs'] })).toEqual({
      ...DEFAULT_TOPIC_OPTIONS,
      maxBytes: 6,
      cursorIdleMs: 8,
    })
    expect(base.untilAcked).toBe(true)
  })

  it('are refused with the reason', () => {
    expect(illegalTopicOptions(EMPTY_TOPIC_OPTIONS_PATCH)).toBeUndefined()
    expect(
      illegalTopicOptions({ ...EMPTY_TOPIC_OPTIONS_PATCH, dedupWindowMs: 1_000, maxBytes: 1 }, ['maxAgeMs']),
    ).toBeUndefined()
    expect(illegalTopicOptions({ ...EMPTY_TOPIC_OPTIONS_PATCH, dedupWindowMs: 999 })).toContain(
      '1000 to 604800000',
    )
    expect(illegalTopicOptions({ ...EMPTY_TOPIC_OPTIONS_PATCH, dedupWindowMs: 604_800_001 })).toContain(
      '604800001',
    )
    expect(illegalTopicOptions({ ...EMPTY_TOPIC_OPTIONS_PATCH, maxBytes: 0 })).toContain('maxBytes is 0')
    expect(illegalTopicOptions(EMPTY_TOPIC_OPTIONS_PATCH, ['constructor'])).toContain(
      'no option "constructor"',
    )
    expect(
      illegalTopicOptions({ ...EMPTY_TOPIC_OPTIONS_PATCH, untilAcked: false }, ['untilAcked']),
    ).toContain('set and cleared')
  })
})
