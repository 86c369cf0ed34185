import { describe, expect, it } from 'vitest'
import {
  ENTRY_HEADER_BYTES,
  type EntryHeader,
  entryBytes,
  entryHeaderFault,
  entryPayload,
  getUint53,
  readEntryHeader,
  readHeaderCrc,
  setUint53,
  writeEntryHeader,
} from '../../protocol/entry.js'
import { topicIdFrom } from '../../protocol/ids.js'

const header: EntryHeader = {
  attributes: 1,
  payloadCrc: 0xdeadbeef,
  topicId: topicIdFrom('00112233445566778899aabbccddeeff'),
  partition: 0xfffffffe,
  baseOffset: Number.MAX_SAFE_INTEGER - 7,
  lastOffsetDelta: 6,
  recordCount: 7,
  appendTime: 1_800_000_000_000,
  baseTimestamp: 1_700_000_000_001,
  producerId: 2 ** 40 + 3,
  producerEpoch: 9,
  baseSequence: 2 ** 33,
  sectionBytes: 2,
  sectionCrc: 0x01020304,
  payloadBytes: 3,
  inflatedBytes: 30,
}

/** The entry at byte 5 of other bytes, its section and payload behind it. */
function written(): Uint8Array {
  const bytes = new Uint8Array(5 + ENTRY_HEADER_BYTES + 5 + 4).fill(0xee)
  writeEntryHeader(bytes, 5, header)
  bytes.set([1, 2, 7, 8, 9], 5 + ENTRY_HEADER_BYTES)
  return bytes
}

describe('an entry header', () => {
  it('is read as it was written, in the middle of other bytes too', () => {
    const bytes = written()
    expect(entryHeaderFault(bytes, 5)).toBeUndefined()
    expect(readEntryHeader(bytes, 5)).toEqual(header)
    expect([...bytes.subarray(0, 5)]).toEqual(Array(5).fill(0xee))
  })

  it('answers its CRC when it is written and when it is read', () => {
    const bytes = new Uint8Array(ENTRY_HEADER_BYTES)
    expect(writeEntryHeader(bytes, 0, header)).toBe(readHeaderCrc(bytes))
  })

  it('says where the payload is and where the next entry begins', () => {
    const bytes = written()
    expect([...entryPayload(bytes, header, 5)]).toEqual([7, 8, 9])
    expect(entryBytes(header)).toBe(ENTRY_HEADER_BYTES + 5)
  })

  it('does not survive the change of any one bit', () => {
    const bytes = written()
    for (let bit = 5 * 8; bit < (5 + ENTRY_HEADER_BYTES) * 8; bit++) {
      bytes[bit >> 3]! ^= 1 << (bit & 7)
      expect(entryHeaderFault(bytes, 5), `bit ${bit - 40}`).toBeDefined()
      bytes[bit >> 3]! ^= 1 << (bit & 7)
    }
    expect(entryHeaderFault(bytes, 5)).toBeUndefined()
  })

  it('is refused when it is cut short', () => {
    expect(entryHeaderFault(written().subarray(0, 5 + ENTRY_HEADER_BYTES - 1), 5)).toContain('cut short')
    expect(entryHeaderFault(new Uint8Array(0))).toContain('cut short')
  })

  it('is refused when its version is not known', () => {
    const bytes = written()
    bytes[5 + 4] = 2
    expect(entryHeaderFault(bytes, 5)).toBe('entry version 2 is not known')
  })
})

describe('a 53-bit number in 8 bytes', () => {
  it('is read as it was written', () => {
    const data = new DataView(new ArrayBuffer(8))
    for (const value of [0, 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1]) {
      setUint53(data, 0, value)
      expect(data.getBigUint64(0, true)).toBe(BigInt(value))
      expect(getUint53(data, 0)).toBe(value)
    }
  })

  it('is NaN when it does not fit', () => {
    const data = new DataView(new ArrayBuffer(8))
    data.setBigUint64(0, 2n ** 53n, true)
    expect(getUint53(data, 0)).toBeNaN()
  })
})
