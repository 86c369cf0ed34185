import type { FastifyReply, FastifyRequest } from 'fastify'
import { MillraceError } from '../../protocol/error-codes.js'
import { hostFault, type OriginPolicy, originFault, sameOrigin } from '../config/origin.js'
import type { HttpLimits } from './limits.js'

export interface AdmissionOptions {
  readonly origins: OriginPolicy
  readonly limits: HttpLimits
}

/** Headers of answers that a page may read beside the few that it always may. */
const EXPOSED = [
  'Content-Range',
  'ETag',
  'Millrace-Base-Offset',
  'Millrace-End-Offset',
  'Millrace-Next-Offset',
  'Millrace-Start-Offset',
  'Millrace-Topic-Id',
  'Millrace-Up-To-Date',
  'Location',
  'Producer-Epoch',
  'Producer-Expected-Seq',
  'Producer-Received-Seq',
  'Producer-Seq',
  'Retry-After',
  'Stream-Closed',
  'Stream-Cursor',
  'Stream-Expires-At',
  'Stream-Next-Offset',
  'Stream-SSE-Data-Encoding',
  'Stream-TTL',
  'Stream-Up-To-Date',
  'X-Request-Id',
].join(', ')
const METHODS = 'GET, HEAD, POST, PUT, PATCH, DELETE'
const PREFLIGHT_KEPT_S = 600

/** Decides who may ask at all, before a byte of a body is read. */
export class Admission {
  readonly #options: AdmissionOptions

  constructor(options: AdmissionOptions) {
    this.#options = options
  }

  /** Throws HEADERS_TOO_LARGE, ORIGIN_REFUSED. True when it was a preflight, and is answered. */
  admit(request: FastifyRequest, reply: FastifyReply, { isOpen }: { isOpen: boolean }): boolean {
    const { origins, limits } = this.#options
    const { headers, rawHeaders } = request.raw
    if (rawHeaders.length / 2 > limits.headersMax)
      throw new MillraceError('HEADERS_TOO_LARGE', {
        message: `at most ${limits.headersMax} headers are taken`,
      })
    if (isOpen) return false
    const { origin, host } = headers
    const fault =
      originFault({ origin, host }, origins) ?? hostFault(host, origins) ?? crossSiteFault(request)
    if (fault !== undefined) throw new MillraceError('ORIGIN_REFUSED', { message: fault })
    if (origin === undefined || !isListed(origin, origins)) return false
    reply.header('access-control-allow-origin', origin).header('vary', 'Origin')
    reply.header('access-control-expose-headers', EXPOSED)
    if (request.method !== 'OPTIONS' || headers['access-control-request-method'] === undefined) return false
    reply.header('access-control-allow-methods', METHODS)
    const asked = headers['access-control-request-headers']
    if (asked !== undefined) reply.header('access-control-allow-headers', asked)
    reply.header('access-control-max-age', PREFLIGHT_KEPT_S)
    reply.code(204).send()
    return true
  }
}

/** Whether CORS is on for pages of this origin. */
function isListed(origin: string, { allowedOrigins }: OriginPolicy): boolean {
  return allowedOrigins.includes('*') || allowedOrigins.some((allowed) => sameOrigin(allowed, origin))
}

/** A page that sends a mutation says its origin; a browser that says "cross-site" and no origin is up to something. */
function crossSiteFault({ method, raw }: FastifyRequest): string | undefined {
  const isRead = method === 'GET' || method === 'HEAD' || method === 'OPTIONS'
  if (isRead || raw.headers.origin !== undefined || raw.headers['sec-fetch-site'] !== 'cross-site')
    return undefined
  return 'a page of another site may not change anything'
}
