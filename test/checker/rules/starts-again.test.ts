import { describe, expect, it } from 'vitest'
import { catches, insert, pick, rulesBroken } from '../corruption.js'
import { historyOf, topic } from '../facts.js'
import { startsAgain } from './starts-again.js'

const down = { type: 'brokerDown', how: 'kill' } as const
const stuck = { type: 'brokerStuck' } as const

describe('the rule that a broker starts again', () => {
  it('lets pass one that does, and one that nobody waited for', () => {
    expect(rulesBroken(historyOf(topic(), down, { type: 'brokerUp' }, down))).toEqual([])
  })

  it('catches one that does not', () => {
    expect(rulesBroken(historyOf(topic(), down, stuck))).toEqual(['starts-again'])
  })

  catches(startsAgain, {
    'it does not come back after a crash': (events, random) => {
      const crash = pick(events, random, { type: 'brokerDown' })
      return crash && insert(events, crash, stuck)
    },
  })
})
