/**
 * The commands of the WAL besides APPEND, as they stand on disk: MessagePack lists in the order of the fields in
 * command-codec/. They carry results, never intentions. A number is never given to another command.
 */
import { Packr, Unpackr } from 'msgpackr'
import { encodedCommand, OPCODE_APPEND, type WalCommand } from '../wal/command.js'
import { type ChunkSealed, chunkSealed } from './command-codec/chunks.js'
import type { Codec } from './command-codec/codec.js'
import {
  type CursorsDeleted,
  type CursorsMoved,
  type CursorsReset,
  cursorsDeleted,
  cursorsMoved,
  cursorsReset,
  type GroupAssigned,
  type GroupCreated,
  type GroupDeleted,
  groupAssigned,
  groupCreated,
  groupDeleted,
} from './command-codec/groups.js'
import {
  type ProducerAdvanced,
  type ProducerIdsReserved,
  type ProducerNamesExpired,
  type ProducerRegistered,
  type ProducersExpired,
  producerAdvanced,
  producerIdsReserved,
  producerNamesExpired,
  producerRegistered,
  producersExpired,
} from './command-codec/producers.js'
import { type QueueMoved, queueMoved } from './command-codec/queues.js'
import { type Answered, answered, type ShardEpochStarted, shardEpochStarted } from './command-codec/shard.js'
import {
  type StreamCreated,
  type StreamDeleted,
  type StreamMoved,
  type StreamProducersForgotten,
  type StreamsAccessed,
  streamCreated,
  streamDeleted,
  streamMoved,
  streamProducersForgotten,
  streamsAccessed,
} from './command-codec/streams.js'
import {
  type StartMoved,
  startMoved,
  type TopicAltered,
  type TopicCreated,
  type TopicDeleted,
  topicAltered,
  topicCreated,
  topicDeleted,
} from './command-codec/topics.js'

export const OPCODE = {
  append: OPCODE_APPEND,
  shardEpochStarted: 2,
  topicCreated: 3,
  topicDeleted: 4,
  producerIdsReserved: 5,
  producerRegistered: 6,
  producersExpired: 7,
  chunkSealed: 8,
  topicAltered: 9,
  startMoved: 10,
  groupCreated: 11,
  groupAssigned: 12,
  cursorsMoved: 13,
  cursorsReset: 14,
  cursorsDeleted: 15,
  groupDeleted: 16,
  queueMoved: 17,
  producerAdvanced: 18,
  answered: 19,
  producerNamesExpired: 20,
  streamCreated: 21,
  streamMoved: 22,
  streamsAccessed: 23,
  streamDeleted: 24,
  streamProducersForgotten: 25,
} as const

export type Command =
  | ShardEpochStarted
  | TopicCreated
  | TopicDeleted
  | ProducerIdsReserved
  | ProducerRegistered
  | ProducersExpired
  | ChunkSealed
  | TopicAltered
  | StartMoved
  | GroupCreated
  | GroupAssigned
  | CursorsMoved
  | CursorsReset
  | CursorsDeleted
  | GroupDeleted
  | QueueMoved
  | ProducerAdvanced
  | Answered
  | ProducerNamesExpired
  | StreamCreated
  | StreamMoved
  | StreamsAccessed
  | StreamDeleted
  | StreamProducersForgotten

export type CommandType = Command['type']

const CODECS: { readonly [Type in CommandType]: Codec<Extract<Command, { type: Type }>> } = {
  shardEpochStarted,
  topicCreated,
  topicDeleted,
  producerIdsReserved,
  producerRegistered,
  producersExpired,
  chunkSealed,
  topicAltered,
  startMoved,
  groupCreated,
  groupAssigned,
  cursorsMoved,
  cursorsReset,
  cursorsDeleted,
  groupDeleted,
  queueMoved,
  producerAdvanced,
  answered,
  producerNamesExpired,
  streamCreated,
  streamMoved,
  streamsAccessed,
  streamDeleted,
  streamProducersForgotten,
}

export const COMMAND_TYPES = Object.keys(CODECS) as CommandType[]

const byOpcode = new Map<number, Codec<Command>>()
for (const type of COMMAND_TYPES) byOpcode.set(OPCODE[type], CODECS[type] as unknown as Codec<Command>)

const packr = new Packr({ useRecords: false, variableMapSize: true, encodeUndefinedAsNil: true })
const unpackr = new Unpackr({ useRecords: false, int64AsType: 'number' })

export function encodeCommand(command: Command, record: number): WalCommand {
  const codec = CODECS[command.type] as unknown as Codec<Command>
  return encodedCommand(OPCODE[command.type], record, packr.pack(codec.encode(command)))
}

/** The command in a body whose CRC has been checked; throws on an opcode that this release does not know. */
export function decodeCommand(opcode: number, body: Uint8Array): Command {
  const codec = byOpcode.get(opcode)
  if (codec === undefined)
    throw new Error(`the WAL holds a command of opcode ${opcode}, which this release does not know`)
  return codec.decode(unpackr.unpack(body))
}
