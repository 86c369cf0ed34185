import { replyWithError } from '../error-reply.js'
import { type Route, route } from '../route.js'
import { text } from '../shape.js'

const plain = { 'text/plain': text({ charsMax: 16 }) }

const live = route({
  method: 'GET',
  path: '/livez',
  id: 'livez',
  summary: 'Whether the process runs',
  isOpen: true,
  answers: { 200: { about: 'It does.', content: plain } },
  handle: (_context, _request, reply) =>
    reply.type('text/plain').header('cache-control', 'no-store').send('ok\n'),
})

const ready = route({
  method: 'GET',
  path: '/readyz',
  id: 'readyz',
  summary: 'Whether the broker takes reads and writes',
  about:
    'The status is 503 whatever the reason: NOT_READY while the write-ahead log is replayed, DISK_FULL below the disk watermark, ' +
    'STORAGE_FAILED after a failed write, SHUTTING_DOWN at the end.',
  isOpen: true,
  answers: { 200: { about: 'It does.', content: plain }, 503: { about: 'It does not: the error says why.' } },
  handle(context, _request, reply) {
    const { fault } = context.health
    if (fault !== undefined) return replyWithError(reply, fault, 503)
    return reply.type('text/plain').header('cache-control', 'no-store').send('ok\n')
  },
})

/** What those ask who start and stop brokers, and who send traffic to them. */
export const healthRoutes: readonly Route[] = [live, ready]
