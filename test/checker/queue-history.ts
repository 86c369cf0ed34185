import type { EventOf, Partition } from './history.js'
import type { Request } from './request.js'

/** A job was said to be done, alone or in an atomic write, or was given back. */
export interface Settlement {
  readonly request: Request
  readonly kind: EventOf<'settle'>['kind']
  readonly member: string
  readonly leaseId: number | undefined
  /** `extend`. */
  readonly untilMs: number | undefined
  /** As for an ack of a consumer group. */
  doneIndex: number
}

export interface JobHistory {
  readonly offset: number
  readonly leases: EventOf<'leased'>[]
  readonly settlements: Settlement[]
}

/** All that happened to one work queue in one partition. */
export class QueueHistory {
  readonly group: string
  readonly place: Partition
  readonly jobs = new Map<number, JobHistory>()
  /** The lowest job that anybody had; the queue may have begun at the end of the log. */
  first = Number.POSITIVE_INFINITY

  constructor(group: string, place: Partition) {
    this.group = group
    this.place = place
  }

  job(offset: number): JobHistory {
    let job = this.jobs.get(offset)
    if (job === undefined) {
      job = { offset, leases: [], settlements: [] }
      this.jobs.set(offset, job)
      this.first = Math.min(this.first, offset)
    }
    return job
  }
}

/** Whether a job may be done or dead at this index: somebody settled it, or it was handed out for the last time. */
export function couldBeOver(
  { leases, settlements }: JobHistory,
  { index, deliveriesMax = Number.POSITIVE_INFINITY }: { index: number; deliveriesMax?: number | undefined },
): boolean {
  const isSettled = settlements.some(
    ({ request, kind }) => kind !== 'extend' && !request.isRefused && request.asked.index < index,
  )
  return (
    isSettled || leases.some(({ count, index: leasedIndex }) => count >= deliveriesMax && leasedIndex < index)
  )
}
