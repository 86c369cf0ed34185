import type { HistoryEvent } from '../history.js'
import { groupKey, type Observed, placeKey } from '../observed.js'
import type { PartitionLog } from '../partition-log.js'
import { couldBeOver, type QueueHistory } from '../queue-history.js'
import { RisingMax } from '../rising-max.js'
import type { Finding, Rule } from '../rule.js'

/** Where a partition was said to start. */
interface Start {
  readonly offset: number
  readonly since: number
  readonly event: HistoryEvent
}

/** The start of a log moves up alone, and never past a record that somebody still has to do. */
export const truncation: Rule = {
  name: 'truncation',
  promise: 'Nothing is deleted that a cursor holds, and what is deleted stays deleted.',
  *find(observed) {
    for (const log of observed.logs.values()) {
      if (observed.gone.has(log.topicId)) continue
      const starts = startsOf(log)
      yield* fallen(observed, log, starts)
      if (!observed.topics.get(log.topicId)?.expires) yield* pastCursors(observed, log, starts)
    }
  },
}

function startsOf({ bounds, final }: PartitionLog): Start[] {
  const starts = bounds.map((event) => ({
    offset: event.startOffset,
    since: event.since ?? event.index,
    event: event as HistoryEvent,
  }))
  const [event] = final?.events ?? []
  if (event !== undefined) starts.push({ offset: event.startOffset, since: event.index, event })
  return starts.sort((a, b) => a.event.index - b.event.index)
}

function* fallen(observed: Observed, log: PartitionLog, starts: readonly Start[]): Generator<Finding> {
  const deleted = (observed.deletions.get(placeKey(log)) ?? []).flatMap(({ asked, end, isDone }) =>
    isDone && end !== undefined
      ? [{ offset: asked.offset, since: end.index, event: end as HistoryEvent }]
      : [],
  )
  const highest = new RisingMax<Start>([...starts, ...deleted], {
    at: ({ event }) => event.index,
    offset: ({ offset }) => offset,
  })
  for (const { offset, since, event } of starts) {
    const before = highest.before(since)
    if (before === undefined || before.offset <= offset) continue
    yield {
      message: `${log.name} starts at ${offset}, and started at ${before.offset} before`,
      events: [before.event, event],
    }
  }
}

function* pastCursors(observed: Observed, log: PartitionLog, starts: readonly Start[]): Generator<Finding> {
  let checked = 0
  const queues = [...observed.queues.values()].filter(({ place }) => placeKey(place) === placeKey(log))
  for (const { offset, event } of starts) {
    if (offset <= checked) continue
    const from = checked
    checked = offset
    if (offset <= deletedTo(observed, log, event.index)) continue
    const holder =
      consumerHolding(observed, log, { offset, index: event.index }) ??
      queueHolding(observed, log, { queues, from, to: offset, index: event.index })
    if (holder === undefined) continue
    yield { message: `${log.name} starts at ${offset}, and ${holder}`, events: [event] }
  }
}

function deletedTo(observed: Observed, log: PartitionLog, index: number): number {
  const asked = (observed.deletions.get(placeKey(log)) ?? []).filter(
    (deletion) => deletion.asked.index < index && !deletion.isRefused,
  )
  return Math.max(0, ...asked.map(({ asked: { offset } }) => offset))
}

interface At {
  readonly offset: number
  readonly index: number
}

/** Why the start cannot be there, as far as consumer groups go. */
function consumerHolding(observed: Observed, log: PartitionLog, { offset, index }: At): string | undefined {
  if (!observed.topics.get(log.topicId)?.untilAcked) return 'nobody deleted anything'
  let groups = 0
  for (const cursors of observed.cursors.values()) {
    if (placeKey(cursors.place) !== placeKey(log)) continue
    if ((observed.groupsGone.get(cursors.group)?.index ?? Number.POSITIVE_INFINITY) < index) continue
    groups++
    if (observed.queues.has(groupKey(cursors.group, log)) || cursors.knownSince >= index) continue
    const highest = cursors.highest(index)
    if (highest < offset) return `group "${cursors.group}" had not acknowledged more than ${highest}`
  }
  for (const queue of observed.queues.values()) if (placeKey(queue.place) === placeKey(log)) groups++
  return groups === 0 ? 'no group has a cursor in it' : undefined
}

/** The same for work queues: every job below the start is done or dead. */
function queueHolding(
  observed: Observed,
  log: PartitionLog,
  { queues, from, to, index }: { queues: readonly QueueHistory[]; from: number; to: number; index: number },
): string | undefined {
  for (const queue of queues) {
    if ((observed.groupsGone.get(queue.group)?.index ?? Number.POSITIVE_INFINITY) < index) continue
    // It may have been set past jobs that nobody did.
    if ((observed.cursors.get(groupKey(queue.group, log))?.resets.length ?? 0) > 0) continue
    const deliveriesMax = observed.deliveriesMax.get(`${queue.group}|${log.topicId}`)
    for (let offset = Math.max(from, queue.first); offset < to; offset++) {
      if (!log.seen.has(offset)) continue
      const job = queue.jobs.get(offset)
      if (job === undefined || !couldBeOver(job, { index, deliveriesMax }))
        return `job ${offset} of group "${queue.group}" was not done`
    }
  }
  return undefined
}
