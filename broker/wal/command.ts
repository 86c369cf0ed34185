import { crc32 } from '#crc32'
import { entryBytes, entryHeaderFault, readEntryHeader, readHeaderCrc } from '../../protocol/entry.js'
import { entryBodyFault } from '../../protocol/entry-check.js'
import type { TopicId } from '../../protocol/ids.js'
import { type DirectoryRow, NO_TOPIC } from './group.js'

/** The one opcode that the WAL itself understands: its body is a stored entry. On disk: never renumbered. */
export const OPCODE_APPEND = 1

/** One change of state, ready to be written. Its body is written once, straight into the group's slab. */
export interface WalCommand {
  readonly opcode: number
  /** Index of its WAL record within the group. */
  readonly record: number
  readonly byteLength: number
  readonly topicId: TopicId
  readonly partition: number
  readonly baseOffset: number
  readonly recordCount: number
  /** Writes `byteLength` bytes at `position` and returns their CRC (of an entry: its header CRC). */
  writeBody(target: Uint8Array, position: number): number
}

/** A command whose body is small and encoded already. */
export function encodedCommand(opcode: number, record: number, body: Uint8Array): WalCommand {
  return {
    opcode,
    record,
    byteLength: body.length,
    topicId: NO_TOPIC,
    partition: 0,
    baseOffset: 0,
    recordCount: 0,
    writeBody(target, position) {
      target.set(body, position)
      return crc32(body)
    },
  }
}

/** What is wrong with a command's body; undefined when every byte of it is what was written. */
export function bodyFault(row: DirectoryRow, body: Uint8Array): string | undefined {
  if (row.opcode !== OPCODE_APPEND) {
    return crc32(body) === row.bodyCrc ? undefined : 'the CRC of a command does not match'
  }
  return appendFault(row, body)
}

function appendFault(row: DirectoryRow, body: Uint8Array): string | undefined {
  const fault = entryFault(body)
  if (fault !== undefined) return fault
  const header = readEntryHeader(body)
  const agrees =
    readHeaderCrc(body) === row.bodyCrc &&
    header.topicId === row.topicId &&
    header.partition === row.partition &&
    header.baseOffset === row.baseOffset &&
    header.recordCount === row.recordCount
  return agrees ? undefined : 'an entry is not the one that the directory names'
}

/** What is wrong with the bytes of one stored entry; undefined when both of its CRCs hold and nothing is left over. */
export function entryFault(bytes: Uint8Array): string | undefined {
  const fault = entryHeaderFault(bytes)
  if (fault !== undefined) return fault
  const header = readEntryHeader(bytes)
  if (entryBytes(header) !== bytes.length) return 'an entry has not the length that its header says'
  return entryBodyFault(bytes, header)
}
