import type { Rule } from '../rule.js'

/** Whatever a crash left behind: when nothing is in its way any more, the broker serves again. */
export const startsAgain: Rule = {
  name: 'starts-again',
  promise: 'A broker whose disk is sound starts again.',
  *find({ events }) {
    for (const event of events)
      if (event.type === 'brokerStuck') yield { message: 'the broker did not start again', events: [event] }
  },
}
