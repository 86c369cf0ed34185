import type { FastifyReply } from 'fastify'
import { MillraceError } from '../../../protocol/error-codes.js'
import { HARD_LIMITS } from '../../../protocol/limits.js'
import type { ChunkRow } from '../../manifest/rows.js'
import type { TopicInfo } from '../../shard/shard-face.js'
import type { ChunkFormat } from '../chunks/chunk-caching.js'
import { chunkPath } from '../chunks/chunk-name.js'
import type { HttpContext } from '../context.js'
import { accepted } from '../media-type.js'
import type { Page } from '../page-reader.js'
import { whenClosed } from '../response-end.js'
import { type Route, route } from '../route.js'
import {
  anyTime,
  anything,
  badRequest,
  bool,
  isoTime,
  list,
  object,
  optional,
  type Shape,
  text,
  uint,
} from '../shape.js'
import { meantTopicId, partitionNumber, topicName, topicNamed } from './names.js'

/** A record in an answer: as `millrace consume --json` prints it. */
export const recordFields = {
  topic: text({ charsMax: HARD_LIMITS.topicNameCharsMax }),
  partition: uint(),
  offset: uint(),
  timestamp: anyTime("The producer's."),
  appendTime: isoTime("The broker's."),
  key: anything('null: none. Bytes are `{"base64": "..."}`.'),
  value: anything('null: none. Bytes are `{"base64": "..."}`.'),
  headers: anything('An object; each value is text or `{"base64": "..."}`.'),
}

const DEFAULT_RECORDS = 1_000
const DEFAULT_BYTES = 1024 * 1024
const TOPIC_ID_ABOUT = 'To be sent with the next request, as `topicId`.'
const OFFSET_NAMES = ['earliest', 'latest']

/** An offset, or the name of one. */
export const offsetParameter: Shape<string> = {
  ...text({ charsMax: 16, about: 'An offset, `earliest` or `latest`.' }),
  readText(given, path) {
    if (OFFSET_NAMES.includes(given) || /^(0|[1-9]\d{0,15})$/.test(given)) return given
    throw badRequest(`${path}: expected an offset, earliest or latest`)
  },
}

const readRecords = route({
  method: 'GET',
  path: '/v1/topics/:topic/partitions/:partition/records',
  id: 'readRecords',
  summary: 'Read records of a partition, waiting for them if asked to',
  about:
    'A page holds at least one record, however large, unless there is none. Only what is durable is read.',
  params: { topic: topicName, partition: partitionNumber },
  query: {
    topicId: meantTopicId,
    offset: optional(offsetParameter),
    limit: optional(
      uint({ min: 1, max: 10_000, about: `At most so many records; default ${DEFAULT_RECORDS}.` }),
    ),
    maxBytes: optional(uint({ min: 1, about: 'Stored bytes to read, about; default 1 MiB, at most 4 MiB.' })),
    wait: optional(
      uint({
        max: HARD_LIMITS.maxWaitMsMax,
        about: 'Milliseconds to wait for the first record where there is none yet; default 0.',
      }),
    ),
    chunks: optional(
      bool(
        'Where a sealed chunk begins, name it instead of reading it: for whoever has a cache; default false.',
      ),
    ),
  },
  answers: {
    307: {
      about: 'With `chunks`: the records are those of the chunk at `Location`, which caches may keep.',
      headers: {
        'Millrace-Topic-Id': TOPIC_ID_ABOUT,
        'Millrace-Next-Offset': 'Where to go on.',
      },
    },
    200: {
      about: 'The records, none at the end. NDJSON has a record a line and the rest in the headers.',
      headers: {
        'Millrace-Topic-Id': TOPIC_ID_ABOUT,
        'Millrace-Next-Offset': 'Where to go on.',
        'Millrace-Start-Offset': 'The first offset that can be read.',
        'Millrace-End-Offset': 'One past the last durable offset.',
        'Millrace-Up-To-Date': '`true` when there is no more for now.',
      },
      content: {
        'application/json': object({
          records: list(object(recordFields)),
          topicId: text({ charsMax: 32, about: TOPIC_ID_ABOUT }),
          nextOffset: uint({ about: 'Where to go on.' }),
          startOffset: uint({ about: 'The first offset that can be read.' }),
          endOffset: uint({ about: 'One past the last durable offset.' }),
          upToDate: bool('There is no more for now.'),
        }),
        'application/x-ndjson': object(recordFields),
      },
    },
  },
  errors: [
    'ILLEGAL_TOPIC_NAME',
    'UNKNOWN_TOPIC',
    'UNKNOWN_PARTITION',
    'OFFSET_OUT_OF_RANGE',
    'ENCODING_MISMATCH',
    'NOT_ACCEPTABLE',
    'CORRUPT_DATA',
  ],
  async handle(context, { params, query, headers }, reply) {
    const type = accepted(headers.accept, ['application/json', 'application/x-ndjson'])
    const topic = topicNamed(context, params.topic, query.topicId)
    const { partition } = params
    const { limit = DEFAULT_RECORDS, maxBytes = DEFAULT_BYTES, wait: waitMs = 0, offset = 'earliest' } = query
    const gone = new AbortController()
    whenClosed(reply.raw, () => gone.abort())
    const from = offsetOf(context, { topicId: topic.topicId, partition }, offset)
    if (query.chunks) {
      const row = wholeChunkAt(context, { topic, partition, offset: from }, query)
      if (row !== undefined)
        return sendToChunk(reply, row, type === 'application/x-ndjson' ? 'ndjson' : 'json')
    }
    const request = {
      shard: context.backend.shard,
      topic,
      partition,
      offset: from,
      limit,
      maxBytes: context.unsent.readBytesMax(Math.min(maxBytes, context.limits.fetchBytesMax)),
    }
    const page = await context.pages.readOrWait(request, { waitMs, signal: gone.signal })
    const body = bodyOf(topic, page, type)
    context.unsent.add(body.length, reply.raw)
    return send(reply, page, { topic, type, body })
  },
})

/** The offset that a parameter names now. Throws UNKNOWN_TOPIC, UNKNOWN_PARTITION. */
export function offsetOf(
  { backend }: HttpContext,
  at: { topicId: Parameters<HttpContext['backend']['shard']['bounds']>[0]; partition: number },
  offset: string,
): number {
  const { startOffset, durableEnd } = backend.shard.bounds(at.topicId, at.partition)
  if (offset === 'earliest') return startOffset
  if (offset === 'latest') return durableEnd
  const wanted = Number(offset)
  if (Number.isSafeInteger(wanted)) return wanted
  throw new MillraceError('OFFSET_OUT_OF_RANGE', { details: { startOffset, endOffset: durableEnd } })
}

/** The chunk that a read may be answered with; otherwise it goes on as any other, counted by the reason. */
function wholeChunkAt(
  { backend, metrics, log }: HttpContext,
  { topic, partition, offset }: { topic: TopicInfo; partition: number; offset: number },
  { limit, maxBytes }: { readonly limit?: number | undefined; readonly maxBytes?: number | undefined },
): ChunkRow | undefined {
  const found = backend.sealed.startingAt({ topicId: topic.topicId, partition, offset })
  const isMore = (row: ChunkRow): boolean =>
    row.section.recordCount > (limit ?? Number.POSITIVE_INFINITY) ||
    row.section.byteEnd - row.section.byteStart > (maxBytes ?? Number.POSITIVE_INFINITY)
  const reason = typeof found === 'string' ? found : isMore(found) ? 'bounded' : undefined
  if (reason === undefined) return found as ChunkRow
  metrics.count(FALLBACK_COUNTERS[reason])
  log.debug(
    { event: 'fallback', topic: topic.name, partition, offset, reason },
    'a read gets a page and no whole chunk',
  )
  return undefined
}

const FALLBACK_COUNTERS = {
  unaligned: 'chunkFallbacksUnaligned',
  unsealed: 'chunkFallbacksUnsealed',
  truncated: 'chunkFallbacksTruncated',
  bounded: 'chunkFallbacksBounded',
} as const

const sendToChunk = (reply: FastifyReply, row: ChunkRow, format: ChunkFormat): FastifyReply =>
  reply
    .code(307)
    .header('millrace-topic-id', row.topicId)
    .header('location', `${chunkPath(row)}?format=${format}`)
    .header('millrace-next-offset', row.section.endOffset)
    .header('cache-control', 'no-store')
    .header('vary', 'Accept, Origin')
    .send()

function bodyOf(
  { topicId }: TopicInfo,
  { records, nextOffset, startOffset, endOffset }: Page,
  type: string,
): Buffer {
  if (type === 'application/x-ndjson') return Buffer.from(records.map((text) => `${text}\n`).join(''))
  const upToDate = nextOffset >= endOffset
  const rest = JSON.stringify({ topicId, nextOffset, startOffset, endOffset, upToDate }).slice(1)
  return Buffer.from(`{"records":[${records.join(',')}],${rest}`)
}

function send(
  reply: FastifyReply,
  { nextOffset, startOffset, endOffset }: Page,
  { topic, type, body }: { topic: TopicInfo; type: string; body: Buffer },
): FastifyReply {
  return reply
    .header('millrace-topic-id', topic.topicId)
    .header('millrace-next-offset', nextOffset)
    .header('millrace-start-offset', startOffset)
    .header('millrace-end-offset', endOffset)
    .header('millrace-up-to-date', String(nextOffset >= endOffset))
    .header('cache-control', 'no-store')
    .header('vary', 'Accept, Origin')
    .type(type)
    .send(body)
}

/** Reading records. */
export const readRoutes: readonly Route[] = [readRecords]
