import type { EventOf, Seen } from '../history.js'
import { type Observed, placeKey } from '../observed.js'
import type { PartitionLog } from '../partition-log.js'
import type { Finding, Rule } from '../rule.js'

/** Readers get the offsets in their order, each once; where one has no record, a duplicate was left out or compaction took it. */
export const offsetOrder: Rule = {
  name: 'offset-order',
  promise: 'Offsets are monotonic, with gaps only where a duplicate was left out or records were compacted.',
  *find(observed) {
    const readers = new Map<string, EventOf<'read' | 'log'>>()
    for (const event of observed.readings) {
      const log = observed.log(event)
      const { from, next } = event.type === 'log' ? { from: event.startOffset, next: event.endOffset } : event
      const wrong = outOfOrder(event.records, { from, next })
      if (wrong !== undefined)
        yield { message: `offset ${wrong} of ${log.name} came out of its order`, events: [event] }
      if (event.type === 'given') continue
      const reader =
        event.type === 'log' ? `the final log|${placeKey(event)}` : `${event.reader}|${placeKey(event)}`
      const before = readers.get(reader)
      readers.set(reader, event)
      if (before === undefined) continue
      const due = before.type === 'log' ? before.endOffset : before.next
      if (from === due || (from > due && mayHaveMoved(observed, log))) continue
      yield {
        message: `a reader of ${log.name} went on at ${from}, where ${due} was due`,
        events: [before, event],
      }
    }
    yield* unexplainedGaps(observed)
  },
}

function outOfOrder(
  records: readonly Seen[],
  { from, next }: { from: number; next: number },
): number | undefined {
  let due = from
  for (const [offset] of records) {
    if (offset < due || offset >= next) return offset
    due = offset + 1
  }
  return undefined
}

/** A reader whose next records were deleted goes on at the first there is. */
function mayHaveMoved(observed: Observed, log: PartitionLog): boolean {
  return (observed.topics.get(log.topicId)?.untilAcked ?? false) || observed.mayPassCursors(log)
}

/** A record that was left out as a duplicate explains one gap; which one, the history does not tell. */
function* unexplainedGaps(observed: Observed): Generator<Finding> {
  const anywhere = new Map<string, number>()
  const there = new Map<string, number>()
  const count = (map: Map<string, number>, key: string): void => void map.set(key, (map.get(key) ?? 0) + 1)
  for (const write of observed.writes) {
    if (write.isRefused) continue
    for (const [i, record] of write.asked.records.entries()) {
      if (record.dedupId === undefined) continue
      if (write.isDone && !write.places[i]?.duplicate) continue
      const { topicId, partition } = record
      if (partition === undefined) count(anywhere, topicId)
      else count(there, placeKey({ topicId, partition }))
    }
  }
  for (const [key, log] of observed.logs) {
    if (log.absent.size === 0 || observed.topics.get(log.topicId)?.writtenByBroker) continue
    const explained = (anywhere.get(log.topicId) ?? 0) + (there.get(key) ?? 0)
    if (log.absent.size <= explained) continue
    const [offset, event] = [...log.absent][0] as [number, EventOf<'read'>]
    yield {
      message: `${log.name} has ${log.absent.size} offsets without a record, ${offset} the first, and ${explained} duplicates to explain them`,
      events: [event],
    }
  }
}
