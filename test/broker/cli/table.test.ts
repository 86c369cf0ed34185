import { expect, it } from 'vitest'
import { columns } from '../../../broker/cli/table.js'

it('a table aligns texts to the left and numbers to the right', () => {
  const rows = [
    ['NAME', 'PARTITIONS'],
    ['orders', 4],
    ['a-longer-name', 10_000],
  ]
  expect(columns(rows)).toBe(
    'NAME           PARTITIONS\norders                  4\na-longer-name       10000\n',
  )
})

it('a table keeps numbers to the right where one is missing', () => {
  const rows = [
    ['CURSOR', 'MEMBER'],
    [10_000, '-'],
    ['-', '-'],
  ]
  expect(columns(rows)).toBe('CURSOR  MEMBER\n 10000  -\n     -  -\n')
})
