import { describe, expect, it } from 'vitest'
import { benchArguments, commandOf, UsageError } from '../../../load/bench/arguments.js'

const figures = ['produce', 'consume']
const read = (...args: string[]) => benchArguments(args, figures)

describe('the command line of the bench', () => {
  it('takes everything by default', () => {
    expect(read()).toMatchObject({ limits: false, quick: false, only: undefined, directory: '.' })
  })

  it('takes a list of figures', () => {
    expect(read('--only', 'consume, produce').only).toEqual(['consume', 'produce'])
    expect(() => read('--only', 'produce,nothing')).toThrow('there is no figure "nothing"')
  })

  it('refuses what it does not know, and rounds that are no number of runs', () => {
    expect(() => read('--fast')).toThrow(UsageError)
    expect(() => read('--rounds', '0')).toThrow('--rounds is a whole number from 1 on, not 0')
    expect(() => read('--rounds', 'many')).toThrow(UsageError)
    expect(read('--rounds', '3').rounds).toBe(3)
  })

  it('can be said again, without where the results go', () => {
    expect(commandOf(read('--json', 'a.json'))).toBe('npm run bench')
    expect(commandOf(read('--limits', '--quick', '--only', 'produce', '--rounds', '2'))).toBe(
      'npm run bench:limits -- --quick --only produce --rounds 2',
    )
  })
})
