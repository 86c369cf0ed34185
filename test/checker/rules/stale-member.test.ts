import { describe, expect, it } from 'vitest'
import { catches, insert, pick, rulesBroken } from '../corruption.js'
import { ack, assigned, done, given, historyOf, refused, topic, unknown, write } from '../facts.js'
import { staleMember } from './stale-member.js'

const start = [topic(), write(1, ['a', 'b'])] as const

describe('the rule that who was fenced changes nothing', () => {
  it('lets pass an ack of who has the partition, and one that was asked for in time', () => {
    const history = historyOf(
      ...start,
      assigned('m', 0, { generation: 1 }),
      given('m', 0, ['a']),
      ack(2, 'm', 1, { generation: 1 }),
      assigned('n', 1, { generation: 2, since: 3 }),
      done(2),
      ack(3, 'm', 2, { generation: 1 }),
      refused(3),
      given('n', 1, ['b']),
      ack(4, 'n', 2, { generation: 2 }),
      done(4),
    )
    expect(rulesBroken(history)).toEqual([])
  })

  it('catches an ack of an older generation', () => {
    const history = historyOf(
      ...start,
      assigned('m', 0, { generation: 1 }),
      given('m', 0, ['a']),
      assigned('n', 0, { generation: 2 }),
      ack(2, 'm', 1, { generation: 1 }),
      done(2),
    )
    expect(rulesBroken(history)).toContain('stale-member')
  })

  it('catches one without generations, where the order is sure', () => {
    const history = (since: number) =>
      historyOf(...start, assigned('m', 0), assigned('n', 0, { since }), ack(2, 'm', 1), done(2))
    expect(rulesBroken(history(3))).toEqual(['stale-member'])
    // The two assignments may have been the other way round.
    expect(rulesBroken(history(1))).toEqual([])
  })

  it('catches an atomic write of a stale member, unless it is only asked for again', () => {
    const acks = [
      { kind: 'cursor', group: 'g', member: 'm', generation: 1, topicId: 't', partition: 0, offset: 1 },
    ] as const
    const unit = (op: number) =>
      write(op, ['out'], { atomic: true, acks, records: [{ topicId: 'o', value: 'out' }] })
    const answer = (op: number) => ({ type: 'written', op, places: [{ partition: 0, offset: 0 }] }) as const
    const [first, next] = [assigned('m', 0, { generation: 1 }), assigned('n', 0, { generation: 2 })]
    expect(rulesBroken(historyOf(...start, first, next, unit(2), answer(2)))).toContain('stale-member')
    expect(
      rulesBroken(historyOf(...start, first, unit(2), unknown(2), next, unit(3), answer(3))),
    ).not.toContain('stale-member')
  })

  catches(staleMember, {
    'a late ack is answered': (events, random) => {
      const late = pick(events, random, {
        type: 'ack',
        isFit: ({ op, member, generation }) =>
          events.some((event) => event.type === 'refused' && event.op === op) &&
          events.some(
            (event) =>
              event.type === 'assigned' &&
              event.generation === (generation ?? 0) + 1 &&
              event.member !== member,
          ),
      })
      if (late === undefined) return undefined
      return events.map((event) =>
        event.type === 'refused' && event.op === late.op
          ? { index: event.index, type: 'done', op: event.op }
          : event,
      )
    },
    'an ack of who has lost it': (events, random) => {
      const next = pick(events, random, {
        type: 'assigned',
        isFit: ({ generation }) => (generation ?? 0) > 1,
      })
      if (next === undefined) return undefined
      const { group, topicId, partition, generation = 0, cursor: offset = 0 } = next
      const member = next.member === 'm1' ? 'm2' : 'm1'
      const op = 1_000_000
      const asked = {
        type: 'ack',
        op,
        group,
        member,
        topicId,
        partition,
        generation: generation - 1,
        offset,
      } as const
      return insert(events, next, asked, { type: 'done', op })
    },
  })
})
