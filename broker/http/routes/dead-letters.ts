import { deadLetterTopicName } from '../../../protocol/dead-letters.js'
import { HARD_LIMITS } from '../../../protocol/limits.js'
import { letterWriter } from '../letter-text.js'
import { jsonRoute, type Route, route } from '../route.js'
import { isoTime, list, nullable, object, optional, text, uint } from '../shape.js'
import { groupName, topicName, topicNamed } from './names.js'
import { readableRecordFields } from './readable-record.js'

const path = '/v1/groups/:group/topics/:topic/dead-letters'
const params = { group: groupName, topic: topicName }
const name = text({ charsMax: HARD_LIMITS.topicNameCharsMax })

const letterFields = {
  ...readableRecordFields,
  reason: text({ charsMax: HARD_LIMITS.reasonCharsMax, about: 'What the last failure said.' }),
  count: uint({ about: 'How often it was delivered or tried, over replays too.' }),
  origin: object({ topic: name, partition: uint(), offset: uint() }, 'Where the record was first.'),
  group: name,
  time: isoTime('When it was given up.'),
}

const listLetters = route({
  method: 'GET',
  path,
  id: 'listDeadLetters',
  summary: 'List the records that a group gave up in a topic, oldest first, in pages',
  params,
  query: {
    from: optional(uint({ about: 'Start at this offset among the dead letters.' })),
    limit: optional(uint({ min: 1, max: 1_000, about: 'Default 100.' })),
  },
  answers: {
    200: {
      about: 'A page of them.',
      content: {
        'application/json': object({
          deadLetters: list(object(letterFields)),
          next: nullable(uint({ about: 'Ask again with this `from`; null: that was all.' })),
        }),
      },
    },
  },
  errors: ['ILLEGAL_GROUP_NAME', 'UNKNOWN_GROUP', 'ILLEGAL_TOPIC_NAME', 'UNKNOWN_TOPIC', 'CORRUPT_DATA'],
  async handle(context, { params, query }, reply) {
    const { shard, groups } = context.backend
    const origin = topicNamed(context, params.topic)
    const topic = shard.topicNamed(deadLetterTopicName(origin.name, params.group))
    if (topic === undefined) {
      // No dead letters may mean that the name is wrong: this says so.
      await groups.describe({ name: params.group, topicId: null })
      return { deadLetters: [], next: null }
    }
    const { startOffset, durableEnd } = shard.bounds(topic.topicId, 0)
    const page = await context.pages.read({
      shard,
      topic,
      partition: 0,
      offset: Math.min(Math.max(query.from ?? 0, startOffset), durableEnd),
      limit: query.limit ?? DEFAULT_PAGE,
      maxBytes: context.limits.fetchBytesMax,
      writer: letterWriter,
    })
    const next = page.nextOffset < page.endOffset ? page.nextOffset : null
    const body = `{"deadLetters":[${page.records.join(',')}],"next":${next}}`
    return reply.type('application/json').send(Buffer.from(body))
  },
})

const DEFAULT_PAGE = 100

const replayLetters = jsonRoute({
  method: 'POST',
  path: `${path}/replay`,
  id: 'replayDeadLetters',
  summary: 'Give dead letters to their group once more, oldest first, and to no other group',
  params,
  isMutation: true,
  body: {
    json: object({ max: optional(uint({ min: 1, about: 'So many at most; missing: all.' })) }),
    isOptional: true,
  },
  answers: {
    200: {
      about: 'What was done.',
      content: {
        'application/json': object({
          replayed: uint(),
          left: uint({ about: 'Dead letters that are still there.' }),
        }),
      },
    },
  },
  errors: [
    'ILLEGAL_GROUP_NAME',
    'UNKNOWN_GROUP',
    'ILLEGAL_TOPIC_NAME',
    'UNKNOWN_TOPIC',
    'LIMIT_REACHED',
    'CORRUPT_DATA',
    'STORAGE_FAILED',
  ],
  async handle(context, { params, body, requestId }) {
    const { topicId } = topicNamed(context, params.topic)
    const { max = HARD_LIMITS.uintMax } = body
    return context.backend.groups.dlqReplay({ requestId, topicId, group: params.group, max })
  },
})

const purgeLetters = route({
  method: 'DELETE',
  path,
  id: 'purgeDeadLetters',
  summary: 'Delete the dead letters of a group in a topic',
  about: 'There is no way back. The group itself may be gone already.',
  params,
  isMutation: true,
  answers: {
    200: { about: 'What was done.', content: { 'application/json': object({ records: uint() }) } },
  },
  errors: ['ILLEGAL_GROUP_NAME', 'UNKNOWN_GROUP', 'ILLEGAL_TOPIC_NAME', 'UNKNOWN_TOPIC', 'STORAGE_FAILED'],
  async handle(context, { params, requestId }) {
    const { topicId } = topicNamed(context, params.topic)
    return context.backend.groups.dlqPurge({ requestId, topicId, group: params.group })
  },
})

/** Records that groups gave up: looking at them, replaying and deleting them. */
export const deadLetterRoutes: readonly Route[] = [listLetters, replayLetters, purgeLetters]
