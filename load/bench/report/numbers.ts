import { type Series, summaryOf } from '../series.js'

const GROUPED = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 })

/** Three digits, or more where the number has more before the point. */
export function numberText(value: number): string {
  if (!Number.isFinite(value)) return String(value)
  if (Math.abs(value) >= 100) return GROUPED.format(value)
  return String(Number(value.toPrecision(3)))
}

/** `430 (402 to 455)`; of a single run only its value. */
export function seriesText(series: Series): string {
  const { median, min, max } = summaryOf(series)
  if (series.length === 1 || min === max) return numberText(median)
  return `${numberText(median)} (${numberText(min)} to ${numberText(max)})`
}
