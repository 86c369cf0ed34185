import { describe, expect, it } from 'vitest'
import { numberText, seriesText } from '../../../../load/bench/report/numbers.js'
import { barText, markdownTable, textTable } from '../../../../load/bench/report/result-table.js'
import { sampleReport } from './sample-report.js'

describe('numbers', () => {
  it('have three digits, or all before the point', () => {
    expect([0.123456, 4.2, 99.96, 783_123.4, 0, 1].map(numberText)).toEqual([
      '0.123',
      '4.2',
      '100',
      '783,123',
      '0',
      '1',
    ])
  })

  it('of several runs are shown with the lowest and the highest', () => {
    expect(seriesText([3, 1, 2])).toBe('2 (1 to 3)')
    expect(seriesText([5])).toBe('5')
  })
})

describe('the table', () => {
  it('shows medians, spreads, ratio, bar and whether it holds', () => {
    const [headings, durable, jobs] = textTable(sampleReport.verdicts).split('\n')
    expect(headings).toMatch(/^figure +Millrace +yardstick +ratio +bar +holds$/)
    expect(durable).toMatch(
      /^durable +420 \(410 to 430\) MB\/s +floor twice: 500 +0\.84 +at least 0\.85x +no$/,
    )
    expect(jobs).toMatch(/^jobs +2,000,000 jobs\/s +Redis: not measured +at least 5x +not measured$/)
  })

  it('has its columns in line', () => {
    const lines = textTable(sampleReport.verdicts).split('\n')
    expect(
      new Set([lines[0]?.indexOf('bar'), ...lines.slice(1).map((line) => line.indexOf('at least'))]).size,
    ).toBe(1)
  })

  it('is a table in Markdown too', () => {
    const lines = markdownTable(sampleReport.verdicts).split('\n')
    expect(lines[1]).toBe('|---|---|---|---|---|---|')
    expect(lines[2]).toBe(
      '| durable | 420 (410 to 430) MB/s | floor twice: 500 | 0.84 | at least 0.85x | no |',
    )
  })

  it('says bars in words', () => {
    expect(barText({ of: 'value', atMost: 15 }, 'ms')).toBe('at most 15 ms')
    expect(barText({ of: 'value', atLeast: 800_000, isAim: true }, 'records/s')).toBe(
      'aim: at least 800,000 records/s',
    )
    expect(barText({ of: 'difference', atMost: 20 }, 'KB')).toBe('at most 20 KB over it')
    expect(barText({ of: 'value', atLeast: 1, atMost: 1 }, '')).toBe('1')
  })
})
