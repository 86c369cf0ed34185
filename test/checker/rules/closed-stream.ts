import type { HistoryEvent } from '../history.js'
import { type Observed, placeKey } from '../observed.js'
import type { PartitionLog } from '../partition-log.js'
import type { Finding, Rule } from '../rule.js'

/** What showed that a stream is closed, and where it ends, if it told. */
interface Closing {
  readonly event: HistoryEvent
  readonly endOffset: number | undefined
}

/** Whoever reads a closed stream to its end has all of it. */
export const closedStream: Rule = {
  name: 'closed-stream',
  promise: 'A stream that was closed stays closed, and nothing comes behind its end.',
  *find(observed) {
    for (const [topicId, closings] of closingsOf(observed)) {
      const [first] = closings
      if (first === undefined || observed.gone.has(topicId)) continue
      const log = observed.log({ topicId, partition: 0 })
      yield* openAgain(observed, log, first)
      yield* takenLater(observed, log, first)
      yield* grown(log, closings)
    }
  },
}

/** By stream, in the order in which they were known. */
function closingsOf(observed: Observed): Map<string, Closing[]> {
  const all = new Map<string, Closing[]>()
  const add = (topicId: string, closing: Closing): void => {
    const known = all.get(topicId) ?? []
    all.set(topicId, known)
    known.push(closing)
  }
  for (const event of [...observed.streamEnds.values()].flat())
    if (event.isClosed) add(event.topicId, { event, endOffset: event.endOffset })
  for (const { asked, isDone, end, places } of observed.writes) {
    if (!isDone || end === undefined || asked.closes === undefined) continue
    const last = places.at(-1)
    add(asked.closes, { event: end, endOffset: last && last.offset + 1 })
  }
  for (const closings of all.values()) closings.sort((a, b) => a.event.index - b.event.index)
  return all
}

function* openAgain(observed: Observed, log: PartitionLog, { event: closing }: Closing): Generator<Finding> {
  for (const event of observed.streamEnds.get(placeKey(log)) ?? []) {
    if (event.isClosed || (event.since ?? event.index) <= closing.index) continue
    yield { message: `${log.name} was closed, and is open`, events: [closing, event] }
  }
}

/** An answer that tells a place tells of new records. */
function* takenLater(observed: Observed, log: PartitionLog, { event: closing }: Closing): Generator<Finding> {
  for (const { asked, places, events } of observed.writes) {
    if (asked.index < closing.index || places.length === 0) continue
    if (asked.records[0]?.topicId !== log.topicId) continue
    yield { message: `${log.name} was closed, and took a write`, events: [closing, ...events] }
  }
}

function* grown(log: PartitionLog, closings: readonly Closing[]): Generator<Finding> {
  const known = closings.find(({ endOffset }) => endOffset !== undefined)
  if (known?.endOffset === undefined) return
  const { endOffset, event: closing } = known
  for (const other of closings) {
    if (other.endOffset === undefined || other.endOffset === endOffset) continue
    yield {
      message: `${log.name} was closed at ${endOffset}, and is closed at ${other.endOffset}`,
      events: [closing, other.event],
    }
  }
  for (const { offset, value, event } of log.seen.values()) {
    if (offset < endOffset) continue
    yield {
      message: `${log.name} was closed at ${endOffset}, and "${value}" is at ${offset}`,
      events: [closing, event],
    }
  }
}
