import { MillraceError } from '../../../protocol/error-codes.js'
import type { TopicId } from '../../../protocol/ids.js'
import type { ChunkRow } from '../../manifest/rows.js'
import type { TopicInfo } from '../../shard/shard-face.js'
import { CHUNK_FORMATS, CHUNK_TYPES } from '../chunks/chunk-caching.js'
import { chunkIdText, chunkParameter, chunkPath, topicIdParameter } from '../chunks/chunk-name.js'
import type { HttpContext } from '../context.js'
import { timeAsText } from '../record-text.js'
import { type Answer, type Route, route } from '../route.js'
import { choice, isoTime, list, nullable, object, optional, text, uint } from '../shape.js'
import { meantTopicId, partitionNumber, topicName, topicNamed } from './names.js'
import { readableRecordFields } from './readable-record.js'

const DEFAULT_CHUNKS = 100

const chunkFields = {
  chunkId: text({ charsMax: 16, about: 'Never given to another chunk.' }),
  baseOffset: uint({ about: 'Its first offset.' }),
  nextOffset: uint({ about: 'One past its last: where to go on.' }),
  records: uint(),
  bytes: uint({ about: 'As stored, and as `url` gives them.' }),
  minAppendTime: isoTime(),
  maxAppendTime: isoTime(),
  digest: text({ charsMax: 32, about: 'Stands for the bytes.' }),
  url: text({ charsMax: 256, about: 'A path on this server. It never gives other bytes.' }),
}

const listChunks = route({
  method: 'GET',
  path: '/v1/topics/:topic/partitions/:partition/chunks',
  id: 'listChunks',
  summary: 'List the sealed chunks of a partition: what caches may keep',
  about: 'Records behind `sealedEnd` are in no chunk yet.',
  params: { topic: topicName, partition: partitionNumber },
  query: {
    topicId: meantTopicId,
    offset: optional(uint({ about: 'Begin with the chunk that holds it; default with the first.' })),
    limit: optional(uint({ min: 1, max: 1_000, about: `Default ${DEFAULT_CHUNKS}.` })),
  },
  answers: {
    200: {
      about: 'A page of them, in the order of their offsets.',
      content: {
        'application/json': object({
          topicId: text({ charsMax: 32 }),
          partition: uint(),
          startOffset: uint({ about: 'The first offset that can be read.' }),
          sealedEnd: uint({ about: 'One past the last offset in a chunk.' }),
          endOffset: uint({ about: 'One past the last durable offset.' }),
          chunks: list(object(chunkFields)),
          next: nullable(uint({ about: 'Ask again with this `offset`; null: that was all.' })),
        }),
      },
    },
  },
  errors: ['ILLEGAL_TOPIC_NAME', 'UNKNOWN_TOPIC', 'UNKNOWN_PARTITION'],
  handle(context, { params, query }, reply) {
    const { topicId } = topicNamed(context, params.topic, query.topicId)
    const { partition } = params
    const { offset = 0, limit = DEFAULT_CHUNKS } = query
    const { chunks, hasMore, startOffset, sealedEnd, durableEnd } = context.backend.sealed.list({
      topicId,
      partition,
      offset,
      limit,
    })
    reply.header('cache-control', 'no-store')
    const next = hasMore ? (chunks.at(-1)?.section.endOffset ?? null) : null
    const found = chunks.map(chunkBody)
    return { topicId, partition, startOffset, sealedEnd, endOffset: durableEnd, chunks: found, next }
  },
})

/** What `chunkFields` describe. */
function chunkBody(row: ChunkRow): object {
  const { baseOffset, endOffset, recordCount, byteStart, byteEnd, digest } = row.section
  return {
    chunkId: chunkIdText(row.chunkId),
    baseOffset,
    nextOffset: endOffset,
    records: recordCount,
    bytes: byteEnd - byteStart,
    minAppendTime: timeAsText(row.section.minAppendTime),
    maxAppendTime: timeAsText(row.section.maxAppendTime),
    digest,
    url: chunkPath(row),
  }
}

const headers = {
  ETag: 'Stands for these bytes.',
  'Cache-Control': '`immutable`, and `private` unless the topic has `publicCache`.',
  'Last-Modified': 'When its newest record was appended.',
  Vary: '`Accept-Encoding, Origin`',
  'Millrace-Base-Offset': 'The first offset of the chunk.',
  'Millrace-Next-Offset': 'Where to go on.',
  'Millrace-Up-To-Date': '`false`: whether there is more may change, and this answer does not.',
}
const content: Answer['content'] = {
  [CHUNK_TYPES.native]: undefined,
  [CHUNK_TYPES.ndjson]: object(readableRecordFields),
  [CHUNK_TYPES.json]: list(object(readableRecordFields)),
}

const getChunk = route({
  method: 'GET',
  path: '/v1/chunks/:topicId/:partition/:chunk',
  id: 'getChunk',
  summary: 'Get a sealed chunk: bytes that never change',
  about:
    'Stored entries as PROTOCOL.md draws them, end to end; or the records as JSON. HEAD is served as well. One range at a time is served, ' +
    'of the native form; a request for several is answered with all bytes.',
  hasHead: true,
  params: { topicId: topicIdParameter, partition: partitionNumber, chunk: chunkParameter },
  query: { format: optional(choice(CHUNK_FORMATS, 'Default native.')) },
  requestHeaders: {
    'If-None-Match': 'Entity tags that the client has: 304 where one is that of these bytes.',
    'If-Modified-Since': 'Looked at where there is no If-None-Match.',
    Range: 'One range of bytes, of the native form.',
    'If-Range': 'Entity tag or time of the bytes that a range is wanted of.',
    'Accept-Encoding': '`gzip`, or not.',
  },
  answers: {
    200: { about: 'The chunk.', headers, content },
    206: {
      about: 'The range that was asked for.',
      headers: { ...headers, 'Content-Range': 'Which bytes of how many.' },
      content: { [CHUNK_TYPES.native]: undefined },
    },
    304: { about: 'The cache has these bytes already.', headers },
  },
  errors: [
    'UNKNOWN_TOPIC',
    'UNKNOWN_PARTITION',
    'CHUNK_GONE',
    'RANGE_NOT_SATISFIABLE',
    'CORRUPT_DATA',
    'STORAGE_FAILED',
  ],
  async handle(context, { params, query, headers }, reply) {
    const { partition, chunk, topicId } = params
    const topic = topicOf(context, topicId)
    const { sealed } = context.backend
    const { format = 'native' } = query
    try {
      const row = sealed.find({ topicId, partition, ...chunk })
      return await context.chunks.send(reply, {
        row,
        topic,
        format,
        headers,
        open: (row) => sealed.open(row),
      })
    } catch (error) {
      if (!(error instanceof MillraceError) || error.code !== 'CHUNK_GONE') throw error
      context.metrics.count('chunksGone')
      const { startOffset, endOffset } = error.details ?? {}
      reply.header('millrace-start-offset', startOffset).header('millrace-end-offset', endOffset)
      throw error
    }
  },
})

/** Throws UNKNOWN_TOPIC. */
function topicOf({ backend }: HttpContext, topicId: TopicId): TopicInfo {
  const topic = backend.shard.topic(topicId)
  if (topic === undefined)
    throw new MillraceError('UNKNOWN_TOPIC', { message: `there is no topic of id ${topicId}` })
  return topic
}

/** Sealed chunks, for whoever can cache them. */
export const chunkRoutes: readonly Route[] = [listChunks, getChunk]
