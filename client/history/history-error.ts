import { type ErrorDetails, isErrorCode, MillraceError } from '../../protocol/error-codes.js'

/** What came is not what the broker stored. */
export const damaged = (why: string): MillraceError =>
  new MillraceError('CORRUPT_DATA', { message: `what came over HTTP is damaged: ${why}` })

/** The request was not answered, or not to its end. */
export function unanswered(cause: unknown): MillraceError {
  if (cause instanceof MillraceError) return cause
  const why = cause instanceof Error ? cause.message : String(cause)
  return new MillraceError('CONNECTION_LOST', {
    message: `the HTTP request was not answered: ${why}`,
    outcome: 'notWritten',
    cause,
  })
}

/** An answer that says what went wrong, by the broker or by what stands before it. */
export async function errorOf(response: Response): Promise<MillraceError> {
  const { status, url } = response
  const body = (await response.json().catch(() => undefined)) as Partial<{ error: Fields }> | undefined
  const { code, message, retriable, details } = body?.error ?? {}
  if (typeof code === 'string' && isErrorCode(code)) {
    return new MillraceError(code, {
      message: String(message),
      details: isDetails(details) ? details : undefined,
      ...(typeof retriable === 'boolean' ? { retriable } : {}),
    })
  }
  return new MillraceError('CONNECTION_LOST', {
    message: `${url} was answered with HTTP status ${status}`,
    retriable: status === 429 || status >= 500,
    outcome: 'notWritten',
  })
}

type Fields = Readonly<Record<string, unknown>>

const isDetails = (details: unknown): details is ErrorDetails =>
  typeof details === 'object' && details !== null
