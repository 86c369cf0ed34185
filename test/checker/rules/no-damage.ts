import type { Rule } from '../rule.js'

/** A crash may take what was never acknowledged, and nothing else: it leaves no damage for anybody to find. */
export const noDamage: Rule = {
  name: 'no-damage',
  promise: 'Nobody finds stored data damaged or missing that no disk has damaged.',
  *find({ events }) {
    for (const event of events) {
      if (event.type !== 'damageFound' || event.isExplained) continue
      yield { message: `${event.by} found damage that nothing explains: ${event.message}`, events: [event] }
    }
  },
}
