import type { Bar, Row } from '../bars.js'
import { median } from '../series.js'
import type { FigureReport, Verdict } from './report.js'

/** What holds of the rows whose figures were taken, figure by figure. */
export function verdictsOf(rows: readonly Row[], figures: readonly FigureReport[]): Verdict[] {
  return figures.flatMap(({ name, series }) =>
    rows.filter(({ figure }) => figure === name).map((row) => verdictOf(row, series)),
  )
}

function verdictOf(row: Row, series: FigureReport['series']): Verdict {
  const runs = series[row.millrace]
  const yardstickRuns = row.yardstick === undefined ? undefined : series[row.yardstick]
  const verdict = { ...row, runs, yardstickRuns, judged: undefined, holds: undefined }
  if (runs === undefined) return verdict
  const judged = judgedValue(row, median(runs), yardstickRuns && median(yardstickRuns))
  return { ...verdict, judged, holds: judged === undefined || !row.bar ? undefined : holds(row.bar, judged) }
}

function judgedValue({ bar, yardstick }: Row, value: number, beside: number | undefined): number | undefined {
  const of = bar?.of ?? (yardstick === undefined ? 'value' : 'ratio')
  if (of === 'value') return value
  if (beside === undefined) return undefined
  return of === 'ratio' ? value / beside : value - beside
}

export const holds = ({ atLeast = -Infinity, atMost = Infinity }: Bar, judged: number): boolean =>
  judged >= atLeast && judged <= atMost
