import { describe, expect, it } from 'vitest'
import { catches, rulesBroken } from '../corruption.js'
import { duplicate, historyOf, log, topic, unknown, write, writeId, written } from '../facts.js'
import { writtenOnce } from './written-once.js'

const WINDOW_MS = 1_000

describe('the rule that idempotent and dedup writes are there once', () => {
  it('lets pass a duplicate that was told from its original', () => {
    const history = historyOf(
      topic(),
      writeId(1, 'a', 'x'),
      written(1, 0),
      writeId(2, 'b', 'x'),
      duplicate(2, 0),
      log(['a']),
    )
    expect(rulesBroken(history)).toEqual([])
  })

  it('lets pass a repeated write of a producer that promises nothing', () => {
    const history = historyOf(
      topic(),
      write(1, ['a']),
      unknown(1),
      write(2, ['a']),
      written(2, 1),
      log(['a', 'a']),
    )
    expect(rulesBroken(history)).not.toContain('written-once')
  })

  it('catches a record that is there twice though it was asked for once', () => {
    expect(rulesBroken(historyOf(topic(), write(1, ['a']), log(['a', 'a'])))).toContain('written-once')
  })

  it('catches one that an idempotent producer, or an atomic write, sent twice', () => {
    const idempotent = { producer: { id: 1, epoch: 0, sequence: 0 } }
    const twice = historyOf(
      topic(),
      write(1, ['a'], idempotent),
      unknown(1),
      write(2, ['a'], idempotent),
      log(['a', 'a']),
    )
    expect(rulesBroken(twice)).toContain('written-once')
    const atomic = { atomic: true }
    const again = historyOf(
      topic(),
      write(1, ['a'], atomic),
      unknown(1),
      write(2, ['a'], atomic),
      log(['a', 'a']),
    )
    expect(rulesBroken(again)).toContain('written-once')
  })

  it('catches two records of one dedup id, seen or only answered', () => {
    const seen = historyOf(topic(), writeId(1, 'a', 'x'), writeId(2, 'b', 'x'), log(['a', 'b']))
    expect(rulesBroken(seen)).toContain('written-once')
    const answered = historyOf(
      topic(),
      writeId(1, 'a', 'x'),
      written(1, 0),
      writeId(2, 'b', 'x'),
      written(2, 1),
    )
    expect(rulesBroken(answered)).toContain('written-once')
  })

  it('lets pass a dedup id whose window is over, and catches one whose is not', () => {
    const twice = (atMs: number) =>
      historyOf(
        topic({ dedupWindowMs: WINDOW_MS }),
        { ...writeId(1, 'a', 'x'), atMs: 5_000 },
        { ...written(1, 0), atMs: 5_010 },
        { ...writeId(2, 'b', 'x'), atMs: atMs - 10 },
        { ...written(2, 1), atMs },
        log(['a', 'b']),
      )
    expect(rulesBroken(twice(5_000 + WINDOW_MS))).toEqual([])
    expect(rulesBroken(twice(5_000 + WINDOW_MS - 1))).toEqual(['written-once'])
  })

  catches(writtenOnce, {
    'a record of an idempotent producer is there again, at the end': (events, random) => {
      const last = events.findLast((event) => event.type === 'log' && event.records.length > 0)
      if (last?.type !== 'log') return undefined
      const [, value] = random.pick(last.records)
      const { endOffset } = last
      return events.map((event) =>
        event === last
          ? { ...event, endOffset: endOffset + 1, records: [...event.records, [endOffset, value] as const] }
          : event,
      )
    },
    'a duplicate is there too': (events, random) => {
      const duplicates = events.flatMap((event) =>
        event.type === 'written' && event.places.some((place) => place.duplicate) ? [event] : [],
      )
      if (duplicates.length === 0) return undefined
      const answer = random.pick(duplicates)
      const places = answer.places.map(({ partition, offset, duplicate }) =>
        duplicate ? { partition, offset: offset + 1_000 } : { partition, offset },
      )
      return events.map((event) => (event === answer ? { ...answer, places } : event))
    },
  })
})
