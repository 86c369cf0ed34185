import type { EventOf, HistoryEvent } from '../history.js'
import type { Observed } from '../observed.js'
import { placeKey } from '../observed.js'
import type { PartitionLog } from '../partition-log.js'
import { RisingMax } from '../rising-max.js'
import type { Finding, Rule } from '../rule.js'

/** What shows that the log reaches past an offset. */
interface Proof {
  readonly index: number
  readonly offset: number
  readonly event: HistoryEvent
}

/** What was acknowledged or read is below the end of the log from then on, crash or not. */
export const durableEnd: Rule = {
  name: 'durable-end',
  promise: 'What readers saw was durable, and the end of a partition never goes back.',
  *find(observed) {
    const acknowledged = answers(observed)
    for (const [key, log] of observed.logs) {
      if (observed.gone.has(log.topicId)) continue
      yield* endsIn(log, acknowledged.get(key) ?? [])
      yield* vanishedFrom(log)
    }
  },
}

function answers(observed: Observed): Map<string, Proof[]> {
  const proofs = new Map<string, Proof[]>()
  for (const write of observed.writes) {
    if (!write.isDone || write.end === undefined) continue
    for (const [i, { partition, offset }] of write.places.entries()) {
      const topicId = write.asked.records[i]?.topicId
      if (topicId === undefined) continue
      const key = placeKey({ topicId, partition })
      const known = proofs.get(key) ?? []
      known.push({ index: write.end.index, offset, event: write.end })
      proofs.set(key, known)
    }
  }
  return proofs
}

function* endsIn(log: PartitionLog, acknowledged: readonly Proof[]): Generator<Finding> {
  if (log.bounds.length === 0) return
  const seen = [...log.seen.values()].map(({ offset, event }) => ({ index: event.index, offset, event }))
  const told = log.bounds.map((event) => ({ index: event.index, offset: event.endOffset - 1, event }))
  const highest = new RisingMax<Proof>([...acknowledged, ...seen, ...told], {
    at: ({ index }) => index,
    offset: ({ offset }) => offset,
  })
  for (const bounds of log.bounds) {
    const proof = highest.before(bounds.since ?? bounds.index)
    if (proof === undefined || bounds.endOffset > proof.offset) continue
    yield {
      message: `${log.name} was said to end at ${bounds.endOffset}, after it was known to reach past ${proof.offset}`,
      events: [proof.event, bounds],
    }
  }
}

function* vanishedFrom({ name, seen, final }: PartitionLog): Generator<Finding> {
  if (final === undefined) return
  const last = final.events.at(-1) as EventOf<'log'>
  for (const { offset, value, event } of seen.values()) {
    if (offset < final.end) continue
    yield {
      message: `"${value}" was read at offset ${offset} of ${name}, which ends at ${final.end}`,
      events: [event, last],
    }
  }
}
