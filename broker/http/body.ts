import { isUtf8 } from 'node:buffer'
import type { IncomingMessage } from 'node:http'
import { MillraceError } from '../../protocol/error-codes.js'
import { badRequest } from './shape.js'

const RETRY_AFTER_MS = 1_000

/** The bytes of bodies that all requests together hold, capped. */
export class BodyBudget {
  readonly #bytesMax: number
  #bytes = 0

  constructor({ bytesMax }: { bytesMax: number }) {
    this.#bytesMax = bytesMax
  }

  get bytes(): number {
    return this.#bytes
  }

  /** False when there is no room: then nothing was taken. */
  take(bytes: number): boolean {
    if (this.#bytes + bytes > this.#bytesMax) return false
    this.#bytes += bytes
    return true
  }

  release(bytes: number): void {
    this.#bytes -= bytes
  }
}

/** The body of a request, whole. */
export interface Body {
  readonly bytes: Buffer
  /** To be called once, when the request is answered: until then the bytes count. */
  release(): void
}

export interface BodyOptions {
  readonly budget: BodyBudget
  readonly bytesMax: number
}

/**
 * Reads a body to its end. Rejects with BODY_TOO_LARGE, BACKPRESSURE, UNSUPPORTED_MEDIA_TYPE (a content encoding), and
 * with BAD_REQUEST when the upload breaks off: half a body is never handed on. What is refused is read on and thrown
 * away, so that the client gets to the answer; the request's timeout bounds that.
 */
export function readBody(request: IncomingMessage, { budget, bytesMax }: BodyOptions): Promise<Body> {
  const { 'content-length': length, 'content-encoding': encoding = 'identity' } = request.headers
  if (encoding.toLowerCase() !== 'identity')
    return Promise.reject(
      new MillraceError('UNSUPPORTED_MEDIA_TYPE', { message: 'bodies are taken uncompressed' }),
    )
  if (length !== undefined && Number(length) > bytesMax) return Promise.reject(tooLarge(bytesMax))
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let bytes = 0
    const stop = (error: MillraceError): void => {
      request.off('data', onData).off('end', onEnd).off('error', onBroken).off('close', onBroken)
      // What still comes is thrown away, and an upload that breaks off now surprises nobody.
      request.on('error', () => {})
      request.resume()
      chunks.length = 0
      budget.release(bytes)
      reject(error)
    }
    const onData = (chunk: Buffer): void => {
      const refusal =
        bytes + chunk.length > bytesMax
          ? tooLarge(bytesMax)
          : budget.take(chunk.length)
            ? undefined
            : noRoom()
      if (refusal !== undefined) {
        stop(refusal)
        return
      }
      bytes += chunk.length
      chunks.push(chunk)
    }
    const onEnd = (): void => {
      request.off('close', onBroken)
      const [first] = chunks
      let isHeld = true
      resolve({
        // One read of the socket, as small requests are, needs no copy.
        bytes: chunks.length === 1 && first !== undefined ? first : Buffer.concat(chunks, bytes),
        release: () => {
          if (isHeld) budget.release(bytes)
          isHeld = false
        },
      })
    }
    const onBroken = (): void => stop(badRequest('the upload broke off'))
    request.on('data', onData).once('end', onEnd).once('error', onBroken).once('close', onBroken)
  })
}

const tooLarge = (bytesMax: number): MillraceError =>
  new MillraceError('BODY_TOO_LARGE', {
    message: `the body has more than ${bytesMax} bytes`,
    details: { bytesMax },
  })

const noRoom = (): MillraceError =>
  new MillraceError('BACKPRESSURE', {
    message: 'the broker holds as many bodies as it may',
    retryAfterMs: RETRY_AFTER_MS,
  })

/** The body as text. Throws BAD_REQUEST when it is not UTF-8. */
export function bodyText(bytes: Buffer): string {
  if (!isUtf8(bytes)) throw badRequest('the body is not UTF-8')
  return bytes.toString()
}

/** Text as a JSON value. Throws BAD_REQUEST. */
export function parsedJson(text: string, what = 'the body'): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new MillraceError('BAD_REQUEST', {
      message: `${what} is not JSON: ${(cause as Error).message}`,
      cause,
    })
  }
}
