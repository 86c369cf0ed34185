import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { crc32 } from '#crc32'
import { ENTRY_HEADER_BYTES, type EntryHeader, entryBytes, writeEntryHeader } from '../../protocol/entry.js'
import { entryFault } from '../../protocol/entry-check.js'
import {
  bitAt,
  bitmapBytes,
  bitsSet,
  dedupIdsFault,
  type EntrySection,
  omittedBits,
  readSection,
  sectionFault,
  setBit,
  writeSection,
} from '../../protocol/entry-section.js'
import { topicIdFrom } from '../../protocol/ids.js'
import { decodeRecords, RecordBatchBuilder } from '../../protocol/records.js'
import { mutated } from './arbitraries.js'

const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text.replaceAll(' ', ''), 'hex'))

/** Ids for the records whose index is in `indexes`: the id of record i is 16 times the byte i. */
function idsOf(recordCount: number, indexes: readonly number[]): { bitmap: Uint8Array; hashes: Uint8Array } {
  const bitmap = new Uint8Array(bitmapBytes(recordCount))
  for (const index of indexes) setBit(bitmap, index)
  return { bitmap, hashes: Uint8Array.from(indexes.flatMap((index) => Array(16).fill(index & 0xff))) }
}

const marked = (recordCount: number, indexes: readonly number[]): Uint8Array =>
  idsOf(recordCount, indexes).bitmap

/** An entry of three text records, those of `omitted` marked, behind `before` other bytes. */
function entryOf(section: Uint8Array, before: number): { bytes: Uint8Array; header: EntryHeader } {
  const builder = new RecordBatchBuilder()
  for (const value of ['a', 'b', 'c']) builder.append({ key: null, value, timestamp: 5 })
  const { payload, recordCount, baseTimestamp } = builder.finish()
  const header: EntryHeader = {
    attributes: 0,
    payloadCrc: crc32(payload),
    topicId: topicIdFrom('0'.repeat(32)),
    partition: 0,
    baseOffset: 40,
    lastOffsetDelta: 2,
    recordCount,
    appendTime: 9,
    baseTimestamp,
    producerId: 0,
    producerEpoch: 0,
    baseSequence: 0,
    sectionBytes: section.length,
    sectionCrc: crc32(section),
    payloadBytes: payload.length,
    inflatedBytes: payload.length,
  }
  const bytes = new Uint8Array(before + entryBytes(header)).fill(0xee)
  writeEntryHeader(bytes, before, header)
  bytes.set(section, before + ENTRY_HEADER_BYTES)
  bytes.set(payload, before + ENTRY_HEADER_BYTES + section.length)
  return { bytes, header }
}

describe('an entry section', () => {
  it('is read as it was written', () => {
    const anySection = fc
      .record({ recordCount: fc.integer({ min: 1, max: 40 }), ids: fc.boolean(), omitted: fc.boolean() })
      .chain(({ recordCount, ids, omitted }) => {
        const indexes = fc.uniqueArray(fc.nat({ max: recordCount - 1 }), { minLength: 1 })
        const sorted = indexes.map((list) => [...list].sort((a, b) => a - b))
        return fc.record({
          recordCount: fc.constant(recordCount),
          ids: ids ? sorted.map((list) => idsOf(recordCount, list)) : fc.constant(undefined),
          omitted: omitted ? sorted.map((list) => marked(recordCount, list)) : fc.constant(undefined),
        })
      })
    fc.assert(
      fc.property(anySection, ({ recordCount, ids, omitted }) => {
        const section = writeSection({ ids, omitted })
        expect(sectionFault(section, recordCount)).toBeUndefined()
        expect(readSection(section, recordCount)).toEqual({ ids, omitted })
      }),
    )
  })

  it('is these bytes: dedup ids of the records 0 and 9 of ten, record 9 omitted', () => {
    const section = writeSection({ ids: idsOf(10, [0, 9]), omitted: marked(10, [9]) })
    expect(section).toEqual(
      hex(`01 000000 22000000 0102 ${'00'.repeat(16)} ${'09'.repeat(16)} 02 000000 02000000 0002`),
    )
  })

  it('is empty when there is nothing to say', () => {
    expect(writeSection({ ids: undefined, omitted: undefined })).toHaveLength(0)
    expect(readSection(new Uint8Array(0), 7)).toEqual({ ids: undefined, omitted: undefined })
  })

  it('may hold blocks that this version does not know', () => {
    const unknown = hex('63 000000 03000000 aabbcc')
    const omitted = writeSection({ ids: undefined, omitted: marked(3, [1]) })
    for (const section of [
      [...unknown, ...omitted],
      [...omitted, ...unknown],
    ])
      expect(readSection(Uint8Array.from(section), 3).omitted).toEqual(Uint8Array.of(2))
  })

  const faults: [why: string, section: string, message: string][] = [
    ['whose last block has no whole header', '02 000000 010000', 'cut short'],
    ['whose last block ends behind it', '02 000000 02000000 01', 'cut short'],
    ['whose bitmap is too short', '02 000000 00000000', '0 bytes instead of 1'],
    ['whose bitmap is too long', '02 000000 02000000 0100', '2 bytes instead of 1'],
    ['that marks a record behind the last', '02 000000 01000000 08', 'past the last record'],
    ['that omits twice', '02 000000 01000000 01 02 000000 01000000 01', 'omitted records twice'],
    ['with fewer ids than it says', `01 000000 11000000 03 ${'00'.repeat(16)}`, '16 bytes instead of 32'],
    ['with a bitmap of ids and no id', '01 000000 01000000 00', 'no record has a dedup id'],
    [
      'with ids twice',
      `01 000000 11000000 01 ${'00'.repeat(16)} 01 000000 11000000 01 ${'00'.repeat(16)}`,
      'dedup ids twice',
    ],
  ]
  for (const [why, section, message] of faults) {
    it(`is refused ${why}`, () => {
      expect(sectionFault(hex(section), 3)).toContain(message)
      expect(() => readSection(hex(section), 3)).toThrow(expect.objectContaining({ code: 'CORRUPT_DATA' }))
    })
  }

  it('is no fault or a fault, never a crash, whatever the bytes', () => {
    const section = writeSection({ ids: idsOf(10, [0, 9]), omitted: marked(10, [9]) })
    const any = fc.oneof(fc.uint8Array({ maxLength: 60, size: 'max' }), mutated(section))
    fc.assert(
      fc.property(any, fc.integer({ min: 8, max: 17 }), (bytes, recordCount) => {
        const fault = sectionFault(bytes, recordCount)
        const read = (): EntrySection => readSection(bytes, recordCount)
        if (fault === undefined) read()
        else expect(read).toThrow(fault)
      }),
      { numRuns: 2000 },
    )
  })
})

describe('dedup ids', () => {
  it('fit a batch when there is one for every marked record', () => {
    expect(dedupIdsFault(idsOf(9, [0, 8]), 9)).toBeUndefined()
    expect(dedupIdsFault(idsOf(9, [0, 8]), 8)).toContain('2 bytes instead of 1')
    expect(dedupIdsFault(idsOf(9, [8]), 10)).toBeUndefined()
    expect(dedupIdsFault({ ...idsOf(9, [8]), hashes: new Uint8Array(15) }, 9)).toContain('instead of 16')
    expect(dedupIdsFault(idsOf(9, []), 9)).toContain('no record')
  })
})

describe('a bitmap', () => {
  it('has the bits that were set and counts them', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.nat({ max: 99 })), (indexes) => {
        const bitmap = marked(100, indexes)
        const found = Array.from({ length: 100 }, (_, i) => i).filter((i) => bitAt(bitmap, i))
        expect(found).toEqual([...indexes].sort((a, b) => a - b))
        expect(bitsSet(bitmap)).toBe(indexes.length)
      }),
    )
  })
})

describe('an entry with omitted records', () => {
  const section = writeSection({ ids: undefined, omitted: marked(3, [1]) })

  it('is sound, and decodes to the others, which keep their offsets', () => {
    const { bytes, header } = entryOf(section, 5)
    expect(entryFault(bytes, header, 5)).toBeUndefined()
    const payload = bytes.subarray(5 + ENTRY_HEADER_BYTES + section.length)
    const records = decodeRecords(payload, 3, omittedBits(bytes, header, 5))
    expect(records.map(({ offsetDelta, value }) => [offsetDelta, value])).toEqual([
      [0, 'a'],
      [2, 'c'],
    ])
  })

  it('omits nothing without a section', () => {
    const { bytes, header } = entryOf(new Uint8Array(0), 0)
    expect(omittedBits(bytes, header)).toBeUndefined()
  })

  it('is damaged when its section does not fit it, even where the CRC does', () => {
    const { bytes, header } = entryOf(writeSection({ ids: undefined, omitted: marked(9, [8]) }), 0)
    expect(() => omittedBits(bytes, header)).toThrow('2 bytes instead of 1')
  })
})
