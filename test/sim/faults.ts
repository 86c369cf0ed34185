import type { SeededRandom } from '../support/seeded-random.js'
import type { Faults } from './plan.js'

export type FaultName = keyof Faults

export interface PlannedFault {
  readonly atStep: number
  readonly name: FaultName
}

/** Which fault comes at which step. Among them is at least one power cut, in the middle of the run. */
export function planFaults(faults: Faults, steps: number, random: SeededRandom): PlannedFault[] {
  const planned: PlannedFault[] = [
    { atStep: Math.floor(steps * (0.2 + 0.6 * random.fraction())), name: 'powerCut' },
  ]
  for (const [name, perThousand] of Object.entries(faults) as [FaultName, number][]) {
    const expected = (perThousand * steps) / 1_000
    const count = Math.floor(expected) + (random.chance(expected % 1) ? 1 : 0)
    for (let i = 0; i < count; i++) planned.push({ atStep: random.below(steps), name })
  }
  return planned.sort((a, b) => a.atStep - b.atStep || (a.name < b.name ? -1 : 1))
}
