/**
 * Bytes put together by hand from the MessagePack specification and PROTOCOL.md, so that the golden vectors are not merely
 * what the code happens to write.
 */
import { describe, expect, it } from 'vitest'
import { crc32 } from '#crc32'
import { entryHeaderFault, entryPayload, readEntryHeader, writeEntryHeader } from '../../protocol/entry.js'
import { packFrame, unpackFrame } from '../../protocol/frame.js'
import {
  credit,
  fetched,
  hello,
  listOffsets,
  ping,
  produce,
  produced,
} from '../../protocol/messages/index.js'
import { decodeRecords, RecordBatchBuilder } from '../../protocol/records.js'

const hex = (...parts: string[]): Uint8Array =>
  Uint8Array.from(Buffer.from(parts.join('').replaceAll(' ', ''), 'hex'))
const toHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

describe('frames by the MessagePack specification', () => {
  it('PING 7 is an array of the two positive fixints 3 and 7', () => {
    expect(packFrame(ping.write({ correlationId: 7 }))).toEqual(hex('92 03 07'))
    expect(ping.read(unpackFrame(hex('92 03 07')))).toEqual({ correlationId: 7 })
  })

  it('CREDIT of 65,536 has a uint32', () => {
    expect(packFrame(credit.write({ subscriptionId: 1, bytes: 65_536 }))).toEqual(hex('93 18 01 ce 00010000'))
  })

  it('HELLO is an array of seven', () => {
    const fields = {
      correlationId: 200,
      minVersion: 1,
      maxVersion: 1,
      clientName: 'abc',
      credential: null,
      features: [],
    }
    const bytes = hex('97', '01', 'cc c8', '01', '01', 'a3 61 62 63', 'c0', '90')
    expect(packFrame(hello.write(fields))).toEqual(bytes)
    expect(hello.read(unpackFrame(bytes))).toEqual(fields)
  })

  it('PRODUCE may come from a writer that uses the longest forms', () => {
    const id = '000102030405060708090a0b0c0d0e0f'
    const bytes = hex(
      'dd 0000000d', // array32 of 13
      'cf 0000000000000012', // opcode 18 as uint64
      'd3 0000000000000009', // correlation id as int64
      'c6 00000010',
      id,
      'cd 0003',
      'cf 000000020000004d', // producer id 2^33 + 77 as uint64
      'ca 40000000', // producer epoch 2 as float32
      'cb 408f400000000000', // base sequence 1000 as float64
      'd0 00',
      'cf 0000019999999999', // base timestamp as uint64
      '01',
      'd2 00000009',
      'ce 00000000',
      'c5 0009 91950000c0a26869c0',
    )
    expect(produce.read(unpackFrame(bytes))).toEqual({
      correlationId: 9,
      topicId: id,
      partition: 3,
      producerId: 2 ** 33 + 77,
      producerEpoch: 2,
      baseSequence: 1000,
      attributes: 0,
      baseTimestamp: 0x19999999999,
      recordCount: 1,
      inflatedBytes: 9,
      payloadCrc: 0,
      payload: hex('91950000c0a26869c0'),
    })
  })

  it('PRODUCED nests a list of acks, with float64 from 2^32', () => {
    const acks = [{ correlationId: 5, baseOffset: 2 ** 32, appendTime: 2 ** 41, duplicate: true }]
    const bytes = hex('92', '13', '91', '94', '05', 'cb 41f0000000000000', 'cb 4280000000000000', 'c3')
    expect(packFrame(produced.write({ acks }))).toEqual(bytes)
    expect(produced.read(unpackFrame(bytes))).toEqual({ acks })
  })

  it('LIST_OFFSETS nests a list of queries', () => {
    const topicId = 'ff'.repeat(16) as Parameters<typeof listOffsets.write>[0]['topicId']
    const fields = { correlationId: 1, topicId, queries: [{ partition: 2, at: 1, time: 0 }] }
    expect(packFrame(listOffsets.write(fields))).toEqual(
      hex('94', '1c', '01', 'c4 10', 'ff'.repeat(16), '91', '93 02 01 00'),
    )
  })

  it('FETCHED ends with the length and bytes of its entries', () => {
    const entries = new Uint8Array(0x1234).fill(0xab)
    const bytes = packFrame(fetched.write({ correlationId: 1, startOffset: 0, durableEnd: 300, entries }))
    expect(toHex(bytes)).toBe(`95150100cd012cc51234${'ab'.repeat(0x1234)}`)
  })
})

describe('a batch by the MessagePack specification', () => {
  const payload = hex(
    '92',
    '95 00 00 a1 6b a5 68656c6c6f 81 a1 74 c4 02 0102', // key "k", value "hello", headers {t: bin 01 02}
    '95 01 f6 c0 a0 c0', // ten milliseconds earlier, no key, an empty value, no headers
  )

  it('is what the builder writes', () => {
    const builder = new RecordBatchBuilder()
    builder.append({ key: 'k', value: 'hello', headers: { t: Uint8Array.of(1, 2) }, timestamp: 1000 })
    builder.append({ key: null, value: '', timestamp: 990 })
    const finished = builder.finish()
    expect(toHex(finished.payload)).toBe(toHex(payload))
    expect(finished).toMatchObject({ recordCount: 2, baseTimestamp: 1000 })
  })

  it('is what readers read', () => {
    expect(decodeRecords(payload, 2)).toEqual([
      { offsetDelta: 0, timestampDelta: 0, key: 'k', value: 'hello', headers: { t: Uint8Array.of(1, 2) } },
      { offsetDelta: 1, timestampDelta: -10, key: null, value: '', headers: null },
    ])
  })
})

describe('a stored entry by the words of PROTOCOL.md', () => {
  const payload = hex('91950000c0a26869c0')
  const covered = hex(
    leHex(crc32(payload), 4), // payloadCrc
    '0123456789abcdef0123456789abcdef', // topicId
    leHex(3, 4), // partition
    leHex(0, 4), // lastOffsetDelta
    leHex(100, 8), // baseOffset
    leHex(1_760_000_000_000, 8), // appendTime
    leHex(1_759_999_999_995, 8), // baseTimestamp
    leHex(77, 8), // producerId
    leHex(5, 8), // baseSequence
    leHex(2, 4), // producerEpoch
    leHex(1, 4), // recordCount
    leHex(0, 4), // sectionBytes
    leHex(9, 4), // payloadBytes
    leHex(9, 4), // inflatedBytes
    leHex(0, 4), // sectionCrc
    leHex(0, 8), // reserved
  )
  const headerCrc = crc32(covered, 0x5245524d ^ 1)
  const entry = hex('4d524552', '0100', '0000', leHex(headerCrc, 4), toHex(covered), toHex(payload))

  it('is sound, and holds what it was given', () => {
    expect(entry).toHaveLength(112 + 9)
    expect(entryHeaderFault(entry)).toBeUndefined()
    const header = readEntryHeader(entry)
    expect(header).toMatchObject({
      partition: 3,
      baseOffset: 100,
      producerId: 77,
      baseSequence: 5,
      producerEpoch: 2,
    })
    expect(entryPayload(entry, header)).toEqual(payload)
  })

  it('is what the code writes', () => {
    const written = new Uint8Array(112)
    writeEntryHeader(written, 0, readEntryHeader(entry))
    expect(toHex(written)).toBe(toHex(entry.subarray(0, 112)))
  })
})

/** A number as little-endian hex digits. */
function leHex(value: number, bytes: number): string {
  const digits = BigInt(value)
    .toString(16)
    .padStart(2 * bytes, '0')
  return (digits.match(/../g) as string[]).reverse().join('')
}
