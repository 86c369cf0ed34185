import { type Route, route } from '../route.js'
import { appendToStream } from './append-stream.js'
import { putStream } from './put-stream.js'
import { readStream } from './read-stream.js'
import { STREAM_HEADERS } from './stream-documents.js'
import { streamName } from './stream-name.js'
import { liveStream } from './stream-named.js'
import { describe, etagOf } from './stream-reply.js'

const headStream = route({
  method: 'HEAD',
  path: '/v1/stream/*',
  id: 'headStream',
  summary: 'Where a stream ends, and what it is',
  isLenient: true,
  params: { '*': streamName },
  answers: {
    200: {
      about: 'It is there. This is no access: its time to live goes on.',
      headers: {
        ...STREAM_HEADERS,
        'Stream-TTL': 'Seconds that it lives after an access.',
        'Stream-Expires-At': 'When it ends.',
      },
    },
  },
  errors: ['ILLEGAL_TOPIC_NAME', 'UNKNOWN_TOPIC', 'STREAM_DELETED'],
  handle({ backend, streamReader }, { params }, reply) {
    const stream = liveStream(backend, params['*'])
    const { endOffset: to, isClosed } = stream
    describe(reply, backend, stream).header('cache-control', 'no-store')
    const from = streamReader.startOf(backend, stream)
    return reply.header('etag', etagOf(stream, { from, to, isClosed })).send()
  },
})

const deleteStream = route({
  method: 'DELETE',
  path: '/v1/stream/*',
  id: 'deleteStream',
  summary: 'Delete a stream',
  about:
    'There is no way back. Forks keep what they read of it; its path is free again when the last of them is gone.',
  isMutation: true,
  hasOwnRetries: true,
  isLenient: true,
  params: { '*': streamName },
  answers: { 204: { about: 'It is gone.' } },
  errors: ['ILLEGAL_TOPIC_NAME', 'UNKNOWN_TOPIC', 'STREAM_DELETED', 'STORAGE_FAILED'],
  async handle({ backend }, { params, requestId }, reply) {
    const { topicId } = liveStream(backend, params['*'])
    await backend.streams.delete({ topicId, requestId })
    return reply.code(204).send()
  },
})

/** Durable Streams: the open HTTP protocol. */
export const streamRoutes: readonly Route[] = [
  putStream,
  appendToStream,
  readStream,
  headStream,
  deleteStream,
]
