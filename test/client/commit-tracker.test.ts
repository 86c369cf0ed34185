import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type CommitTracker, LoopTracker, RunTracker } from '../../client/commit-tracker.js'

/** All records ever given, looked through from the beginning each time. */
class NaiveTracker {
  readonly records: { offset: number; next: number; isFinished: boolean }[] = []
  position: number

  constructor(offset: number) {
    this.position = offset
  }

  /** The lowest offset that is not finished. */
  get floor(): number {
    return this.records.find(({ isFinished }) => !isFinished)?.offset ?? this.position
  }

  /** Where the last finished record of a loop ends: the floor is not below it. */
  get finishedEnd(): number {
    return this.records.findLast(({ isFinished }) => isFinished)?.next ?? 0
  }
}

type Step =
  | { type: 'give'; gap: number; tail: number }
  | { type: 'skip'; by: number }
  | { type: 'finish'; pick: number }

const steps = fc.array(
  fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({ type: fc.constant('give' as const), gap: fc.nat(2), tail: fc.nat(2) }),
    },
    {
      weight: 1,
      arbitrary: fc.record({ type: fc.constant('skip' as const), by: fc.integer({ min: 1, max: 5 }) }),
    },
    {
      weight: 4,
      arbitrary: fc.record({
        type: fc.constant('finish' as const),
        pick: fc.double({ min: 0, max: 0.999, noNaN: true }),
      }),
    },
  ),
  { maxLength: 400 },
)

/** Does the same to both; `check` looks at them after each step. */
function compare(
  tracker: CommitTracker,
  model: NaiveTracker,
  { list, isCumulative, check }: { list: readonly Step[]; isCumulative: boolean; check: () => void },
): void {
  for (const step of list) {
    if (step.type === 'give') {
      const offset = model.position + step.gap
      const next = offset + 1 + step.tail
      tracker.give(offset, next)
      model.records.push({ offset, next, isFinished: false })
      model.position = next
    } else if (step.type === 'skip') {
      model.position += step.by
      tracker.skip(model.position)
    } else {
      const record = model.records[Math.floor(step.pick * model.records.length)]
      if (record === undefined) continue
      const floor = tracker.floor
      for (const other of model.records) {
        if (isCumulative ? other.offset <= record.offset : other === record) other.isFinished = true
      }
      expect(tracker.finish(record.offset, record.next)).toBe(tracker.floor > floor)
    }
    check()
  }
}

describe('the tracker of a run', () => {
  it('has its floor at the lowest unfinished record, in whatever order they are finished', () => {
    fc.assert(
      fc.property(fc.nat(100), steps, (start, list) => {
        const tracker = new RunTracker(start)
        const model = new NaiveTracker(start)
        const check = (): void => expect(tracker.floor).toBe(model.floor)
        compare(tracker, model, { list, isCumulative: false, check })
      }),
      { numRuns: 500 },
    )
  })

  it('goes on past what was finished behind a record that was held up for long', () => {
    const tracker = new RunTracker(0)
    for (let offset = 0; offset < 10_000; offset++) {
      tracker.give(offset, offset + 1)
      if (offset > 0 && offset !== 5_000) tracker.finish(offset)
    }
    expect(tracker.floor).toBe(0)
    expect(tracker.finish(0)).toBe(true)
    expect(tracker.floor).toBe(5_000)
    tracker.finish(5_000)
    expect(tracker.floor).toBe(10_000)
  })

  it('takes a record that is finished twice for finished once', () => {
    const tracker = new RunTracker(0)
    tracker.give(0, 1)
    tracker.give(1, 2)
    expect(tracker.finish(0)).toBe(true)
    expect(tracker.finish(0)).toBe(false)
    expect(tracker.floor).toBe(1)
  })
})

describe('the tracker of a loop', () => {
  it('has its floor behind the highest finished record, at the end when that is the last', () => {
    fc.assert(
      fc.property(fc.nat(100), steps, (start, list) => {
        const tracker = new LoopTracker(start)
        const model = new NaiveTracker(start)
        let before = start
        const check = (): void => {
          expect(tracker.floor).toBeGreaterThanOrEqual(Math.max(before, model.finishedEnd))
          expect(tracker.floor).toBeLessThanOrEqual(model.floor)
          if (model.records.at(-1)?.isFinished !== false) expect(tracker.floor).toBe(model.position)
          before = tracker.floor
        }
        compare(tracker, model, { list, isCumulative: true, check })
      }),
      { numRuns: 500 },
    )
  })
})
