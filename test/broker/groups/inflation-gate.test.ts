import { describe, expect, test } from 'vitest'
import { InflationGate } from '../../../broker/groups/inflation-gate.js'

interface Work {
  readonly bytes: number
  readonly done: Promise<string>
  finish(): void
  fail(): void
}

/** Work that ends when the test says so, and what of it has begun. */
function atGate(bounds: { bytesMax: number; countMax: number }) {
  const gate = new InflationGate(bounds)
  const begun: number[] = []
  const start = (bytes: number): Work => {
    let finish = (): void => {}
    let fail = (): void => {}
    const inflated = new Promise<string>((resolve, reject) => {
      finish = () => resolve(`${bytes}`)
      fail = () => reject(new Error('corrupt'))
    })
    const done = gate.run(bytes, () => {
      begun.push(bytes)
      return inflated
    })
    return { bytes, done, finish, fail }
  }
  return { begun, start }
}

const turn = () => new Promise((resolve) => setImmediate(resolve))

describe('what is inflated at once', () => {
  test('is no more than so many bytes, in the order in which it came', async () => {
    const { begun, start } = atGate({ bytesMax: 100, countMax: 10 })
    const [first, second, third, small] = [start(60), start(40), start(50), start(1)]
    await turn()
    expect(begun).toEqual([60, 40])
    second?.finish()
    expect(await second?.done).toBe('40')
    await turn()
    // The small one would fit; it does not overtake.
    expect(begun).toEqual([60, 40])
    first?.finish()
    await turn()
    expect(begun).toEqual([60, 40, 50, 1])
    third?.finish()
    small?.finish()
    expect(await Promise.all([third?.done, small?.done])).toEqual(['50', '1'])
  })

  test('is no more than so many, however small', async () => {
    const { begun, start } = atGate({ bytesMax: 100, countMax: 2 })
    const works = [1, 2, 3, 4].map(start)
    await turn()
    expect(begun).toEqual([1, 2])
    for (const work of works) work.finish()
    await Promise.all(works.map(({ done }) => done))
    expect(begun).toEqual([1, 2, 3, 4])
  })

  test('may be one that is larger than all that is allowed, alone', async () => {
    const { begun, start } = atGate({ bytesMax: 100, countMax: 10 })
    const works = [start(10), start(1000), start(10)]
    await turn()
    expect(begun).toEqual([10])
    works[0]?.finish()
    await turn()
    expect(begun).toEqual([10, 1000])
    works[1]?.finish()
    await turn()
    expect(begun).toEqual([10, 1000, 10])
  })

  test('makes room when it fails', async () => {
    const { begun, start } = atGate({ bytesMax: 100, countMax: 1 })
    const [bad, good] = [start(1), start(2)]
    bad?.fail()
    await expect(bad?.done).rejects.toThrow('corrupt')
    good?.finish()
    expect(await good?.done).toBe('2')
    expect(begun).toEqual([1, 2])
  })
})
