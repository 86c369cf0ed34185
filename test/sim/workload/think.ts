import type { SeededRandom } from '../../support/seeded-random.js'
import type { Lab } from '../lab.js'

/** A pause between two actions; now and then a long one, in which timers fall due. */
export function thinkMs({ plan, isEnding }: Lab, random: SeededRandom): number {
  const { msMin, msMax } = plan.think
  const ms = msMin + random.fraction() * (msMax - msMin)
  return random.chance(0.02) && !isEnding ? ms + 300 : ms
}
