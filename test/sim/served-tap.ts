import { ENTRY_HEADER_BYTES, entryBytes, readEntryHeader } from '../../protocol/entry.js'
import { entryFault } from '../../protocol/entry-check.js'
import { unpackFrame } from '../../protocol/frame.js'
import { fetched } from '../../protocol/messages/fetch.js'
import { deliver } from '../../protocol/messages/subscribe.js'
import type { HistoryRecorder } from '../checker/recorder.js'

/**
 * Reads what the broker serves as a client would that trusts it: ours looks at every checksum itself, and would hide a
 * broker that does not. Records what is damaged, and nothing else.
 */
export class ServedTap {
  static readonly opcodes: readonly number[] = [deliver.opcode, fetched.opcode]

  readonly #history: HistoryRecorder
  readonly #nameOf: (topicId: string) => string | undefined

  constructor(history: HistoryRecorder, nameOf: (topicId: string) => string | undefined) {
    this.#history = history
    this.#nameOf = nameOf
  }

  received(opcode: number, message: Uint8Array): void {
    const frame = unpackFrame(message)
    const { entries } = opcode === deliver.opcode ? deliver.read(frame) : fetched.read(frame)
    for (let at = 0; entries.length - at >= ENTRY_HEADER_BYTES; ) {
      const header = readEntryHeader(entries, at)
      const fault = entryFault(entries, header, at)
      const topic = this.#nameOf(header.topicId)
      if (fault !== undefined && topic !== undefined) {
        const { partition, baseOffset: from } = header
        this.#history.record({
          type: 'read',
          reader: 'the wire',
          topicId: topic,
          partition,
          from,
          next: from + 1,
          records: [[from, `damaged: ${fault}`]],
        })
      }
      at += entryBytes(header)
    }
  }
}
