import { expect, it } from 'vitest'
import { ByteBudget } from '../../../broker/session/byte-budget.js'

const KIB = 1024

it('the share of a byte budget becomes smaller as it fills, but is never nothing', () => {
  const budget = new ByteBudget(8 * 1024 * KIB)
  expect(budget.share(4 * 1024 * KIB)).toBe(1024 * KIB)
  expect(budget.share(10)).toBe(10)
  budget.add(4 * 1024 * KIB)
  expect(budget.share(4 * 1024 * KIB)).toBe(512 * KIB)
  budget.add(100 * 1024 * KIB)
  expect(budget.share(4 * 1024 * KIB)).toBe(64 * KIB)
})
