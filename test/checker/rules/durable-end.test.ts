import { describe, expect, it } from 'vitest'
import { catches, isAt, pick, replace, rulesBroken } from '../corruption.js'
import { bounds, historyOf, log, read, topic, unknown, write, written } from '../facts.js'
import { durableEnd } from './durable-end.js'

describe('the rule that what readers saw was durable', () => {
  it('lets pass an end that only rises, and an old answer that comes late', () => {
    const history = historyOf(
      topic(),
      write(1, ['a']),
      bounds(0, 0),
      written(1, 0),
      bounds(0, 1),
      bounds(0, 0, { since: 2 }),
      log(['a']),
    )
    expect(rulesBroken(history)).toEqual([])
  })

  it('catches a record that was read and is gone after a crash', () => {
    const history = historyOf(
      topic(),
      write(1, ['a']),
      unknown(1),
      read(0, ['a']),
      { type: 'brokerDown', how: 'powerCut' },
      { type: 'brokerUp' },
      log([]),
    )
    expect(rulesBroken(history)).toEqual(['durable-end'])
  })

  it('catches an end below what was acknowledged, or below what was the end', () => {
    const answered = historyOf(topic(), write(1, ['a']), written(1, 0), bounds(0, 0))
    expect(rulesBroken(answered)).toEqual(['durable-end'])
    expect(rulesBroken(historyOf(topic(), bounds(0, 3), bounds(0, 2)))).toEqual(['durable-end'])
  })

  catches(durableEnd, {
    'the log ends before what was read': (events, random) => {
      const read = pick(events, random, { type: 'read', isFit: ({ records }) => records.length > 0 })
      const offset = read?.records.at(-1)?.[0]
      if (read === undefined || offset === undefined) return undefined
      return events.map((event) => {
        if (event.type !== 'log' || !isAt(event, read)) return event
        const endOffset = Math.min(event.endOffset, offset)
        const startOffset = Math.min(event.startOffset, endOffset)
        return { ...event, startOffset, endOffset, records: event.records.filter(([at]) => at < offset) }
      })
    },
    'an end that is told too low': (events, random) => {
      const read = pick(events, random, { type: 'read', isFit: ({ records }) => records.length > 0 })
      const told = pick(events, random, {
        type: 'bounds',
        isFit: (one) => read !== undefined && isAt(one, read) && one.index > read.index,
      })
      const offset = read?.records.at(-1)?.[0]
      return told && offset !== undefined ? replace(events, told, { endOffset: offset }) : undefined
    },
  })
})
