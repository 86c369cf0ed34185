import type { FastifyError, FastifyReply } from 'fastify'
import { ERROR_CODES, type ErrorCode, MillraceError } from '../../protocol/error-codes.js'
import { anyObject, bool, choice, object, optional, text, uint } from './shape.js'

/** The body of every answer that says what went wrong. */
export const errorBody = object(
  {
    error: object({
      code: choice(Object.keys(ERROR_CODES) as ErrorCode[], 'Never renamed, never with another meaning.'),
      message: text({ charsMax: 65_536, about: 'For people; it may change.' }),
      retriable: bool('Whether the same request may succeed later.'),
      outcome: choice(
        ['notWritten', 'unknown'],
        '`notWritten`: nothing of the request is in the log. `unknown`: it may be.',
      ),
      retryAfterMs: optional(uint({ about: 'Milliseconds after which a retry is worth it.' })),
      details: optional(
        anyObject('Facts of this error, for example `startOffset` and `endOffset` of OFFSET_OUT_OF_RANGE.'),
      ),
      requestId: text({ charsMax: 64, about: 'As in the header `X-Request-Id`.' }),
    }),
  },
  'What went wrong.',
)

/** Fastify's own errors, by their codes: what cannot be routed or parsed at all. */
const FASTIFY_CODES: Readonly<Record<string, ErrorCode>> = {
  FST_ERR_BAD_URL: 'BAD_REQUEST',
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'UNSUPPORTED_MEDIA_TYPE',
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: 'BAD_REQUEST',
  FST_ERR_CTP_BODY_TOO_LARGE: 'BODY_TOO_LARGE',
  FST_ERR_MAX_PARAM_LENGTH: 'BAD_REQUEST',
}

/** The catalogue's error for whatever was thrown; INTERNAL for what nobody expected. */
export function asMillraceError(error: unknown): MillraceError {
  if (error instanceof MillraceError) return error
  const code = FASTIFY_CODES[(error as Partial<FastifyError>).code ?? '']
  if (code !== undefined) return new MillraceError(code, { message: (error as Error).message, cause: error })
  return new MillraceError('INTERNAL', { cause: error })
}

/** What `errorBody` describes. */
export function errorAnswer(error: MillraceError, requestId: string): object {
  const { code, message, retriable, outcome, retryAfterMs, details } = error
  return { error: { code, message, retriable, outcome, retryAfterMs, details, requestId } }
}

/** Answers with an error; its status is the catalogue's, unless a caller has another. */
export function replyWithError(
  reply: FastifyReply,
  error: MillraceError,
  status: number = ERROR_CODES[error.code].httpStatus,
): FastifyReply {
  if (error.retryAfterMs !== undefined) reply.header('retry-after', Math.ceil(error.retryAfterMs / 1000))
  return (
    reply
      .code(status)
      .header('cache-control', 'no-store')
      // Of a request that no hook has seen, too.
      .header('x-request-id', reply.request.id)
      .type('application/json')
      .send(Buffer.from(JSON.stringify(errorAnswer(error, reply.request.id))))
  )
}
