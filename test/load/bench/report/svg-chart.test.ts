import { describe, expect, it } from 'vitest'
import { type Chart, svgChart } from '../../../../load/bench/report/svg-chart.js'

const chart: Chart = {
  title: 'Bytes & <more>',
  unit: 'MB/s',
  bars: [
    { label: 'half', value: 50, kind: 'millrace' },
    { label: 'whole', value: 100, spread: [80, 100], kind: 'yardstick' },
  ],
  lines: [{ value: 75, label: 'bar' }],
}

const widths = (svg: string): number[] =>
  [...svg.matchAll(/<rect [^>]*width="([\d.]+)"/g)].map((match) => Number(match[1]))

describe('a chart', () => {
  it('has bars as long as their values', () => {
    const [half = 0, whole = 0] = widths(svgChart(chart))
    expect(whole).toBeGreaterThan(0)
    expect(half).toBeCloseTo(whole / 2)
  })

  it('has a line where the bar is, between the bars that reach it and those that do not', () => {
    const svg = svgChart(chart)
    const at = Number(/<line class="line" x1="([\d.]+)"/.exec(svg)?.[1])
    const start = Number(/<rect [^>]* x="([\d.]+)"/.exec(svg)?.[1])
    const [half = 0, whole = 0] = widths(svg)
    expect(at).toBeGreaterThan(start + half)
    expect(at).toBeLessThan(start + whole)
  })

  it('shows the spread where there is one', () => {
    expect(svgChart(chart).match(/class="spread"/g)).toHaveLength(1)
  })

  it('cuts what is longer than its axis, and says so', () => {
    const svg = svgChart({ ...chart, axisMax: 50 })
    const [half, whole] = widths(svg)
    expect(half).toBe(whole)
    expect(svg).toContain('» 100')
  })

  it('escapes what it is told, and has colours for dark pages and no background', () => {
    const svg = svgChart(chart)
    expect(svg).toContain('<title>Bytes &amp; &lt;more&gt;</title>')
    expect(svg).toContain('prefers-color-scheme: dark')
    expect(svg).not.toMatch(/<rect (?!class)/)
  })

  it('can be drawn of values that are all nothing', () => {
    const svg = svgChart({ title: 't', unit: '', bars: [{ label: 'a', value: 0, kind: 'millrace' }] })
    expect(widths(svg)).toEqual([0])
    expect(svg).not.toContain('NaN')
  })
})
