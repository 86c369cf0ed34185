import { summaryOf } from '../series.js'
import { numberText } from './numbers.js'
import type { FigureReport, Report, Verdict } from './report.js'
import { barText } from './result-table.js'
import { type Chart, type ChartBar, svgChart } from './svg-chart.js'

/** Series of a figure that are drawn beside each other, because they have one unit. */
interface PlotPart {
  readonly figure: string
  readonly prefix: string
  /** Default: all of them. */
  readonly series?: readonly string[]
}

interface Plot {
  readonly file: string
  readonly title: string
  readonly unit: string
  readonly parts: readonly PlotPart[]
}

const THROUGHPUT = ['Millrace', 'floor twice', 'floor once']

const PLOTS: readonly Plot[] = [
  {
    file: 'bench-throughput.svg',
    title: 'Durable throughput and the floors',
    unit: 'MB/s, higher is better',
    parts: [
      { figure: 'throughput-16k', prefix: '16 KiB x 16', series: THROUGHPUT },
      { figure: 'throughput-256k', prefix: '256 KiB x 8', series: THROUGHPUT },
      { figure: 'throughput-1m', prefix: '1 MiB x 4', series: THROUGHPUT },
    ],
  },
  {
    file: 'bench-produce.svg',
    title: '100-byte records written, acknowledged when durable unless it says otherwise',
    unit: 'records/s, higher is better',
    parts: [{ figure: 'produce', prefix: '' }],
  },
  {
    file: 'bench-consume.svg',
    title: '100-byte records read; Millrace from chunks on disk',
    unit: 'records/s, higher is better',
    parts: [{ figure: 'consume', prefix: '' }],
  },
  {
    file: 'bench-queue.svg',
    title: 'Jobs claimed and acknowledged one by one',
    unit: 'jobs/s, higher is better',
    parts: [{ figure: 'queue', prefix: '' }],
  },
  {
    file: 'bench-latency.svg',
    title: 'Latency',
    unit: 'ms, lower is better',
    parts: [
      { figure: 'lone-sends', prefix: '1,000 awaited sends' },
      {
        figure: 'lone-beside-stream',
        prefix: 'lone send',
        series: ['p50 idle', 'p99 idle', 'p50 beside', 'p99 beside'],
      },
      { figure: 'open-loop', prefix: '5,000 records/s, delivered' },
    ],
  },
]

/** Of series names: those that Millrace itself has. */
const OWN = /^(Millrace|p50|p99)/

/** File name to SVG: one overview of all bars, and the charts whose figures were taken. */
export function plotsOf(report: Report): Map<string, string> {
  const files = new Map<string, string>()
  const overview = overviewOf(report.verdicts)
  const overviewFile = report.section === 'bench' ? 'bench-bars.svg' : 'bench-limits-bars.svg'
  if (overview.bars.length > 0) files.set(overviewFile, svgChart(overview))
  for (const plot of PLOTS) {
    const bars = plot.parts.flatMap((part) => barsOf(part, report.figures))
    if (bars.length > 0) files.set(plot.file, svgChart({ title: plot.title, unit: plot.unit, bars }))
  }
  return files
}

function barsOf({ figure, prefix, series }: PlotPart, figures: readonly FigureReport[]): ChartBar[] {
  const taken = figures.find(({ name }) => name === figure)?.series ?? {}
  return (series ?? Object.keys(taken)).flatMap((name) => {
    const runs = taken[name]
    if (runs === undefined) return []
    const { median, min, max } = summaryOf(runs)
    const label = prefix === '' ? name : `${prefix}: ${name}`
    return [
      { label, value: median, spread: [min, max] as const, kind: OWN.test(name) ? 'millrace' : 'yardstick' },
    ]
  })
}

/** Past it a bar is cut: how far beyond does not matter here. */
const OVERVIEW_MAX = 3

/** Every bar on one scale: 1 is the bar itself, to the right of it is better. Nothing to divide by or of is left out. */
function overviewOf(verdicts: readonly Verdict[]): Chart {
  const bars = verdicts.flatMap((verdict): ChartBar[] => {
    const { bar, judged, holds } = verdict
    if (bar === undefined || bar.isAim || judged === undefined || holds === undefined) return []
    const value = bar.atLeast === undefined ? (bar.atMost ?? 0) / judged : judged / bar.atLeast
    // At most none, and such: there is no scale.
    if (!Number.isFinite(value) || bar.atMost === 0) return []
    const beside = bar.of === 'value' ? '' : ` / ${verdict.yardstick}`
    const unit = bar.of === 'ratio' ? 'x' : verdict.unit === '' ? '' : ` ${verdict.unit}`
    return [
      {
        label: `${verdict.label}${beside}`,
        value: judged <= 0 ? OVERVIEW_MAX : value,
        kind: holds ? 'millrace' : 'missed',
        text: `${numberText(judged)}${unit}, bar ${barText(bar, verdict.unit)}`,
      },
    ]
  })
  return {
    title: 'How far each figure is from its bar',
    unit: 'right of the line is better',
    bars,
    lines: [{ value: 1, label: 'bar' }],
    axisMax: OVERVIEW_MAX,
  }
}
