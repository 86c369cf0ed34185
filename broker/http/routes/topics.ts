import { MillraceError } from '../../../protocol/error-codes.js'
import { HARD_LIMITS } from '../../../protocol/limits.js'
import type { HttpContext } from '../context.js'
import { jsonRoute, type Route, route } from '../route.js'
import { bool, list, nullable, object, optional, text, uint } from '../shape.js'
import { topicName, topicNamed } from './names.js'
import { partitionBody, partitionFields } from './partition-body.js'
import {
  encoding,
  patchOf,
  settingsInForce,
  settingsOf,
  settingsPatch,
  topicBody,
  topicFields,
} from './topic-body.js'

const inList = { ...topicFields, partitions: uint({ about: 'How many there are.' }) }
const inDetail = { ...topicFields, partitions: list(object(partitionFields)) }

const createTopic = jsonRoute({
  method: 'POST',
  path: '/v1/topics',
  id: 'createTopic',
  summary: 'Create a topic',
  about: 'Its partitions and encodings cannot be changed later.',
  isMutation: true,
  body: {
    json: object({
      name: text({ charsMax: 1024, about: 'Letters, digits, ".", "_" and "-".' }),
      partitions: optional(uint({ min: 1, max: HARD_LIMITS.partitionsPerTopicMax, about: 'Default 1.' })),
      keyEncoding: optional(encoding),
      valueEncoding: optional(encoding),
      ifMissing: optional(bool('Succeed also when the topic exists and is as asked for; default false.')),
      ...settingsPatch,
    }),
  },
  answers: {
    201: { about: 'It was created.', content: { 'application/json': object(inDetail) } },
    200: { about: 'With `ifMissing`: it was there.', content: { 'application/json': object(inDetail) } },
  },
  errors: [
    'ILLEGAL_TOPIC_NAME',
    'ILLEGAL_ARGUMENT',
    'TOPIC_EXISTS',
    'TOPIC_MISMATCH',
    'LIMIT_REACHED',
    'STORAGE_FAILED',
  ],
  async handle(context, { body, requestId }, reply) {
    const { name, partitions, keyEncoding, valueEncoding, ifMissing = false } = body
    const { options } = patchOf(body)
    const { topic, created } = await context.backend.shard.createTopic({
      requestId,
      name,
      partitions: partitions ?? 1,
      keyEncoding: keyEncoding ?? 'text',
      valueEncoding: valueEncoding ?? 'json',
      ifMissing,
      options,
    })
    if (!created) refuseDifference(topic, { partitions, keyEncoding, valueEncoding })
    reply.code(created ? 201 : 200).header('location', `/v1/topics/${topic.name}`)
    return describe(context, topic.name)
  },
})

const listTopics = route({
  method: 'GET',
  path: '/v1/topics',
  id: 'listTopics',
  summary: 'List the topics by name, in pages',
  query: {
    after: optional(text({ charsMax: 1024, about: 'Start after this name.' })),
    limit: optional(uint({ min: 1, max: HARD_LIMITS.topicsPerMetadataMax, about: 'Default 100.' })),
    internal: optional(bool("Also the broker's own; default false.")),
  },
  answers: {
    200: {
      about: 'A page of them.',
      content: {
        'application/json': object({
          topics: list(object(inList)),
          next: nullable(text({ charsMax: 1024, about: 'Ask again with this `after`; null: that was all.' })),
        }),
      },
    },
  },
  handle({ backend }, { query }) {
    const { after = null, limit = DEFAULT_PAGE, internal = false } = query
    // One more than asked for tells whether there is a next page. The broker's own come last.
    const found = backend.shard.topicsAfter(after, limit + 1).filter((topic) => internal || !topic.internal)
    const topics = found.slice(0, limit)
    return {
      topics: topics.map((topic) => ({ ...topicBody(topic), partitions: topic.partitions })),
      next: found.length > limit ? (topics.at(-1)?.name ?? null) : null,
    }
  },
})

const DEFAULT_PAGE = 100

const describeTopic = route({
  method: 'GET',
  path: '/v1/topics/:topic',
  id: 'describeTopic',
  summary: 'Describe a topic: its encodings, its settings, and what each partition holds',
  params: { topic: topicName },
  answers: { 200: { about: 'The topic.', content: { 'application/json': object(inDetail) } } },
  errors: ['ILLEGAL_TOPIC_NAME', 'UNKNOWN_TOPIC'],
  handle: (context, { params }) => describe(context, params.topic),
})

const alterTopic = jsonRoute({
  method: 'PATCH',
  path: '/v1/topics/:topic',
  id: 'alterTopic',
  summary: 'Change the settings of a topic',
  params: { topic: topicName },
  isMutation: true,
  body: { json: object(settingsPatch, 'null sets an option back to its default; what is left out stays.') },
  answers: {
    200: {
      about: 'The settings as they hold now.',
      content: { 'application/json': object(settingsInForce) },
    },
  },
  errors: ['ILLEGAL_TOPIC_NAME', 'UNKNOWN_TOPIC', 'TOPIC_READ_ONLY', 'ILLEGAL_ARGUMENT', 'STORAGE_FAILED'],
  async handle({ backend }, { params, body, requestId }) {
    const { options } = await backend.shard.alterTopic({ requestId, name: params.topic, ...patchOf(body) })
    return settingsOf(options)
  },
})

const deleteTopic = route({
  method: 'DELETE',
  path: '/v1/topics/:topic',
  id: 'deleteTopic',
  summary: 'Delete a topic with its records',
  about: 'There is no way back. What caches hold of it stays there.',
  params: { topic: topicName },
  isMutation: true,
  answers: { 204: { about: 'It is gone.' } },
  errors: ['ILLEGAL_TOPIC_NAME', 'UNKNOWN_TOPIC', 'TOPIC_READ_ONLY', 'STREAM_DELETED', 'STORAGE_FAILED'],
  async handle({ backend }, { params, requestId }, reply) {
    await backend.shard.deleteTopic({ requestId, name: params.topic })
    return reply.code(204).send()
  },
})

/** Topics: making, finding, describing, altering and deleting them. */
export const topicRoutes: readonly Route[] = [createTopic, listTopics, describeTopic, alterTopic, deleteTopic]

function describe(context: HttpContext, name: string): object {
  const topic = topicNamed(context, name)
  const sizes = context.backend.partitionSizes(topic.topicId) ?? []
  return { ...topicBody(topic), partitions: sizes.map(partitionBody) }
}

type Asked = Readonly<Record<'partitions' | 'keyEncoding' | 'valueEncoding', unknown>>

function refuseDifference(topic: Asked & { readonly name: string }, asked: Asked): void {
  for (const name of ['partitions', 'keyEncoding', 'valueEncoding'] as const) {
    if (asked[name] === undefined || asked[name] === topic[name]) continue
    throw new MillraceError('TOPIC_MISMATCH', {
      message: `topic "${topic.name}" exists with ${name} ${topic[name]}, not ${asked[name]}`,
    })
  }
}
