import type { CursorHistory, GivenAck } from '../cursor-history.js'
import type { EventOf, HistoryEvent } from '../history.js'
import type { Observed } from '../observed.js'
import type { Rule } from '../rule.js'

/** Who has lost a partition changes nothing in it any more. */
export const staleMember: Rule = {
  name: 'stale-member',
  promise: 'The acks of a member that was fenced change nothing.',
  *find(observed) {
    for (const cursors of observed.cursors.values()) {
      if (cursors.assigned.length === 0) continue
      for (const ack of cursors.acks) {
        if (ack.doneIndex === Number.POSITIVE_INFINITY) continue
        const successor = successorOf(observed, cursors, ack)
        if (successor === undefined) continue
        yield {
          message: `member ${ack.member} of group "${cursors.group}" acknowledged ${observed.log(cursors.place).name} up to ${ack.offset} after member ${successor.member} had got it`,
          events: [successor, ...ack.request.events],
        }
      }
    }
  },
}

/** Whoever is known to have had the partition after the member, and before the ack was asked for. */
function successorOf(
  observed: Observed,
  { assigned }: CursorHistory,
  ack: GivenAck,
): EventOf<'assigned'> | undefined {
  const others: EventOf<'assigned'>[] = []
  for (let i = countBefore(assigned, firstAsked(observed, ack)) - 1; i >= 0; i--) {
    const event = assigned[i] as EventOf<'assigned'>
    if (event.member === ack.member) return others.find(({ since = 0 }) => since > event.index)
    if (event.generation === undefined || ack.generation === undefined) others.push(event)
    else if (event.generation > ack.generation) return event
  }
  return undefined
}

/** How many of the events, which are in their order, are before the index. */
function countBefore(events: readonly HistoryEvent[], index: number): number {
  let low = 0
  let high = events.length
  while (low < high) {
    const middle = (low + high) >> 1
    if ((events[middle] as HistoryEvent).index < index) low = middle + 1
    else high = middle
  }
  return low
}

/** An atomic write that is sent again is answered as it was the first time. */
function firstAsked(observed: Observed, { request: { asked } }: GivenAck): number {
  const [record] = asked.type === 'write' ? asked.records : []
  if (record === undefined) return asked.index
  return Math.min(asked.index, ...observed.asked(record.value).map(({ write }) => write.asked.index))
}
