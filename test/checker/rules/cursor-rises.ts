import { type CursorHistory, endOf } from '../cursor-history.js'
import type { EventOf } from '../history.js'
import { groupKey, type Observed } from '../observed.js'
import { RisingMax } from '../rising-max.js'
import type { Finding, Rule } from '../rule.js'

/** A place at which a group was said to be. */
interface Position {
  readonly offset: number
  readonly since: number
  readonly event: EventOf<'cursor' | 'assigned'>
}

/** A cursor moves up alone, unless it is reset, and no further than somebody asked for. */
export const cursorRises: Rule = {
  name: 'cursor-rises',
  promise: 'Cursors are monotonic, and are where members put them.',
  *find(observed) {
    for (const cursors of observed.cursors.values()) {
      if (observed.gone.has(cursors.place.topicId)) continue
      const positions = positionsOf(cursors)
      yield* fallen(observed, cursors, positions)
      yield* ahead(observed, cursors, positions)
    }
  },
}

function positionsOf({ assigned, observed }: CursorHistory): Position[] {
  const told = observed.map((event) => ({ offset: event.offset, since: event.since ?? event.index, event }))
  const given = assigned.flatMap((event) =>
    event.cursor === undefined ? [] : [{ offset: event.cursor, since: event.since ?? 0, event }],
  )
  return [...told, ...given].sort((a, b) => a.event.index - b.event.index)
}

function* fallen(
  observed: Observed,
  cursors: CursorHistory,
  positions: readonly Position[],
): Generator<Finding> {
  const of = { at: ({ event }: Position) => event.index, offset: ({ offset }: Position) => offset }
  const highest = new RisingMax(positions, of)
  for (const { offset, since, event } of positions) {
    const resets = cursors.lastResets(event.index)
    // What was said before a reset is over; until it is answered, everything may be.
    const after =
      resets.length === 0
        ? highest
        : new RisingMax(
            positions.filter(({ since }) => since > endOf(resets)),
            of,
          )
    const before = after.before(since)
    if (before === undefined || before.offset <= offset) continue
    yield {
      message: `the cursor of group "${cursors.group}" in ${observed.log(cursors.place).name} went back from ${before.offset} to ${offset}`,
      events: [before.event, event],
    }
  }
}

function* ahead(
  observed: Observed,
  cursors: CursorHistory,
  positions: readonly Position[],
): Generator<Finding> {
  // The place of a queue follows from its jobs; a cursor below the start of its log is moved there.
  if (observed.queues.has(groupKey(cursors.group, cursors.place))) return
  if (observed.mayPassCursors(cursors.place)) return
  for (const { offset, event } of positions) {
    const highest = cursors.highest(event.index)
    if (offset <= highest) continue
    yield {
      message: `the cursor of group "${cursors.group}" in ${observed.log(cursors.place).name} was at ${offset}, and nobody had acknowledged more than ${highest}`,
      events: [event],
    }
  }
}
