import type { Server } from 'node:http'
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import { MillraceError } from '../../protocol/error-codes.js'
import type { OriginPolicy } from '../config/origin.js'
import type { Logger } from '../log.js'
import type { Clock } from '../platform/clock.js'
import type { MemoryMetrics, Metrics } from '../platform/metrics.js'
import type { Random } from '../platform/random.js'
import { Admission } from './admission.js'
import { AppendSources } from './append-sources.js'
import { BodyBudget } from './body.js'
import { ChunkResponses } from './chunks/chunk-responses.js'
import { answerClientError } from './client-error.js'
import type { Backend, HttpContext } from './context.js'
import { Drain } from './drain.js'
import { asMillraceError, replyWithError } from './error-reply.js'
import { GzipPlaces } from './gzip-places.js'
import type { BrokerHealth } from './health.js'
import { Jobs } from './jobs.js'
import type { HttpLimits } from './limits.js'
import { PageReader } from './page-reader.js'
import { Producers } from './producers.js'
import { RequestMeter } from './request-meter.js'
import { whenClosed } from './response-end.js'
import { type Route, serve } from './route.js'
import { routesOf } from './routes/index.js'
import { StreamReader } from './streams/stream-reader.js'
import { StreamWriter } from './streams/stream-writer.js'
import { UnsentPages } from './unsent-pages.js'

export interface HttpFaceOptions {
  readonly log: Logger
  readonly clock: Clock
  readonly random: Random
  readonly metrics: Metrics
  /** What /metrics shows; without it, nothing but the process. */
  readonly measured?: Pick<MemoryMetrics, 'snapshot'> | undefined
  readonly limits: HttpLimits
  readonly origins: OriginPolicy
  readonly health: BrokerHealth
  /** For the OpenAPI document. */
  readonly version: string
}

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Of routes that the OpenAPI document describes. */
    route?: Route
  }
}

const CONNECTIONS_CHECKED_EVERY_MS = 1_000
const TOPIC_NAME_CHARS_MAX = 1_024
const noSchemas = () => () => {
  throw new Error('routes check their own shapes')
}

/**
 * The broker's HTTP face. It answers from `listen` on, at first that the broker is starting; `serve` gives it the broker.
 * WebSockets hang on its `server`.
 */
export class HttpFace {
  readonly drain = new Drain()
  readonly #options: HttpFaceOptions
  readonly #fastify: FastifyInstance
  readonly #admission: Admission
  readonly #meter = new RequestMeter()
  readonly #bodies: BodyBudget
  readonly #unsent: UnsentPages
  #backend: Backend | undefined

  constructor(options: HttpFaceOptions) {
    const { limits, origins, metrics } = options
    this.#options = options
    this.#admission = new Admission({ origins, limits })
    this.#bodies = new BodyBudget({ bytesMax: limits.bodyBytesTotalMax })
    this.#unsent = new UnsentPages({ bytesMax: limits.pageBytesTotalMax })
    this.#fastify = this.#build()
    this.#fastify.server.maxConnections = limits.connectionsMax
    // Node would pass over what is beyond; it is counted and refused instead.
    this.#fastify.server.maxHeadersCount = 0
    const { measured, version } = options
    serve(this.#fastify, this.#context(), routesOf({ measured, version }))
    metrics.gauge('httpRequestsOpen', () => this.drain.requests)
    metrics.gauge('httpBodyBytes', () => this.#bodies.bytes)
    metrics.gauge('httpUnsentBytes', () => this.#unsent.bytes)
  }

  get server(): Server {
    return this.#fastify.server
  }

  /** Rejects with Node's error when it cannot listen. */
  async listen(at: { host: string; port: number }): Promise<void> {
    await this.#fastify.listen(at)
  }

  /** Answers without a port of its own: connections that `server` is given. */
  async answer(): Promise<void> {
    await this.#fastify.ready()
  }

  /** The broker has recovered: from now on requests reach it. */
  serve(backend: Backend): void {
    this.#backend = backend
    this.#options.health.serving()
  }

  /** Takes no more mutations, answers those that wait, and closes when all are answered, after `drainMs` regardless. */
  async close({ drainMs }: { drainMs: number }): Promise<void> {
    this.#options.health.stopping()
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, drainMs)
    })
    await Promise.race([this.drain.start(), late])
    clearTimeout(timer)
    await this.#fastify.close()
  }

  #build(): FastifyInstance {
    const { limits, random } = this.#options
    const newRequestId = (): string => Buffer.from(random.bytes(8)).toString('hex')
    const fastify = Fastify({
      logger: false,
      forceCloseConnections: true,
      // Whoever drains decides what is refused, in the one shape that errors have.
      return503OnClosing: false,
      exposeHeadRoutes: false,
      // No route has a schema of its kind, and loading the compilers took a third of a broker's start.
      schemaController: { compilersFactory: { buildValidator: noSchemas, buildSerializer: noSchemas } },
      bodyLimit: limits.bodyBytesMax,
      keepAliveTimeout: limits.keepAliveMs,
      requestTimeout: limits.requestTimeoutMs,
      connectionTimeout: limits.stallMsMax,
      genReqId: ({ headers }) => requestIdIn(headers['x-request-id']) ?? newRequestId(),
      clientErrorHandler: (error, socket) => answerClientError(error, socket, newRequestId()),
      frameworkErrors: (error, _request, reply) =>
        replyWithError(reply as FastifyReply, asMillraceError(error)),
      routerOptions: {
        maxParamLength: TOPIC_NAME_CHARS_MAX,
        // Routes read their own queries: strictly.
        querystringParser: () => ({}),
      },
      http: {
        headersTimeout: Math.min(limits.headersTimeoutMs, limits.requestTimeoutMs),
        connectionsCheckingInterval: CONNECTIONS_CHECKED_EVERY_MS,
        maxHeaderSize: limits.headerBytesMax,
      },
    })
    fastify.removeAllContentTypeParsers()
    // Routes read their own bodies, once it is clear that there is somebody to read them for.
    fastify.addContentTypeParser('*', (_request, _payload, done) => done(null))
    fastify.setErrorHandler((error, request, reply) => this.#fail(error, request, reply))
    fastify.setNotFoundHandler(() => {
      throw new MillraceError('UNKNOWN_ROUTE')
    })
    fastify.addHook('onRequest', (request, reply, done) => this.#begin(request, reply, done))
    fastify.addHook('onSend', (_request, reply, payload, done) => {
      // Whoever has more to ask asks another broker, or this one when it is back.
      if (this.drain.isDraining) reply.header('connection', 'close')
      done(null, payload)
    })
    fastify.addHook('onResponse', (request, reply, done) => {
      this.#answered(request, reply)
      done()
    })
    return fastify
  }

  #begin(request: FastifyRequest, reply: FastifyReply, done: (error?: Error) => void): void {
    this.drain.begin()
    // Once, however the request ends: answered, hijacked or broken off.
    whenClosed(reply.raw, () => this.drain.end())
    reply.header('x-request-id', request.id)
    // What was stored by one user is never run as a page, or taken into one, of another.
    reply.header('x-content-type-options', 'nosniff').header('cross-origin-resource-policy', 'same-origin')
    const isOpen = request.routeOptions.config.route?.isOpen === true
    try {
      if (this.#admission.admit(request, reply, { isOpen })) return
      if (this.drain.requests > this.#options.limits.requestsMax && !isOpen) throw tooManyRequests()
      if (this.#backend === undefined && !isOpen)
        throw this.#options.health.fault ?? new MillraceError('NOT_READY')
      done()
    } catch (error) {
      done(error as Error)
    }
  }

  #answered(request: FastifyRequest, reply: FastifyReply): void {
    const route = request.routeOptions.url ?? 'none'
    const method = request.routeOptions.config.route?.method ?? 'other'
    this.#meter.count({ method, route, status: reply.statusCode })
    this.#options.metrics.observe('httpMs', reply.elapsedTime)
  }

  #fail(thrown: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
    const error = asMillraceError(thrown)
    if (error.code === 'INTERNAL')
      this.#options.log.error(
        { err: thrown, requestId: request.id, route: request.routeOptions.url },
        'an HTTP request failed unexpectedly',
      )
    return replyWithError(reply, error)
  }

  #context(): HttpContext {
    const { clock, random, metrics, limits, log, health } = this.#options
    const backend = (): Backend => {
      if (this.#backend === undefined) throw new MillraceError('NOT_READY')
      return this.#backend
    }
    const gzip = new GzipPlaces()
    const sources = new AppendSources()
    const pages = new PageReader({ clock, metrics, drain: this.drain, limits })
    return {
      get backend() {
        return backend()
      },
      producers: new Producers(sources),
      pages,
      streamReader: new StreamReader({ pages, clock, drain: this.drain }),
      streamWriter: new StreamWriter(sources),
      chunks: new ChunkResponses({
        clock,
        metrics,
        log,
        limits,
        gzip,
        unsent: this.#unsent,
        drain: this.drain,
      }),
      gzip,
      jobs: new Jobs({ backend, clock, random }),
      unsent: this.#unsent,
      bodies: this.#bodies,
      drain: this.drain,
      meter: this.#meter,
      health,
      clock,
      random,
      metrics,
      limits,
      log,
    }
  }
}

const RETRY_AFTER_MS = 1_000

const tooManyRequests = (): MillraceError =>
  new MillraceError('BACKPRESSURE', {
    message: 'the broker has as many requests as it may',
    retryAfterMs: RETRY_AFTER_MS,
  })

/** A client's own id for its request, if it can stand in a log. */
function requestIdIn(header: string | string[] | undefined): string | undefined {
  return typeof header === 'string' && /^[\w.-]{1,64}$/.test(header) ? header : undefined
}
