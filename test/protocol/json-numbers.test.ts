import { describe, expect, it } from 'vitest'
import { inexactNumberIn } from '../../protocol/json-numbers.js'

describe('a JSON text', () => {
  it.each([
    ['9007199254740993', '9007199254740993'],
    ['{"a":[1,-9007199254740993]}', '-9007199254740993'],
    ['["\\"", 12345678901234567890]', '12345678901234567890'],
    ['["\\\\", 12345678901234567890]', '12345678901234567890'],
  ])('%s has a whole number that would be rounded', (json, digits) => {
    expect(inexactNumberIn(json)).toBe(digits)
  })

  it.each([
    '9007199254740991',
    // Exact, though its neighbours are not; and what JSON.stringify writes for a double.
    '9007199254740992',
    String(2 ** 66),
    '-9007199254740991',
    '"9007199254740993"',
    '{"9007199254740993":1}',
    '"\\"9007199254740993"',
    '9007199254740993e0',
    '0.12345678901234567890',
    '12345678901234567.5',
    '[]',
  ])('%s has none', (json) => {
    expect(inexactNumberIn(json)).toBeUndefined()
  })
})
