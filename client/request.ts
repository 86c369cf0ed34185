import { MillraceError, withOutcome } from '../protocol/error-codes.js'
import type { Message } from '../protocol/messages/message.js'
import type { Fields, FieldsOf } from '../protocol/shape.js'
import { Backoff } from './backoff.js'
import type { Connection } from './connection.js'
import { pause } from './deadline.js'
import type { Link } from './link.js'

export interface RequestOptions {
  /** Default: the connection's requestTimeoutMs. */
  readonly timeoutMs?: number | undefined
  readonly signal?: AbortSignal | undefined
  /** Whether the request changes something, so that its fate can be unknown. It then carries a request id. */
  readonly isMutation?: boolean
}

type Asked<Q extends Fields> = Omit<FieldsOf<Q>, 'correlationId'>

/**
 * Asks until there is an answer that counts: over reconnects and refusals that pass, until the time is over. The fields
 * are the same each time, request id included, so the broker does it once. Rejects with the broker's error, TIMEOUT, CLOSED
 * or the signal's reason.
 */
export async function request<Q extends Fields, A extends Fields>(
  connection: Connection,
  [ask, answer]: readonly [Message<string, Q>, Message<string, A>],
  fields: Asked<Q>,
  options: RequestOptions = {},
): Promise<FieldsOf<A>> {
  const { clock, random, requestTimeoutMs, backoffBaseMs } = connection.settings
  const { signal, isMutation = false } = options
  const timeoutMs = options.timeoutMs ?? requestTimeoutMs
  const deadlineMs = clock.monotonic() + timeoutMs
  const backoff = new Backoff({ random, baseMs: backoffBaseMs, capMs: 1_000 })
  const attempt: Attempt = { wasSent: false, signal, deadlineMs: 0 }
  let mayBeDone = false
  let lastError: MillraceError | undefined
  for (;;) {
    attempt.wasSent = false
    attempt.deadlineMs = deadlineMs
    try {
      return await askOnce(connection, [ask, answer], fields, attempt)
    } catch (error) {
      if (!(error instanceof MillraceError)) throw error
      if (attempt.wasSent && error.outcome === 'unknown') mayBeDone = isMutation
      const outcome = mayBeDone ? 'unknown' : 'notWritten'
      const delayMs = error.retryAfterMs ?? backoff.nextDelayMs()
      const isOver = error.code === 'TIMEOUT' || clock.monotonic() + delayMs >= deadlineMs
      if (error.code === 'TIMEOUT') throw timedOut(timeoutMs, outcome, lastError ?? connection.lastError)
      if (!error.retriable || connection.isClosed) throw withOutcome(error, outcome)
      lastError = error
      if (isOver) throw mayBeDone ? timedOut(timeoutMs, outcome, error) : withOutcome(error, outcome)
      await pause(delayMs, clock, { signal, hurry: connection.closing })
    }
  }
}

/** Asks once, on this link alone. `answered` runs as the frame is received, before the next one is. */
export function askLink<Q extends Fields, A extends Fields>(
  link: Link,
  [ask, answer]: readonly [Message<string, Q>, Message<string, A>],
  fields: Asked<Q>,
  reply: { answered(fields: FieldsOf<A>): void; failed(error: MillraceError): void },
): void {
  const write = (correlationId: number): unknown[] =>
    ask.write({ correlationId, ...fields } as unknown as FieldsOf<Q>)
  const answered = (frame: readonly unknown[]): void => {
    if (frame[0] !== answer.opcode) {
      throw new MillraceError('BAD_FRAME', { message: `${ask.name} was answered with opcode ${frame[0]}` })
    }
    reply.answered(answer.read(frame))
  }
  link.request(write, { answered, failed: (error) => reply.failed(error) })
}

interface Attempt {
  wasSent: boolean
  deadlineMs: number
  readonly signal: AbortSignal | undefined
}

function askOnce<Q extends Fields, A extends Fields>(
  connection: Connection,
  [ask, answer]: readonly [Message<string, Q>, Message<string, A>],
  fields: Asked<Q>,
  attempt: Attempt,
): Promise<FieldsOf<A>> {
  const { clock } = connection.settings
  const { signal } = attempt
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason)
    let stopWaiting = (): void => {}
    const settle = (): void => {
      timer.cancel()
      signal?.removeEventListener('abort', aborted)
    }
    const failed = (error: unknown): void => {
      settle()
      stopWaiting()
      reject(error)
    }
    const aborted = (): void => failed(signal?.reason)
    const remainingMs = Math.max(0, attempt.deadlineMs - clock.monotonic())
    const timer = clock.setTimer(() => {
      failed(new MillraceError('TIMEOUT'))
    }, remainingMs)
    signal?.addEventListener('abort', aborted, { once: true })
    const ready = (link: Link): void => {
      attempt.wasSent = true
      const answered = (result: FieldsOf<A>): void => {
        settle()
        resolve(result)
      }
      askLink(link, [ask, answer], fields, { answered, failed })
    }
    stopWaiting = connection.whenReady({ ready, failed })
  })
}

function timedOut(
  timeoutMs: number,
  outcome: 'notWritten' | 'unknown',
  cause: MillraceError | undefined,
): MillraceError {
  const why = cause === undefined ? '' : `: ${cause.message}`
  return new MillraceError('TIMEOUT', { message: `no answer within ${timeoutMs} ms${why}`, outcome, cause })
}
