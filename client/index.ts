/** The client of Millrace, for Node and browsers. */

export type { Encoding } from '../protocol/encodings.js'
export type { Compression } from '../protocol/entry.js'
export { type ErrorCode, type ErrorDetails, MillraceError, type Outcome } from '../protocol/error-codes.js'
export type { Acknowledgeable } from './acknowledgement.js'
export type {
  AlterTopicOptions,
  CallOptions,
  CreateTopicOptions,
  DeletedRecords,
  OffsetAt,
  PartitionInfo,
  PartitionOffset,
  TopicDetails,
  TopicInfo,
} from './admin.js'
export type { AnyTopicRecord, AtomicOptions, AtomicResult, AtomicWrites } from './atomic.js'
export type { Client, CloseOptions, OffsetsByTopic } from './client.js'
export { connect } from './connect.js'
export type {
  ConsumeOptions,
  Consumer,
  GroupBatch,
  RebalanceEvent,
  RebalanceEventName,
  RebalanceEvents,
  RunOptions,
} from './consumer-options.js'
export type { TopicPartition } from './consumer-partition.js'
export type { DeadLetter, DeadLetters, ListDeadLettersOptions, ReplayOptions } from './dead-letters.js'
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
export type {
  CursorReset,
  DeleteGroupOptions,
  DescribeGroupOptions,
  GroupAdmin,
  GroupDescription,
  GroupInfo,
  GroupMember,
  GroupPartition,
  Lag,
  ResetGroupOptions,
} from './group-admin.js'
export type { GroupRecord, Place } from './group-record.js'
export type { History } from './history/history-url.js'
export type { Job, JobActions, NackOptions } from './job.js'
export type { ConnectOptions, Token, TokenSource } from './options.js'
export type { Producer, ProducerOptions, SendOptions, WaitOptions } from './producer.js'
export type { Queue, QueueOptions, RunJobsOptions } from './queue.js'
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
export type { Retention, TopicSettings, TopicSettingsInForce } from './topic-options.js'
