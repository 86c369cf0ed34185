import type { FoundPeer } from './peer-series.js'

/** What a figure is taken with. */
export interface BenchContext {
  /** Its own folder, removed afterwards. */
  readonly directory: string
  readonly isQuick: boolean
  readonly peers: readonly FoundPeer[]
}

/** One run's figures by series. */
export type Taken = Readonly<Record<string, number>>

/** One of those that are measured in turn: Millrace in some way, a floor, a peer. */
export interface Contender {
  readonly name: string
  /** Taken in the first round only: no bar rests on it. */
  readonly isOnce?: boolean
  /** Undefined: it cannot do this. */
  take(): Promise<Taken | undefined>
}

export interface Figure {
  /** As in `--only`. */
  readonly name: string
  readonly about: string
  /** The long and heavy ones are `npm run bench:limits`. */
  readonly isLimit?: boolean
  /** In a whole run; --quick has one. Default 2. */
  readonly rounds?: number
  /** Writes what all contenders need, and names them. */
  contenders(context: BenchContext): readonly Contender[] | Promise<readonly Contender[]>
}

/** A size or a time of the whole run, and that of --quick. */
export const sized = (
  { isQuick }: { isQuick: boolean },
  { full, quick }: { full: number; quick: number },
): number => (isQuick ? quick : full)
