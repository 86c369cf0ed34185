import { ENTRY_HEADER_BYTES, type EntryHeader, writeEntryHeader } from '../../protocol/entry.js'
import { OPCODE_APPEND, type WalCommand } from '../wal/command.js'
import type { PartitionState } from './state.js'

/** A batch that has its offsets: from here on it is committed, or the broker dies. */
export class AppendCommand implements WalCommand {
  readonly opcode = OPCODE_APPEND
  readonly record: number
  readonly partitionState: PartitionState
  readonly header: EntryHeader
  readonly #payload: Uint8Array

  constructor(options: {
    record: number
    partitionState: PartitionState
    header: EntryHeader
    payload: Uint8Array
  }) {
    this.record = options.record
    this.partitionState = options.partitionState
    this.header = options.header
    this.#payload = options.payload
  }

  get byteLength(): number {
    return ENTRY_HEADER_BYTES + this.header.payloadBytes
  }
  get topicId() {
    return this.header.topicId
  }
  get partition(): number {
    return this.header.partition
  }
  get baseOffset(): number {
    return this.header.baseOffset
  }
  get recordCount(): number {
    return this.header.recordCount
  }

  writeBody(target: Uint8Array, position: number): number {
    target.set(this.#payload, position + ENTRY_HEADER_BYTES)
    return writeEntryHeader(target, position, this.header)
  }
}
