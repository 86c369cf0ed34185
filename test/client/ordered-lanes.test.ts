import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { OrderedLanes } from '../../client/ordered-lanes.js'

interface Item {
  readonly number: number
  readonly lane: number | undefined
}

const steps = fc.array(
  fc.oneof(
    {
      weight: 5,
      arbitrary: fc.record({
        type: fc.constant('add' as const),
        lane: fc.option(fc.nat(4), { nil: undefined }),
      }),
    },
    {
      weight: 5,
      arbitrary: fc.record({
        type: fc.constant('done' as const),
        pick: fc.double({ min: 0, max: 0.999, noNaN: true }),
      }),
    },
    { weight: 1, arbitrary: fc.record({ type: fc.constant('drop' as const), lane: fc.nat(4) }) },
  ),
  { maxLength: 200 },
)

describe('lanes', () => {
  it('begin the oldest work whose lane is free, and no more at once than they may', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 5 }), steps, (concurrency, list) => {
        const lanes = new OrderedLanes<Item>(concurrency)
        let waiting: Item[] = []
        const running: Item[] = []
        let number = 0
        const begin = (): void => {
          for (;;) {
            const item = lanes.take()
            const due = waiting.find(
              ({ lane }) => lane === undefined || !running.some((other) => other.lane === lane),
            )
            expect(item).toEqual(running.length < concurrency ? due : undefined)
            if (item === undefined) break
            waiting = waiting.filter((other) => other !== item)
            running.push(item)
          }
          expect(lanes.waiting).toBe(waiting.length)
          expect(lanes.running).toBe(running.length)
        }
        for (const step of list) {
          if (step.type === 'add') {
            const item = { number: number++, lane: step.lane }
            waiting.push(item)
            lanes.add(item, step.lane)
          } else if (step.type === 'done') {
            const [item] = running.splice(Math.floor(step.pick * running.length), 1)
            if (item !== undefined) lanes.done(item)
          } else {
            waiting = waiting.filter(({ lane }) => lane !== step.lane)
            lanes.drop(({ lane }) => lane === step.lane)
          }
          begin()
        }
      }),
      { numRuns: 500 },
    )
  })
})
