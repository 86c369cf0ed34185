import type { Bar } from '../bars.js'
import { numberText, seriesText } from './numbers.js'
import type { Verdict } from './report.js'

export const HEADINGS = ['figure', 'Millrace', 'yardstick', 'ratio', 'bar', 'holds'] as const

/** The cells of a row, as the terminal and the page show them. */
export function cellsOf(verdict: Verdict): string[] {
  const { label, unit, runs, yardstick, yardstickRuns, bar } = verdict
  const withUnit = (text: string): string => (unit === '' ? text : `${text} ${unit}`)
  return [
    label,
    runs === undefined ? 'not measured' : withUnit(seriesText(runs)),
    yardstick === undefined
      ? ''
      : `${yardstick}: ${yardstickRuns === undefined ? 'not measured' : seriesText(yardstickRuns)}`,
    ratioText(verdict),
    bar === undefined ? '' : barText(bar, unit),
    holdsText(verdict),
  ]
}

function ratioText({ judged, yardstick, bar }: Verdict): string {
  if (judged === undefined || yardstick === undefined) return ''
  return bar?.of === 'difference' ? `${judged < 0 ? '' : '+'}${numberText(judged)}` : judged.toFixed(2)
}

export function barText({ of, atLeast, atMost, isAim }: Bar, unit: string): string {
  const limit = (value: number): string =>
    of === 'ratio' ? `${value}x` : `${numberText(value)}${unit === '' ? '' : ` ${unit}`}`
  const over = of === 'difference' ? ' over it' : ''
  const text =
    atLeast !== undefined && atLeast === atMost
      ? limit(atLeast)
      : atLeast !== undefined
        ? `at least ${limit(atLeast)}`
        : `at most ${limit(atMost ?? 0)}`
  return `${isAim ? 'aim: ' : ''}${text}${over}`
}

function holdsText({ bar, holds }: Verdict): string {
  if (bar === undefined) return ''
  return holds === undefined ? 'not measured' : holds ? 'yes' : 'no'
}

/** For a terminal: columns in line. */
export function textTable(verdicts: readonly Verdict[]): string {
  const rows = [[...HEADINGS], ...verdicts.map(cellsOf)]
  const widths = HEADINGS.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

/** For a page. */
export function markdownTable(verdicts: readonly Verdict[]): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
  return [
    line(HEADINGS),
    `|${'---|'.repeat(HEADINGS.length)}`,
    ...verdicts.map((v) => line(cellsOf(v))),
  ].join('\n')
}
