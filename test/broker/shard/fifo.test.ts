import { expect, test } from 'vitest'
import { Fifo } from '../../../broker/shard/fifo.js'
import { SeededRandom } from '../../support/seeded-random.js'

test('a queue gives back what it got, in order, however pushes and shifts follow each other', () => {
  for (const seed of [1, 2, 3]) {
    const random = new SeededRandom(seed)
    const fifo = new Fifo<{ id: number }>()
    const model: { id: number }[] = []
    for (let step = 0; step < 20_000; step++) {
      // In phases, so that it grows to thousands and runs empty.
      if (random.chance(step % 5_000 < 2_500 ? 0.9 : 0.1)) {
        const item = { id: step }
        fifo.push(item)
        model.push(item)
      } else if (fifo.shift() !== model.shift()) expect.fail(`step ${step}: another item came`)
      if (fifo.length !== model.length || fifo.first !== model[0]) expect.fail(`step ${step}: it differs`)
    }
    expect([...fifo.drain()]).toEqual(model)
    expect(fifo.length).toBe(0)
    expect(fifo.first).toBeUndefined()
  }
})

test('a queue that was drained halfway goes on with the rest', () => {
  const fifo = new Fifo<string>()
  for (const item of ['a', 'b', 'c']) fifo.push(item)
  for (const item of fifo.drain()) if (item === 'b') break
  fifo.push('d')
  expect([...fifo.drain()]).toEqual(['c', 'd'])
})
