import type { FastifyReply } from 'fastify'
import { MillraceError } from '../../../protocol/error-codes.js'
import type { StreamWritten } from '../../shard/shard-face.js'
import { mediaTypeIn } from '../../shard/stream-changes.js'
import { bytesRoute } from '../route.js'
import { badRequest } from '../shape.js'
import { batchOf, valuesIn } from './stream-batch.js'
import { APPEND_HEADERS, PRODUCER_HEADERS, STREAM_HEADERS } from './stream-documents.js'
import { streamName } from './stream-name.js'
import { liveStream } from './stream-named.js'
import { offsetToken } from './stream-offset.js'
import { closesIn, contentTypeIn, producerIn, seqIn } from './stream-request.js'

export const appendToStream = bytesRoute({
  method: 'POST',
  path: '/v1/stream/*',
  id: 'appendToStream',
  summary: 'Append to a stream, or close it, or both',
  about:
    'All of it is written or none, and it is durable before the answer. Producer-Id, Producer-Epoch and Producer-Seq make it ' +
    'repeatable; Stream-Seq must grow; Stream-Closed closes the stream with this write, for which no body is needed.',
  isMutation: true,
  hasOwnRetries: true,
  isLenient: true,
  params: { '*': streamName },
  requestHeaders: APPEND_HEADERS,
  body: { bytes: 'What is appended; of a JSON stream a value, or a list of them.' },
  answers: {
    200: { about: 'The write of a producer is durable.', headers: PRODUCER_HEADERS },
    204: { about: 'The write is durable, or that of a producer was before.', headers: STREAM_HEADERS },
  },
  errors: [
    'ILLEGAL_TOPIC_NAME',
    'ILLEGAL_ARGUMENT',
    'UNKNOWN_TOPIC',
    'TOPIC_MISMATCH',
    'STREAM_CLOSED',
    'STREAM_DELETED',
    'STREAM_SEQ_CONFLICT',
    'PRODUCER_EPOCH_STALE',
    'SEQUENCE_GAP',
    'LIMIT_REACHED',
    'RECORD_TOO_LARGE',
    'BATCH_TOO_LARGE',
    'ATOMIC_TOO_LARGE',
    'DISK_FULL',
    'STORAGE_FAILED',
  ],
  async handle(context, { params, headers, body, requestId, raw }, reply) {
    const { backend, streamWriter, clock, metrics, limits } = context
    const startMs = clock.monotonic()
    const closes = closesIn(headers)
    const producer = producerIn(headers)
    const seq = seqIn(headers)
    if (body.length === 0 && !closes) throw badRequest('the body is empty')
    const stream = liveStream(backend, params['*'])
    const { topicId, contentType } = stream
    const tokenAt = (offset: number): string => offsetToken(backend, stream, offset)
    if (body.length > 0) refuseType(contentTypeIn(headers), contentType)
    const isClosing = body.length === 0
    const values = isClosing ? [] : valuesIn(body, { contentType, recordBytesMax: limits.recordBytesMax })
    if (values.length === 0 && !isClosing) throw badRequest('an empty list appends nothing')
    const timestamp = clock.now()
    const batch = isClosing ? undefined : batchOf(values, { topicId, timestamp, bytes: body })
    const write = { topicId, closes, opens: false, producer, seq }
    try {
      const written = await streamWriter.write({
        shard: backend.shard,
        socket: raw.socket,
        requestId,
        write,
        batch,
      })
      metrics.observe('produceMs', clock.monotonic() - startMs)
      // What has just closed it may have been its last access, too.
      backend.streams.accessed(topicId)
      const isNewOfProducer = producer !== null && !written.isDuplicate && !isClosing
      return reply
        .code(isNewOfProducer ? 200 : 204)
        .headers(headersOf(written, tokenAt))
        .send()
    } catch (error) {
      if (error instanceof MillraceError) tell(reply, error, tokenAt)
      throw error
    }
  },
})

/** Throws BAD_REQUEST, TOPIC_MISMATCH. */
function refuseType(given: string | null, contentType: string): void {
  if (given === null) throw badRequest('content-type: what is the body?')
  if (mediaTypeIn(given) === mediaTypeIn(contentType)) return
  throw new MillraceError('TOPIC_MISMATCH', { message: `the stream is ${contentType}, and the body is not` })
}

function headersOf(
  { nextOffset, isClosed, producer }: StreamWritten,
  tokenAt: (offset: number) => string,
): Record<string, string> {
  return {
    'stream-next-offset': tokenAt(nextOffset),
    ...(isClosed ? { 'stream-closed': 'true' } : {}),
    ...(producer === null
      ? {}
      : { 'producer-epoch': String(producer.epoch), 'producer-seq': String(producer.seq) }),
  }
}

/** What the protocol says of a refusal in headers. */
function tell(
  reply: FastifyReply,
  { code, details = {} }: MillraceError,
  tokenAt: (offset: number) => string,
): void {
  const { nextOffset, epoch, expectedSequence, receivedSequence } = details
  if (code === 'STREAM_CLOSED') {
    reply.header('stream-closed', 'true')
    if (typeof nextOffset === 'number') reply.header('stream-next-offset', tokenAt(nextOffset))
  }
  if (code === 'PRODUCER_EPOCH_STALE') reply.header('producer-epoch', String(epoch))
  if (code !== 'SEQUENCE_GAP') return
  reply.header('producer-expected-seq', String(expectedSequence))
  reply.header('producer-received-seq', String(receivedSequence))
}
