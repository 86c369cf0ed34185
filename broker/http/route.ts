import { createHash } from 'node:crypto'
import type { FastifyInstance, FastifyReply, FastifyRequest, HTTPMethods } from 'fastify'
import { ERROR_CODES, type ErrorCode, MillraceError } from '../../protocol/error-codes.js'
import { hexFromBytes, type RequestId, requestIdFrom } from '../../protocol/ids.js'
import { bodyText, parsedJson, readBody } from './body.js'
import type { HttpContext } from './context.js'
import { mediaTypeOf, unsupportedType } from './media-type.js'
import { badRequest, type Fields, type FieldsOf, readParameters, readQuery, type Shape } from './shape.js'

export type Method = 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'

/** What a route answers with one status. */
export interface Answer {
  readonly about: string
  /** By media type: what the body is; undefined where a schema says nothing. */
  readonly content?: Readonly<Record<string, Shape<unknown> | undefined>>
  readonly headers?: Readonly<Record<string, string>>
}

/** What a handler gets of its request, checked. */
export interface RouteRequest<P extends Fields, Q extends Fields, B> {
  readonly params: FieldsOf<P>
  readonly query: FieldsOf<Q>
  readonly body: B
  readonly raw: FastifyRequest['raw']
  readonly headers: FastifyRequest['raw']['headers']
  /** What the log remembers the request's answer by: from `Idempotency-Key`, else random. */
  readonly requestId: RequestId
  /** Whether the client chose the request id. */
  readonly isRepeatable: boolean
}

/** A body that the handler reads by its media type. */
export interface RawBody {
  readonly mediaType: string | undefined
  readonly bytes: Buffer
}

interface RouteDescription<P extends Fields, Q extends Fields> {
  readonly method: Method
  /** Fastify's pattern, for example `/v1/topics/:topic`. */
  readonly path: string
  /** The operation's name in the OpenAPI document. */
  readonly id: string
  readonly summary: string
  readonly about?: string
  /** Changes something: refused while the broker drains, repeatable by `Idempotency-Key`. */
  readonly isMutation?: boolean
  /** A mutation that does without `Idempotency-Key`: its protocol has another way. */
  readonly hasOwnRetries?: boolean
  /** Query parameters that are not known are passed over, as its protocol wants. */
  readonly isLenient?: boolean
  /** Answered whatever the broker's state, to whatever host name: it tells nothing that is anybody's. */
  readonly isOpen?: boolean
  /** Serves HEAD as well: the handler sees to it. */
  readonly hasHead?: boolean
  readonly params?: P
  readonly query?: Q
  /** Headers of the request that mean something here, and what they say. */
  readonly requestHeaders?: Readonly<Record<string, string>>
  readonly answers: Readonly<Record<number, Answer>>
  /** Beside those that any request may meet. */
  readonly errors?: readonly ErrorCode[]
}

type Handle<P extends Fields, Q extends Fields, B> = (
  context: HttpContext,
  request: RouteRequest<P, Q, B>,
  reply: FastifyReply,
) => unknown

/** A route as the server and the OpenAPI document take it. */
export interface Route extends RouteDescription<Fields, Fields> {
  readonly body?: BodyDescription
  readonly handle: Handle<Fields, Fields, never>
}

export type BodyDescription =
  | { readonly json: Shape<unknown>; readonly isOptional?: boolean }
  /** By media type. */
  | { readonly raw: Readonly<Record<string, Shape<unknown> | undefined>> }
  /** Of any media type, read by the handler; and what it is. */
  | { readonly bytes: string }

/** A route without a body. */
export function route<P extends Fields = Record<never, never>, Q extends Fields = Record<never, never>>(
  description: RouteDescription<P, Q> & { readonly handle: Handle<P, Q, undefined> },
): Route {
  return description as unknown as Route
}

/** A route whose body is JSON. */
export function jsonRoute<
  B,
  P extends Fields = Record<never, never>,
  Q extends Fields = Record<never, never>,
>(
  description: RouteDescription<P, Q> & {
    readonly body: { readonly json: Shape<B>; readonly isOptional?: boolean }
    readonly handle: Handle<P, Q, B>
  },
): Route {
  return description as unknown as Route
}

/** A route whose body has several forms. */
export function rawRoute<P extends Fields = Record<never, never>, Q extends Fields = Record<never, never>>(
  description: RouteDescription<P, Q> & {
    readonly body: { readonly raw: Readonly<Record<string, Shape<unknown> | undefined>> }
    readonly handle: Handle<P, Q, RawBody>
  },
): Route {
  return description as unknown as Route
}

/** A route whose body is bytes, whatever their type. */
export function bytesRoute<P extends Fields = Record<never, never>, Q extends Fields = Record<never, never>>(
  description: RouteDescription<P, Q> & {
    readonly body: { readonly bytes: string }
    readonly handle: Handle<P, Q, Buffer>
  },
): Route {
  return description as unknown as Route
}

/** Serves the routes; every other method of their paths is told which there are. */
export function serve(fastify: FastifyInstance, context: HttpContext, routes: readonly Route[]): void {
  const methods = new Map<string, HTTPMethods[]>()
  for (const one of routes) {
    const { method, path, isOpen, hasHead } = one
    // Those who look whether the broker is there often ask for no body.
    const served: HTTPMethods[] = isOpen || hasHead ? [method, 'HEAD'] : [method]
    methods.set(path, [...(methods.get(path) ?? []), ...served])
    fastify.route({ method: served, url: path, config: { route: one }, handler: handlerOf(one, context) })
  }
  for (const [path, served] of methods) {
    const allow = [...served, 'OPTIONS'].join(', ')
    fastify.route({
      method: ALL_METHODS.filter((method) => !served.includes(method)),
      url: path,
      handler: (request, reply) => {
        reply.header('allow', allow)
        if (request.method === 'OPTIONS') return reply.code(204).send()
        throw new MillraceError('METHOD_NOT_ALLOWED', { message: `the path takes ${allow}` })
      },
    })
  }
}

const ALL_METHODS: readonly HTTPMethods[] = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']

function handlerOf(one: Route, context: HttpContext) {
  return async (request: FastifyRequest, reply: FastifyReply): Promise<unknown> => {
    const { raw } = request
    const params = readParameters(one.params ?? {}, request.params as Record<string, string>)
    const query = readQuery(one.query ?? {}, raw.url ?? '', { isLenient: one.isLenient === true })
    if (one.isMutation && context.drain.isDraining) throw new MillraceError('SHUTTING_DOWN')
    const id = identityOf(one, request, context)
    const checked = { params, query, raw, headers: raw.headers, ...id }
    const answer =
      one.body === undefined
        ? await one.handle(context, { ...checked, body: undefined as never }, reply)
        : await handleBody({ one, context, reply, checked }, one.body)
    // Also one that was cut off, which is not sent: a reply that is awaited comes to nothing when it is over.
    if (reply.sent || answer === undefined) return reply
    return reply.type('application/json').send(Buffer.from(JSON.stringify(answer)))
  }
}

interface Handling {
  readonly one: Route
  readonly context: HttpContext
  readonly reply: FastifyReply
  readonly checked: Omit<RouteRequest<Fields, Fields, never>, 'body'>
}

async function handleBody(
  { one, context, reply, checked }: Handling,
  form: BodyDescription,
): Promise<unknown> {
  const mediaType = 'bytes' in form ? undefined : mediaTypeOf(checked.headers['content-type'])
  const taken = 'json' in form ? ['application/json'] : undefined
  const isEmpty =
    mediaType === undefined &&
    checked.headers['transfer-encoding'] === undefined &&
    !Number(checked.headers['content-length'])
  if (taken !== undefined && !taken.includes(mediaType ?? '')) {
    const isLeftOut = isEmpty && 'json' in form && form.isOptional
    if (!isLeftOut) throw unsupportedType(mediaType, taken)
    return one.handle(context, { ...checked, body: form.json.read({}, 'body') as never }, reply)
  }
  const { bodyBytesMax: bytesMax } = context.limits
  const body = await readBody(checked.raw, { budget: context.bodies, bytesMax })
  try {
    const given =
      'json' in form
        ? form.json.read(parsedJson(bodyText(body.bytes)), 'body')
        : 'raw' in form
          ? { mediaType, bytes: body.bytes }
          : body.bytes
    return await one.handle(context, { ...checked, body: given as never }, reply)
  } finally {
    body.release()
  }
}

type Identity = Pick<RouteRequest<Fields, Fields, unknown>, 'requestId' | 'isRepeatable'>

/** Of requests that change nothing. */
const NOT_REPEATABLE: Identity = { requestId: requestIdFrom('0'.repeat(32)), isRepeatable: false }
const IDEMPOTENCY_KEY_CHARS_MAX = 256

function identityOf(
  { isMutation, hasOwnRetries }: Route,
  { raw, method }: FastifyRequest,
  { random }: HttpContext,
): Identity {
  if (!isMutation) return NOT_REPEATABLE
  const key = hasOwnRetries ? undefined : raw.headers['idempotency-key']
  if (key === undefined)
    return { requestId: requestIdFrom(hexFromBytes(random.bytes(16))), isRepeatable: false }
  if (typeof key !== 'string' || key.length === 0 || key.length > IDEMPOTENCY_KEY_CHARS_MAX)
    throw badRequest(`an Idempotency-Key has 1 to ${IDEMPOTENCY_KEY_CHARS_MAX} characters`)
  // With what is asked for, so that a key that is used twice never gets the answer of something else.
  const path = (raw.url ?? '').split('?', 1)[0]
  const hash = createHash('sha256').update(`${method} ${path}\n${key}`).digest()
  return { requestId: requestIdFrom(hexFromBytes(hash)), isRepeatable: true }
}

/** Errors that any request may meet, before its route or beside it. */
export const COMMON_ERRORS: readonly ErrorCode[] = [
  'BAD_REQUEST',
  'ORIGIN_REFUSED',
  'REQUEST_TIMEOUT',
  'HEADERS_TOO_LARGE',
  'INTERNAL',
  'NOT_READY',
  'SHUTTING_DOWN',
  'BACKPRESSURE',
]
const BODY_ERRORS: readonly ErrorCode[] = ['BODY_TOO_LARGE', 'UNSUPPORTED_MEDIA_TYPE']

/** Every error that a route answers with, by status. */
export function errorsOf({ errors = [], body, isOpen }: Route): Map<number, readonly ErrorCode[]> {
  const common = isOpen ? COMMON_ERRORS.filter((code) => code !== 'ORIGIN_REFUSED') : COMMON_ERRORS
  const codes = new Set([...common, ...(body === undefined ? [] : BODY_ERRORS), ...errors])
  const byStatus = new Map<number, ErrorCode[]>()
  for (const code of codes) {
    const { httpStatus } = ERROR_CODES[code]
    byStatus.set(httpStatus, [...(byStatus.get(httpStatus) ?? []), code])
  }
  return byStatus
}
