import { MillraceError } from '../../../protocol/error-codes.js'
import type { TopicId } from '../../../protocol/ids.js'
import { HARD_LIMITS, illegalGroupName, TOPIC_NAME_PATTERN } from '../../../protocol/limits.js'
import type { TopicInfo } from '../../shard/shard-face.js'
import { topicIdParameter } from '../chunks/chunk-name.js'
import type { HttpContext } from '../context.js'
import { optional, printable, type Shape, text, uint } from '../shape.js'

const TEXT = text({ charsMax: 1024 })

/** The name of a topic, the broker's own included, in a path: what no topic can be called is refused before it is looked for. */
export const topicName: Shape<string> = {
  ...TEXT,
  schema: {
    type: 'string',
    maxLength: HARD_LIMITS.topicNameCharsMax,
    pattern: TOPIC_NAME_PATTERN.source,
    description: 'Letters, digits, ".", "_" and "-".',
  },
  readText(name, path) {
    const isPath = name === '.' || name === '..'
    if (!isPath && name.length <= HARD_LIMITS.topicNameCharsMax && TOPIC_NAME_PATTERN.test(name)) return name
    throw new MillraceError('ILLEGAL_TOPIC_NAME', {
      message: `${path}: "${printable(name)}" is no topic's name: letters, digits, ".", "_" and "-", at most ${HARD_LIMITS.topicNameCharsMax}`,
    })
  },
}

/** The name of a group in a path. */
export const groupName: Shape<string> = {
  ...TEXT,
  schema: {
    type: 'string',
    maxLength: HARD_LIMITS.groupNameCharsMax,
    pattern: '^[A-Za-z0-9_-]+$',
    description: 'Letters, digits, "_" and "-".',
  },
  readText(name, path) {
    const fault = illegalGroupName(name)
    if (fault === undefined) return name
    throw new MillraceError('ILLEGAL_GROUP_NAME', { message: `${path}: "${printable(name)}": ${fault}` })
  },
}

export const partitionNumber = uint({ max: HARD_LIMITS.uint32Max, about: 'Counted from 0.' })

/** Says which of the topics that ever had the name is meant: offsets of one are no offsets of another. */
export const meantTopicId = optional({
  ...topicIdParameter,
  schema: {
    ...topicIdParameter.schema,
    description: 'Of an answer: where the name is that of another topic by now, the answer is UNKNOWN_TOPIC.',
  },
})

/** With an id only that one. Throws UNKNOWN_TOPIC. */
export function topicNamed({ backend }: HttpContext, name: string, topicId?: TopicId): TopicInfo {
  const topic = backend.shard.topicNamed(name)
  if (topic === undefined)
    throw new MillraceError('UNKNOWN_TOPIC', { message: `there is no topic "${name}"` })
  if (topicId !== undefined && topic.topicId !== topicId)
    throw new MillraceError('UNKNOWN_TOPIC', {
      message: `there is no topic "${name}" of id ${topicId}`,
    })
  return topic
}
