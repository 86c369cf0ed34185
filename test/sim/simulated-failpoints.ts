import { type FailpointName, type Failpoints, failpointNames } from '../../broker/platform/failpoints.js'
import type { PlantedFault } from '../../broker/platform/planted-faults.js'
import type { SeededRandom } from '../support/seeded-random.js'
import type { Scheduler } from './scheduler.js'

/** Where most is at stake: around the write that makes things durable, and the answers that follow it. */
const CRITICAL: readonly FailpointName[] = ['walBeforeWrite', 'walAfterWrite', 'ackBeforeSend']

/** Failpoints that count, at which the broker may be held up or come to its end. */
export class SimulatedFailpoints implements Failpoints {
  readonly planted: PlantedFault | undefined
  readonly hits: Record<FailpointName, number>
  readonly #scheduler: Scheduler
  readonly #random: SeededRandom
  readonly #holdOdds: number
  #armed: { readonly name: FailpointName; readonly strike: (name: FailpointName) => void } | undefined

  constructor(options: {
    scheduler: Scheduler
    random: SeededRandom
    /** How likely a hit takes some time. */
    holdOdds: number
    /** The mistake that the broker is to make. */
    planted?: PlantedFault | undefined
  }) {
    this.#scheduler = options.scheduler
    this.#random = options.random
    this.#holdOdds = options.holdOdds
    this.planted = options.planted
    this.hits = Object.fromEntries(failpointNames.map((name) => [name, 0])) as Record<FailpointName, number>
  }

  /** Calls `strike` at the next hit of some failpoint, in the middle of what the broker does there. */
  arm(strike: (name: FailpointName) => void): void {
    const names = this.#random.chance(0.4) ? CRITICAL : failpointNames
    this.#armed = { name: this.#random.pick(names), strike }
  }

  disarm(): void {
    this.#armed = undefined
  }

  hit(name: FailpointName): Promise<void> | undefined {
    // What a dead process would still do counts for nothing.
    if (this.#scheduler.owner.isDead) return undefined
    this.hits[name]++
    if (this.#armed?.name === name) {
      const { strike } = this.#armed
      this.#armed = undefined
      strike(name)
      return new Promise(() => {})
    }
    if (this.#holdOdds === 0 || !this.#random.chance(this.#holdOdds)) return undefined
    return this.#scheduler.sleep(this.#random.pick([0.1, 3, 40]), 'hold')
  }
}
