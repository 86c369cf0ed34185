import { MillraceError } from '../protocol/error-codes.js'

/** Where a record is. */
export interface SendResult {
  readonly partition: number
  readonly offset: number
  /** The time of the record that was sent, milliseconds since 1970. */
  readonly timestamp: number
  /**
   * Nothing was written: a record with this `dedupId` is there already, at `partition` and `offset`. false as well where a batch
   * was repeated under its sequence and recognised, because that is the same record.
   */
  readonly duplicate: boolean
}

/** Who hears what became of a record. One of the two is called, once; `index` is what the settler gave with the record. */
export interface Settler {
  written(index: number, partition: number, offset: number, timestamp: number, duplicate: boolean): void
  failed(index: number, error: MillraceError): void
}

type Resolve = (result: SendResult | Promise<never>) => void
type Reject = (error: unknown) => void

let resolveOfLast: Resolve
// One function for all promises: a closure for each would cost as much as the promise.
const takeResolve = (resolve: Resolve): void => {
  resolveOfLast = resolve
}

/**
 * One record, one promise. What is kept for each record is what the garbage collector has to carry while it is under way, so
 * there is no reject function: a failure resolves with a rejected promise.
 */
export class Sending implements Settler {
  readonly promise: Promise<SendResult>
  readonly #resolve: Resolve

  constructor() {
    this.promise = new Promise<SendResult>(takeResolve)
    this.#resolve = resolveOfLast
  }

  written(_index: number, partition: number, offset: number, timestamp: number, duplicate: boolean): void {
    this.#resolve({ partition, offset, timestamp, duplicate })
  }

  failed(_index: number, error: MillraceError): void {
    this.#resolve(Promise.reject(error))
  }
}

/** Many records, one promise: it settles when the last of them has. */
export class SendingTogether implements Settler {
  readonly promise: Promise<SendResult[]>
  readonly #results: SendResult[]
  #resolve: (results: SendResult[]) => void = () => {}
  #reject: Reject = () => {}
  #unsettled: number
  #written = 0
  #firstError: MillraceError | undefined

  constructor(count: number) {
    this.#results = new Array<SendResult>(count)
    this.#unsettled = count
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    if (count === 0) this.#resolve([])
  }

  written(index: number, partition: number, offset: number, timestamp: number, duplicate: boolean): void {
    this.#results[index] = { partition, offset, timestamp, duplicate }
    this.#written++
    this.#settled()
  }

  failed(_index: number, error: MillraceError): void {
    this.#firstError ??= error
    this.#settled()
  }

  #settled(): void {
    this.#unsettled--
    if (this.#unsettled > 0) return
    const error = this.#firstError
    if (error === undefined) this.#resolve(this.#results)
    else this.#reject(this.#written === 0 ? error : partly(error, this.#written, this.#results.length))
  }
}

/** Some of the records are in the log, so the whole cannot be repeated without writing those again. */
function partly(error: MillraceError, written: number, count: number): MillraceError {
  return new MillraceError(error.code, {
    message: `${written} of ${count} records were written, then: ${error.message}`,
    retriable: error.retriable,
    outcome: 'unknown',
    retryAfterMs: error.retryAfterMs,
    details: { ...error.details, written },
    cause: error,
  })
}

/** Records that nobody waits for one by one: the first failure is kept for flush(). */
export class Unwatched implements Settler {
  #firstError: MillraceError | undefined

  written(): void {}

  failed(_index: number, error: MillraceError): void {
    this.#firstError ??= error
  }

  /** The first failure since the last call. */
  takeFirstError(): MillraceError | undefined {
    const error = this.#firstError
    this.#firstError = undefined
    return error
  }
}
