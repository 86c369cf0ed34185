import type { TopicId } from '../ids.js'
import { HARD_LIMITS } from '../limits.js'
import { bool, encoding, id, list, nullable, tail, text, tuple, uint, uint32 } from '../shape.js'
import { topicOptions } from '../topic-options.js'
import { type MessageFields, message } from './message.js'

const name = text(1024)

export const metadata = message('METADATA', 14, {
  correlationId: uint32(),
  /** Topics by name; nil lists all, in the order of their names, in pages. */
  names: nullable(list(name, HARD_LIMITS.topicsPerMetadataMax)),
  /** With nil names: start after this name. */
  after: nullable(name),
  /** With nil names: at most so many topics. */
  limit: nullable(uint(HARD_LIMITS.topicsPerMetadataMax)),
})
export type Metadata = MessageFields<typeof metadata>

/** One topic; names that do not exist are absent from the answer. */
export const topicDescription = tuple({
  name,
  topicId: id<TopicId>(),
  keyEncoding: encoding(),
  valueEncoding: encoding(),
  partitions: uint(HARD_LIMITS.partitionsPerTopicMax),
  /** Broker time, milliseconds. */
  createdAt: uint(),
  /** Older brokers do not tell. */
  options: tail(topicOptions),
  /** Written by the broker alone; missing is false. */
  internal: tail(bool()),
})

export const metadataListed = message('METADATA_LISTED', 15, {
  correlationId: uint32(),
  topics: list(topicDescription, HARD_LIMITS.topicsPerMetadataMax),
  /** Not nil when there is a next page: ask again with this `after`. */
  next: nullable(name),
})
export type MetadataListed = MessageFields<typeof metadataListed>
export type TopicDescription = MetadataListed['topics'][number]
