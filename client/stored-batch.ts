import { crc32 } from '#crc32'
import { gunzip } from '#gzip'
import {
  COMPRESSION,
  COMPRESSION_MASK,
  ENTRY_HEADER_BYTES,
  type EntryHeader,
  entryBytes,
  entryHeaderFault,
  entryPayload,
  readEntryHeader,
} from '../protocol/entry.js'
import { entrySection, readSection, sectionFault } from '../protocol/entry-section.js'
import { MillraceError } from '../protocol/error-codes.js'
import type { TopicId } from '../protocol/ids.js'
import { decodeRecords, type WireRecord } from '../protocol/records.js'

/** Where an entry must belong, and what of it has been read before. */
export interface EntryPlace {
  readonly topicName: string
  readonly topicId: TopicId
  readonly partition: number
  /** The first offset that has not been read. */
  readonly offset: number
  /** The first entry of a subscription may begin below the offset, all others must not. */
  readonly mayBeginBelow: boolean
}

/** An entry as the broker stores it, checked but not decoded. */
export interface StoredBatch {
  readonly header: EntryHeader
  /** Of the entry. */
  readonly bytes: number
  readonly payload: Uint8Array
  /** Records of the payload that are not part of the log, one bit each; undefined when all are. */
  readonly omitted: Uint8Array | undefined
  /** One past its last offset. */
  readonly nextOffset: number
}

/** The entry at `position` of what was delivered. Throws CORRUPT_DATA for anything that is not exactly what is due here. */
export function storedBatchAt(delivered: Uint8Array, position: number, place: EntryPlace): StoredBatch {
  const fault = entryHeaderFault(delivered, position)
  if (fault !== undefined) throw corrupt(place, fault)
  const header = readEntryHeader(delivered, position)
  const bytes = entryBytes(header)
  if (position + bytes > delivered.length) throw corrupt(place, 'an entry is cut short')
  if (header.topicId !== place.topicId || header.partition !== place.partition) {
    throw corrupt(place, `an entry of partition ${header.partition} of topic ${header.topicId} came instead`)
  }
  const nextOffset = header.baseOffset + header.lastOffsetDelta + 1
  const isBelow = place.mayBeginBelow ? nextOffset <= place.offset : header.baseOffset < place.offset
  if (isBelow) {
    throw corrupt(place, `offsets ${header.baseOffset} to ${nextOffset - 1} came again`)
  }
  const payload = entryPayload(delivered, header, position)
  if (crc32(payload) !== header.payloadCrc) throw corrupt(place, 'the CRC of a batch does not match')
  return { header, bytes, payload, omitted: omittedOf(delivered, position, header, place), nextOffset }
}

function omittedOf(
  delivered: Uint8Array,
  position: number,
  header: EntryHeader,
  place: EntryPlace,
): Uint8Array | undefined {
  if (header.sectionBytes === 0) return undefined
  const section = entrySection(delivered, header, position)
  if (crc32(section) !== header.sectionCrc)
    throw corrupt(place, "the CRC of a batch's section does not match")
  const fault = sectionFault(section, header.recordCount)
  if (fault !== undefined) throw corrupt(place, fault)
  return readSection(section, header.recordCount).omitted
}

/** Where the entries from `position` on end in offsets, going by their headers; `offset` when there are none. */
export function nextOffsetAfter(delivered: Uint8Array, position: number, offset: number): number {
  let next = offset
  for (let at = position; delivered.length - at >= ENTRY_HEADER_BYTES; ) {
    // What is damaged ends the reader when its turn comes.
    if (entryHeaderFault(delivered, at) !== undefined) break
    const header = readEntryHeader(delivered, at)
    next = header.baseOffset + header.lastOffsetDelta + 1
    at += entryBytes(header)
  }
  return next
}

/**
 * The records of a batch; a promise when it is compressed. Throws or rejects with BAD_BATCH, BAD_COMPRESSION. Binary keys
 * and values are views into the batch.
 */
export function recordsOf(
  stored: StoredBatch,
  place: EntryPlace,
  inflatedBytesMax: number,
): WireRecord[] | Promise<WireRecord[]> {
  const { header, omitted } = stored
  const payload = payloadOf(stored, place, inflatedBytesMax)
  if (!(payload instanceof Promise)) return decodeRecords(payload, header.recordCount, omitted)
  return payload.then((inflated) => decodeRecords(inflated, header.recordCount, omitted))
}

/** What a batch's records are read from; a promise when it is compressed. Throws or rejects with BAD_COMPRESSION. */
export function payloadOf(
  { header, payload }: StoredBatch,
  place: EntryPlace,
  inflatedBytesMax: number,
): Uint8Array | Promise<Uint8Array> {
  const compression = header.attributes & COMPRESSION_MASK
  if (compression === COMPRESSION.none) return payload
  if (compression !== COMPRESSION.gzip) {
    throw badCompression(place, `compression ${compression} is not known to this client`)
  }
  const { inflatedBytes } = header
  if (inflatedBytes > inflatedBytesMax) {
    throw badCompression(
      place,
      `the batch inflates to ${inflatedBytes} bytes, at most ${inflatedBytesMax} are read`,
    )
  }
  return gunzip(payload, inflatedBytes).then(
    (inflated) => {
      if (inflated.length === inflatedBytes) return inflated
      throw badCompression(place, `the batch inflates to ${inflated.length} bytes, not ${inflatedBytes}`)
    },
    (cause: unknown) => {
      throw badCompression(place, cause instanceof Error ? cause.message : String(cause))
    },
  )
}

const detailsOf = ({ topicName, partition, offset }: EntryPlace) => ({ topic: topicName, partition, offset })

const textOf = ({ topicName, partition, offset }: EntryPlace, why: string): string =>
  `topic "${topicName}", partition ${partition}, at offset ${offset}: ${why}`

const corrupt = (place: EntryPlace, why: string): MillraceError =>
  new MillraceError('CORRUPT_DATA', { message: textOf(place, why), details: detailsOf(place) })

const badCompression = (place: EntryPlace, why: string): MillraceError =>
  new MillraceError('BAD_COMPRESSION', { message: textOf(place, why), details: detailsOf(place) })
