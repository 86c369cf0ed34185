import type { RequestId, TopicId } from '../../../protocol/ids.js'
import { STREAM_LIMITS } from '../../../protocol/limits.js'
import { bool, id, nullable, text, tuple, uint } from '../../../protocol/shape.js'
import type { ForkPoint, ProducerTuple } from '../../manifest/rows.js'
import { codec, listOf, topicId } from './codec.js'

/** The topic, which was created in the same WAL record, is a stream. */
export interface StreamCreated {
  readonly type: 'streamCreated'
  readonly topicId: TopicId
  readonly contentType: string
  readonly ttlSeconds: number | null
  readonly expiresAt: string | null
  readonly closed: boolean
  /** False: what opens it follows. */
  readonly opened: boolean
  readonly fork: ForkPoint | null
}

/** What a write to a stream changes besides its records, which stand in the same WAL record. */
export interface StreamMoved {
  readonly type: 'streamMoved'
  readonly topicId: TopicId
  readonly closes: boolean
  readonly opens: boolean
  readonly producer: ProducerTuple | null
  /** Its `Stream-Seq`. */
  readonly seq: string | null
  /** Producers that are forgotten, to make room. */
  readonly forgotten: readonly string[]
}

export interface StreamAccess {
  readonly topicId: TopicId
  /** Broker time, milliseconds. */
  readonly accessedAt: number
}

/** Somebody read them, which keeps them alive. */
export interface StreamsAccessed {
  readonly type: 'streamsAccessed'
  readonly accesses: readonly StreamAccess[]
}

/** It is gone for everybody but its forks. A stream without forks goes with its topic. */
export interface StreamDeleted {
  readonly type: 'streamDeleted'
  readonly topicId: TopicId
  readonly requestId: RequestId
}

/** Producers that have long been silent, of any streams: a new one of another stream takes their place. */
export interface StreamProducersForgotten {
  readonly type: 'streamProducersForgotten'
  readonly producers: readonly { readonly topicId: TopicId; readonly producerId: string }[]
}

const producerId = text(STREAM_LIMITS.producerIdCharsMax)

export const streamCreated = codec<StreamCreated>(
  'streamCreated',
  tuple({
    topicId: topicId(),
    contentType: text(STREAM_LIMITS.contentTypeCharsMax),
    ttlSeconds: nullable(uint()),
    expiresAt: nullable(text(STREAM_LIMITS.expiresAtCharsMax)),
    closed: bool(),
    opened: bool(),
    fork: nullable(
      tuple({
        topicId: topicId(),
        offset: uint(),
        subOffset: uint(),
        endOffset: uint(),
        endBytes: uint(),
      }),
    ),
  }),
)

export const streamMoved = codec<StreamMoved>(
  'streamMoved',
  tuple({
    topicId: topicId(),
    closes: bool(),
    opens: bool(),
    producer: nullable(tuple({ producerId, epoch: uint(), seq: uint() })),
    seq: nullable(text(STREAM_LIMITS.seqCharsMax)),
    forgotten: listOf(producerId),
  }),
)

export const streamsAccessed = codec<StreamsAccessed>(
  'streamsAccessed',
  tuple({ accesses: listOf(tuple({ topicId: topicId(), accessedAt: uint() })) }),
)

export const streamDeleted = codec<StreamDeleted>(
  'streamDeleted',
  tuple({ topicId: topicId(), requestId: id<RequestId>() }),
)

export const streamProducersForgotten = codec<StreamProducersForgotten>(
  'streamProducersForgotten',
  tuple({ producers: listOf(tuple({ topicId: topicId(), producerId })) }),
)
