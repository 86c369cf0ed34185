import { describe, expect, it } from 'vitest'
import { deadLetterTopicName, illegalDeadLetterTopic, retryTopicName } from '../../protocol/dead-letters.js'
import { illegalTopicName } from '../../protocol/limits.js'

describe('the topics of dead letters', () => {
  it('are named by topic and group', () => {
    expect(deadLetterTopicName('orders', 'billing')).toBe('orders.billing.dlq')
    expect(retryTopicName('orders', 'billing')).toBe('orders.billing.retry')
  })

  it('are refused exactly when a name would be too long', () => {
    const topic = 't'.repeat(50)
    for (const groupChars of [192, 193]) {
      const group = 'g'.repeat(groupChars)
      const isLegal = illegalTopicName(retryTopicName(topic, group)) === undefined
      expect(isLegal).toBe(groupChars === 192)
      expect(illegalDeadLetterTopic(topic, group) === undefined).toBe(isLegal)
    }
  })
})
