import type { CursorHistory, GivenAck } from '../cursor-history.js'
import type { EventOf, HistoryEvent } from '../history.js'
import { RisingMax } from '../rising-max.js'
import type { Finding, Rule } from '../rule.js'

/** What a consumer group was told to have acknowledged is behind it: no member begins below it again. */
export const ackKept: Rule = {
  name: 'ack-kept',
  promise: 'An answered ack is never undone: what it is for is not given again.',
  *find(observed) {
    for (const cursors of observed.cursors.values()) {
      const { name } = observed.log(cursors.place)
      for (const { what, position, since, event } of beginnings(cursors)) {
        const { offset, ack } = cursors.lowest(since, event.index)
        if (position >= offset) continue
        yield undone({ cursors, name, what, position, ack, offset, event })
      }
      yield* byGeneration(cursors, name)
      yield* givenAgain(cursors, name)
    }
  },
}

interface Beginning {
  readonly what: string
  readonly position: number
  readonly since: number
  readonly event: HistoryEvent
}

/** Wherever the broker said, or showed, where the group is. */
function* beginnings({ assigned, observed, given }: CursorHistory): Generator<Beginning> {
  for (const event of observed)
    yield { what: 'its cursor was', position: event.offset, since: event.since ?? event.index, event }
  for (const event of assigned) {
    const { member, cursor: position } = event
    if (position !== undefined)
      yield { what: `member ${member} was to begin at`, position, since: event.since ?? 0, event }
  }
  for (const { assignment, first } of firstGiven(assigned, given)) {
    if (assignment.cursor !== undefined) continue
    const { member, from: position } = first
    yield { what: `member ${member} began at`, position, since: assignment.since ?? 0, event: first }
  }
}

/** Each assignment with the first records that its member handed out. */
function* firstGiven(
  assigned: CursorHistory['assigned'],
  given: CursorHistory['given'],
): Generator<{ assignment: EventOf<'assigned'>; first: EventOf<'given'> }> {
  const open = new Map<string, EventOf<'assigned'>>()
  const events = [...assigned, ...given].sort((a, b) => a.index - b.index)
  for (const event of events) {
    if (event.type === 'assigned') open.set(event.member, event)
    else {
      const assignment = open.get(event.member)
      if (assignment !== undefined) yield { assignment, first: event }
      open.delete(event.member)
    }
  }
}

/** Acks of an older generation were all done before a newer one began, whenever anybody heard of it. */
function* byGeneration(cursors: CursorHistory, name: string): Generator<Finding> {
  if (cursors.resets.length > 0) return
  const acks = cursors.acks.filter(
    ({ generation, doneIndex }) => generation !== undefined && doneIndex < Infinity,
  )
  const done = new RisingMax(acks, {
    at: ({ generation }) => generation ?? 0,
    offset: ({ offset }) => offset,
  })
  for (const event of cursors.assigned) {
    if (event.generation === undefined || event.cursor === undefined) continue
    const ack = done.before(event.generation)
    if (ack === undefined || ack.offset <= event.cursor) continue
    const what = `member ${event.member} of generation ${event.generation} was to begin at`
    yield undone({ cursors, name, what, position: event.cursor, ack, offset: ack.offset, event })
  }
}

/** A member that acknowledged itself, and is given what it acknowledged. */
function* givenAgain(cursors: CursorHistory, name: string): Generator<Finding> {
  const due = new Map<string, number>()
  const events = [...cursors.assigned, ...cursors.given].sort((a, b) => a.index - b.index)
  for (const event of events) {
    if (event.type === 'assigned') {
      due.set(event.member, event.cursor ?? 0)
      continue
    }
    const position = due.get(event.member) ?? 0
    due.set(event.member, Math.max(position, event.next))
    if (event.from >= position) continue
    yield {
      message: `member ${event.member} of group "${cursors.group}" was given ${name} from ${event.from} on, where ${position} was due`,
      events: [event],
    }
  }
}

function undone(of: {
  cursors: CursorHistory
  name: string
  what: string
  position: number
  ack: GivenAck | undefined
  offset: number
  event: HistoryEvent
}): Finding {
  const { cursors, name, what, position, ack, offset, event } = of
  return {
    message: `group "${cursors.group}" had acknowledged ${name} up to ${offset}, and then ${what} ${position}`,
    events: [...(ack?.request.events ?? []), event],
  }
}
