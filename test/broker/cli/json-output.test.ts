import { describe, expect, it } from 'vitest'
import { printable, recordAsJson, type TravelledRecord } from '../../../broker/cli/json-output.js'
import { msgpack } from '../../../client/encodings.js'

const record: TravelledRecord = {
  topic: 'logs',
  partition: 3,
  offset: 42,
  timestamp: Date.UTC(2026, 10, 1, 12),
  appendTime: Date.UTC(2026, 10, 1, 12, 0, 1),
  key: null,
  value: 'a "b"\nc',
  headers: { trace: '1', digest: Buffer.from([1, 2]) },
}

describe('a record as JSON', () => {
  it('is one line with everything, bytes marked as base64', () => {
    const line = recordAsJson(record, { keyEncoding: 'text', valueEncoding: 'text' })
    expect(line).not.toContain('\n')
    expect(JSON.parse(line)).toEqual({
      topic: 'logs',
      partition: 3,
      offset: 42,
      timestamp: '2026-11-01T12:00:00.000Z',
      appendTime: '2026-11-01T12:00:01.000Z',
      key: null,
      value: 'a "b"\nc',
      headers: { trace: '1', digest: { base64: 'AQI=' } },
    })
  })

  it('holds what JSON and MessagePack values say', () => {
    const value = msgpack().encode({
      raw: new Uint8Array([255]),
      big: 2n ** 63n,
      list: [null, true],
    }) as Uint8Array
    const packed = recordAsJson({ ...record, value }, { keyEncoding: 'text', valueEncoding: 'msgpack' })
    expect(JSON.parse(packed).value).toEqual({
      raw: { base64: '/w==' },
      big: { int64: '9223372036854775808' },
      list: [null, true],
    })
    const json = recordAsJson(
      { ...record, value: '{"a": [1]}' },
      { keyEncoding: 'text', valueEncoding: 'json' },
    )
    expect(JSON.parse(json).value).toEqual({ a: [1] })
    const digits = recordAsJson(
      { ...record, value: '{"n":9007199254740993}' },
      { keyEncoding: 'text', valueEncoding: 'json' },
    )
    expect(digits).toContain('"value":{"n":9007199254740993}')
  })
})

describe('a value alone', () => {
  it('is the text or the bytes it is, JSON as it was written, and nothing or null for none', () => {
    const bytes = new Uint8Array([1, 10])
    expect(printable('a', 'text')).toBe('a')
    expect(printable('{ "n": 12345678901234567890 }', 'json')).toBe('{ "n": 12345678901234567890 }')
    expect(printable(bytes, 'bytes')).toBe(bytes)
    for (const encoding of ['bytes', 'text'] as const) expect(printable(null, encoding)).toBe('')
    for (const encoding of ['json', 'msgpack'] as const) expect(printable(null, encoding)).toBe('null')
    expect(printable(msgpack().encode(2n ** 53n + 1n) as Uint8Array, 'msgpack')).toBe(
      '{"int64":"9007199254740993"}',
    )
    expect(printable(msgpack().encode([1, 'a']) as Uint8Array, 'msgpack')).toBe('[1,"a"]')
  })
})
