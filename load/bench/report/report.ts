import type { Row } from '../bars.js'
import type { Series } from '../series.js'
import type { Hardware, Versions } from './machine.js'

/** One figure as it was taken: every single run. */
export interface FigureReport {
  readonly name: string
  readonly about: string
  readonly rounds: number
  readonly series: Readonly<Record<string, Series>>
  readonly failures: readonly string[]
  readonly unable: readonly string[]
}

export interface PeerReport {
  readonly name: string
  readonly version: string
  readonly settings: string
  readonly isDurable: boolean
}

/** The JSON file: all that the table and the plots are made of. */
export interface Report {
  /** Of the two commands: each has its own place on the page. */
  readonly section: 'bench' | 'bench:limits'
  readonly takenAt: string
  /** As it can be repeated. */
  readonly command: string
  readonly isQuick: boolean
  readonly hardware: Hardware
  readonly versions: Versions
  readonly peers: readonly PeerReport[]
  /** With the reason. */
  readonly peersNotMeasured: readonly { readonly name: string; readonly why: string }[]
  readonly figures: readonly FigureReport[]
  readonly verdicts: readonly Verdict[]
}

/** A row of the table with what was measured for it. */
export interface Verdict extends Row {
  /** Every run. */
  readonly runs: Series | undefined
  readonly yardstickRuns: Series | undefined
  /** What the bar is about: the ratio of the medians, their difference, or the median itself. */
  readonly judged: number | undefined
  /** Undefined where nothing is to hold, or something was not measured. */
  readonly holds: boolean | undefined
}
