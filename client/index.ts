/** The client of Millrace, for Node and browsers. */

export type { Encoding } from '../protocol/encodings.js'
export type { Compression } from '../protocol/entry.js'
export { type ErrorCode, type ErrorDetails, MillraceError, type Outcome } from '../protocol/error-codes.js'
export type {
  CallOptions,
  CreateTopicOptions,
  OffsetAt,
  PartitionInfo,
  PartitionOffset,
  TopicDetails,
  TopicInfo,
} from './admin.js'
export type { Client, CloseOptions, OffsetsByTopic } from './client.js'
export { connect } from './connect.js'
export {
  type AnyCodec,
  bytes,
  type Codec,
  type InputOf,
  json,
  msgpack,
  nullable,
  type OutputOf,
  text,
} from './encodings.js'
export type { ClientEvent, ClientEventName, ClientEvents } from './events.js'
export type { ConnectOptions, Token, TokenSource } from './options.js'
export type { Producer, ProducerOptions, WaitOptions } from './producer.js'
export type { OffsetsByPartition, ReadOptions } from './read-options.js'
export type { SendResult } from './settlers.js'
export type { StandardSchemaV1 } from './standard-schema.js'
export type { ReadBatch, Stream } from './streams.js'
export {
  type AnyTopic,
  defineTopic,
  type Headers,
  type ReadRecord,
  type ReadRecordOf,
  type RecordFields,
  type RecordOf,
  type Topic,
  type TopicRecord,
} from './topic.js'
