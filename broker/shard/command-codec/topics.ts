import type { Encoding } from '../../../protocol/encodings.js'
import type { RequestId, TopicId } from '../../../protocol/ids.js'
import { HARD_LIMITS } from '../../../protocol/limits.js'
import { bool, choice, encoding, id, nullable, text, tuple, uint, uint32 } from '../../../protocol/shape.js'
import { DEFAULT_TOPIC_OPTIONS, type TopicOptions, topicOptions } from '../../../protocol/topic-options.js'
import { added } from '../../manifest/added.js'
import { codec, part, topicId } from './codec.js'

export interface TopicCreated {
  readonly type: 'topicCreated'
  readonly topicId: TopicId
  readonly name: string
  readonly partitions: number
  readonly keyEncoding: Encoding
  readonly valueEncoding: Encoding
  readonly requestId: RequestId
  readonly options: TopicOptions
  /** The broker's own. */
  readonly internal: boolean
}

export interface TopicDeleted {
  readonly type: 'topicDeleted'
  readonly topicId: TopicId
  readonly requestId: RequestId
}

export interface TopicAltered {
  readonly type: 'topicAltered'
  readonly topicId: TopicId
  /** All of them, as they are from now on. */
  readonly options: TopicOptions
  readonly requestId: RequestId
}

/** Why records went. On disk: never renumbered. */
const START_REASON = { deleteBefore: 0, age: 1, bytes: 2, acked: 3, lagDrop: 4, deadLetters: 5 } as const
export type StartReason = keyof typeof START_REASON

/** Records below `startOffset` are gone, and the chunks that hold nothing else. */
export interface StartMoved {
  readonly type: 'startMoved'
  readonly topicId: TopicId
  readonly partition: number
  readonly startOffset: number
  /** Behind the old one when records go that were never sealed: the first offset of the entry that holds the start. */
  readonly sealedEnd: number
  readonly reason: StartReason
  readonly requestId: RequestId | null
}

export const topicCreated = codec<TopicCreated>(
  'topicCreated',
  tuple({
    topicId: topicId(),
    name: text(HARD_LIMITS.topicNameCharsMax),
    partitions: uint32(),
    keyEncoding: encoding(),
    valueEncoding: encoding(),
    requestId: id<RequestId>(),
    options: added(topicOptions, DEFAULT_TOPIC_OPTIONS),
    internal: added(bool(), false),
  }),
)

export const topicDeleted = codec<TopicDeleted>(
  'topicDeleted',
  tuple({ topicId: topicId(), requestId: id<RequestId>() }),
)

export const topicAltered = codec<TopicAltered>(
  'topicAltered',
  tuple({ topicId: topicId(), options: topicOptions, requestId: id<RequestId>() }),
)

export const startMoved = codec<StartMoved>(
  'startMoved',
  tuple({
    ...part,
    startOffset: uint(),
    sealedEnd: uint(),
    reason: choice(START_REASON),
    requestId: nullable(id<RequestId>()),
  }),
)
