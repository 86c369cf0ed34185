import { describe, expect, test } from 'vitest'
import { LoopTracker } from '../../client/commit-tracker.js'
import { ConsumerCursor } from '../../client/consumer-cursor.js'
import { MillraceError } from '../../protocol/error-codes.js'

const outcomeOf = (promise: Promise<void>): Promise<string> =>
  promise.then(
    () => 'durable',
    (error: MillraceError) => `${error.code} ${error.outcome}`,
  )

describe('an acknowledgement of a partition that is lost', () => {
  test('may count when it was sent and its answer never came, and else does not', async () => {
    const cursor = new ConsumerCursor(new LoopTracker(0), 0)
    const waiting = [1, 2, 3].map((next) => outcomeOf(cursor.whenDurable(next)))
    cursor.durableAt(1)
    cursor.maybeDurableAt(2)
    cursor.lose(new MillraceError('FENCED'), 0)
    expect(await Promise.all(waiting)).toEqual(['durable', 'FENCED unknown', 'FENCED notWritten'])
    expect(await outcomeOf(cursor.whenDurable(2))).toBe('FENCED unknown')
    expect(await outcomeOf(cursor.whenDurable(4))).toBe('FENCED notWritten')
  })

  test('may count while its answer is still to come, and does not once that was a refusal', async () => {
    const cursor = new ConsumerCursor(new LoopTracker(0), 0)
    cursor.sentAt(1)
    cursor.sentAt(2)
    cursor.answered(2)
    const waiting = [1, 2].map((next) => outcomeOf(cursor.whenDurable(next)))
    cursor.lose(new MillraceError('FENCED'), 0)
    expect(await Promise.all(waiting)).toEqual(['FENCED unknown', 'FENCED notWritten'])
    cursor.answered(1)
    expect(await outcomeOf(cursor.whenDurable(1))).toBe('FENCED notWritten')
  })
})
