import { describe, expect, it } from 'vitest'
import { letterAsJson, letterRow, type TravelledLetter } from '../../../broker/cli/letter-format.js'

const raw = { key: 'ada', value: '{"item":"tea"}' }
const letter: TravelledLetter = {
  offset: 3,
  reason: 'no such account',
  count: 5,
  origin: { topic: 'orders', partition: 2, offset: 17 },
  group: 'billing',
  time: 1_700_000_000_400,
  record: {
    topic: 'orders',
    partition: 0,
    offset: 3,
    timestamp: 1_700_000_000_000,
    appendTime: 1_700_000_000_500,
    ...raw,
    headers: { trace: 'abc' },
  },
  error: undefined,
  raw,
}
const encodings = { keyEncoding: 'text', valueEncoding: 'json' } as const

describe('a dead letter', () => {
  it('is a row that says where it is from, how often it was tried and why it is here', () => {
    const row = [3, 'orders/2@17', 5, 'no such account', 'ada', '{"item":"tea"}']
    expect(letterRow(letter, encodings)).toEqual(row)
  })

  it('stays on one line, of bounded length, whatever its texts hold', () => {
    const wild = { ...letter, reason: 'one\ntwo\x1b[2J', raw: { key: null, value: 'x'.repeat(1000) } }
    const [, , , reason, key, value] = letterRow(wild, encodings)
    expect({ reason, key, value }).toEqual({
      reason: 'one\\ntwo\\u001b[2J',
      key: '-',
      value: `${'x'.repeat(59)}…`,
    })
  })

  it('is cut before it is decoded when it is bytes, and may end in half a character', () => {
    const bytes = Buffer.from('é'.repeat(1_000_000)).subarray(1)
    const row = letterRow(
      { ...letter, raw: { key: null, value: bytes } },
      { ...encodings, valueEncoding: 'bytes' },
    )
    expect(row[5]).toBe(`\ufffd${'é'.repeat(58)}…`)
  })

  it('is a line of JSON with the whole record and all that is known of it', () => {
    expect(JSON.parse(letterAsJson(letter, encodings))).toEqual({
      topic: 'orders.billing.dlq',
      partition: 0,
      offset: 3,
      timestamp: '2023-11-14T22:13:20.000Z',
      appendTime: '2023-11-14T22:13:20.500Z',
      key: 'ada',
      value: { item: 'tea' },
      headers: { trace: 'abc' },
      reason: 'no such account',
      count: 5,
      origin: { topic: 'orders', partition: 2, offset: 17 },
      group: 'billing',
      time: '2023-11-14T22:13:20.400Z',
    })
  })
})
