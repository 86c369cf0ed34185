import { describe, expect, it } from 'vitest'
import { catches, insert, pick, rulesBroken } from '../corruption.js'
import { done, historyOf, leased, reset, settle, topic, unknown, write } from '../facts.js'
import { leaseExclusive } from './lease-exclusive.js'

const start = [topic(), write(1, ['a'])] as const
const lease = (member: string, leaseId: number, grantedMs: number, count = 1) =>
  leased(member, 0, { leaseId, grantedMs, untilMs: grantedMs + 100, count })
const away = (untilMs?: number) => ({ type: 'memberAway', group: 'g', member: 'v', untilMs }) as const
const back = { type: 'memberBack', group: 'g', member: 'v' } as const

describe('the rule that a lease is exclusive while it is valid', () => {
  it('lets pass leases that ran out, were given back, or whose worker was gone', () => {
    expect(rulesBroken(historyOf(...start, lease('v', 1, 0), lease('w', 2, 100)))).toEqual([])
    const nack = settle(2, 'v', 0, { kind: 'nack', leaseId: 1 })
    expect(
      rulesBroken(historyOf(...start, lease('v', 1, 0), nack, unknown(2), lease('w', 2, 50, 2))),
    ).toEqual([])
    expect(rulesBroken(historyOf(...start, lease('v', 1, 0), away(40), lease('w', 2, 40)))).toEqual([])
    expect(rulesBroken(historyOf(...start, lease('v', 1, 0), away(), lease('w', 2, 10)))).toEqual([])
  })

  it('lets a slow worker speak late of a lease', () => {
    expect(rulesBroken(historyOf(...start, lease('w', 2, 100), lease('v', 1, 0)))).toEqual([])
  })

  it('catches a second lease while the first one holds', () => {
    expect(rulesBroken(historyOf(...start, lease('v', 1, 0), lease('w', 2, 99)))).toEqual(['lease-exclusive'])
    const untold = [leased('v', 0, { untilMs: 100 }), { ...leased('w', 0, { count: 2 }), atMs: 99 }] as const
    expect(rulesBroken(historyOf(...start, ...untold))).toEqual(['lease-exclusive'])
  })

  it('catches one while an extension holds, or while a worker may still come back, or is back', () => {
    const extend = settle(2, 'v', 0, { kind: 'extend', leaseId: 1, untilMs: 150 })
    const extended = historyOf(...start, lease('v', 1, 0), extend, done(2), lease('w', 2, 149))
    expect(rulesBroken(extended)).toEqual(['lease-exclusive'])
    expect(rulesBroken(historyOf(...start, lease('v', 1, 0), away(40), lease('w', 2, 39)))).toEqual([
      'lease-exclusive',
    ])
    const returned = historyOf(...start, lease('v', 1, 0), away(40), back, lease('w', 2, 60))
    expect(rulesBroken(returned)).toEqual(['lease-exclusive'])
  })

  it('catches a job that is given out when it is done, whoever speaks first', () => {
    const ack = settle(2, 'v', 0, { leaseId: 1 })
    expect(rulesBroken(historyOf(...start, lease('v', 1, 0), ack, done(2), lease('w', 2, 200)))).toEqual([
      'lease-exclusive',
    ])
    expect(rulesBroken(historyOf(...start, lease('w', 2, 200), lease('v', 1, 0), ack, done(2)))).toEqual([
      'lease-exclusive',
    ])
    const plain = [leased('v', 0), settle(2, 'v', 0), done(2), leased('w', 0)] as const
    expect(rulesBroken(historyOf(...start, ...plain))).toEqual(['lease-exclusive'])
    expect(rulesBroken(historyOf(...start, ...plain, reset(3, 0)))).toEqual([])
  })

  it('catches a job that two workers have done, and a count that falls', () => {
    const twice = historyOf(...start, settle(2, 'v', 0), done(2), settle(3, 'w', 0), done(3))
    expect(rulesBroken(twice)).toEqual(['lease-exclusive'])
    expect(rulesBroken(historyOf(...start, lease('v', 1, 0, 2), lease('w', 2, 200)))).toEqual([
      'lease-exclusive',
    ])
  })

  it('catches a lease id that two workers were given', () => {
    const two = [write(1, ['a', 'b']), lease('v', 1, 0), leased('w', 1, { leaseId: 1 })] as const
    expect(rulesBroken(historyOf(topic(), ...two))).toEqual(['lease-exclusive'])
    const one = [write(1, ['a', 'b']), lease('v', 1, 0), leased('v', 1, { leaseId: 1 })] as const
    expect(rulesBroken(historyOf(topic(), ...one))).toEqual([])
  })

  catches(leaseExclusive, {
    'another worker is given a job that is held': (events, random) => {
      const held = pick(events, random, { type: 'leased' })
      if (held === undefined) return undefined
      const { index: _, atMs: __, ...lease } = held
      return insert(events, held, { ...lease, member: 'w9', leaseId: (lease.leaseId ?? 0) + 0.5 })
    },
    'a job that is done is given out again': (events, random) => {
      const answers = new Set(events.flatMap((event) => (event.type === 'done' ? [event.op] : [])))
      const acked = pick(events, random, {
        type: 'settle',
        isFit: ({ op, kind }) => kind === 'ack' && answers.has(op),
      })
      const last = events.at(-1)
      if (acked === undefined || last === undefined) return undefined
      const { group, topicId, partition, offset } = acked
      return insert(events, last, {
        type: 'leased',
        group,
        topicId,
        partition,
        offset,
        member: 'w9',
        leaseId: 1e9,
        count: 9,
      })
    },
  })
})
