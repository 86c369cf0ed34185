import { describe, expect, it } from 'vitest'
import { catches, finalLog, pick, replace, rulesBroken } from '../corruption.js'
import {
  ack,
  assigned,
  cursor,
  done,
  given,
  historyOf,
  leased,
  log,
  refused,
  settle,
  topic,
  write,
} from '../facts.js'
import type { HistoryEvent } from '../history.js'
import { nothingSkipped } from './nothing-skipped.js'

const values = ['a', 'b', 'c']
const start = [topic(), write(1, values), log(values)] as const

describe('the rule that a group passes nothing that nobody was given', () => {
  it('lets pass a group that was given everything, by parts and twice', () => {
    const history = historyOf(
      ...start,
      assigned('m', 0),
      given('m', 0, ['a', 'b']),
      assigned('n', 0),
      given('n', 0, values),
      ack(2, 'n', 3),
      done(2),
      cursor(3),
    )
    expect(rulesBroken(history)).toEqual([])
  })

  it('lets pass a queue whose jobs were settled or handed out for the last time', () => {
    const history = historyOf(
      ...start,
      { type: 'queue', group: 'g', topicId: 't', maxDeliveries: 2 },
      leased('w', 0),
      settle(2, 'w', 0),
      leased('w', 1),
      settle(3, 'w', 1, { kind: 'nack' }),
      leased('w', 2, { count: 2 }),
      cursor(3),
    )
    expect(rulesBroken(history)).toEqual([])
  })

  it('catches a member that jumps, and one that begins too far', () => {
    const jump = historyOf(...start, assigned('m', 0), given('m', 0, ['a']), given('m', 2, ['c']))
    expect(rulesBroken(jump)).toEqual(['nothing-skipped'])
    const far = historyOf(...start, assigned('m', 0), given('m', 1, ['b']))
    expect(rulesBroken(far)).toEqual(['nothing-skipped'])
    const untold = { ...assigned('n', 0), cursor: undefined }
    const next = historyOf(
      ...start,
      assigned('m', 0),
      given('m', 0, ['a']),
      ack(2, 'm', 1),
      untold,
      given('n', 2, ['c']),
    )
    expect(rulesBroken(next)).toEqual(['nothing-skipped'])
  })

  it('catches a cursor that is past what nobody was given', () => {
    const history = historyOf(
      ...start,
      assigned('m', 0),
      given('m', 0, ['a']),
      ack(2, 'm', 3),
      done(2),
      cursor(3),
    )
    expect(rulesBroken(history)).toEqual(['nothing-skipped'])
  })

  it('catches a queue that is past a job that nobody had, or settled', () => {
    const first = [leased('w', 0), settle(2, 'w', 0), leased('w', 1)] as const
    expect(rulesBroken(historyOf(...start, ...first, cursor(2)))).toEqual(['nothing-skipped'])
    const refusal = [settle(3, 'w', 1), refused(3)] as const
    expect(rulesBroken(historyOf(...start, ...first, ...refusal, cursor(2)))).toEqual(['nothing-skipped'])
    expect(rulesBroken(historyOf(...start, ...first, settle(3, 'w', 1), cursor(3)))).toEqual([
      'nothing-skipped',
    ])
  })

  catches(nothingSkipped, {
    'a member that was given less than it took': (events, random) => {
      const one = pick(events, random, {
        type: 'given',
        isFit: ({ records, index, partition }) =>
          records.length > 1 &&
          events.some(
            (event) => event.type === 'given' && event.index > index && event.partition === partition,
          ),
      })
      const [first] = one?.records ?? []
      return one && first && replace(events, one, { from: first[0] + 1, records: one.records.slice(1) })
    },
    'a queue that is past a job that nobody had': (events, random) => {
      const last = events.findLast((event) => event.type === 'cursor' && event.group === 'workers')
      const first = events.find((event) => event.type === 'leased')
      if (last?.type !== 'cursor' || first?.type !== 'leased') return undefined
      const passed = finalLog(events, last).filter(
        ([offset]) => offset > first.offset && offset < last.offset,
      )
      if (passed.length === 0) return undefined
      const [offset] = random.pick(passed)
      const isOfJob = (event: HistoryEvent): boolean =>
        (event.type === 'leased' || event.type === 'settle') && event.offset === offset
      const ops = new Set(events.flatMap((event) => (isOfJob(event) && 'op' in event ? [event.op] : [])))
      return events.filter((event) => !isOfJob(event) && !('op' in event && ops.has(event.op)))
    },
  })
})
