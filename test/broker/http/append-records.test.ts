import { Packr } from 'msgpackr'
import { describe, expect, it } from 'vitest'
import { HARD_LIMITS } from '../../../protocol/limits.js'
import { type HttpBroker, startHttp } from './harness.js'

const { pack } = new Packr({ useRecords: false })

const read = async (http: HttpBroker, topic: string, partition = 0) =>
  (await http.get(`/v1/topics/${topic}/partitions/${partition}/records`)).json.records

/** Values of a topic of one partition, in their order. */
const values = async (http: HttpBroker, topic: string) =>
  (await read(http, topic)).map(({ value }: { value: unknown }) => value)

describe('records appended over HTTP', () => {
  it('may be one of JSON, with all that a record has', async () => {
    const http = await startHttp()
    await http.createTopic('a', { partitions: 4 })
    const answer = await http.post('/v1/topics/a/records', {
      key: 'k',
      value: { total: 3 },
      headers: { trace: 'x', raw: { base64: 'AAE=' } },
      timestamp: '2026-01-31T12:00:00.000Z',
      partition: 2,
    })
    expect(answer.status).toBe(200)
    expect(answer.json).toEqual({
      appendTime: expect.any(String),
      records: [{ partition: 2, offset: 0, duplicate: false }],
    })
    expect(await read(http, 'a', 2)).toEqual([
      {
        topic: 'a',
        partition: 2,
        offset: 0,
        timestamp: '2026-01-31T12:00:00.000Z',
        appendTime: answer.json.appendTime,
        key: 'k',
        value: { total: 3 },
        headers: { trace: 'x', raw: { base64: 'AAE=' } },
      },
    ])
  })

  it('may be many, over several partitions, all of them or none', async () => {
    const http = await startHttp()
    await http.createTopic('a', { partitions: 2 })
    const answer = await http.post('/v1/topics/a/records', [
      { value: 1, partition: 0 },
      { value: 2, partition: 1 },
      { value: 3, partition: 0 },
    ])
    expect(answer.json.records).toEqual([
      { partition: 0, offset: 0, duplicate: false },
      { partition: 1, offset: 0, duplicate: false },
      { partition: 0, offset: 1, duplicate: false },
    ])
    const refused = await http.post('/v1/topics/a/records', [
      { value: 1, partition: 0 },
      { value: 2, partition: 9 },
    ])
    expect(refused.json.error.code).toBe('UNKNOWN_PARTITION')
    expect(await http.recordsIn('a')).toBe(3)
  })

  it('may be lines of NDJSON', async () => {
    const http = await startHttp()
    await http.createTopic('a')
    for (const type of ['application/x-ndjson', 'application/jsonl']) {
      const lines = '{"value":1}\n{"value":"two","key":"k"}\r\n\n{"value":null}'
      const { status } = await http.post('/v1/topics/a/records', lines, { 'content-type': type })
      expect(status).toBe(200)
    }
    expect(await values(http, 'a')).toEqual([1, 'two', null, 1, 'two', null])
    const broken = await http.post('/v1/topics/a/records', '{"value":1}\n{"value":', {
      'content-type': 'application/x-ndjson',
    })
    expect(broken.json.error).toMatchObject({
      code: 'BAD_REQUEST',
      message: expect.stringContaining('record 1'),
    })
    expect(await http.recordsIn('a')).toBe(6)
  })

  it('may be MessagePack, and stay byte for byte what they were', async () => {
    const http = await startHttp()
    await http.createTopic('a', { keyEncoding: 'bytes', valueEncoding: 'msgpack' })
    const type = { 'content-type': 'application/msgpack' }
    const value = { big: 2n ** 53n + 1n, bytes: new Uint8Array([0, 255]), none: null, nan: Number.NaN }
    const one = pack({
      key: new Uint8Array([1, 2]),
      value,
      headers: { h: new Uint8Array([7]) },
      timestamp: 5,
    })
    expect((await http.post('/v1/topics/a/records', one, type)).status).toBe(200)
    expect(
      (await http.post('/v1/topics/a/records', pack([{ value: 1 }, { value: null }]), type)).status,
    ).toBe(200)
    const [first, ...others] = await read(http, 'a')
    expect(first).toMatchObject({
      key: { base64: 'AQI=' },
      value: {
        big: { int64: '9007199254740993' },
        bytes: { base64: 'AP8=' },
        none: null,
        nan: { float64: 'NaN' },
      },
      headers: { h: { base64: 'Bw==' } },
      timestamp: '1970-01-01T00:00:00.005Z',
    })
    expect(others.map(({ value }: { value: unknown }) => value)).toEqual([1, null])
    // What was read as JSON can be written as JSON, and is the same again.
    await http.post('/v1/topics/a/records', { value: first.value })
    expect((await read(http, 'a')).at(-1).value).toEqual(first.value)
    for (const bad of [
      pack('text'),
      pack({ value: 1, other: 2 }),
      pack({ key: new Uint8Array(1) }),
      Buffer.from([0xc1]),
    ]) {
      expect((await http.post('/v1/topics/a/records', bad, type)).json.error.code).toBe('BAD_REQUEST')
    }
    expect(await http.recordsIn('a')).toBe(4)
  })

  it('may be the bytes of one value, its key and the rest beside them', async () => {
    const http = await startHttp()
    await http.createTopic('a', { valueEncoding: 'bytes' })
    const bytes = Buffer.from([0, 1, 0xff, 0])
    const { status } = await http.post(
      '/v1/topics/a/records?key=caf%C3%A9+1&timestamp=7&partition=0&dedupId=d',
      bytes,
      {
        'content-type': 'application/octet-stream',
        'millrace-header-trace': Buffer.from('é').toString('latin1'),
      },
    )
    expect(status).toBe(200)
    await http.post('/v1/topics/a/records', '', { 'content-type': 'text/plain' })
    expect(await read(http, 'a')).toMatchObject([
      {
        key: 'café 1',
        value: { base64: bytes.toString('base64') },
        timestamp: '1970-01-01T00:00:00.007Z',
        headers: { trace: 'é' },
      },
      { key: null, value: { base64: '' }, headers: {} },
    ])
  })

  it('may have any time, also one that no calendar has', async () => {
    const http = await startHttp()
    await http.createTopic('a')
    for (const timestamp of [0, 8.64e15, 8.64e15 + 1, Number.MAX_SAFE_INTEGER])
      await http.post('/v1/topics/a/records', { value: 1, timestamp })
    const times = (await read(http, 'a')).map(({ timestamp }: { timestamp: unknown }) => timestamp)
    expect(times).toEqual([
      '1970-01-01T00:00:00.000Z',
      '+275760-09-13T00:00:00.000Z',
      8.64e15 + 1,
      2 ** 53 - 1,
    ])
  })

  it('go to the partition of their key, as those of the client library do', async () => {
    const http = await startHttp()
    await http.createTopic('a', { partitions: 8 })
    const keys = Array.from({ length: 40 }, (_, i) => `key ${i}`)
    const { json } = await http.post(
      '/v1/topics/a/records',
      keys.map((key) => ({ key, value: key })),
    )
    const { connect, defineTopic, json: asJson, text } = await import('../../../client/index.js')
    const client = connect(http.broker.url)
    try {
      const producer = client.producer(defineTopic({ name: 'a', key: text(), value: asJson<string>() }))
      const sent = await Promise.all(keys.map((key) => producer.send({ key, value: key })))
      expect(sent.map(({ partition }) => partition)).toEqual(
        json.records.map(({ partition }: { partition: number }) => partition),
      )
      expect(new Set(sent.map(({ partition }) => partition)).size).toBeGreaterThan(4)
    } finally {
      await client.close()
    }
  })

  it('of one dedup id are written once, and answer with the first offset', async () => {
    const http = await startHttp()
    await http.createTopic('a')
    await http.post('/v1/topics/a/records', { value: 'other' })
    const first = await http.post('/v1/topics/a/records', { value: 'x', dedupId: 'one' })
    expect(first.json.records).toEqual([{ partition: 0, offset: 1, duplicate: false }])
    const again = await http.post('/v1/topics/a/records', [
      { value: 'new' },
      { value: 'x', dedupId: 'one' },
      { value: 'y', dedupId: 'two' },
      { value: 'y', dedupId: 'two' },
    ])
    expect(again.status).toBe(200)
    expect(again.json.records).toEqual([
      { partition: 0, offset: 2, duplicate: false },
      { partition: 0, offset: 1, duplicate: true },
      { partition: 0, offset: 4, duplicate: false },
      { partition: 0, offset: 4, duplicate: true },
    ])
    expect(await values(http, 'a')).toEqual(['other', 'x', 'new', 'y'])
  })

  it('of one Idempotency-Key are written once, whatever they are', async () => {
    const http = await startHttp()
    await http.createTopic('a', { partitions: 2 })
    const key = { 'idempotency-key': 'abc' }
    await http.post('/v1/topics/a/records', { value: 0 })
    const first = await http.post('/v1/topics/a/records', [{ value: 1 }, { value: 2, partition: 1 }], key)
    const again = await http.post('/v1/topics/a/records', [{ value: 1 }, { value: 2, partition: 1 }], key)
    expect(again.json.records).toEqual(first.json.records)
    expect(again.json.appendTime).toBe(first.json.appendTime)
    expect(await http.recordsIn('a')).toBe(3)
    const other = await http.post('/v1/topics/a/records', { value: 1, partition: 0 }, key)
    expect(other.json.error.code).toBe('BAD_REQUEST')
    expect(await http.recordsIn('a')).toBe(3)
  })

  it('with an expected offset are written there or not at all', async () => {
    const http = await startHttp()
    await http.createTopic('a')
    expect((await http.post('/v1/topics/a/records?expectedOffset=0', { value: 1 })).status).toBe(200)
    const conflict = await http.post('/v1/topics/a/records?expectedOffset=0', { value: 2 })
    expect(conflict.json.error).toMatchObject({
      code: 'EXPECTED_OFFSET_CONFLICT',
      details: { actualOffset: 1 },
    })
    expect(await values(http, 'a')).toEqual([1])
  })

  it.each([
    ['text', 'bytes', { value: 7 }],
    ['text', 'bytes', { value: 'text' }],
    ['text', 'bytes', { value: { base64: 'no base64!' } }],
    ['text', 'text', { value: 7 }],
    ['text', 'text', { value: { base64: 'AA==' } }],
    ['bytes', 'text', { value: 'x', key: 'text' }],
    ['text', 'text', { value: '\ud800' }],
  ])(
    'that do not fit keys of %s and values of %s are a typed error and leave nothing',
    async (keyEncoding, valueEncoding, record) => {
      const http = await startHttp()
      await http.createTopic('a', { keyEncoding, valueEncoding })
      const { status, json } = await http.post('/v1/topics/a/records', record)
      expect([status, json.error.code]).toEqual([400, 'ENCODING_MISMATCH'])
      expect(json.error).toMatchObject({ retriable: false, outcome: 'notWritten' })
      expect(await http.recordsIn('a')).toBe(0)
    },
  )

  it('as bytes that are not what the topic holds are a typed error', async () => {
    const http = await startHttp()
    const type = { 'content-type': 'application/octet-stream' }
    for (const valueEncoding of ['text', 'json', 'msgpack']) {
      await http.createTopic(valueEncoding, { valueEncoding })
      const refused = await http.post(`/v1/topics/${valueEncoding}/records`, Buffer.from([0xc1, 0xff]), type)
      expect(refused.json.error.code).toBe('ENCODING_MISMATCH')
    }
    for (const body of ['{"no json', '', 'undefined'])
      expect((await http.post('/v1/topics/json/records', body, type)).json.error.code).toBe(
        'ENCODING_MISMATCH',
      )
    await http.post('/v1/topics/json/records', '{"a": [1]}', type)
    expect(await values(http, 'json')).toEqual([{ a: [1] }])
  })

  it('with whole numbers that JSON would round are refused, in keys of text they are just text', async () => {
    const http = await startHttp()
    await http.createTopic('a')
    for (const body of ['{"value":9007199254740993}', '{"value":{"a":[-12345678901234567890]}}']) {
      const { json } = await http.post('/v1/topics/a/records', body, { 'content-type': 'application/json' })
      expect(json.error.code).toBe('ENCODING_MISMATCH')
    }
    const fine = '{"key":"90071992547409930000","value":[9007199254740991,1e300,0.12345678901234567]}'
    expect(
      (await http.post('/v1/topics/a/records', fine, { 'content-type': 'application/json' })).status,
    ).toBe(200)
    expect(await http.recordsIn('a')).toBe(1)
  })

  it('larger than a record or a batch may be are refused', async () => {
    const http = await startHttp({ recordBytesMax: 4096, batchBytesMax: 8192 })
    await http.createTopic('a')
    const large = await http.post('/v1/topics/a/records', { value: 'x'.repeat(5000) })
    expect([large.status, large.json.error.code]).toEqual([413, 'RECORD_TOO_LARGE'])
    const many = await http.post(
      '/v1/topics/a/records',
      Array.from({ length: 5 }, () => ({ value: 'x'.repeat(2000) })),
    )
    expect([many.status, many.json.error.code]).toEqual([413, 'BATCH_TOO_LARGE'])
    const count = await http.post(
      '/v1/topics/a/records',
      Array.from({ length: 10_001 }, () => ({ value: 0 })),
    )
    expect([count.status, count.json.error.code]).toEqual([413, 'BATCH_TOO_LARGE'])
    expect(await http.recordsIn('a')).toBe(0)
  })

  it.each([
    ['a list without a record', []],
    ['a record without a value', { key: 'k' }],
    ['a field that nobody knows', { value: 1, vaule: 2 }],
    ['a partition that is no number', { value: 1, partition: '0' }],
    ['a time that is none', { value: 1, timestamp: 'yesterday' }],
    ['headers that are no object', { value: 1, headers: ['a'] }],
    ['a header that is no text', { value: 1, headers: { a: 1 } }],
    ['an empty dedup id', { value: 1, dedupId: '' }],
    ['a dedup id that is too long', { value: 1, dedupId: 'x'.repeat(HARD_LIMITS.dedupIdCharsMax + 1) }],
    ['text instead of a record', '"x"'],
    ['null', 'null'],
  ])('with %s are refused', async (_what, body) => {
    const http = await startHttp()
    await http.createTopic('a')
    const { status, json } = await http.post('/v1/topics/a/records', body, {
      'content-type': 'application/json',
    })
    expect([status, json.error.code]).toEqual([400, 'BAD_REQUEST'])
    expect(await http.recordsIn('a')).toBe(0)
  })

  it('carry no header named __proto__, and no prototype either', async () => {
    const http = await startHttp()
    await http.createTopic('a')
    const body = '{"value":{"__proto__":{"x":1}},"headers":{"__proto__":"y"}}'
    const refused = await http.post('/v1/topics/a/records', body, { 'content-type': 'application/json' })
    expect(refused.json.error.code).toBe('BAD_REQUEST')
    const value = '{"value":{"__proto__":{"x":1}}}'
    await http.post('/v1/topics/a/records', value, { 'content-type': 'application/json' })
    const { text } = await http.get('/v1/topics/a/partitions/0/records')
    expect(text).toContain('"value":{"__proto__":{"x":1}}')
  })
})
