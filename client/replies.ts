import { isErrorCode, MillraceError, type MillraceErrorOptions } from '../protocol/error-codes.js'
import { HARD_LIMITS } from '../protocol/limits.js'
import type { ErrorFields } from '../protocol/messages/error.js'

/** What waits for the answer to one request. Exactly one of the two is called, once. */
export interface Reply {
  /** The unpacked frame, for the asker to read; throws BAD_FRAME when it is not what was asked for. */
  answered(frame: readonly unknown[]): void
  failed(error: MillraceError): void
}

/** The unanswered requests of one connection, by correlation id. */
export class Replies<T extends { failed(error: MillraceError): void }> {
  readonly #waiting = new Map<number, T>()
  #lastId = 0

  get count(): number {
    return this.#waiting.size
  }

  /** Returns the correlation id to send. */
  add(reply: T): number {
    do this.#lastId = this.#lastId >= HARD_LIMITS.uint32Max ? 1 : this.#lastId + 1
    while (this.#waiting.has(this.#lastId))
    this.#waiting.set(this.#lastId, reply)
    return this.#lastId
  }

  take(correlationId: number): T | undefined {
    const reply = this.#waiting.get(correlationId)
    if (reply !== undefined) this.#waiting.delete(correlationId)
    return reply
  }

  failAll(error: MillraceError): void {
    const waiting = [...this.#waiting.values()]
    this.#waiting.clear()
    for (const reply of waiting) reply.failed(error)
  }
}

/** An ERROR or SUBSCRIPTION_ENDED frame as the error it stands for. A code of a later version is kept in the message. */
export function errorFrom(
  fields: Pick<ErrorFields, 'code' | 'message' | 'retriable' | 'details'> &
    Partial<Pick<ErrorFields, 'outcome' | 'retryAfterMs'>>,
): MillraceError {
  const { code, message } = fields
  const options: MillraceErrorOptions = {
    retriable: fields.retriable,
    outcome: fields.outcome === 1 ? 'unknown' : 'notWritten',
    retryAfterMs: fields.retryAfterMs ?? undefined,
    details: fields.details ?? undefined,
  }
  if (isErrorCode(code)) return new MillraceError(code, { ...options, message })
  return new MillraceError('INTERNAL', { ...options, message: `${code}: ${message}` })
}
