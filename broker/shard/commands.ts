/**
 * The commands of the WAL besides APPEND, as they stand on disk: MessagePack lists in the order of the fields here.
 * They carry results, never intentions. A number is never given to another command.
 */
import { Packr, Unpackr } from 'msgpackr'
import { ENCODINGS, type Encoding, encodingName } from '../../protocol/encodings.js'
import {
  bytesFromHex,
  type ClusterId,
  hexFromBytes,
  type RequestId,
  type TopicId,
} from '../../protocol/ids.js'
import type { ChunkRow } from '../manifest/rows.js'
import { encodedCommand, OPCODE_APPEND, type WalCommand } from '../wal/command.js'

export const OPCODE = {
  append: OPCODE_APPEND,
  shardEpochStarted: 2,
  topicCreated: 3,
  topicDeleted: 4,
  producerIdsReserved: 5,
  producerRegistered: 6,
  producersExpired: 7,
  chunkSealed: 8,
} as const

export type Command =
  | { readonly type: 'shardEpochStarted'; readonly clusterId: ClusterId; readonly shardEpoch: number }
  | {
      readonly type: 'topicCreated'
      readonly topicId: TopicId
      readonly name: string
      readonly partitions: number
      readonly keyEncoding: Encoding
      readonly valueEncoding: Encoding
      readonly requestId: RequestId
    }
  | { readonly type: 'topicDeleted'; readonly topicId: TopicId; readonly requestId: RequestId }
  /** Ids below this may have been handed out. */
  | { readonly type: 'producerIdsReserved'; readonly below: number }
  | {
      readonly type: 'producerRegistered'
      readonly name: string
      readonly producerId: number
      readonly producerEpoch: number
      readonly requestId: RequestId
    }
  | { readonly type: 'producersExpired'; readonly windows: readonly ProducerKey[] }
  | { readonly type: 'chunkSealed'; readonly chunkId: number; readonly rows: readonly ChunkRow[] }

export interface ProducerKey {
  readonly producerId: number
  readonly topicId: TopicId
  readonly partition: number
}

const packr = new Packr({ useRecords: false, variableMapSize: true })
const unpackr = new Unpackr({ useRecords: false, int64AsType: 'number' })

export function encodeCommand(command: Command, record: number): WalCommand {
  return encodedCommand(OPCODE[command.type], record, packr.pack(fieldsOf(command)))
}

function fieldsOf(command: Command): unknown[] {
  switch (command.type) {
    case 'shardEpochStarted':
      return [bytesFromHex(command.clusterId), command.shardEpoch]
    case 'topicCreated':
      return [
        bytesFromHex(command.topicId),
        command.name,
        command.partitions,
        ENCODINGS[command.keyEncoding],
        ENCODINGS[command.valueEncoding],
        bytesFromHex(command.requestId),
      ]
    case 'topicDeleted':
      return [bytesFromHex(command.topicId), bytesFromHex(command.requestId)]
    case 'producerIdsReserved':
      return [command.below]
    case 'producerRegistered':
      return [command.name, command.producerId, command.producerEpoch, bytesFromHex(command.requestId)]
    case 'producersExpired':
      return command.windows.map((key) => [key.producerId, bytesFromHex(key.topicId), key.partition])
    case 'chunkSealed':
      return [command.chunkId, command.rows.map(rowFields)]
  }
}

/** The fields of one chunk reference, in the order in which they are stored. */
function rowFields({ topicId, partition, section }: ChunkRow): unknown[] {
  return [
    bytesFromHex(topicId),
    partition,
    section.baseOffset,
    section.endOffset,
    section.byteStart,
    section.byteEnd,
    section.indexStart,
    section.indexBytes,
    section.recordCount,
    section.minAppendTime,
    section.maxAppendTime,
    bytesFromHex(section.digest),
  ]
}

type Fields = readonly unknown[]
const hex = (value: unknown): string => hexFromBytes(value as Uint8Array)

/** The command in a body whose CRC has been checked; throws on an opcode that this release does not know. */
export function decodeCommand(opcode: number, body: Uint8Array): Command {
  const fields = unpackr.unpack(body) as Fields
  switch (opcode) {
    case OPCODE.shardEpochStarted:
      return {
        type: 'shardEpochStarted',
        clusterId: hex(fields[0]) as ClusterId,
        shardEpoch: fields[1] as number,
      }
    case OPCODE.topicCreated:
      return {
        type: 'topicCreated',
        topicId: hex(fields[0]) as TopicId,
        name: fields[1] as string,
        partitions: fields[2] as number,
        keyEncoding: encodingName(fields[3] as number) as Encoding,
        valueEncoding: encodingName(fields[4] as number) as Encoding,
        requestId: hex(fields[5]) as RequestId,
      }
    case OPCODE.topicDeleted:
      return {
        type: 'topicDeleted',
        topicId: hex(fields[0]) as TopicId,
        requestId: hex(fields[1]) as RequestId,
      }
    case OPCODE.producerIdsReserved:
      return { type: 'producerIdsReserved', below: fields[0] as number }
    case OPCODE.producerRegistered:
      return {
        type: 'producerRegistered',
        name: fields[0] as string,
        producerId: fields[1] as number,
        producerEpoch: fields[2] as number,
        requestId: hex(fields[3]) as RequestId,
      }
    case OPCODE.producersExpired:
      return {
        type: 'producersExpired',
        windows: (fields as Fields[]).map(([producerId, topicId, partition]) => ({
          producerId: producerId as number,
          topicId: hex(topicId) as TopicId,
          partition: partition as number,
        })),
      }
    case OPCODE.chunkSealed: {
      const chunkId = fields[0] as number
      return {
        type: 'chunkSealed',
        chunkId,
        rows: (fields[1] as Fields[]).map((row) => chunkRow(chunkId, row)),
      }
    }
    default:
      throw new Error(`the WAL holds a command of opcode ${opcode}, which this release does not know`)
  }
}

function chunkRow(chunkId: number, fields: Fields): ChunkRow {
  const number = (index: number): number => fields[index] as number
  return {
    topicId: hex(fields[0]) as TopicId,
    partition: number(1),
    chunkId,
    section: {
      baseOffset: number(2),
      endOffset: number(3),
      byteStart: number(4),
      byteEnd: number(5),
      indexStart: number(6),
      indexBytes: number(7),
      recordCount: number(8),
      minAppendTime: number(9),
      maxAppendTime: number(10),
      digest: hex(fields[11]),
    },
  }
}
