import { inNextTurn } from '#socket'
import { MillraceError } from '../protocol/error-codes.js'
import { HARD_LIMITS, illegalGroupName } from '../protocol/limits.js'
import type { Connection } from './connection.js'
import { Ending, pause } from './deadline.js'
import { illegalArgument } from './errors.js'
import type { HeldJob } from './held-job.js'
import { type Job, JobRecord } from './job.js'
import { JobRun, type JobSource, textOf } from './job-run.js'
import type { Metadata } from './metadata.js'
import { QueueMembership } from './queue-membership.js'
import { decodeRecord } from './record-decoder.js'
import type { AnyTopic, ReadRecord } from './topic.js'
import { Turn } from './turn.js'

export interface QueueOptions {
  /** The work queue's name; workers with the same one share the jobs. The first one makes it, at the start of each partition. */
  readonly group: string
  /**
   * How long a job is a worker's without a word of it, milliseconds; default 30 s. The client extends the leases of all its jobs
   * by itself, however long they take; this is after how long the jobs of a worker that is gone go to others. The queue's first
   * worker decides.
   */
  readonly leaseMs?: number
  /** After so many failed deliveries a job becomes a dead letter; default 5. The queue's first worker decides. */
  readonly maxDeliveries?: number
  /**
   * Jobs that may wait here, leased to this worker, beside those in hand; at most 10,000. Default: as many as it works off within
   * some 40 to 200 ms, from 32 up to 4,096.
   */
  readonly prefetch?: number
  /** What they may take in memory, more or less; default 8 MiB. One always may. */
  readonly prefetchBytes?: number
  /** How long the worker may be silent or away before its jobs go to others, milliseconds; default 10 s, from 1 s to 5 min. */
  readonly sessionTimeoutMs?: number
  /** Ends the queue with the signal's reason: it hands back all jobs at once. */
  readonly signal?: AbortSignal
}

export interface RunJobsOptions<R = ReadRecord> {
  /** Jobs at a time; default 1. */
  readonly concurrency?: number
  /** Ends the run with the signal's reason, as that of the queue. */
  readonly signal?: AbortSignal
  /**
   * How long functions that are under way are waited for when the run ends with an error or an abort, milliseconds; default 1 s.
   * Their jobs are given back at once and their `job.signal` aborts at once; what they return counts no more.
   */
  readonly graceMs?: number
  /** Hears of each failure: what the function threw, or why a finished job could not be acknowledged. */
  readonly onFailed?: (error: unknown, job: Job<R>) => void
}

/**
 * The jobs of a work queue, for `for await` or `run`. It can be iterated once, by several loops at a time. Jobs come in the order
 * of their offsets, but with several workers, failures and retries they are not done in that order. Leaving the loop by `break`
 * or `throw` hands back at once all jobs that are not settled: those that no program has seen as if they had never been
 * delivered, those in hand as failed.
 *
 * A job that cannot be decoded never gets to the loop: it fails, until it is a dead letter.
 */
export interface Queue<R = ReadRecord> extends AsyncIterable<Job<R>>, AsyncDisposable {
  /** Rejects with what ended it: UNKNOWN_TOPIC, GROUP_KIND_CONFLICT, LIMIT_REACHED (10,000 jobs in hand), the signal's reason. */
  next(): Promise<IteratorResult<Job<R>, undefined>>
  return(): Promise<IteratorResult<Job<R>, undefined>>
  [Symbol.asyncIterator](): this
  /**
   * Calls `work` for every job: when it returns the job is acknowledged, when it throws the job has failed (see `nack`). Resolves
   * after `close`, which waits for jobs in hand; rejects as `next` does, after `graceMs` at the latest when all is handed back.
   */
  run(work: (job: Job<R>) => unknown, options?: RunJobsOptions<R>): Promise<void>
  /**
   * Takes no more jobs and gives back at once those that nobody has seen; those in hand may be finished. Resolves when they are
   * settled and the queue is left. A loop ends when it asks for the next job.
   */
  close(): Promise<void>
}

export interface QueueSurroundings {
  readonly connection: Connection
  readonly metadata: Metadata
  readonly onClosed: (queue: WorkQueue) => void
}

const MIB = 1024 * 1024
const IN_HAND_MAX = 10_000
const GRACE_MS = 1_000
const FINISHED: IteratorResult<never, undefined> = Object.freeze({ done: true, value: undefined })

/** What `client.queue` makes. */
export class WorkQueue implements Queue, JobSource {
  readonly #options: QueueOptions
  readonly #membership: QueueMembership
  readonly #onClosed: () => void
  readonly #connection: Connection
  #isStarted = false
  #isClosing = false
  #failure: { readonly error: unknown } | undefined
  /** Over when there is a failure. */
  readonly #failing = new Ending()
  #isLeaving = false
  /** Resolves when it is left. */
  readonly #left: Promise<void>
  #resolveLeft: () => void = () => {}
  #waiters: (() => void)[] = []
  readonly #runs = new Set<JobRun>()
  /** A job is about to be given, alone. */
  #isHanding = false
  readonly #turn: Turn

  constructor(topic: AnyTopic, options: QueueOptions, { onClosed, ...surroundings }: QueueSurroundings) {
    this.#options = options
    this.#onClosed = () => onClosed(this)
    this.#connection = surroundings.connection
    this.#turn = new Turn(surroundings.connection.settings.clock)
    this.#membership = new QueueMembership(
      { ...surroundings, topic, ...checked(options) },
      { arrived: () => this.#wake(), settled: () => this.#settled(), failed: (error) => this.fail(error) },
    )
    this.#left = new Promise((resolve) => {
      this.#resolveLeft = resolve
    })
    const { signal } = options
    if (signal?.aborted) this.fail(signal.reason)
    else signal?.addEventListener('abort', this.#aborted, { once: true })
  }

  readonly #aborted = (): void => this.fail(this.#options.signal?.reason)

  async next(): Promise<IteratorResult<Job, undefined>> {
    this.#start()
    for (;;) {
      if (this.#failure !== undefined) {
        await this.#left
        throw this.#failure.error
      }
      if (this.isOver) return FINISHED
      if (this.#turn.isOver) {
        await this.#turn.next()
        continue
      }
      const taken = this.take()
      const job = taken instanceof Promise ? await taken : taken
      if (job !== undefined) return { done: false, value: job }
      if (taken === undefined && !this.isOver)
        await new Promise<void>((resolve) => this.#waiters.push(resolve))
    }
  }

  #start(): void {
    if (!this.#isStarted && !this.isOver) this.#membership.start()
    this.#isStarted = true
  }

  // What a run needs.

  get isOver(): boolean {
    return this.#isClosing || this.#failure !== undefined
  }

  take(): JobRecord | Promise<JobRecord | undefined> | undefined {
    while (!this.isOver && !this.#isHanding) {
      if (this.#membership.inHand >= IN_HAND_MAX) {
        this.fail(tooManyInHand())
        return undefined
      }
      const held = this.#membership.take()
      if (held === undefined) return undefined
      const job = held.isSuspect ? this.#handAlone(held) : this.#jobOf(held)
      if (job !== undefined) return job
    }
    return undefined
  }

  /**
   * What a worker had that was lost may have ended it, before a word of that could leave. So the broker hears of it first, and
   * nothing else is begun with it: then it counts, and only that.
   */
  async #handAlone(held: HeldJob): Promise<JobRecord | undefined> {
    this.#isHanding = true
    this.#membership.tellStarted()
    await this.#turn.next()
    this.#isHanding = false
    // Whoever else waits has a turn of its own.
    inNextTurn(() => this.#wake())
    return held.state === 'started' ? this.#jobOf(held) : undefined
  }

  /** Undefined: it cannot be decoded. */
  #jobOf(held: HeldJob): JobRecord | Promise<JobRecord | undefined> | undefined {
    try {
      const record = decodeRecord(held.place, held.wire)
      if (record instanceof Promise) return this.#decoded(held, record)
      return new JobRecord(record, held, this.#membership)
    } catch (error) {
      this.#undecodable(held, error)
      return undefined
    }
  }

  async #decoded(held: HeldJob, record: Promise<ReadRecord>): Promise<JobRecord | undefined> {
    try {
      const job = new JobRecord(await record, held, this.#membership)
      return job.isOpen ? job : undefined
    } catch (error) {
      this.#undecodable(held, error)
      return undefined
    }
  }

  #undecodable(held: HeldJob, error: unknown): void {
    if (held.state === 'started') this.#membership.settle(held, { kind: 'nack', reason: textOf(error) })
  }

  async run(work: (job: Job) => unknown, options: RunJobsOptions = {}): Promise<void> {
    const { concurrency = 1, signal, graceMs = GRACE_MS, onFailed } = options
    if (!Number.isInteger(concurrency) || concurrency < 1) {
      throw illegalArgument(`concurrency is a whole number from 1 on, not ${concurrency}`)
    }
    whole('graceMs', graceMs, { min: 0, max: HARD_LIMITS.jobMsMax })
    const aborted = (): void => this.fail(signal?.reason)
    if (signal?.aborted) aborted()
    else signal?.addEventListener('abort', aborted, { once: true })
    const run = new JobRun({ source: this, turn: this.#turn, concurrency, work, onFailed })
    this.#runs.add(run)
    this.#start()
    run.pump()
    try {
      // A function that has no end must not hold up one.
      await Promise.race([this.#whenFailed(), run.ended.promise()])
    } catch (error) {
      await Promise.all([this.#left, this.#grace(run, graceMs)])
      throw error
    } finally {
      this.#runs.delete(run)
      signal?.removeEventListener('abort', aborted)
    }
  }

  /** Rejects with what ends the queue, as soon as that is known. */
  #whenFailed(): Promise<never> {
    return new Promise((_, reject) => {
      const failed = (): void => reject(this.#failure?.error)
      if (this.#failing.isOver) failed()
      else this.#failing.listen(failed)
    })
  }

  /** Resolves when its functions have ended, or after so long, or when the client is closed. */
  async #grace(run: JobRun, graceMs: number): Promise<void> {
    const { closing, settings } = this.#connection
    const ended = new Ending()
    const end = (): void => ended.end()
    for (const ending of [run.rested, closing]) {
      if (ending.isOver) end()
      else ending.listen(end)
    }
    await pause(graceMs, settings.clock, { signal: undefined, hurry: ended })
    closing.unlisten(end)
  }

  async return(): Promise<IteratorResult<Job, undefined>> {
    this.#isClosing = true
    await this.#leave(leftError())
    return FINISHED
  }

  async close(): Promise<void> {
    if (!this.isOver) {
      this.#isClosing = true
      this.#membership.stop()
      this.#wake()
      this.#settled()
    }
    await this.#left
  }

  /** Ends with an error, and hands everything back at once. */
  fail(error: unknown): void {
    if (this.#isLeaving) return
    this.#failure ??= { error }
    this.#failing.end()
    void this.#leave(error)
  }

  #leave(reason: unknown): Promise<void> {
    if (!this.#isLeaving) {
      this.#isLeaving = true
      this.#options.signal?.removeEventListener('abort', this.#aborted)
      void this.#membership.leave(reason).then(() => {
        this.#onClosed()
        this.#resolveLeft()
      })
      this.#wake()
    }
    return this.#left
  }

  /** After `close` the last one that is settled ends it. */
  #settled(): void {
    if (this.#isClosing && this.#membership.inHand === 0) void this.#leave(leftError())
  }

  #wake(): void {
    const waiters = this.#waiters
    this.#waiters = []
    for (const wake of waiters) wake()
    for (const run of this.#runs) run.pump()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return()
  }

  [Symbol.asyncIterator](): this {
    return this
  }
}

const leftError = (): MillraceError => new MillraceError('CLOSED', { message: 'the queue was left' })

const tooManyInHand = (): MillraceError =>
  new MillraceError('LIMIT_REACHED', {
    message: `${IN_HAND_MAX} jobs were taken and neither acknowledged nor failed: call ack() or nack() on each`,
  })

function checked(options: QueueOptions) {
  const { group, leaseMs = 30_000, maxDeliveries = 5, prefetch } = options
  const { prefetchBytes = 8 * MIB, sessionTimeoutMs = 10_000 } = options
  const { jobMsMax, prefetchMax, uint32Max } = HARD_LIMITS
  const why = illegalGroupName(group)
  if (why !== undefined) throw new MillraceError('ILLEGAL_GROUP_NAME', { message: why })
  const { sessionTimeoutMsMin, sessionTimeoutMsMax } = HARD_LIMITS
  return {
    group,
    leaseMs: whole('leaseMs', leaseMs, { min: 1, max: jobMsMax }),
    maxDeliveries: whole('maxDeliveries', maxDeliveries, { min: 1, max: uint32Max }),
    prefetch: prefetch === undefined ? prefetch : whole('prefetch', prefetch, { min: 1, max: prefetchMax }),
    prefetchBytes: whole('prefetchBytes', prefetchBytes, { min: 1, max: HARD_LIMITS.uintMax }),
    sessionTimeoutMs: whole('sessionTimeoutMs', sessionTimeoutMs, {
      min: sessionTimeoutMsMin,
      max: sessionTimeoutMsMax,
    }),
  }
}

function whole(option: string, value: number, { min, max }: { min: number; max: number }): number {
  if (Number.isInteger(value) && value >= min && value <= max) return value
  throw illegalArgument(`${option} is a whole number from ${min} to ${max}, not ${value}`)
}
