import { describe, expect, it } from 'vitest'
import type { Contender } from '../../../load/bench/figure.js'
import { takeInTurn } from '../../../load/bench/in-turn.js'

/** Notes when it is taken, and gives the number of its run. */
function contender(name: string, order: string[], options: Partial<Contender> = {}): Contender {
  let run = 0
  return {
    name,
    async take() {
      order.push(name)
      return { [name]: ++run }
    },
    ...options,
  }
}

describe('contenders', () => {
  it('are taken in turn, and every run is kept', async () => {
    const order: string[] = []
    const { series } = await takeInTurn([contender('a', order), contender('b', order)], 3)
    expect(order.join('')).toBe('ababab')
    expect(series).toEqual({ a: [1, 2, 3], b: [1, 2, 3] })
  })

  it('that no bar rests on are taken in the first round alone', async () => {
    const order: string[] = []
    const { series } = await takeInTurn([contender('a', order), contender('b', order, { isOnce: true })], 2)
    expect(order.join('')).toBe('aba')
    expect(series.b).toEqual([1])
  })

  it('that fail are named and not tried again, while the others go on', async () => {
    const order: string[] = []
    const failing = contender('b', order, { take: () => Promise.reject(new Error('no disk')) })
    const taken: string[] = []
    const result = await takeInTurn([contender('a', order), failing], 2, (name, round) =>
      taken.push(`${name}${round}`),
    )
    expect(result.failures).toEqual(['b: no disk'])
    expect(result.series).toEqual({ a: [1, 2] })
    expect(taken).toEqual(['a0', 'b0', 'a1'])
  })

  it('that cannot do a thing have no figure and no failure', async () => {
    const unable = contender('b', [], { take: async () => undefined })
    expect(await takeInTurn([unable], 2)).toEqual({ series: {}, failures: [], unable: ['b'] })
  })
})
