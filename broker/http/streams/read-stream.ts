import { Readable } from 'node:stream'
import type { FastifyReply } from 'fastify'
import type { StreamInfo } from '../../shard/streams-face.js'
import type { HttpContext } from '../context.js'
import { whenClosed } from '../response-end.js'
import { route } from '../route.js'
import { badRequest, optional, text } from '../shape.js'
import { codedBody } from './coded-body.js'
import { liveCursor } from './stream-cursor.js'
import { PAGE_HEADERS, READ_HEADERS } from './stream-documents.js'
import { StreamEvents } from './stream-events.js'
import { streamName } from './stream-name.js'
import { liveStream } from './stream-named.js'
import { isOffsetOf, offsetGone, offsetToken, type ReadFrom, readFrom } from './stream-offset.js'
import type { StreamPage } from './stream-reader.js'
import { bodyOf, cacheControl, etagOf, isText, tagAtClient } from './stream-reply.js'

const PAGE_BYTES = 1024 * 1024
const VARY = 'Accept-Encoding, Origin'

export const readStream = route({
  method: 'GET',
  path: '/v1/stream/*',
  id: 'readStream',
  summary: 'Read a stream: what is there, or what comes',
  about:
    'With `live=long-poll` an answer waits for data, with `live=sse` it is server-sent events: `data`, and `control` after each of them. ' +
    'Bodies have the content type of the stream; of a JSON stream they are a list of its values.',
  isLenient: true,
  params: { '*': streamName },
  query: {
    offset: optional(
      text({ charsMax: 64, about: 'Of an answer about this stream; `-1` is the beginning, `now` the end.' }),
    ),
    live: optional(text({ charsMax: 16, about: '`long-poll` or `sse`; `offset` is needed then.' })),
    cursor: optional(text({ charsMax: 64, about: "The last answer's `Stream-Cursor`." })),
  },
  requestHeaders: READ_HEADERS,
  answers: {
    200: {
      about: 'What stands from the offset on, or a part of it.',
      headers: PAGE_HEADERS,
      content: { 'text/event-stream': undefined, '*/*': undefined },
    },
    204: { about: 'Of a long-poll: nothing came.', headers: PAGE_HEADERS },
    304: { about: 'What If-None-Match names is what stands there.' },
  },
  errors: [
    'ILLEGAL_TOPIC_NAME',
    'UNKNOWN_TOPIC',
    'STREAM_DELETED',
    'OFFSET_OUT_OF_RANGE',
    'OFFSET_GONE',
    'ENCODING_MISMATCH',
    'CORRUPT_DATA',
    'STORAGE_FAILED',
  ],
  async handle(context, { params, query, headers }, reply) {
    const stream = liveStream(context.backend, params['*'])
    const { live, cursor } = query
    const isLive = live === 'long-poll' || live === 'sse'
    if (query.offset === undefined && isLive) throw badRequest(`offset: live=${live} needs it`)
    const from = readFrom(query.offset ?? '-1')
    const gone = new AbortController()
    whenClosed(reply.raw, () => gone.abort())
    const isNamed = typeof from === 'object' && from.log === stream.topicId
    const place = placeOf(context, stream, from)
    const reading = { context, stream, reply, from: place, isNamed, cursor, gone }
    context.backend.streams.accessed(stream.topicId)
    if (live === 'sse') return sendEvents(reading)
    if (live === 'long-poll') return poll(reading)
    if (from === 'now') return sendEnd(reading)
    const page = await pageOf(reading)
    return send(reading, page, headers['if-none-match'])
  },
})

interface Reading {
  readonly context: HttpContext
  readonly stream: StreamInfo
  readonly reply: FastifyReply
  readonly from: number
  /** By its offset the URL says which stream it means. */
  readonly isNamed: boolean
  readonly cursor: string | undefined
  readonly gone: AbortController
}

/** Throws OFFSET_GONE. */
function placeOf({ backend, streamReader }: HttpContext, stream: StreamInfo, from: ReadFrom): number {
  if (from === 'now') return stream.endOffset
  if (from !== 'start' && isOffsetOf(backend, stream, from)) return from.offset
  const start = streamReader.startOf(backend, stream)
  if (from === 'start') return start
  throw offsetGone('offset: it is of another stream, or of one that was at this path before', {
    startOffset: offsetToken(backend, stream, start),
  })
}

const pageOf = ({ context, stream, from: offset }: Reading): Promise<StreamPage> =>
  context.streamReader.read(context.backend, stream, {
    offset,
    maxBytes: context.unsent.readBytesMax(PAGE_BYTES),
  })

const tokenAt = ({ context, stream }: Reading, offset: number): string =>
  offsetToken(context.backend, stream, offset)

/** Whether nothing comes behind `offset`: the stream is closed there now. */
function isClosedAt({ context, stream }: Reading, offset: number): boolean {
  const now = context.backend.streams.named(stream.name)
  return now !== undefined && now.topicId === stream.topicId && now.isClosed && now.endOffset <= offset
}

async function send(
  reading: Reading,
  page: StreamPage,
  ifNoneMatch: string | undefined,
): Promise<FastifyReply> {
  const { stream, reply, from, isNamed, context } = reading
  const { nextOffset, endOffset } = page
  const isUpToDate = nextOffset >= endOffset
  const isClosed = isUpToDate && isClosedAt(reading, nextOffset)
  const tagged = { from, to: nextOffset, isClosed }
  reply.header('cache-control', cacheControl(stream, { isUpToDate, isNamed })).header('vary', VARY)
  const known = tagAtClient(ifNoneMatch, stream, tagged)
  if (known !== undefined) return reply.header('etag', known).code(304).send()
  reply.header('content-type', stream.contentType).header('stream-next-offset', tokenAt(reading, nextOffset))
  if (isUpToDate) reply.header('stream-up-to-date', 'true')
  if (isClosed) reply.header('stream-closed', 'true')
  const { bytes, coding } = await codedBody(bodyOf(stream, page), {
    contentType: stream.contentType,
    acceptEncoding: reply.request.headers['accept-encoding'],
    gzip: context.gzip,
  })
  if (coding === 'gzip') reply.header('content-encoding', 'gzip')
  context.unsent.add(bytes.length, reply.raw)
  return reply.header('etag', etagOf(stream, { ...tagged, coding })).send(bytes)
}

/** The end, without looking for what stands there. */
function sendEnd(reading: Reading): FastifyReply {
  const { stream, reply, from } = reading
  reply.header('content-type', stream.contentType).header('stream-next-offset', tokenAt(reading, from))
  reply.header('stream-up-to-date', 'true').header('cache-control', 'no-store')
  if (isClosedAt(reading, from)) reply.header('stream-closed', 'true')
  return reply.send(bodyOf(stream, { values: [] }))
}

async function poll(reading: Reading): Promise<FastifyReply> {
  const { context, stream, reply, cursor, from, gone } = reading
  const { backend, streamReader, clock, random, limits } = context
  let page = await pageOf(reading)
  if (page.values.length === 0 && !isClosedAt(reading, page.nextOffset)) {
    const at = { offset: page.endOffset, ms: limits.streamPollMs, signal: gone.signal }
    await streamReader.moved(backend, stream, at)
    // Gone meanwhile: that is the answer.
    liveStream(backend, stream.name)
    backend.streams.accessed(stream.topicId)
    page = await pageOf(reading)
  }
  reply.header('stream-cursor', liveCursor(cursor, { now: clock.now(), random }))
  if (page.values.length > 0) return send(reading, page, undefined)
  reply.header('stream-next-offset', tokenAt(reading, from)).header('stream-up-to-date', 'true')
  if (isClosedAt(reading, page.nextOffset)) reply.header('stream-closed', 'true')
  return reply.code(204).header('cache-control', 'no-store').send()
}

async function sendEvents({ context, stream, reply, from, cursor, gone }: Reading): Promise<FastifyReply> {
  const { backend, streamReader: reader, clock, random, drain, limits } = context
  const undo = drain.whenDraining(() => gone.abort())
  whenClosed(reply.raw, undo)
  // Here the status still can say what is wrong.
  await reader.read(backend, stream, { offset: from, maxBytes: 1 })
  const events = new StreamEvents({
    ...{ backing: backend, stream, reader, clock, random, from, cursor },
    quietMs: limits.streamPollMs,
    signal: gone.signal,
  })
  if (!isText(stream.contentType)) reply.header('stream-sse-data-encoding', 'base64')
  return reply
    .header('content-type', 'text/event-stream')
    .header('cache-control', 'no-cache')
    .header('x-accel-buffering', 'no')
    .send(Readable.from(events.read(), { objectMode: false }))
}
