import { expect, it } from 'vitest'
import { FairQueue, type Waiting } from '../../../broker/session/fair-queue.js'
import { ManualClock } from '../../support/manual-clock.js'

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

function start() {
  const clock = new ManualClock()
  const queue = new FairQueue(clock)
  const done: string[] = []
  /** Enters again until it has gone on `pieces` times, each of which takes `ms`. */
  const worker = (name: string, pieces: number, ms = 0): Waiting => {
    let left = pieces
    const waiting: Waiting = {
      goOn() {
        done.push(name)
        clock.advance(ms)
        if (--left > 0) queue.enter(waiting)
      },
    }
    return waiting
  }
  return { queue, done, worker, clock }
}

it('those who want more of the event loop go on in rotation, a piece each', async () => {
  const { queue, done, worker } = start()
  const [a, b, c] = [worker('a', 3), worker('b', 1), worker('c', 2)]
  for (const one of [a, b, a, c]) queue.enter(one)
  expect(done).toEqual([])
  await settled()
  expect(done).toEqual(['a', 'b', 'c'])
  for (let i = 0; i < 3; i++) await settled()
  expect(done).toEqual(['a', 'b', 'c', 'a', 'c', 'a'])
})

it('a turn of the event loop ends for all of them when its time is over, and the rotation goes on where it was', async () => {
  const { queue, done, worker } = start()
  for (const name of ['a', 'b', 'c']) queue.enter(worker(name, 2, 0.5))
  await settled()
  expect(done).toEqual(['a', 'b'])
  await settled()
  expect(done).toEqual(['a', 'b', 'c', 'a'])
})

it('what one of them sends is written before the next goes on', async () => {
  const { queue, done, worker } = start()
  const sender: Waiting = { goOn: () => process.nextTick(() => done.push('written')) }
  queue.enter(sender)
  queue.enter(worker('next', 1))
  await settled()
  expect(done).toEqual(['written', 'next'])
})

it('whoever has left the queue does not go on', async () => {
  const { queue, done, worker } = start()
  const one = worker('a', 1)
  queue.enter(one)
  queue.leave(one)
  await settled()
  expect(done).toEqual([])
})
