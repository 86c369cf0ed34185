import type { ClientProcess } from '../client-process.js'
import type { HttpAnswer, HttpLink, HttpRequest } from '../http-link.js'
import { isPassing } from './topics.js'

/** As the client library throws it. */
export class HttpError extends Error {
  readonly code: string
  readonly retriable: boolean
  outcome: string
  readonly details: Readonly<Record<string, unknown>>

  constructor({ status, body }: Pick<HttpAnswer, 'status' | 'body'>) {
    const { error } = body as {
      error: {
        code: string
        message: string
        retriable: boolean
        outcome: string
        details?: Record<string, unknown>
      }
    }
    super(`${status}: ${error.message}`)
    this.code = error.code
    this.retriable = error.retriable
    this.outcome = error.outcome
    this.details = error.details ?? {}
  }
}

/** Asks until there is an answer that counts, a few times; `unknown` as outcome of an error when any attempt may have been done. */
export async function requestSurely(
  process: ClientProcess,
  link: HttpLink,
  request: HttpRequest,
  attempts: number = process.random.pick([1, 3, 20]),
): Promise<HttpAnswer> {
  let isMaybeDone = false
  for (let left = attempts; ; left--) {
    try {
      const answer = await link.request(request)
      if (answer.status < 300) return answer
      throw new HttpError(answer)
    } catch (thrown) {
      const error = thrown as HttpError
      if (error.code === undefined) throw error
      if (error.outcome === 'unknown') isMaybeDone = true
      if (isMaybeDone) error.outcome = 'unknown'
      if (!isPassing(error) || left === 1) throw error
      await process.sleep(30)
    }
  }
}

/** What is no answer to the question, and nobody's fault. */
export function assertHttpPossible(error: unknown, codes: readonly string[] = []): void {
  if (!isPassing(error) && !codes.includes((error as { code?: string }).code ?? '')) throw error
}
