import { describe, expect, it } from 'vitest'
import { catches, pick, replace, rulesBroken } from '../corruption.js'
import { historyOf, leased, log, read, topic, write } from '../facts.js'
import { oneValue } from './one-value.js'

describe('the rule that an offset has one value, for ever', () => {
  it('lets pass readers that see the same, before and after a crash', () => {
    const crash = [{ type: 'brokerDown', how: 'kill' }, { type: 'brokerUp' }] as const
    const history = historyOf(
      topic(),
      write(1, ['a', 'b']),
      read(0, ['a', 'b'], { via: 'tail' }),
      ...crash,
      read(0, ['a'], { reader: 's', via: 'history' }),
      leased('w', 1, { value: 'b' }),
      log(['a', 'b']),
    )
    expect(rulesBroken(history)).toEqual([])
  })

  it('catches two readers that see two values', () => {
    const history = historyOf(topic(), write(1, ['a', 'b']), read(0, ['a']), read(0, ['b'], { reader: 's' }))
    expect(rulesBroken(history)).toContain('one-value')
  })

  it('catches a worker that is given something else than what is in the log', () => {
    const history = historyOf(topic(), write(1, ['a', 'b']), leased('w', 0, { value: 'b' }), log(['a', 'b']))
    expect(rulesBroken(history)).toContain('one-value')
  })

  it('catches a reader that finds nothing where another found a record', () => {
    const history = historyOf(topic(), write(1, ['a']), read(0, ['a']), log([], { endOffset: 1 }))
    expect(rulesBroken(history)).toContain('one-value')
  })

  it('lets compaction leave out what was there', () => {
    const history = historyOf(topic({ compacted: true }), write(1, ['a', 'b']), read(0, ['a', 'b']), {
      ...log([], { endOffset: 2 }),
      records: [[1, 'b']],
    })
    expect(rulesBroken(history)).toEqual([])
  })

  const torn =
    (change: (value: string) => string | undefined): Parameters<typeof catches>[1][string] =>
    (events, random) => {
      // Whatever is in the final log was seen or will not be missed; one reader alone is lied to.
      const last = events.filter(({ type }) => type === 'read' || type === 'given')
      const seen = new Map<string, number>()
      for (const event of last) {
        if (event.type !== 'read' && event.type !== 'given') continue
        for (const [, value] of event.records) seen.set(value, (seen.get(value) ?? 0) + 1)
      }
      for (const event of events)
        if (event.type === 'log') for (const [, value] of event.records) seen.set(value, 2)
      const lied = pick(events, random, {
        type: 'read',
        isFit: ({ records }) => records.some(([, value]) => (seen.get(value) ?? 0) > 1),
      })
      if (lied === undefined) return undefined
      const [offset, value] = random.pick(lied.records.filter(([, one]) => (seen.get(one) ?? 0) > 1))
      const changed = change(value)
      const records = lied.records.flatMap((one) =>
        one[0] !== offset ? [one] : changed === undefined ? [] : [[offset, changed] as const],
      )
      return replace(events, lied, { records })
    }

  catches(oneValue, {
    'one reader sees another value': torn((value) => `${value}!`),
    'one reader sees nothing': torn(() => undefined),
  })
})
