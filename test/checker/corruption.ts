import fc from 'fast-check'
import { expect, it } from 'vitest'
import { SeededRandom } from '../support/seeded-random.js'
import { checkHistory } from './check.js'
import type { EventOf, Fact, HistoryEvent, Partition, Seen } from './history.js'
import { legalHistory } from './model/model-history.js'
import type { Rule } from './rule.js'

/** Makes a lie of a legal history; undefined where it holds nothing that could be turned into this one. */
export type Corruption = (events: readonly HistoryEvent[], random: SeededRandom) => HistoryEvent[] | undefined

/** The names of the rules that a history breaks. */
export function rulesBroken(events: readonly HistoryEvent[]): string[] {
  return [...new Set(checkHistory(events).map(({ rule }) => rule))]
}

/** Tests that the rule sees every one of these in legal histories of any seed. */
export function catches(rule: Rule, corruptions: Readonly<Record<string, Corruption>>): void {
  it.each(Object.entries(corruptions))('catches in any history: %s', (_, corrupt) => {
    let corrupted = 0
    fc.assert(
      fc.property(fc.integer({ min: 0 }), (seed) => {
        const lie = corrupt(legalHistory({ seed, steps: 250 }), new SeededRandom(seed))
        if (lie === undefined) return
        corrupted++
        expect(rulesBroken(lie)).toContain(rule.name)
      }),
      { numRuns: 40 },
    )
    // Otherwise it would have been shown of nothing.
    expect(corrupted).toBeGreaterThan(5)
  })
}

/** One of the events of a type for which `isFit`. */
export function pick<Type extends Fact['type']>(
  events: readonly HistoryEvent[],
  random: SeededRandom,
  { type, isFit = () => true }: { type: Type; isFit?: (event: EventOf<Type>) => boolean },
): EventOf<Type> | undefined {
  const fit = events.filter(
    (event): event is EventOf<Type> => event.type === type && isFit(event as EventOf<Type>),
  )
  return fit.length === 0 ? undefined : random.pick(fit)
}

export function replace<Event extends HistoryEvent>(
  events: readonly HistoryEvent[],
  event: Event,
  changed: Partial<Event>,
): HistoryEvent[] {
  return events.map((one) => (one === event ? { ...one, ...changed } : one))
}

/** Puts facts behind an event, and gives everything its place anew. */
export function insert(
  events: readonly HistoryEvent[],
  after: HistoryEvent,
  ...facts: readonly Fact[]
): HistoryEvent[] {
  const at = events.indexOf(after) + 1
  const shifted = events.slice(at).map((event) => {
    const moved = { ...event, index: event.index + facts.length }
    if (!('since' in moved) || moved.since === undefined || moved.since < at) return moved
    return { ...moved, since: moved.since + facts.length }
  })
  return [
    ...events.slice(0, at),
    ...facts.map((fact, i) => ({ index: at + i, atMs: after.atMs, ...fact })),
    ...shifted,
  ]
}

/** Changes what everybody saw, everywhere; undefined leaves a hole. */
export function seeInstead(
  events: readonly HistoryEvent[],
  change: (seen: Seen, place: Partition, event: HistoryEvent) => Seen | undefined,
): HistoryEvent[] {
  return events.map((event) => {
    if (event.type === 'read' || event.type === 'given' || event.type === 'log') {
      const records = event.records.flatMap((seen) => {
        const changed = change(seen, event, event)
        return changed === undefined ? [] : [changed]
      })
      return { ...event, records }
    }
    if (event.type === 'leased' && event.value !== undefined) {
      return { ...event, value: change([event.offset, event.value], event, event)?.[1] }
    }
    return event
  })
}

export const isAt = (place: Partition, other: Partition): boolean =>
  place.topicId === other.topicId && place.partition === other.partition

/** The final log of a partition, whole. */
export function finalLog(events: readonly HistoryEvent[], place: Partition): Seen[] {
  return events.flatMap((event) => (event.type === 'log' && isAt(event, place) ? event.records : []))
}

/** A write that was answered and whose records are all in the final log, none of them by a dedup id. */
export function answeredWrite(
  events: readonly HistoryEvent[],
  random: SeededRandom,
  isFit: (asked: EventOf<'write'>) => boolean = () => true,
): { asked: EventOf<'write'>; answer: EventOf<'written'>; place: Partition } | undefined {
  const asked = new Map(events.flatMap((event) => (event.type === 'write' ? [[event.op, event]] : [])))
  const last = new Set(
    events.flatMap((event) => (event.type === 'log' ? event.records.map(([, value]) => value) : [])),
  )
  const answer = pick(events, random, {
    type: 'written',
    isFit: ({ op }) => {
      const one = asked.get(op)
      return (
        one?.records.every(({ value, dedupId }) => dedupId === undefined && last.has(value)) === true &&
        isFit(one)
      )
    },
  })
  const write = answer && asked.get(answer.op)
  const [record] = write?.records ?? []
  if (answer === undefined || write === undefined || record === undefined) return undefined
  return { asked: write, answer, place: { topicId: record.topicId, partition: record.partition ?? 0 } }
}
