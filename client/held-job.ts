import type { MillraceError } from '../protocol/error-codes.js'
import type { TopicId } from '../protocol/ids.js'
import type { WireRecord } from '../protocol/records.js'
import { quiet } from './errors.js'
import type { BatchPlace } from './record-decoder.js'

/**
 * waiting: delivered, the program has not seen it. started: in the program's hands. settling: what became of it is on its way
 * to the broker. carried: an atomic write has its ack. gone: settled, or another member's.
 */
export type JobState = 'waiting' | 'started' | 'settling' | 'carried' | 'gone'

/** Who waits for what the broker answers. Exactly one of the two is called, once. */
export interface SettlementCaller {
  done(): void
  refused(error: MillraceError): void
}

/** What one QUEUE_DELIVER brought. */
export interface Lease {
  readonly topicId: TopicId
  readonly partition: number
  readonly leaseId: number
  /** In the order of their offsets; what is gone has left a hole. */
  readonly jobs: (HeldJob | undefined)[]
  /** Jobs that are not gone. */
  held: number
}

/** Hears, once, how the settling of a job ended. */
export type OnSettled = (error: MillraceError | undefined) => void

const DONE = { error: undefined } as const

/** A record that is leased to this member. There may be many: promises and signals are made when somebody wants them. */
export class HeldJob implements SettlementCaller {
  readonly lease: Lease
  readonly offset: number
  /** Deliveries before this one that counted. */
  readonly count: number
  /** It failed before, or a worker that had it was lost: it may be what ended that one. */
  readonly isSuspect: boolean
  readonly place: BatchPlace
  readonly wire: WireRecord
  readonly bytes: number
  /** Where it stands in its lease. */
  readonly index: number
  state: JobState = 'waiting'
  /** On the monotonic clock: from here on the job is surely not ours any more, unless the lease is extended. */
  deadlineMs: number
  /** An extension is on its way. */
  isExtending = false
  /** What the program said of it. */
  settledAs: 'ack' | 'nack' | undefined
  #lost: { readonly reason: unknown } | undefined
  #controller: AbortController | undefined
  #outcome: { readonly error: MillraceError | undefined } | undefined
  #settlement: Promise<void> | undefined
  #resolve: (() => void) | undefined
  #reject: ((error: MillraceError) => void) | undefined
  #onSettled: OnSettled | undefined

  constructor(
    lease: Lease,
    place: BatchPlace,
    wire: WireRecord,
    {
      count,
      bytes,
      deadlineMs,
    }: {
      /** Undefined: the broker does not say. */ count: number | undefined
      bytes: number
      deadlineMs: number
    },
  ) {
    this.lease = lease
    this.offset = place.baseOffset + wire.offsetDelta
    this.count = count ?? 0
    this.isSuspect = count !== undefined
    this.place = place
    this.wire = wire
    this.bytes = bytes
    this.index = lease.jobs.length
    this.deadlineMs = deadlineMs
  }

  /** Why it is another's by now, or will be. */
  get lost(): { readonly reason: unknown } | undefined {
    return this.#lost
  }

  lose(reason: unknown): void {
    this.#lost ??= { reason }
    this.#controller?.abort(reason)
  }

  /** Aborts when it is lost. */
  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController()
      if (this.#lost !== undefined) this.#controller.abort(this.#lost.reason)
    }
    return this.#controller.signal
  }

  /** Of what the program said: resolves when that is durable. */
  get settlement(): Promise<void> {
    this.#settlement ??= this.#awaited()
    return this.#settlement
  }

  #awaited(): Promise<void> {
    if (this.#outcome === undefined) {
      return new Promise((resolve, reject) => {
        this.#resolve = resolve
        this.#reject = reject
      })
    }
    const { error } = this.#outcome
    return error === undefined ? Promise.resolve() : quiet(Promise.reject(error))
  }

  /** For whoever needs no promise. */
  whenSettled(onSettled: OnSettled): void {
    this.#onSettled = onSettled
  }

  done(): void {
    this.#outcome = DONE
    this.#resolve?.()
    this.#onSettled?.(undefined)
  }

  refused(error: MillraceError): void {
    this.#outcome = { error }
    if (this.#reject !== undefined) {
      quiet(this.settlement)
      this.#reject(error)
    }
    this.#onSettled?.(error)
  }
}
