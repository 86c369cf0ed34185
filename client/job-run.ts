import { inNextTurn } from '#socket'
import { Ending } from './deadline.js'
import type { JobRecord } from './job.js'
import type { Verdict } from './queue-settlements.js'
import type { Turn } from './turn.js'

/** Where a run has its jobs from. */
export interface JobSource {
  /** Nothing is given out any more. */
  readonly isOver: boolean
  /** The next job, started; undefined while there is none. A promise is of one that is being decoded: undefined when it cannot be. */
  take(): JobRecord | Promise<JobRecord | undefined> | undefined
  /** The run cannot go on. */
  fail(error: unknown): void
}

export interface JobRunOptions {
  readonly source: JobSource
  readonly turn: Turn
  /** Jobs at a time. */
  readonly concurrency: number
  /** The application's. */
  readonly work: (job: JobRecord) => unknown
  readonly onFailed: ((error: unknown, job: JobRecord) => void) | undefined
}

const DONE: Verdict = { kind: 'ack' }
/** Jobs whose outcome is on its way: past so many none begins. */
const SETTLING_MAX = 4_000

/** Calls a function for every job, so many at a time, and settles each as the function ends. */
export class JobRun {
  readonly #options: JobRunOptions
  /** Functions that are under way, and jobs that are being decoded. */
  #running = 0
  #settling = 0
  #isBeginning = false
  #isPausing = false
  /** Nothing begins any more and no function is under way. */
  readonly rested = new Ending()
  /** Nor is any outcome. */
  readonly ended = new Ending()

  constructor(options: JobRunOptions) {
    this.#options = options
  }

  /** Begins what may begin. To be called when there are jobs, and when there will be none. */
  pump(): void {
    if (this.#isBeginning || this.#isPausing) return
    this.#isBeginning = true
    this.#beginAll()
    this.#isBeginning = false
    if (!this.#options.source.isOver || this.#running > 0) return
    this.rested.end()
    if (this.#settling === 0) this.ended.end()
  }

  #beginAll(): void {
    const { source, turn, concurrency } = this.#options
    while (this.#running < concurrency && this.#settling < SETTLING_MAX) {
      if (turn.isOver) {
        this.#pause()
        return
      }
      const job = source.take()
      if (job === undefined) return
      if (job instanceof Promise) this.#await(job)
      else this.#begin(job)
    }
  }

  #pause(): void {
    this.#isPausing = true
    inNextTurn(() => {
      this.#isPausing = false
      this.pump()
    })
  }

  #await(decoding: Promise<JobRecord | undefined>): void {
    this.#running++
    void decoding.then((job) => {
      this.#running--
      if (job !== undefined) this.#begin(job)
      this.pump()
    })
  }

  #begin(job: JobRecord): void {
    let working: unknown
    try {
      working = this.#options.work(job)
    } catch (error) {
      this.#failed(job, error)
      return
    }
    // What is done at once needs no promise.
    if (!isThenable(working)) {
      this.#settle(job)
      return
    }
    this.#running++
    Promise.resolve(working)
      .then(
        () => this.#settle(job),
        (error: unknown) => this.#failed(job, error),
      )
      .then(() => {
        this.#running--
        this.pump()
      })
  }

  #failed(job: JobRecord, error: unknown): void {
    this.#tell(error, job)
    this.#settle(job, { kind: 'nack', reason: textOf(error) })
  }

  #settle(job: JobRecord, verdict: Verdict = DONE): void {
    // The function may have settled it itself.
    if (!job.isOpen) return
    this.#settling++
    // The next one need not wait for the disk.
    job.finish(verdict, (error) => {
      const wasFull = this.#settling-- === SETTLING_MAX
      if (error !== undefined) this.#tell(error, job)
      if (wasFull || this.#settling === 0) this.pump()
    })
  }

  #tell(error: unknown, job: JobRecord): void {
    try {
      this.#options.onFailed?.(error, job)
    } catch (fault) {
      this.#options.source.fail(fault)
    }
  }
}

const isThenable = (value: unknown): value is PromiseLike<unknown> =>
  typeof (value as PromiseLike<unknown> | null | undefined)?.then === 'function'

export const textOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))
