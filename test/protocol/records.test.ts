import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { MillraceError } from '../../protocol/error-codes.js'
import { HARD_LIMITS } from '../../protocol/limits.js'
import {
  decodeRecords,
  RecordBatchBuilder,
  type RecordsExpectation,
  type RecordToAppend,
  recordsFault,
} from '../../protocol/records.js'
import { mutated, type Sample, sample } from './arbitraries.js'

const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text.replaceAll(/\s/g, ''), 'hex'))

function build(records: readonly RecordToAppend[], builder = new RecordBatchBuilder()) {
  for (const record of records) builder.append(record)
  const finished = builder.finish()
  return { ...finished, payload: new Uint8Array(finished.payload) }
}

const expectation = (more: Partial<RecordsExpectation> = {}): RecordsExpectation => ({
  recordCount: 1,
  keyTextual: true,
  valueTextual: true,
  recordBytesMax: 1 << 20,
  ...more,
})

describe('a batch', () => {
  it('is read back as it was appended, whatever it holds', () => {
    const builder = new RecordBatchBuilder({ initialBytes: 1 })
    fc.assert(
      fc.property(sample, ({ records, keyTextual, valueTextual }) => {
        // One builder for all: what it held before must not show.
        const { payload, recordCount, baseTimestamp } = build(records, builder)
        expect(recordCount).toBe(records.length)
        expect(recordsFault(payload, expectation({ recordCount, keyTextual, valueTextual }))).toBeUndefined()
        const decoded = decodeRecords(payload, recordCount)
        expect(decoded).toEqual(
          records.map(({ timestamp, ...rest }, offsetDelta) => ({
            ...rest,
            offsetDelta,
            timestampDelta: timestamp - baseTimestamp,
          })),
        )
      }),
      { numRuns: 400 },
    )
  })

  it('is refused or decoded by the same rules, however it is damaged', () => {
    type Damaged = { original: Sample; recordCount: number; bytes: Uint8Array }
    const damaged: fc.Arbitrary<Damaged> = sample.chain((original) => {
      const { payload, recordCount } = build(original.records)
      return mutated(payload).map((bytes) => ({ original, recordCount, bytes }))
    })
    let decodable = 0
    let sound = 0
    fc.assert(
      fc.property(damaged, ({ original, recordCount, bytes }) => {
        const { keyTextual, valueTextual } = original
        const fault = recordsFault(bytes, expectation({ recordCount, keyTextual, valueTextual }))
        let decoded: ReturnType<typeof decodeRecords> | undefined
        try {
          decoded = decodeRecords(bytes, recordCount)
        } catch (error) {
          expect(error).toBeInstanceOf(MillraceError)
          expect((error as MillraceError).code).toBe('BAD_BATCH')
        }
        // What a reader needs is less than what the broker takes: any ascending deltas, any encoding.
        const acceptable =
          decoded?.every(
            ({ offsetDelta, key, value }, index) =>
              offsetDelta === index &&
              (key === null || (typeof key === 'string') === keyTextual) &&
              (value === null || (typeof value === 'string') === valueTextual),
          ) ?? false
        expect(fault === undefined).toBe(acceptable)
        if (decoded !== undefined) decodable++
        if (acceptable) sound++
      }),
      { numRuns: 5000 },
    )
    // Else the property would say nothing.
    expect(decodable).toBeGreaterThan(sound)
    expect(sound).toBeGreaterThan(100)
  })

  it('may hold what older or other writers write: long headers, floats, uint64', () => {
    const payload = hex(
      `dd 00000002
       dc 0005 cf 0000000000000000 d3 ffffffffffffffff db 00000001 61 da 0001 62 de 0001 d9 01 68 c6 00000001 07
       dd 00000005 ca 3f800000 cb c024000000000000 d9 00 c0 df 00000000`,
    )
    expect(recordsFault(payload, expectation({ recordCount: 2 }))).toBeUndefined()
    expect(decodeRecords(payload, 2)).toEqual([
      { offsetDelta: 0, timestampDelta: -1, key: 'a', value: 'b', headers: { h: Uint8Array.of(7) } },
      { offsetDelta: 1, timestampDelta: -10, key: '', value: null, headers: {} },
    ])
  })

  it('gives binary keys and values as plain views into the payload, of a Buffer too', () => {
    const { payload } = build([{ key: null, value: Uint8Array.of(1, 2, 3), timestamp: 0 }])
    const buffer = Buffer.from(payload)
    const value = decodeRecords(buffer, 1)[0]?.value as Uint8Array
    expect(value).toEqual(Uint8Array.of(1, 2, 3))
    expect(value.constructor).toBe(Uint8Array)
    expect(value.buffer).toBe(buffer.buffer)
  })

  it('replaces text that is not UTF-8', () => {
    expect(decodeRecords(hex('91 95 00 00 a3 61ff62 c0 c0'), 1)[0]?.key).toBe('a\ufffdb')
  })

  it('may leave offsets out, as compaction does, but only for readers', () => {
    const payload = hex('92 95 02 00 c0 c0 c0 95 07 00 c0 c0 c0')
    expect(decodeRecords(payload, 2).map(({ offsetDelta }) => offsetDelta)).toEqual([2, 7])
    expect(recordsFault(payload, expectation({ recordCount: 2 }))?.code).toBe('BAD_BATCH')
  })
})

describe('recordsFault', () => {
  const record = '95 00 00 a1 6b a1 76 c0'
  const faults: [
    what: string,
    payload: string,
    more: Partial<RecordsExpectation>,
    code: string,
    why: string,
  ][] = [
    ['a batch of no records', '90', { recordCount: 0 }, 'BAD_BATCH', 'at least one record'],
    ['nothing', '', {}, 'BAD_BATCH', 'no array of 1 records'],
    ['no array', 'c0', {}, 'BAD_BATCH', 'no array of 1 records'],
    ['more records than said', `92 ${record} ${record}`, {}, 'BAD_BATCH', 'no array of 1 records'],
    ['fewer records than said', `91 ${record}`, { recordCount: 2 }, 'BAD_BATCH', 'no array of 2 records'],
    [
      'fewer records than its header claims',
      `92 ${record}`,
      { recordCount: 2 },
      'BAD_BATCH',
      'record 1 is no array of 5',
    ],
    ['a record that is no array', '91 c0', {}, 'BAD_BATCH', 'record 0 is no array of 5'],
    ['a record of four', '91 94 00 00 c0 c0', {}, 'BAD_BATCH', 'record 0 is no array of 5'],
    ['a record of six', '91 96 00 00 c0 c0 c0 c0', {}, 'BAD_BATCH', 'record 0 is no array of 5'],
    ['a wrong offset delta', '91 95 01 00 c0 c0 c0', {}, 'BAD_BATCH', 'its offset delta is not 0'],
    [
      'a repeated offset delta',
      `92 ${record} ${record}`,
      { recordCount: 2 },
      'BAD_BATCH',
      'its offset delta is not 1',
    ],
    [
      'a timestamp delta with a fraction',
      '91 95 00 cb 3fe0000000000000 c0 c0 c0',
      {},
      'BAD_BATCH',
      'no whole number',
    ],
    ['a timestamp delta of NaN', '91 95 00 cb 7ff8000000000000 c0 c0 c0', {}, 'BAD_BATCH', 'no whole number'],
    [
      'a timestamp delta of 2^53',
      '91 95 00 cf 0020000000000000 c0 c0 c0',
      {},
      'BAD_BATCH',
      'no whole number',
    ],
    [
      'a timestamp delta of -2^53',
      '91 95 00 d3 ffe0000000000000 c0 c0 c0',
      {},
      'BAD_BATCH',
      'no whole number',
    ],
    ['a timestamp delta that is text', '91 95 00 a1 31 c0 c0 c0', {}, 'BAD_BATCH', 'no whole number'],
    ['a timestamp delta cut short', '91 95 00 cf 00', {}, 'BAD_BATCH', 'no whole number'],
    [
      'a key that is a number',
      '91 95 00 00 07 c0 c0',
      {},
      'BAD_BATCH',
      'its key is neither nil, str nor bin',
    ],
    [
      'a value that is a list',
      '91 95 00 00 c0 90 c0',
      {},
      'BAD_BATCH',
      'its value is neither nil, str nor bin',
    ],
    ['a value cut short', '91 95 00 00 c0 a5 61626364', {}, 'BAD_BATCH', 'or is cut short'],
    [
      'a value of an extension type',
      '91 95 00 00 c0 d4 01 00 c0',
      {},
      'BAD_BATCH',
      'neither nil, str nor bin',
    ],
    [
      'a key that is bin',
      '91 95 00 00 c4 01 61 c0 c0',
      {},
      'ENCODING_MISMATCH',
      "its key is bin, and the topic's encoding wants str",
    ],
    [
      'a key that is str',
      '91 95 00 00 a1 61 c0 c0',
      { keyTextual: false },
      'ENCODING_MISMATCH',
      'its key is str',
    ],
    ['a value that is bin', '91 95 00 00 c0 c4 01 61 c0', {}, 'ENCODING_MISMATCH', 'its value is bin'],
    [
      'a value that is str',
      '91 95 00 00 c0 a1 61 c0',
      { valueTextual: false },
      'ENCODING_MISMATCH',
      'its value is str',
    ],
    ['missing headers', '91 95 00 00 c0 c0', {}, 'BAD_BATCH', 'headers must be'],
    ['headers that are a list', '91 95 00 00 c0 c0 90', {}, 'BAD_BATCH', 'headers must be'],
    ['a header name that is bin', '91 95 00 00 c0 c0 81 c4 01 61 a0', {}, 'BAD_BATCH', 'headers must be'],
    ['a header value that is nil', '91 95 00 00 c0 c0 81 a1 61 c0', {}, 'BAD_BATCH', 'headers must be'],
    ['a header value that is a number', '91 95 00 00 c0 c0 81 a1 61 01', {}, 'BAD_BATCH', 'headers must be'],
    [
      'a header named __proto__',
      '91 95 00 00 c0 c0 81 a9 5f5f70726f746f5f5f a0',
      {},
      'BAD_BATCH',
      'headers must be',
    ],
    ['headers cut short', '91 95 00 00 c0 c0 82 a1 61 a0', {}, 'BAD_BATCH', 'headers must be'],
    ['four billion headers', '91 95 00 00 c0 c0 df ffffffff', {}, 'BAD_BATCH', 'headers must be'],
    ['bytes after the last record', `91 ${record} 00`, {}, 'BAD_BATCH', 'bytes follow the last record'],
    [
      'a record that is too large',
      `91 ${record}`,
      { recordBytesMax: 7 },
      'RECORD_TOO_LARGE',
      'record 0 has 8 bytes, at most 7',
    ],
  ]
  for (const [what, payload, more, code, why] of faults) {
    it(`finds ${what}`, () => {
      const fault = recordsFault(hex(payload), expectation(more))
      expect(fault?.code).toBe(code)
      expect(fault?.message).toContain(why)
    })
  }

  it('takes a record of just the allowed size', () => {
    expect(recordsFault(hex(`91 ${record}`), expectation({ recordBytesMax: 8 }))).toBeUndefined()
  })

  it('takes as many headers as allowed and not one more', () => {
    const headers = (count: number): Uint8Array => {
      const names = Array.from(
        { length: count },
        (_, i) => `a4${Buffer.from(String(i).padStart(4, '0')).toString('hex')}a0`,
      )
      return hex(`91 95 00 00 c0 c0 de ${count.toString(16).padStart(4, '0')} ${names.join('')}`)
    }
    expect(recordsFault(headers(HARD_LIMITS.headersPerRecordMax), expectation())).toBeUndefined()
    expect(recordsFault(headers(HARD_LIMITS.headersPerRecordMax + 1), expectation())?.message).toContain(
      'at most 1000',
    )
    expect(() => decodeRecords(headers(HARD_LIMITS.headersPerRecordMax + 1), 1)).toThrow('at most 1000')
  })

  it('ends at once on an array that claims more records than there are bytes', () => {
    const payload = hex('dd 000f4240 95')
    expect(recordsFault(payload, expectation({ recordCount: 1_000_000 }))?.code).toBe('BAD_BATCH')
    expect(() => decodeRecords(payload, 1_000_000)).toThrow('record 0')
  })
})
