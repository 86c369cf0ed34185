import { describe, expect, it } from 'vitest'
import { catches, pick, rulesBroken } from '../corruption.js'
import { historyOf, topic, unknown, write, written } from '../facts.js'
import { producerResumes } from './producer-resumes.js'

const by = (op: number, value: string, sequence: number, epoch = 0) =>
  write(op, [value], { producer: { id: 7, epoch, sequence } })
const gap = (op: number, code = 'SEQUENCE_GAP') => ({ type: 'refused', op, code }) as const

describe('the rule that a producer goes on behind its last acknowledged write', () => {
  it('lets pass a gap behind a write of which nobody knows, and behind one that was left out', () => {
    expect(rulesBroken(historyOf(topic(), by(1, 'a', 0), unknown(1), by(2, 'b', 1), gap(2)))).toEqual([])
    expect(rulesBroken(historyOf(topic(), by(1, 'a', 0), written(1, 0), by(2, 'b', 2), gap(2)))).toEqual([])
    expect(rulesBroken(historyOf(topic(), by(1, 'a', 0), by(2, 'b', 1), gap(2), written(1, 0)))).toEqual([])
  })

  it('lets pass one that begins anew, and one that is fenced', () => {
    const other = [by(2, 'b', 1, 1), gap(2, 'ILLEGAL_ARGUMENT')] as const
    expect(rulesBroken(historyOf(topic(), by(1, 'a', 0), written(1, 0), ...other))).toEqual([])
    const fenced = gap(2, 'PRODUCER_EPOCH_STALE')
    expect(rulesBroken(historyOf(topic(), by(1, 'a', 0), written(1, 0), by(2, 'b', 1), fenced))).toEqual([])
  })

  it('catches a gap behind an acknowledged write', () => {
    for (const code of ['SEQUENCE_GAP', 'ILLEGAL_ARGUMENT']) {
      const history = historyOf(topic(), by(1, 'a', 0), written(1, 0), by(2, 'b', 1), gap(2, code))
      expect(rulesBroken(history)).toEqual(['producer-resumes'])
    }
  })

  it('catches a gap before the first write', () => {
    expect(rulesBroken(historyOf(topic(), by(1, 'a', 0), gap(1)))).toEqual(['producer-resumes'])
  })

  catches(producerResumes, {
    'the next write of a producer is said to be none': (events, random) => {
      const answered = new Set(events.flatMap((event) => (event.type === 'written' ? [event.op] : [])))
      const last = events.at(-1)
      const asked = pick(events, random, {
        type: 'write',
        isFit: ({ op, producer, index }) =>
          producer !== undefined &&
          answered.has(op) &&
          !events.some(
            (other) => other.type === 'write' && other.index > index && other.producer?.id === producer.id,
          ),
      })
      if (asked?.producer === undefined || last === undefined) return undefined
      const { producer, records } = asked
      const sequence = producer.sequence + records.length
      const value = 'one more'
      const next = { ...asked, op: 1_000_000, index: last.index + 1, producer: { ...producer, sequence } }
      return [
        ...events,
        { ...next, records: records.slice(0, 1).map((record) => ({ ...record, value })) },
        { index: last.index + 2, type: 'refused', op: 1_000_000, code: 'SEQUENCE_GAP' },
      ]
    },
  })
})
