import { DEAD_LETTER_HEADERS } from '../protocol/dead-letters.js'
import { MillraceError } from '../protocol/error-codes.js'
import { HARD_LIMITS } from '../protocol/limits.js'
import { ACKNOWLEDGEMENT, type Acknowledgeable, type CarriedAck } from './acknowledgement.js'
import { asMillraceError, illegalArgument, quiet } from './errors.js'
import type { Place } from './group-record.js'
import type { HeldJob, OnSettled } from './held-job.js'
import type { QueueMembership } from './queue-membership.js'
import type { Verdict } from './queue-settlements.js'
import type { Headers, ReadRecord } from './topic.js'

export interface NackOptions {
  /** How long until the job may be given out again, milliseconds; default a time that grows with its deliveries: 1 s to 5 min. */
  readonly delayMs?: number
  /** Why, for the dead letter; cut to 1,024 characters. */
  readonly reason?: string
}

export interface JobActions extends Acknowledgeable {
  /** The number of this delivery: 1 for the first. Deliveries that no program has seen do not count. */
  readonly deliveryCount: number
  /**
   * Aborts when the job is not this worker's any more: its lease ran out (the connection was gone for longer), or the loop was
   * left before it was settled. Others may have it already.
   */
  readonly signal: AbortSignal
  /** Set for a dead letter that is replayed: where it was first. `partition` and `offset` are those of the retry topic. */
  readonly origin: Place | undefined
  /**
   * The job is done; resolves when that is durable, and then it is not given out again. Rejects with LEASE_LOST when it is not
   * this worker's any more (outcome 'unknown' when an earlier attempt was lost on the way and may have been done), ALREADY_ACKED
   * when it was settled otherwise, CONNECTION_LOST when the loop was left meanwhile. Need not be awaited, nor need `nack` and
   * `extend`: then a rejection shows in `signal` alone.
   */
  ack(): Promise<void>
  /**
   * The job has failed: it is given out again, to any worker, or becomes a dead letter when that was its last delivery. Rejects
   * as `ack` does, and with ILLEGAL_ARGUMENT.
   */
  nack(options?: NackOptions): Promise<void>
  /**
   * Holds the job for `ms` from now, connected or not. A connected worker need not: it extends the leases of its jobs by itself.
   * Rejects with LEASE_LOST, ILLEGAL_ARGUMENT.
   */
  extend(ms: number): Promise<void>
}

/** A record of a work queue, for this worker alone as long as its lease holds. */
export type Job<R = ReadRecord> = R & JobActions

/** What a program has in its hands. */
export class JobRecord implements ReadRecord, JobActions {
  readonly topic: string
  readonly partition: number
  readonly offset: number
  readonly timestamp: number
  readonly appendTime: number
  readonly key: unknown
  readonly value: unknown
  readonly headers: Headers
  readonly deliveryCount: number
  readonly #held: HeldJob
  readonly #membership: QueueMembership

  constructor(record: ReadRecord, held: HeldJob, membership: QueueMembership) {
    this.topic = record.topic
    this.partition = record.partition
    this.offset = record.offset
    this.timestamp = record.timestamp
    this.appendTime = record.appendTime
    this.key = record.key
    this.value = record.value
    this.headers = record.headers
    this.deliveryCount = held.count + 1
    this.#held = held
    this.#membership = membership
  }

  get signal(): AbortSignal {
    return this.#held.signal
  }

  get origin(): Place | undefined {
    return originOf(this.headers)
  }

  /** Whether there is anything left to settle. */
  get isOpen(): boolean {
    return this.#held.state === 'started'
  }

  ack(): Promise<void> {
    return this.#settle({ kind: 'ack' })
  }

  nack(options: NackOptions = {}): Promise<void> {
    const { delayMs } = options
    if (delayMs !== undefined && !isJobMs(delayMs))
      return quiet(Promise.reject(illegalMs('delayMs', delayMs)))
    return this.#settle({ kind: 'nack', ...options })
  }

  extend(ms: number): Promise<void> {
    if (!isJobMs(ms) || ms === 0) return quiet(Promise.reject(illegalMs('the extension', ms)))
    return quiet(
      new Promise((resolve, reject) => {
        const error = this.#whyNot('extended')
        if (error !== undefined) reject(error)
        else this.#membership.extend(this.#held, ms, { done: resolve, refused: reject })
      }),
    )
  }

  #settle(verdict: Verdict): Promise<void> {
    if (this.#held.settledAs !== verdict.kind) {
      const error = this.#whyNot(verdict.kind)
      if (error !== undefined) return quiet(Promise.reject(error))
      this.#membership.settle(this.#held, verdict)
    }
    return this.#held.settlement
  }

  /** Settles the job, which is open, for whoever needs no promise. */
  finish(verdict: Verdict, onSettled: OnSettled): void {
    this.#held.whenSettled(onSettled)
    this.#membership.settle(this.#held, verdict)
  }

  #whyNot(what: string): MillraceError | undefined {
    const { lost, state, settledAs } = this.#held
    if (lost !== undefined) return leaseLost(this, lost.reason)
    if (state === 'started') return undefined
    const how = settledAs === undefined ? 'acknowledged by an atomic write' : `settled by ${settledAs}()`
    return new MillraceError('ALREADY_ACKED', { message: `the job cannot be ${what}: it was ${how}` })
  }

  [ACKNOWLEDGEMENT](): CarriedAck {
    const error = this.#whyNot('acknowledged')
    if (error !== undefined) throw error
    return this.#membership.carry(this.#held)
  }
}

const isJobMs = (ms: number): boolean => Number.isInteger(ms) && ms >= 0 && ms <= HARD_LIMITS.jobMsMax

const illegalMs = (what: string, ms: number): MillraceError =>
  illegalArgument(`${what} is a whole number of milliseconds up to ${HARD_LIMITS.jobMsMax}, not ${ms}`)

function leaseLost({ topic, partition, offset }: ReadRecord, cause: unknown): MillraceError {
  return new MillraceError('LEASE_LOST', {
    message: `the job at offset ${offset} of topic "${topic}", partition ${partition}, is not this worker's any more: ${asMillraceError(cause).message}`,
    details: { topic, partition, offset },
    cause,
  })
}

function originOf(headers: Headers): Place | undefined {
  const { topic, partition, offset } = DEAD_LETTER_HEADERS
  const name = headers[topic]
  if (typeof name !== 'string') return undefined
  return { topic: name, partition: Number(headers[partition]), offset: Number(headers[offset]) }
}
