import { describe, expect, it } from 'vitest'
import {
  decodeRecords,
  RecordBatchBuilder,
  type RecordToAppend,
  recordsFault,
} from '../../protocol/records.js'

const toHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

/** A batch of these records, in memory of its own. */
function build(records: readonly RecordToAppend[], builder = new RecordBatchBuilder()) {
  for (const record of records) builder.append(record)
  const finished = builder.finish()
  return { ...finished, payload: new Uint8Array(finished.payload) }
}

describe('RecordBatchBuilder', () => {
  it('writes the shortest header of every length of text', () => {
    for (const [length, header] of [
      [0, 'a0'],
      [31, 'bf'],
      [32, 'd920'],
      [255, 'd9ff'],
      [256, 'da0100'],
      [65_535, 'daffff'],
      [65_536, 'db00010000'],
    ] as const) {
      const { payload } = build([{ key: null, value: 'x'.repeat(length), timestamp: 0 }])
      expect(toHex(payload.subarray(5, 5 + header.length / 2))).toBe(header)
      expect(payload.length).toBe(5 + header.length / 2 + length + 1)
    }
  })

  it('writes the shortest header where the text has more bytes than units', () => {
    for (const [text, header] of [
      ['ä'.repeat(15), 'be'],
      ['ä'.repeat(16), 'd920'],
      [`${'ä'.repeat(127)}x`, 'd9ff'],
      ['ä'.repeat(128), 'da0100'],
      ['€'.repeat(21_845), 'daffff'],
      ['€'.repeat(21_846), 'db00010002'],
      ['😀'.repeat(64), 'da0100'],
    ] as const) {
      const { payload } = build([{ key: text, value: 'after', timestamp: 0 }])
      expect(toHex(payload.subarray(4, 4 + header.length / 2))).toBe(header)
      expect(decodeRecords(payload, 1)[0]).toMatchObject({ key: text, value: 'after' })
    }
  })

  it('writes the shortest number of every size, negative ones too', () => {
    const deltas: [delta: number, bytes: string][] = [
      [127, '7f'],
      [128, 'cc80'],
      [255, 'ccff'],
      [256, 'cd0100'],
      [65_535, 'cdffff'],
      [65_536, 'ce00010000'],
      [2 ** 32 - 1, 'ceffffffff'],
      [2 ** 32, 'cf0000000100000000'],
      [2 ** 50 + 1, 'cf0004000000000001'],
      [-1, 'ff'],
      [-32, 'e0'],
      [-33, 'd0df'],
      [-128, 'd080'],
      [-129, 'd1ff7f'],
      [-32_768, 'd18000'],
      [-32_769, 'd2ffff7fff'],
      [-(2 ** 31), 'd280000000'],
      [-(2 ** 31) - 1, 'd3ffffffff7fffffff'],
      [-(2 ** 50) - 1, 'd3fffbffffffffffff'],
    ]
    const base = 2 ** 51
    for (const [delta, bytes] of deltas) {
      const records = [base, base + delta].map((timestamp) => ({ key: null, value: null, timestamp }))
      const { payload } = build(records)
      expect(toHex(payload)).toBe(`92950000c0c0c09501${bytes}c0c0c0`)
      expect(decodeRecords(payload, 2)[1]?.timestampDelta).toBe(delta)
    }
  })

  it('writes the shortest header of every count of records', () => {
    for (const [count, header] of [
      [1, '91'],
      [15, '9f'],
      [16, 'dc0010'],
      [65_535, 'dcffff'],
      [65_536, 'dd00010000'],
    ] as const) {
      const { payload } = build(Array(count).fill({ key: null, value: null, timestamp: 1 }))
      expect(toHex(payload.subarray(0, header.length / 2))).toBe(header)
      expect(
        recordsFault(payload, {
          recordCount: count,
          keyTextual: true,
          valueTextual: true,
          recordBytesMax: 100,
        }),
      ).toBeUndefined()
    }
  })

  it('counts its bytes and says what each record took', () => {
    const builder = new RecordBatchBuilder()
    expect(builder.bytes).toBe(0)
    const record = { key: 'k', value: 'v', headers: { a: 'b' }, timestamp: 5 }
    const taken = builder.append(record) + builder.append(record)
    expect(builder.count).toBe(2)
    const { bytes } = builder
    const { payload } = builder.finish()
    expect(payload.length).toBe(taken + 1)
    expect(bytes - payload.length).toBeGreaterThanOrEqual(0)
    expect(bytes - payload.length).toBeLessThanOrEqual(4)
    expect([builder.bytes, builder.count]).toEqual([0, 0])
  })

  it('takes its first timestamp as base, and 1970 where that lies before', () => {
    const at = (...times: number[]) =>
      build(times.map((timestamp) => ({ key: null, value: null, timestamp })))
    expect(at(100, 90, 120).baseTimestamp).toBe(100)
    expect(decodeRecords(at(100, 90, 120).payload, 3).map((r) => r.timestampDelta)).toEqual([0, -10, 20])
    expect(at(-5, 3).baseTimestamp).toBe(0)
    expect(decodeRecords(at(-5, 3).payload, 2).map((r) => r.timestampDelta)).toEqual([-5, 3])
  })

  it('adds nothing when it refuses a record', () => {
    const builder = new RecordBatchBuilder()
    const good = { key: 'a', value: 'b', timestamp: 1 }
    builder.append(good)
    const bad: unknown[] = [
      { ...good, timestamp: 1.5 },
      { ...good, timestamp: Number.NaN },
      { ...good, timestamp: -Number.MAX_SAFE_INTEGER, base: 'the delta does not fit' },
      { ...good, key: 7 },
      { ...good, value: undefined },
      { ...good, headers: { a: null } },
      { ...good, headers: { a: 1 } },
      { ...good, headers: JSON.parse('{"__proto__": "x"}') },
      { ...good, headers: Object.fromEntries(Array.from({ length: 1001 }, (_, i) => [`h${i}`, ''])) },
    ]
    for (const record of bad) {
      expect(() => builder.append(record as RecordToAppend)).toThrow(
        expect.objectContaining({ code: 'ILLEGAL_ARGUMENT' }),
      )
    }
    builder.append(good)
    const { payload } = builder.finish()
    expect(decodeRecords(payload, 2)).toHaveLength(2)
  })

  it('begins anew after reset', () => {
    const builder = new RecordBatchBuilder()
    builder.append({ key: 'gone', value: null, timestamp: 9 })
    builder.reset()
    expect(toHex(build([{ key: null, value: 'x', timestamp: 3 }], builder).payload)).toBe('91950000c0a178c0')
  })
})
