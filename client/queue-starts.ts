import { inNextTurn } from '#socket'
import type { QueueStarted } from '../protocol/messages/queue.js'
import type { HeldJob, Lease } from './held-job.js'

export type StartedJobs = Pick<QueueStarted, 'topicId' | 'partition' | 'leaseId' | 'ranges'>

/**
 * The jobs that the program was given in one turn of the event loop. The socket sends no sooner than at the end of it, so that a
 * frame for each of them would tell the broker nothing earlier.
 */
export class QueueStarts {
  readonly #say: () => void
  readonly #leases: { readonly lease: Lease; readonly ranges: { from: number; to: number }[] }[] = []
  #isScheduled = false

  /** `say` is called once in the turn behind each in which jobs were added: it takes them, and says what else there is to say. */
  constructor(say: () => void) {
    this.#say = () => {
      this.#isScheduled = false
      say()
    }
  }

  add({ lease, offset }: HeldJob): void {
    let last = this.#leases.at(-1)
    if (last?.lease !== lease) {
      last = { lease, ranges: [] }
      this.#leases.push(last)
    }
    const range = last.ranges.at(-1)
    // Jobs of a lease are started in the order of their offsets.
    if (range?.to === offset) range.to++
    else last.ranges.push({ from: offset, to: offset + 1 })
    if (this.#isScheduled) return
    this.#isScheduled = true
    inNextTurn(this.#say)
  }

  /** What was added, by lease. */
  take(): StartedJobs[] {
    return this.#leases.splice(0).map(({ lease: { topicId, partition, leaseId }, ranges }) => {
      return { topicId, partition, leaseId, ranges }
    })
  }
}
