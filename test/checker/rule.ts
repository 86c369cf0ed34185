import type { Violation } from './history.js'
import type { Observed } from './observed.js'

export type Finding = Omit<Violation, 'rule'>

/** A promise of the broker: finds where a history shows it broken. */
export interface Rule {
  /** The name of its file. */
  readonly name: string
  /** One sentence that is true of every history of a broker that works. */
  readonly promise: string
  find(observed: Observed): Iterable<Finding>
}
