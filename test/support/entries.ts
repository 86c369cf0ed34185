import { crc32 } from '#crc32'
import {
  ENTRY_HEADER_BYTES,
  type EntryHeader,
  NO_PRODUCER_ID,
  readEntryHeader,
  writeEntryHeader,
} from '../../protocol/entry.js'
import { topicIdFrom } from '../../protocol/ids.js'

export const someTopicId = topicIdFrom('00112233445566778899aabbccddeeff')

export interface StoredEntry {
  readonly header: EntryHeader
  /** Header, section and payload. */
  readonly bytes: Uint8Array
}

/** A whole stored entry with right CRCs around any payload. */
export function storedEntry(
  fields: Partial<EntryHeader> & { payload?: Uint8Array; section?: Uint8Array } = {},
): StoredEntry {
  const { payload = new Uint8Array([0x90]), section = new Uint8Array(), ...header } = fields
  const bytes = new Uint8Array(ENTRY_HEADER_BYTES + section.length + payload.length)
  bytes.set(section, ENTRY_HEADER_BYTES)
  bytes.set(payload, ENTRY_HEADER_BYTES + section.length)
  writeEntryHeader(bytes, 0, {
    attributes: 0,
    topicId: someTopicId,
    partition: 0,
    baseOffset: 0,
    lastOffsetDelta: 0,
    recordCount: (header.lastOffsetDelta ?? 0) + 1,
    appendTime: 1_700_000_000_000,
    baseTimestamp: 1_700_000_000_000,
    producerId: NO_PRODUCER_ID,
    producerEpoch: 0,
    baseSequence: 0,
    ...header,
    sectionBytes: section.length,
    sectionCrc: crc32(section),
    payloadBytes: payload.length,
    payloadCrc: crc32(payload),
    inflatedBytes: payload.length,
  })
  return { header: readEntryHeader(bytes), bytes }
}

/** Entries with consecutive offsets and rising append times, with payloads of the given sizes. */
export function storedEntries(
  sizes: readonly number[],
  options: Partial<EntryHeader> & { recordsPerEntry?: number } = {},
): StoredEntry[] {
  const { recordsPerEntry = 1, baseOffset = 0, appendTime = 1_700_000_000_000, ...fields } = options
  return sizes.map((size, i) =>
    storedEntry({
      ...fields,
      baseOffset: baseOffset + i * recordsPerEntry,
      lastOffsetDelta: recordsPerEntry - 1,
      appendTime: appendTime + i,
      payload: new Uint8Array(size).fill(i % 251),
    }),
  )
}

export const joined = (parts: readonly Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts))
