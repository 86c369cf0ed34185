import { describe, expect, it } from 'vitest'
import { type LineFormat, recordsOf } from '../../../broker/cli/line-records.js'
import type { LineBlock } from '../../../broker/cli/lines.js'
import { msgpack } from '../../../client/encodings.js'
import type { Encoding } from '../../../protocol/encodings.js'

const block = (content: string, firstLine = 1): LineBlock => ({
  bytes: Buffer.from(content, 'latin1'),
  firstLine,
})
const utf8 = (content: string): LineBlock => ({ bytes: Buffer.from(content), firstLine: 1 })

const format = (valueEncoding: Encoding, keySeparator?: string): LineFormat => ({
  keyEncoding: valueEncoding,
  valueEncoding,
  keySeparator,
})

const valuesOf = (lines: LineBlock, encoding: Encoding) =>
  recordsOf(lines, format(encoding)).records.map(({ value }) => value)

describe('lines as records', () => {
  it('are texts in a text topic: empty ones, carriage returns and byte order marks too', () => {
    const { records, valueBytes } = recordsOf(utf8('\uFEFFa\r\n\n\u{1f600}é'), format('text'))
    expect(records).toEqual(['\uFEFFa\r', '', '\u{1f600}é'].map((value) => ({ key: null, value })))
    expect(valueBytes).toBe(3 + 2 + 0 + 6)
  })

  it('are any bytes in a bytes topic', () => {
    expect(valuesOf(block('\xff\x00\n\xfe'), 'bytes')).toEqual([Buffer.from([255, 0]), Buffer.from([254])])
  })

  it('stay the text they are in a json topic, but for null, which is none', () => {
    expect(valuesOf(utf8('{ "n": 12345678901234567890 }\nnull'), 'json')).toEqual([
      '{ "n": 12345678901234567890 }',
      null,
    ])
  })

  it('become MessagePack in a msgpack topic', () => {
    const [value] = valuesOf(utf8('{"a":[1,"b"]}'), 'msgpack')
    expect(msgpack().decode(value as Uint8Array)).toEqual({ a: [1, 'b'] })
    const marked = valuesOf(
      utf8('[{"int64":"9007199254740993"},{"base64":"AQ=="},{"float64":"NaN"}]\nnull'),
      'msgpack',
    )
    expect(msgpack().decode(marked[0] as Uint8Array)).toEqual([
      2n ** 53n + 1n,
      new Uint8Array([1]),
      Number.NaN,
    ])
    expect(marked[1]).toBeNull()
  })

  it('have the key before the first separator, and count the bytes of their values only', () => {
    expect(recordsOf(utf8('k:v:w\n:\né:'), format('text', ':'))).toEqual({
      records: [
        { key: 'k', value: 'v:w' },
        { key: '', value: '' },
        { key: 'é', value: '' },
      ],
      valueBytes: 3,
    })
    expect(recordsOf(block('\xff=>\xfe'), format('bytes', '=>')).records).toEqual([
      { key: Buffer.from([255]), value: Buffer.from([254]) },
    ])
  })

  const faults: [what: string, lines: LineBlock, of: LineFormat, message: string][] = [
    ['text that is none', block('a\n\xff', 7), format('text'), 'line 8 is not valid UTF-8'],
    ['a key that is no text', block('a\t1\n\xff\t2', 7), format('text', '\t'), 'line 8 is not valid UTF-8'],
    ['no key', block('a,1\nb', 7), format('text', ','), 'line 8 has no key: it does not hold ","'],
    [
      'a whole number that would be rounded',
      block('1\n9007199254740993', 7),
      format('msgpack'),
      'line 8 is refused: its value has 9007199254740993, which JSON would round',
    ],
    ['a value that is no JSON', block('1\n{', 7), format('json'), 'line 8 is refused: its value is not JSON'],
    [
      'a key that is no JSON',
      block('a 1', 7),
      format('msgpack', ' '),
      'line 7 is refused: its key is not JSON',
    ],
  ]

  it.each(faults)('are refused by their number: %s', (_what, lines, of, message) => {
    expect(() => recordsOf(lines, of)).toThrow(message)
  })
})
