import { describe, expect, it } from 'vitest'
import { isErrorCode, MillraceError } from '../../protocol/error-codes.js'

describe('a MillraceError', () => {
  it('says what the catalogue says unless it is told more', () => {
    const error = new MillraceError('STORAGE_FAILED')
    expect(error).toMatchObject({
      name: 'MillraceError',
      code: 'STORAGE_FAILED',
      retriable: true,
      outcome: 'unknown',
    })
    expect(error.message).toBe('writing to disk failed and the broker stops')
    expect(error).toBeInstanceOf(Error)
    expect('cause' in error).toBe(false)
  })

  it('carries what its thrower knows', () => {
    const cause = new Error('EIO')
    const error = new MillraceError('BACKPRESSURE', {
      message: 'full',
      retriable: false,
      outcome: 'unknown',
      retryAfterMs: 50,
      details: { bytes: 1 },
      cause,
    })
    expect(error).toMatchObject({
      message: 'full',
      retriable: false,
      outcome: 'unknown',
      retryAfterMs: 50,
      cause,
    })
    expect(error.details).toEqual({ bytes: 1 })
  })

  it('has codes of its own only', () => {
    expect(isErrorCode('BAD_CRC')).toBe(true)
    expect(isErrorCode('toString')).toBe(false)
    expect(isErrorCode('__proto__')).toBe(false)
  })
})
