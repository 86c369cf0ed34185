import { describe, expect, it } from 'vitest'
import { message } from '../../protocol/messages/message.js'
import { choice, nullable, tail, tuple, uint } from '../../protocol/shape.js'

describe('a field added at the end of a released list', () => {
  const before = tuple({ a: uint(), b: nullable(uint()) })
  const after = tuple({ a: uint(), b: nullable(uint()), c: tail(uint()), d: tail(uint()) })

  it('changes no byte of a list that does not have it', () => {
    expect(after.write({ a: 1, b: null })).toEqual([1, null])
    expect(after.write({ a: 1, b: null })).toEqual(before.write({ a: 1, b: null }))
  })

  it('is missing from what an older sender wrote', () => {
    expect(after.read([1, 2], 'x')).toEqual({ a: 1, b: 2 })
    expect(after.read([1, 2, null, null], 'x')).toEqual({ a: 1, b: 2 })
  })

  it('is written as nil in front of one that is there', () => {
    const frame = after.write({ a: 1, b: 2, d: 4 })
    expect(frame).toEqual([1, 2, undefined, 4])
    expect(after.read([1, 2, null, 4], 'x')).toEqual({ a: 1, b: 2, d: 4 })
  })

  it('is passed over by an older receiver', () => {
    expect(before.read(after.write({ a: 1, b: 2, c: 3 }) as unknown[], 'x')).toEqual({ a: 1, b: 2 })
  })

  it('is named when it is wrong', () => {
    expect(() => after.read([1, 2, 'x'], 'list[0]')).toThrow('list[0].c: expected a whole number')
  })

  it('may not stand before one that was always there', () => {
    expect(() => message('M', 999, { a: tail(uint()), b: uint() })).toThrow('before one that is none')
  })
})

describe('a choice', () => {
  const shape = choice({ red: 1, blue: 4 })

  it('is a number on the wire and a name in the program', () => {
    expect(shape.write('blue')).toBe(4)
    expect(shape.read(1, 'colour')).toBe('red')
  })

  it('is refused when it is none of those', () => {
    for (const wrong of [0, 2, 1.5, '1', 'red', null, undefined, [], -1]) {
      expect(() => shape.read(wrong, 'colour')).toThrow('colour: expected one of 1 (red), 4 (blue)')
    }
  })
})
