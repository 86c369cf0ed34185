/** Stored entries with golden vectors: frame-samples.ts says what may be changed here. */
import { gzipSync } from 'node:zlib'
import { crc32 } from '#crc32'
import { COMPRESSION, type EntryHeader, NO_PRODUCER_ID } from '../../../protocol/entry.js'
import { topicIdFrom } from '../../../protocol/ids.js'
import { HI, HI_CRC, hex, MAX, NOW, TOPIC, UINT32_MAX } from './values.js'

export interface EntrySample {
  readonly name: string
  readonly header: EntryHeader
  /** Absent in entries without one. */
  readonly section?: Uint8Array
  readonly payload: Uint8Array
}

const plainHeader: EntryHeader = {
  attributes: COMPRESSION.none,
  payloadCrc: HI_CRC,
  topicId: topicIdFrom(TOPIC),
  partition: 3,
  baseOffset: 100,
  lastOffsetDelta: 0,
  recordCount: 1,
  appendTime: NOW,
  baseTimestamp: NOW - 5,
  producerId: NO_PRODUCER_ID,
  producerEpoch: 0,
  baseSequence: 0,
  sectionBytes: 0,
  sectionCrc: 0,
  payloadBytes: HI.length,
  inflatedBytes: HI.length,
}

/** `[[0, 0, nil, "hi", nil], [1, 0, nil, "hi", nil]]`, of which the second is a duplicate of the first. */
const HI_TWICE = hex('92 950000c0a26869c0 950100c0a26869c0'.replaceAll(' ', ''))
const HELLO_HASH = 'a044242bf7de91dbb631db9ab631db9a'
const DUPLICATE_SECTION = hex(`0100000021000000${'03'}${HELLO_HASH}${HELLO_HASH}0200000001000000${'02'}`)

/** Written once, like every vector: zlib releases may compress otherwise. */
const GZIPPED_HI = Uint8Array.from(gzipSync(HI))

export const ENTRY_SAMPLES: readonly EntrySample[] = [
  { name: 'a batch without a producer id', header: plainHeader, payload: HI },
  {
    name: 'a batch of an idempotent producer, large numbers',
    header: {
      ...plainHeader,
      partition: 9_999,
      baseOffset: MAX - 10,
      producerId: 2 ** 40 + 1,
      producerEpoch: UINT32_MAX,
      baseSequence: 2 ** 33 + 5,
    },
    payload: HI,
  },
  {
    name: 'a compacted batch: one record left of three',
    header: { ...plainHeader, lastOffsetDelta: 2 },
    payload: HI,
  },
  {
    name: 'a gzip batch',
    header: {
      ...plainHeader,
      attributes: COMPRESSION.gzip,
      payloadCrc: crc32(GZIPPED_HI),
      payloadBytes: GZIPPED_HI.length,
    },
    payload: GZIPPED_HI,
  },
  {
    name: 'a batch with dedup ids, its second record omitted',
    header: {
      ...plainHeader,
      payloadCrc: crc32(HI_TWICE),
      lastOffsetDelta: 1,
      recordCount: 2,
      sectionBytes: DUPLICATE_SECTION.length,
      sectionCrc: crc32(DUPLICATE_SECTION),
      payloadBytes: HI_TWICE.length,
      inflatedBytes: HI_TWICE.length,
    },
    section: DUPLICATE_SECTION,
    payload: HI_TWICE,
  },
]
