import type { Encoding } from '../../protocol/encodings.js'
import type { RequestId, TopicId } from '../../protocol/ids.js'
import type { TopicOptions, TopicOptionsPatch } from '../../protocol/topic-options.js'

/** A topic as it is now. */
export interface TopicInfo {
  readonly topicId: TopicId
  readonly name: string
  readonly partitions: number
  readonly keyEncoding: Encoding
  readonly valueEncoding: Encoding
  /** Broker time, milliseconds. */
  readonly createdAt: number
  readonly options: TopicOptions
  /** The broker's own: nobody else writes to it, alters or deletes it. */
  readonly internal: boolean
}

export interface AlterTopicArgs {
  readonly requestId: RequestId
  readonly name: string
  readonly options: TopicOptionsPatch
  /** Names of options that get their defaults again, as they came from outside. */
  readonly clear: readonly string[]
}

export interface DeleteBeforeArgs {
  readonly requestId: RequestId
  readonly topicId: TopicId
  readonly partition: number
  /** Records below it go; 2^53 - 1 is the durable end. */
  readonly offset: number
}

export interface RecordsDeleted {
  readonly startOffset: number
  /** Offsets that the start offset passed. */
  readonly records: number
  /** Of chunks that went. */
  readonly bytes: number
}
