import { numberText } from './numbers.js'

export interface ChartBar {
  readonly label: string
  readonly value: number
  /** Lowest and highest run. */
  readonly spread?: readonly [min: number, max: number]
  /** Millrace is drawn in colour, yardsticks in grey, a bar that does not hold in red. */
  readonly kind: 'millrace' | 'yardstick' | 'missed'
  /** Stands behind the bar instead of its value. */
  readonly text?: string
}

export interface ChartLine {
  readonly value: number
  readonly label: string
}

export interface Chart {
  readonly title: string
  readonly unit: string
  readonly bars: readonly ChartBar[]
  /** Upright lines: what the bars have to reach, or stay below. */
  readonly lines?: readonly ChartLine[]
  /** Longer bars are cut here, with a mark; default the highest value. */
  readonly axisMax?: number
}

const PLOT_WIDTH = 380
/** Room for what stands behind the bars. */
const TEXT_WIDTH = 220
/** Of a letter, at most as a rule: SVG cannot measure before it is drawn. */
const LETTER_WIDTH = 6.6
const LABEL_WIDTH_MIN = 120
const ROW_HEIGHT = 24
const BAR_HEIGHT = 15
const TOP = 52

/** Its own colours for light and dark pages, and no background: it lies on any. */
const STYLE = `
  text { font: 12px system-ui, sans-serif; fill: #1f2328 }
  .title { font-size: 15px; font-weight: 600 }
  .note { fill: #59636e }
  .millrace { fill: #0969da } .yardstick { fill: #8c959f } .missed { fill: #cf222e }
  .spread { stroke: #1f2328; stroke-width: 1.5 } .line { stroke: #bc4c00; stroke-width: 1.5; stroke-dasharray: 4 3 }
  .line-label { fill: #bc4c00 } .axis { stroke: #d1d9e0 }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc } .note { fill: #9198a1 }
    .millrace { fill: #4493f8 } .yardstick { fill: #656c76 } .missed { fill: #f85149 }
    .spread { stroke: #f0f6fc } .line { stroke: #f0883e } .line-label { fill: #f0883e } .axis { stroke: #3d444d }
  }`

export const escapeXml = (text: string): string =>
  text.replace(/[&<>"]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;' })[c] ?? '&quot;')

/** Horizontal bars, one under the other, from zero on. */
export function svgChart({ title, unit, bars, lines = [], axisMax }: Chart): string {
  const highest = Math.max(
    ...bars.map(({ value, spread }) => spread?.[1] ?? value),
    ...lines.map((l) => l.value),
  )
  const max = axisMax ?? highest
  const longest = Math.max(...bars.map(({ label }) => label.length))
  const start = Math.max(LABEL_WIDTH_MIN, Math.ceil(longest * LETTER_WIDTH) + 16)
  const width = start + PLOT_WIDTH + TEXT_WIDTH
  const x = (value: number): number =>
    round(start + PLOT_WIDTH * Math.min(1, Math.max(0, max > 0 ? value / max : 0)))
  // A line must not run through the text.
  const textX = lines.length > 0 ? start + PLOT_WIDTH : undefined
  const bottom = TOP + bars.length * ROW_HEIGHT
  const height = bottom + 14
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img">`,
    `<title>${escapeXml(title)}</title>`,
    `<style>${STYLE}</style>`,
    `<text class="title" x="8" y="20">${escapeXml(title)}</text>`,
    `<text class="note" x="${width - 8}" y="20" text-anchor="end">${escapeXml(unit)}</text>`,
    `<line class="axis" x1="${start}" y1="${TOP - 6}" x2="${start}" y2="${bottom}"/>`,
    ...bars.flatMap((bar, row) => barParts(bar, row, { start, x, max, textX })),
    ...lines.flatMap(({ value, label }) => [
      `<line class="line" x1="${x(value)}" y1="${TOP - 6}" x2="${x(value)}" y2="${bottom}"/>`,
      `<text class="line-label" x="${x(value)}" y="${TOP - 10}" text-anchor="middle">${escapeXml(label)}</text>`,
    ]),
    '</svg>',
  ]
  return `${parts.join('\n')}\n`
}

interface Scale {
  /** Where zero is. */
  readonly start: number
  readonly max: number
  x(value: number): number
  /** Where the texts stand; undefined: each behind its bar. */
  readonly textX: number | undefined
}

function barParts(bar: ChartBar, row: number, { start, x, max, textX }: Scale): string[] {
  const y = TOP + row * ROW_HEIGHT
  const middle = y + BAR_HEIGHT / 2
  const textY = y + BAR_HEIGHT - 3
  const [low, high] = bar.spread ?? [bar.value, bar.value]
  const end = textX ?? Math.max(x(bar.value), x(high))
  const isCut = bar.value > max
  const text = bar.text ?? numberText(bar.value)
  return [
    `<text x="${start - 8}" y="${textY}" text-anchor="end">${escapeXml(bar.label)}</text>`,
    `<rect class="${bar.kind}" x="${start}" y="${y}" width="${round(x(bar.value) - start)}" height="${BAR_HEIGHT}" rx="2"/>`,
    ...(low < high
      ? [`<line class="spread" x1="${x(low)}" y1="${middle}" x2="${x(high)}" y2="${middle}"/>`]
      : []),
    `<text class="note" x="${end + 6}" y="${textY}">${isCut ? '» ' : ''}${escapeXml(text)}</text>`,
  ]
}

const round = (value: number): number => Math.round(value * 10) / 10
