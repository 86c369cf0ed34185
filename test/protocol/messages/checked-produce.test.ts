import { describe, expect, it } from 'vitest'
import { producedChecked } from '../../../protocol/messages/index.js'

const answerWith = (duplicates: unknown): unknown[] => [
  producedChecked.opcode,
  7,
  100,
  1_700_000_000_000,
  false,
  duplicates,
]

describe('the duplicates of an answer', () => {
  it('are read field by field, and what a later version adds is passed over', () => {
    const { duplicates } = producedChecked.read(
      answerWith([[3, 2 ** 32 - 1, Number.MAX_SAFE_INTEGER, 'new']]),
    )
    expect(duplicates).toEqual([{ index: 3, partition: 2 ** 32 - 1, offset: Number.MAX_SAFE_INTEGER }])
  })

  it.each([
    [
      'an offset below zero',
      [
        [0, 0, 0],
        [1, 0, -1],
      ],
      /\[1\]\.offset/,
    ],
    ['a partition past uint32', [[0, 2 ** 32, 0]], /\[0\]\.partition/],
    ['an index that is no number', [['0', 0, 0]], /\[0\]\.index/],
    ['one that is no list', [7], /\[0\]/],
    ['no list at all', 'x', /duplicates/],
  ])('are refused with the place of the fault: %s', (_, duplicates, place) => {
    expect(() => producedChecked.read(answerWith(duplicates))).toThrow(place)
  })
})
