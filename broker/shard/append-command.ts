import { ENTRY_HEADER_BYTES, type EntryHeader, writeEntryHeader } from '../../protocol/entry.js'
import { OPCODE_APPEND, type WalCommand } from '../wal/command.js'
import type { PartitionState } from './state.js'

/** A batch that has its offsets: from here on it is committed, or the broker dies. */
export class AppendCommand implements WalCommand {
  readonly opcode = OPCODE_APPEND
  readonly record: number
  readonly partitionState: PartitionState
  readonly header: EntryHeader
  /** What stands between header and payload; undefined on the plain path. */
  readonly section: Uint8Array | undefined
  readonly #payload: Uint8Array

  constructor(options: {
    record: number
    partitionState: PartitionState
    header: EntryHeader
    section: Uint8Array | undefined
    payload: Uint8Array
  }) {
    this.record = options.record
    this.partitionState = options.partitionState
    this.header = options.header
    this.section = options.section
    this.#payload = options.payload
  }

  get byteLength(): number {
    return ENTRY_HEADER_BYTES + this.header.sectionBytes + this.header.payloadBytes
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
    const { section, header } = this
    if (section !== undefined) target.set(section, position + ENTRY_HEADER_BYTES)
    target.set(this.#payload, position + ENTRY_HEADER_BYTES + header.sectionBytes)
    return writeEntryHeader(target, position, header)
  }
}
