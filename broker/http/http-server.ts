import Fastify, { type FastifyInstance } from 'fastify'
import type { Logger } from 'pino'

export interface HttpServerOptions {
  readonly log: Logger
  /** TCP connections at a time that are no WebSockets (yet). */
  readonly socketsMax: number
  /** Where WebSockets are served: a plain request there is told to upgrade. */
  readonly webSocketPath: string
}

/** Time a client has to send a request's head. */
const HEADERS_TIMEOUT_MS = 10_000

/** The broker's HTTP face. Call `listen` once everything that hangs on its server is attached. */
export function createHttpServer({ log, socketsMax, webSocketPath }: HttpServerOptions): FastifyInstance {
  const http = Fastify({
    logger: false,
    forceCloseConnections: true,
    http: { headersTimeout: HEADERS_TIMEOUT_MS, connectionsCheckingInterval: HEADERS_TIMEOUT_MS },
  })
  http.server.maxConnections = socketsMax
  http.setErrorHandler((error, _request, reply) => {
    log.error({ err: error }, 'an HTTP request failed unexpectedly')
    return reply.code(500).type('text/plain').send('the broker failed in a way it did not expect\n')
  })
  http.setNotFoundHandler((_request, reply) => reply.code(404).type('text/plain').send('not found\n'))
  http.get('/livez', (_request, reply) => reply.type('text/plain').send('ok\n'))
  http.get(webSocketPath, (_request, reply) =>
    reply
      .code(426)
      .header('connection', 'upgrade')
      .header('upgrade', 'websocket')
      .type('text/plain')
      .send('WebSockets are served here\n'),
  )
  return http
}
