import { describe, expect, it } from 'vitest'
import { catches, insert, pick, rulesBroken } from '../corruption.js'
import { historyOf, log, topic, write, written } from '../facts.js'
import { noDamage } from './no-damage.js'

const start = [topic(), write(1, ['a']), written(1, 0)] as const
const down = { type: 'brokerDown', how: 'powerCut' } as const
const found = (isExplained: boolean) =>
  ({ type: 'damageFound', by: 'the broker', message: 'a chunk is missing', isExplained }) as const

describe('the rule that nobody finds damage', () => {
  it('lets pass a disk that was made to fail', () => {
    expect(rulesBroken(historyOf(...start, down, found(true), { type: 'brokerUp' }, log(['a'])))).toEqual([])
  })

  it('catches what a crash alone has damaged', () => {
    expect(rulesBroken(historyOf(...start, down, found(false)))).toEqual(['no-damage'])
  })

  catches(noDamage, {
    'somebody finds damage after a crash': (events, random) => {
      const crash = pick(events, random, { type: 'brokerDown' })
      return crash && insert(events, crash, found(false))
    },
  })
})
