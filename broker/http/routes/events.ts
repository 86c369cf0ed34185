import { Readable } from 'node:stream'
import type { FastifyReply } from 'fastify'
import { MillraceError } from '../../../protocol/error-codes.js'
import type { TopicInfo } from '../../shard/shard-face.js'
import type { HttpContext } from '../context.js'
import { positionsIn } from '../event-id.js'
import { EventStream } from '../event-stream.js'
import { accepted } from '../media-type.js'
import { whenClosed } from '../response-end.js'
import { type Answer, type Route, route } from '../route.js'
import { choice, optional } from '../shape.js'
import { partitionNumber, topicName, topicNamed } from './names.js'
import { offsetOf, offsetParameter } from './read-records.js'

/** An event's id holds a position for each: beyond this many, ids would be larger than events. */
const PARTITIONS_MAX = 100

const TYPE = 'text/event-stream'
const answers: Record<number, Answer> = {
  200: {
    about:
      'Events without end: `data` is a record as JSON, `id` where to go on. An event `error` comes last, if anything is wrong.',
    content: { [TYPE]: undefined },
  },
}
const requestHeaders = {
  'Last-Event-ID': 'The id of the last event that was seen: the stream goes on behind it.',
}
const about =
  'A client that comes back with `Last-Event-ID`, as EventSource does by itself, goes on where it was: nothing is missed and nothing ' +
  'comes twice. If what it would go on with was deleted, or the topic was made anew, the answer is OFFSET_OUT_OF_RANGE.'

const partitionEvents = route({
  method: 'GET',
  path: '/v1/topics/:topic/partitions/:partition/events',
  id: 'partitionEvents',
  summary: 'Follow a partition as server-sent events',
  about,
  params: { topic: topicName, partition: partitionNumber },
  query: {
    offset: optional({ ...offsetParameter, schema: { ...offsetParameter.schema, default: 'latest' } }),
  },
  requestHeaders,
  answers,
  errors: [
    'ILLEGAL_TOPIC_NAME',
    'UNKNOWN_TOPIC',
    'UNKNOWN_PARTITION',
    'OFFSET_OUT_OF_RANGE',
    'NOT_ACCEPTABLE',
  ],
  handle(context, { params, query, headers }, reply) {
    accepted(headers.accept, [TYPE])
    const topic = topicNamed(context, params.topic)
    const { partition } = params
    const [start = query.offset ?? 'latest'] = positionsIn(headers['last-event-id'], topic, 1)
    const offset = offsetOf(context, { topicId: topic.topicId, partition }, start)
    return send(context, reply, { topic, positions: new Map([[partition, offset]]) })
  },
})

const topicEvents = route({
  method: 'GET',
  path: '/v1/topics/:topic/events',
  id: 'topicEvents',
  summary: 'Follow all partitions of a topic as server-sent events, in one connection',
  about: `${about} Records keep their order within a partition. Topics of at most ${PARTITIONS_MAX} partitions are served.`,
  params: { topic: topicName },
  query: { from: optional(choice(['earliest', 'latest'], 'Default latest.')) },
  requestHeaders,
  answers,
  errors: [
    'ILLEGAL_TOPIC_NAME',
    'UNKNOWN_TOPIC',
    'OFFSET_OUT_OF_RANGE',
    'ILLEGAL_ARGUMENT',
    'NOT_ACCEPTABLE',
  ],
  handle(context, { params, query, headers }, reply) {
    accepted(headers.accept, [TYPE])
    const topic = topicNamed(context, params.topic)
    if (topic.partitions > PARTITIONS_MAX)
      throw new MillraceError('ILLEGAL_ARGUMENT', {
        message: `topic "${topic.name}" has ${topic.partitions} partitions, at most ${PARTITIONS_MAX} can be followed together`,
      })
    const known = positionsIn(headers['last-event-id'], topic, topic.partitions)
    const positions = new Map<number, number>()
    for (let partition = 0; partition < topic.partitions; partition++) {
      const start = known[partition] ?? query.from ?? 'latest'
      positions.set(partition, offsetOf(context, { topicId: topic.topicId, partition }, start))
    }
    return send(context, reply, { topic, positions })
  },
})

/** Following records as they come. */
export const eventRoutes: readonly Route[] = [partitionEvents, topicEvents]

interface Followed {
  readonly topic: TopicInfo
  readonly positions: ReadonlyMap<number, number>
}

function send(context: HttpContext, reply: FastifyReply, followed: Followed): FastifyReply {
  const { backend, pages, clock, drain } = context
  const { shard } = backend
  for (const [partition, offset] of followed.positions)
    refuseOutside(shard, followed.topic, { partition, offset })
  const gone = new AbortController()
  const undo = drain.whenDraining(() => gone.abort())
  whenClosed(reply.raw, () => {
    undo()
    gone.abort()
  })
  const stream = new EventStream({
    shard,
    ...followed,
    pages,
    clock,
    requestId: reply.request.id,
    failpoints: backend.failpoints,
    signal: gone.signal,
  })
  return reply
    .header('cache-control', 'no-store')
    .header('x-accel-buffering', 'no')
    .type(TYPE)
    .send(Readable.from(stream.read(), { objectMode: false }))
}

/** Here the status still can say it. Throws OFFSET_OUT_OF_RANGE. */
function refuseOutside(
  shard: HttpContext['backend']['shard'],
  { topicId }: TopicInfo,
  { partition, offset }: { partition: number; offset: number },
): void {
  const { startOffset, durableEnd: endOffset } = shard.bounds(topicId, partition)
  if (offset >= startOffset && offset <= endOffset) return
  throw new MillraceError('OFFSET_OUT_OF_RANGE', {
    message: `partition ${partition}: offset ${offset} is outside ${startOffset} to ${endOffset}`,
    details: { partition, startOffset, endOffset },
  })
}
