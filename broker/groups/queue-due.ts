import type { OffsetRanges } from '../shard/offset-ranges.js'
import { RANGE } from '../shard/queue-state.js'
import type { QueueView } from './queue-events.js'

type Now = Pick<QueueView, 'queue' | 'now'>

/**
 * Whether a lease ran out, and when the next one does or a job that waits may go out. Leases of jobs that are being buried do not
 * run out.
 */
export function dueTimes({ queue, now }: Now, buried: OffsetRanges): { isExpired: boolean; next: number } {
  let isExpired = false
  let next = Number.POSITIVE_INFINITY
  for (const range of queue.ranges) {
    if (range.kind === RANGE.done) continue
    if (range.time > now) next = Math.min(next, range.time)
    else if (range.kind === RANGE.leased && !buried.covers(range)) isExpired = true
  }
  return { isExpired, next }
}

/** Whether there are jobs that were given back and may go out. */
export const hasReady = ({ queue, now }: Now): boolean =>
  queue.sizes().ready > 0 && queue.ranges.some(({ kind, time }) => kind === RANGE.ready && time <= now)
