import { describe, expect, it } from 'vitest'
import type { Bar, Row } from '../../../../load/bench/bars.js'
import type { FigureReport } from '../../../../load/bench/report/report.js'
import { verdictsOf } from '../../../../load/bench/report/verdict.js'

const figure = (series: FigureReport['series']): FigureReport => ({
  name: 'f',
  about: '',
  rounds: 1,
  series,
  failures: [],
  unable: [],
})

function verdict(bar: Bar | undefined, series: FigureReport['series']) {
  const row: Row = { figure: 'f', label: 'l', unit: 'MB/s', millrace: 'own', yardstick: 'beside' }
  return verdictsOf([bar === undefined ? row : { ...row, bar }], [figure(series)])[0]
}

describe('a verdict', () => {
  it('is about the ratio of the medians', () => {
    const series = { own: [80, 90, 1_000], beside: [100, 100, 1] }
    expect(verdict({ of: 'ratio', atLeast: 0.9 }, series)).toMatchObject({ judged: 0.9, holds: true })
    expect(verdict({ of: 'ratio', atLeast: 0.91 }, series)).toMatchObject({ judged: 0.9, holds: false })
    expect(verdict({ of: 'ratio', atMost: 0.89 }, series)?.holds).toBe(false)
  })

  it('is about the difference or the value, where the bar is', () => {
    const series = { own: [30], beside: [12] }
    expect(verdict({ of: 'difference', atMost: 18 }, series)).toMatchObject({ judged: 18, holds: true })
    expect(verdict({ of: 'value', atMost: 29 }, series)).toMatchObject({ judged: 30, holds: false })
  })

  it('holds neither way when one side was not measured', () => {
    expect(verdict({ of: 'ratio', atLeast: 1 }, { own: [1] })).toMatchObject({
      runs: [1],
      judged: undefined,
      holds: undefined,
    })
    expect(verdict({ of: 'value', atLeast: 1 }, {})?.holds).toBeUndefined()
  })

  it('gives the ratio where there is no bar', () => {
    expect(verdict(undefined, { own: [3], beside: [2] })).toMatchObject({ judged: 1.5, holds: undefined })
  })

  it('is given for figures that were taken, and for no others', () => {
    const row: Row = { figure: 'other', label: 'l', unit: '', millrace: 'own' }
    expect(verdictsOf([row], [figure({ own: [1] })])).toEqual([])
  })
})
