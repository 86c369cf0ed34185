import { MillraceError } from '../../../protocol/error-codes.js'
import type { TopicId } from '../../../protocol/ids.js'
import { HARD_LIMITS } from '../../../protocol/limits.js'
import { GROUP_KIND, type GroupKind } from '../../../protocol/messages/group.js'
import type { GroupDescribed } from '../../../protocol/messages/group-admin.js'
import type { HttpContext } from '../context.js'
import { readTimestamp } from '../incoming-record.js'
import { timeAsText } from '../record-text.js'
import { jsonRoute, type Route, route } from '../route.js'
import {
  badRequest,
  bool,
  choice,
  isoTime,
  list,
  nullable,
  number,
  object,
  optional,
  text,
  uint,
} from '../shape.js'
import { groupName, topicName, topicNamed } from './names.js'

const kind = choice(Object.keys(GROUP_KIND) as GroupKind[], 'A consumer group, or a work queue.')
const name = text({ charsMax: HARD_LIMITS.topicNameCharsMax })

const listGroups = route({
  method: 'GET',
  path: '/v1/groups',
  id: 'listGroups',
  summary: 'List the consumer groups and work queues by name, in pages',
  query: {
    after: optional(text({ charsMax: 1024, about: 'Start after this name.' })),
    limit: optional(uint({ min: 1, max: HARD_LIMITS.groupsPerPageMax, about: 'Default 100.' })),
  },
  answers: {
    200: {
      about: 'A page of them.',
      content: {
        'application/json': object({
          groups: list(
            object({
              name,
              kind,
              members: uint({ about: 'Connected or away.' }),
              topics: uint({ about: 'In which it has a cursor.' }),
              lagRecords: uint({ about: 'Not acknowledged, over all partitions.' }),
            }),
          ),
          next: nullable(text({ charsMax: 1024, about: 'Ask again with this `after`; null: that was all.' })),
        }),
      },
    },
  },
  handle: ({ backend }, { query }) =>
    backend.groups.list({ after: query.after ?? null, limit: query.limit ?? DEFAULT_PAGE }),
})

const DEFAULT_PAGE = 100

const describedPart = object({
  topic: name,
  partition: uint(),
  hasCursor: bool('false: a member reads it, and nothing has been acknowledged.'),
  position: uint({ about: 'The next offset to acknowledge; of a work queue, the first that is not done.' }),
  startOffset: uint(),
  endOffset: uint(),
  lag: object({
    records: uint(),
    bytes: uint(),
    seconds: number('How long the first record that is not acknowledged has been there.'),
  }),
  memberId: nullable(text({ charsMax: 32 })),
  leased: uint({ about: 'Work queues: jobs that workers have.' }),
  ready: uint({ about: 'Work queues: jobs that came back and wait to be given out again.' }),
  movedAt: nullable(isoTime('When the position last moved; null: never.')),
})

const describeGroup = route({
  method: 'GET',
  path: '/v1/groups/:group',
  id: 'describeGroup',
  summary: 'Describe a group: its members, its positions and its lag',
  params: { group: groupName },
  query: { topic: optional(topicName) },
  answers: {
    200: {
      about: 'The group.',
      content: {
        'application/json': object({
          name,
          kind,
          isActive: bool('Whether it has members, connected or away.'),
          epoch: uint(),
          members: list(
            object({
              memberId: text({ charsMax: 32 }),
              clientName: text({ charsMax: HARD_LIMITS.clientNameCharsMax }),
              connected: bool(),
              partitions: uint(),
            }),
          ),
          partitions: list(describedPart),
          partitionsLeft: uint({ about: 'Partitions that did not fit: ask by `topic`.' }),
          deadLetters: list(object({ topic: name, dlqTopic: name, records: uint() })),
        }),
      },
    },
  },
  errors: ['ILLEGAL_GROUP_NAME', 'UNKNOWN_GROUP', 'ILLEGAL_TOPIC_NAME', 'UNKNOWN_TOPIC'],
  async handle(context, { params, query }) {
    const topicId = topicIdOf(context, query.topic)
    return groupBody(await context.backend.groups.describe({ name: params.group, topicId }))
  },
})

const resetGroup = jsonRoute({
  method: 'POST',
  path: '/v1/groups/:group/reset',
  id: 'resetGroup',
  summary: 'Move the cursors of a group that has no members',
  params: { group: groupName },
  isMutation: true,
  body: {
    json: object({
      to: text({ charsMax: 64, about: '`earliest`, `latest`, `offset` (see there) or a time in ISO 8601.' }),
      offset: optional(uint({ about: 'With `to: "offset"`; needs `topic`.' })),
      topic: optional(
        text({ charsMax: 1024, about: 'Missing: every topic in which the group has cursors.' }),
      ),
      partitions: optional(
        list(uint(), { max: HARD_LIMITS.partitionsPerTopicMax, about: 'Of the topic; missing: all.' }),
      ),
      create: optional(bool('Make the cursors, and the consumer group, that are not there; needs `topic`.')),
      dryRun: optional(bool('Only say what would be done.')),
    }),
  },
  answers: {
    200: {
      about: 'What was moved.',
      content: {
        'application/json': object({
          partitions: list(
            object({
              topic: name,
              partition: uint(),
              from: nullable(uint({ about: 'null: there was no cursor.' })),
              to: uint({ about: 'The next offset to read.' }),
            }),
          ),
        }),
      },
    },
  },
  errors: [
    'ILLEGAL_GROUP_NAME',
    'UNKNOWN_GROUP',
    'GROUP_ACTIVE',
    'UNKNOWN_TOPIC',
    'UNKNOWN_PARTITION',
    'ILLEGAL_ARGUMENT',
    'OFFSET_OUT_OF_RANGE',
    'LIMIT_REACHED',
    'STORAGE_FAILED',
  ],
  async handle(context, { params, body, requestId }) {
    const { topic, partitions = null, create = false, dryRun = false } = body
    const target = resetTarget(body)
    if (topic === undefined && (target.to === 'offset' || partitions !== null || create))
      throw badRequest('body.topic: an offset, partitions and create need one')
    const { parts } = await context.backend.groups.reset({
      requestId,
      group: params.group,
      topicId: topicIdOf(context, topic),
      partitions: partitions === null ? null : [...partitions],
      ...target,
      dryRun,
      create,
    })
    return { partitions: parts }
  },
})

const deleteGroup = route({
  method: 'DELETE',
  path: '/v1/groups/:group',
  id: 'deleteGroup',
  summary: 'Delete a group that has no members, or its cursors of one topic',
  params: { group: groupName },
  query: { topic: optional(topicName) },
  isMutation: true,
  answers: { 204: { about: 'It is gone.' } },
  errors: [
    'ILLEGAL_GROUP_NAME',
    'UNKNOWN_GROUP',
    'GROUP_ACTIVE',
    'ILLEGAL_TOPIC_NAME',
    'UNKNOWN_TOPIC',
    'STORAGE_FAILED',
  ],
  async handle(context, { params, query, requestId }, reply) {
    const topicId = topicIdOf(context, query.topic)
    await context.backend.groups.deleteGroup({ requestId, group: params.group, topicId })
    return reply.code(204).send()
  },
})

/** Consumer groups and work queues: finding, describing, resetting and deleting them. */
export const groupRoutes: readonly Route[] = [listGroups, describeGroup, resetGroup, deleteGroup]

function topicIdOf(context: HttpContext, topic: string | undefined): TopicId | null {
  return topic === undefined ? null : topicNamed(context, topic).topicId
}

interface ResetTarget {
  readonly to: 'earliest' | 'latest' | 'offset' | 'time'
  readonly value: number
}

/** Throws BAD_REQUEST. */
function resetTarget({
  to,
  offset,
}: {
  readonly to: string
  readonly offset?: number | undefined
}): ResetTarget {
  if ((to === 'offset') !== (offset !== undefined))
    throw new MillraceError('BAD_REQUEST', { message: 'body: `to: "offset"` and `offset` go together' })
  if (to === 'offset') return { to, value: offset ?? 0 }
  if (to === 'earliest' || to === 'latest') return { to, value: 0 }
  return { to: 'time', value: Math.max(0, readTimestamp(to, 'body.to') ?? 0) }
}

function groupBody(described: Omit<GroupDescribed, 'correlationId'>): object {
  const { name, kind, state, epoch, members, parts, partsLeft, deadLetters } = described
  return {
    name,
    kind,
    isActive: state === 'active',
    epoch,
    members,
    partitions: parts.map(({ durableEnd, lagRecords, lagBytes, lagMs, movedAt, ...part }) => ({
      ...part,
      endOffset: durableEnd,
      lag: { records: lagRecords, bytes: lagBytes, seconds: lagMs / 1000 },
      movedAt: movedAt === 0 ? null : timeAsText(movedAt),
    })),
    partitionsLeft: partsLeft,
    deadLetters,
  }
}
