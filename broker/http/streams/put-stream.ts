import { MillraceError } from '../../../protocol/error-codes.js'
import type { CreateStreamArgs, StreamInfo } from '../../shard/streams-face.js'
import type { Backend } from '../context.js'
import { bytesRoute } from '../route.js'
import { forkEnd } from './fork-end.js'
import { batchOf, valuesIn } from './stream-batch.js'
import { PUT_HEADERS, STREAM_HEADERS } from './stream-documents.js'
import { streamName } from './stream-name.js'
import { isOffsetOf } from './stream-offset.js'
import { describe } from './stream-reply.js'
import { type AskedFork, closesIn, contentTypeIn, forkIn, lifeIn } from './stream-request.js'

export const putStream = bytesRoute({
  method: 'PUT',
  path: '/v1/stream/*',
  id: 'putStream',
  summary: 'Create a stream, or make sure that it is there',
  about:
    'Headers say what it is: Content-Type, Stream-TTL (seconds after the last access) or Stream-Expires-At (a time), Stream-Closed, ' +
    'Stream-Forked-From with Stream-Fork-Offset and Stream-Fork-Sub-Offset. The body is what it begins with.',
  isMutation: true,
  hasOwnRetries: true,
  isLenient: true,
  params: { '*': streamName },
  requestHeaders: PUT_HEADERS,
  body: { bytes: 'What the stream begins with; of a JSON stream a value, or a list of them.' },
  answers: {
    201: { about: 'It was created, with all that it begins with.', headers: STREAM_HEADERS },
    200: { about: 'It was there, as it was asked for.', headers: STREAM_HEADERS },
  },
  errors: [
    'ILLEGAL_TOPIC_NAME',
    'ILLEGAL_ARGUMENT',
    'UNKNOWN_TOPIC',
    'TOPIC_EXISTS',
    'TOPIC_MISMATCH',
    'LIMIT_REACHED',
    'RECORD_TOO_LARGE',
    'BATCH_TOO_LARGE',
    'ATOMIC_TOO_LARGE',
    'DISK_FULL',
    'STORAGE_FAILED',
    'CORRUPT_DATA',
    'ENCODING_MISMATCH',
  ],
  async handle(context, { params, headers, body, requestId, raw }, reply) {
    const { backend, streamWriter, clock, limits } = context
    const { shard, streams } = backend
    const name = params['*']
    const fork = forkIn(headers)
    const closed = closesIn(headers)
    const contentType = contentTypeIn(headers)
    // Of a fork that is its source's type, whatever that is.
    const type = contentType ?? (fork === null ? undefined : streams.named(fork.sourceName)?.contentType)
    const values =
      body.length === 0 ? [] : valuesIn(body, { contentType: type, recordBytesMax: limits.recordBytesMax })
    const args: CreateStreamArgs = {
      requestId,
      name,
      contentType,
      ...lifeIn(headers),
      closed,
      fork: fork && forkOf(backend, fork),
      hasRecords: values.length > 0,
      resolve: (source, at) => forkEnd(context, source, at),
      open: async (topicId) => {
        const batch = batchOf(values, { topicId, timestamp: clock.now(), bytes: body })
        const write = { topicId, closes: closed, opens: true, producer: null, seq: null }
        await streamWriter.write({ shard, socket: raw.socket, requestId, write, batch })
      },
    }
    const { created } = await streams.create(args)
    const stream = streams.named(name)
    // Deleted again by somebody else.
    if (stream === undefined) throw new MillraceError('UNKNOWN_TOPIC')
    describe(reply, backend, stream)
    if (created)
      reply.header('location', `http://${headers.host ?? 'localhost'}${(raw.url ?? '').split('?', 1)[0]}`)
    return reply.code(created ? 201 : 200).send()
  },
})

/** What is asked for, held to the source that there is when the fork is made. */
function forkOf(backing: Backend, { sourceName, offset, subOffset }: AskedFork): CreateStreamArgs['fork'] {
  const refuseOther = (source: StreamInfo): void => {
    if (offset === null || isOffsetOf(backing, source, offset)) return
    throw new MillraceError('ILLEGAL_ARGUMENT', {
      message: 'Stream-Fork-Offset: it is none of the stream to fork',
    })
  }
  return { sourceName, offset: offset?.offset ?? null, subOffset, refuseOther }
}
