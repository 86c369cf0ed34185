import type { CursorHistory } from '../cursor-history.js'
import type { EventOf, HistoryEvent } from '../history.js'
import type { Observed } from '../observed.js'
import type { PartitionLog, Sighting } from '../partition-log.js'
import type { QueueHistory } from '../queue-history.js'
import { couldBeOver } from '../queue-history.js'
import type { Finding, Rule } from '../rule.js'

/** What a group is past, its members were given. */
export const nothingSkipped: Rule = {
  name: 'nothing-skipped',
  promise: 'A group passes no record that none of its members was given, a queue none that nobody settled.',
  *find(observed) {
    for (const [key, cursors] of observed.cursors) {
      const log = observed.log(cursors.place)
      if (observed.gone.has(log.topicId) || observed.mayPassCursors(log)) continue
      const queue = observed.queues.get(key)
      if (queue !== undefined) yield* passedJobs(observed, { queue, cursors, log })
      else {
        yield* jumps(cursors, log)
        yield* neverGiven(cursors, log)
      }
    }
  },
}

/** A member goes on where it was, and begins no further than the group was at most. */
function* jumps(cursors: CursorHistory, log: PartitionLog): Generator<Finding> {
  const due = new Map<string, { next: number | undefined; event: HistoryEvent }>()
  const events = [...cursors.assigned, ...cursors.given].sort((a, b) => a.index - b.index)
  for (const event of events) {
    if (event.type === 'assigned') {
      due.set(event.member, { next: event.cursor, event })
      continue
    }
    const { member, from } = event
    const before = due.get(member)
    due.set(member, { next: event.next, event })
    const at = before?.next ?? cursors.highest(event.index)
    if (from <= at) continue
    yield {
      message: `member ${member} of group "${cursors.group}" was given ${log.name} from ${from} on, where ${at} was due`,
      events: before === undefined ? [event] : [before.event, event],
    }
  }
}

/** Everything between where the group began and where it was last was handed to somebody. */
function* neverGiven(cursors: CursorHistory, log: PartitionLog): Generator<Finding> {
  const { origin, resets, given } = cursors
  const last = cursors.observed.at(-1)
  if (origin === undefined || last === undefined || resets.length > 0) return
  let due = origin.offset
  for (const { from, next } of [...given].sort((a, b) => a.from - b.from)) {
    if (from > due) yield* passed(cursors, log, { from: due, to: Math.min(from, last.offset), last })
    due = Math.max(due, next)
  }
  yield* passed(cursors, log, { from: due, to: last.offset, last })
}

function* passed(
  { group }: CursorHistory,
  log: PartitionLog,
  { from, to, last }: { from: number; to: number; last: EventOf<'cursor'> },
): Generator<Finding> {
  for (let offset = from; offset < to; offset++) {
    const sighting = log.seen.get(offset)
    if (sighting !== undefined) yield skipped(group, sighting, last, 'was never given to a member')
  }
}

function* passedJobs(
  observed: Observed,
  { queue, cursors, log }: { queue: QueueHistory; cursors: CursorHistory; log: PartitionLog },
): Generator<Finding> {
  const last = cursors.observed.at(-1)
  if (last === undefined || cursors.resets.length > 0) return
  const deliveriesMax = observed.deliveriesMax.get(`${queue.group}|${log.topicId}`)
  const first = Math.min(queue.first, cursors.observed[0]?.offset ?? 0)
  for (let offset = first; offset < last.offset; offset++) {
    const sighting = log.seen.get(offset)
    if (sighting === undefined) continue
    const job = queue.jobs.get(offset)
    if (job !== undefined && couldBeOver(job, { index: last.index, deliveriesMax })) continue
    const what = job === undefined ? 'was never given to a worker' : 'was never settled'
    yield skipped(queue.group, sighting, last, what)
  }
}

const skipped = (
  group: string,
  { log, offset, value, event }: Sighting,
  last: HistoryEvent,
  what: string,
): Finding => ({
  message: `group "${group}" is past offset ${offset} of ${log.name}, "${value}", which ${what}`,
  events: [event, last],
})
