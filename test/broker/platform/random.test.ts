import { describe, expect, it } from 'vitest'
import { type Random, systemRandom } from '../../../broker/platform/random.js'
import { SeededRandom } from '../../support/seeded-random.js'

const kinds: readonly { name: string; random: Random }[] = [
  { name: 'systemRandom', random: systemRandom },
  { name: 'SeededRandom', random: new SeededRandom(42) },
]

describe.each(kinds)('$name', ({ random }) => {
  it('spreads its words and fractions over their whole range', () => {
    const draws = 8_000
    const words = new Array<number>(8).fill(0)
    const fractions = new Array<number>(8).fill(0)
    for (let draw = 0; draw < draws; draw++) {
      const word = random.uint32()
      const fraction = random.fraction()
      expect(Number.isInteger(word) && word >= 0 && word < 2 ** 32).toBe(true)
      expect(fraction >= 0 && fraction < 1).toBe(true)
      words[word >>> 29]!++
      fractions[Math.floor(fraction * 8)]!++
    }
    // Each eighth expects 1,000 with a standard deviation of 30.
    for (const count of [...words, ...fractions]) expect(Math.abs(count - 1_000)).toBeLessThan(200)
  })

  it('gives as many bytes as asked, and others each time', () => {
    expect(random.bytes(0)).toHaveLength(0)
    expect(random.bytes(33)).toHaveLength(33)
    expect(Buffer.from(random.bytes(16))).not.toEqual(Buffer.from(random.bytes(16)))
  })
})

describe('SeededRandom', () => {
  const draw = (seed: number) =>
    Array.from({ length: 5 }, (_, index, random = new SeededRandom(seed)) => [index, random.uint32()])

  it('repeats itself for a seed and differs for another', () => {
    expect(draw(1)).toEqual(draw(1))
    expect(draw(1)).not.toEqual(draw(2))
  })

  it('forks a generator whose draws do not shift its own', () => {
    const [one, two] = [new SeededRandom(3), new SeededRandom(3)]
    one.fork().bytes(100)
    two.fork()
    expect(one.uint32()).toBe(two.uint32())
  })
})
