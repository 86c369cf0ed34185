import { MillraceError } from '../../../protocol/error-codes.js'
import { readTimestamp } from '../incoming-record.js'
import { jsonRoute, type Route, route } from '../route.js'
import { choice, list, object, optional, text, uint } from '../shape.js'
import { partitionNumber, topicName, topicNamed } from './names.js'
import { partitionBody, partitionFields } from './partition-body.js'

const listPartitions = route({
  method: 'GET',
  path: '/v1/topics/:topic/partitions',
  id: 'listPartitions',
  summary: 'List the partitions of a topic with their offsets and sizes',
  params: { topic: topicName },
  answers: {
    200: {
      about: 'All of them, in their order.',
      content: { 'application/json': object({ partitions: list(object(partitionFields)) }) },
    },
  },
  errors: ['ILLEGAL_TOPIC_NAME', 'UNKNOWN_TOPIC'],
  handle(context, { params }) {
    const { topicId } = topicNamed(context, params.topic)
    return { partitions: (context.backend.partitionSizes(topicId) ?? []).map(partitionBody) }
  },
})

const findOffset = route({
  method: 'GET',
  path: '/v1/topics/:topic/partitions/:partition/offset',
  id: 'findOffset',
  summary: 'Find the first offset that was appended at or after a time',
  params: { topic: topicName, partition: partitionNumber },
  query: { time: text({ charsMax: 64, about: 'Milliseconds since 1970, or ISO 8601.' }) },
  answers: {
    200: {
      about: 'The offset; the end where nothing was appended since.',
      content: {
        'application/json': object({
          topicId: text({ charsMax: 32, about: 'Whose offset it is.' }),
          offset: uint(),
          startOffset: uint(),
          endOffset: uint(),
        }),
      },
    },
  },
  errors: ['ILLEGAL_TOPIC_NAME', 'UNKNOWN_TOPIC', 'UNKNOWN_PARTITION', 'CORRUPT_DATA'],
  async handle(context, { params, query }) {
    const { topicId } = topicNamed(context, params.topic)
    const { partition } = params
    const { shard } = context.backend
    const time =
      readTimestamp(/^\d+$/.test(query.time) ? Number(query.time) : query.time, 'query parameter "time"') ?? 0
    const offset = await shard.offsetAtTime({ topicId, partition, time: Math.max(0, time) })
    // After the search, so that the offset found lies within them.
    const { startOffset, durableEnd: endOffset } = shard.bounds(topicId, partition)
    return { topicId, offset, startOffset, endOffset }
  },
})

const deleteBefore = jsonRoute({
  method: 'POST',
  path: '/v1/topics/:topic/partitions/:partition/delete-before',
  id: 'deleteBefore',
  summary: 'Delete the records before an offset',
  about: 'The start offset moves there at once; the disk has whole chunks back a little later.',
  params: { topic: topicName, partition: partitionNumber },
  isMutation: true,
  body: {
    json: object({
      offset: optional(uint({ about: 'Records below it go.' })),
      to: optional(choice(['end'], 'Instead of an offset: all records that there are.')),
    }),
  },
  answers: {
    200: {
      about: 'What was done.',
      content: {
        'application/json': object({
          startOffset: uint({ about: 'The first offset that is there now.' }),
          records: uint({ about: 'Offsets that went.' }),
          bytes: uint({ about: 'Of chunks that went whole.' }),
        }),
      },
    },
  },
  errors: [
    'ILLEGAL_TOPIC_NAME',
    'UNKNOWN_TOPIC',
    'UNKNOWN_PARTITION',
    'TOPIC_READ_ONLY',
    'OFFSET_OUT_OF_RANGE',
    'STORAGE_FAILED',
  ],
  async handle(context, { params, body, requestId }) {
    const { topicId } = topicNamed(context, params.topic)
    const { offset, to } = body
    if ((offset === undefined) === (to === undefined))
      throw new MillraceError('BAD_REQUEST', { message: 'body: give either offset or to' })
    return context.backend.shard.deleteBefore({
      requestId,
      topicId,
      partition: params.partition,
      offset: offset ?? Number.MAX_SAFE_INTEGER,
    })
  },
})

/** Partitions: what they hold, what was when, and deleting what is old. */
export const partitionRoutes: readonly Route[] = [listPartitions, findOffset, deleteBefore]
