import type { Rule } from '../rule.js'

/** Whoever reads an offset, whenever, from memory or from disk, before or after a crash, sees the same. */
export const oneValue: Rule = {
  name: 'one-value',
  promise: 'An offset has one value, for ever.',
  *find(observed) {
    for (const log of observed.logs.values()) {
      for (const { offset, first, value, event } of log.conflicts) {
        const then = value === undefined ? 'was not there' : `was "${value}"`
        yield {
          message: `offset ${offset} of ${log.name} is "${first.value}" in one place and ${then} in another`,
          events: [first.event, event],
        }
      }
    }
  },
}
