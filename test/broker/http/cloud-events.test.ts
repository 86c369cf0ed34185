import { describe, expect, it } from 'vitest'
import { type HttpBroker, startHttp } from './harness.js'

const read = async (http: HttpBroker) => (await http.get('/v1/topics/a/partitions/0/records')).json.records

const event = { specversion: '1.0', id: '1', source: '/shop', type: 'order.made' }

describe('a CloudEvent', () => {
  it('in structured mode becomes a record as the binding for Kafka says', async () => {
    const http = await startHttp()
    await http.createTopic('a')
    const body = { ...event, time: '2026-01-31T12:00:00Z', partitionkey: 'k', count: 3, data: { total: 3 } }
    const { status } = await http.post('/v1/topics/a/records', body, {
      'content-type': 'application/cloudevents+json; charset=utf-8',
    })
    expect(status).toBe(200)
    expect(await read(http)).toMatchObject([
      {
        key: 'k',
        value: { total: 3 },
        timestamp: '2026-01-31T12:00:00.000Z',
        headers: {
          ce_specversion: '1.0',
          ce_id: '1',
          ce_source: '/shop',
          ce_type: 'order.made',
          ce_time: '2026-01-31T12:00:00Z',
          ce_partitionkey: 'k',
          ce_count: '3',
          'content-type': 'application/json',
        },
      },
    ])
  })

  it('in binary mode is the same record', async () => {
    const http = await startHttp()
    await http.createTopic('a')
    const headers = Object.fromEntries(Object.entries(event).map(([name, value]) => [`ce-${name}`, value]))
    const { status } = await http.post('/v1/topics/a/records', '{"total":3}', {
      ...headers,
      'ce-subject': 'caf%C3%A9',
      'content-type': 'application/json',
    })
    expect(status).toBe(200)
    const [record] = await read(http)
    expect(record).toMatchObject({ key: null, value: { total: 3 } })
    expect(record.headers).toEqual({
      ce_specversion: '1.0',
      ce_id: '1',
      ce_source: '/shop',
      ce_type: 'order.made',
      ce_subject: 'café',
      'content-type': 'application/json',
    })
  })

  it('in binary mode has its key, its time and its dedup id from its headers', async () => {
    const http = await startHttp()
    await http.createTopic('a', { valueEncoding: 'bytes' })
    const headers = {
      ...{ 'ce-specversion': '1.0', 'ce-id': '1', 'ce-source': '/shop', 'ce-type': 'order.made' },
      ...{ 'ce-time': '2026-01-31T12:00:00Z', 'ce-partitionkey': 'k%20%C3%A9' },
      'content-type': 'application/octet-stream',
    }
    const send = async () =>
      (await http.post('/v1/topics/a/records', Buffer.from([0, 255]), headers)).json.records
    expect(await send()).toEqual([{ partition: 0, offset: 0, duplicate: false }])
    expect(await send()).toEqual([{ partition: 0, offset: 0, duplicate: true }])
    expect(await read(http)).toMatchObject([
      { key: 'k é', value: { base64: 'AP8=' }, timestamp: '2026-01-31T12:00:00.000Z' },
    ])
  })

  it.each(['application/json', 'application/cloudevents+json'])(
    'of %s with a number that reading would round is refused by a topic of MessagePack',
    async (type) => {
      const http = await startHttp()
      await http.createTopic('a', { valueEncoding: 'msgpack' })
      const attributes = Object.entries(event).map(([name, value]) => [`ce-${name}`, value])
      const isBinary = type === 'application/json'
      const data = '{"n":9007199254740993}'
      const body = isBinary ? data : `${JSON.stringify(event).slice(0, -1)},"data":${data}}`
      const headers = { 'content-type': type, ...(isBinary ? Object.fromEntries(attributes) : {}) }
      const { status, json } = await http.post('/v1/topics/a/records', body, headers)
      expect([status, json.error.code]).toEqual([400, 'ENCODING_MISMATCH'])
      const exact = body.replace('9007199254740993', '9007199254740991')
      expect((await http.post('/v1/topics/a/records', exact, headers)).status).toBe(200)
      expect((await read(http))[0].value).toEqual({ n: 9007199254740991 })
    },
  )

  it('that comes twice is written once: its source and id are its dedup id', async () => {
    const http = await startHttp()
    await http.createTopic('a')
    const type = { 'content-type': 'application/cloudevents-batch+json' }
    const first = await http.post('/v1/topics/a/records', [event, { ...event, id: '2' }], type)
    const again = await http.post('/v1/topics/a/records', [{ ...event, id: '3' }, event], type)
    expect(first.json.records.map(({ duplicate }: { duplicate: boolean }) => duplicate)).toEqual([
      false,
      false,
    ])
    expect(again.json.records).toMatchObject([{ duplicate: false }, { offset: 0, duplicate: true }])
    expect(await read(http)).toHaveLength(3)
  })

  it.each([
    ['bytes', { data_base64: 'AAE=' }, { base64: 'AAE=' }],
    ['bytes', { data: 'x' }, { base64: 'eA==' }],
    ['text', { data: 'x' }, 'x'],
    ['msgpack', { data: { a: [1] } }, { a: [1] }],
    ['json', {}, null],
  ])('for a topic of %s with %j has its data as the topic holds it', async (valueEncoding, data, value) => {
    const http = await startHttp()
    await http.createTopic('a', { valueEncoding })
    const type = { 'content-type': 'application/cloudevents+json' }
    expect((await http.post('/v1/topics/a/records', { ...event, ...data }, type)).status).toBe(200)
    expect((await read(http))[0].value).toEqual(value)
  })

  it.each([
    ['of another version', { ...event, specversion: '0.3' }],
    ['without a type', { ...event, type: undefined }],
    ['with an empty id', { ...event, id: '' }],
    ['with an attribute in capitals', { ...event, partitionKey: 'x' }],
    ['with an attribute that is an object', { ...event, extra: {} }],
    ['with data twice', { ...event, data: 1, data_base64: 'AA==' }],
    ['with data that is no base64', { ...event, data_base64: '?' }],
    ['that is a list', [event]],
  ])('%s is refused', async (_what, body) => {
    const http = await startHttp()
    await http.createTopic('a')
    const type = { 'content-type': 'application/cloudevents+json' }
    const { status, json } = await http.post('/v1/topics/a/records', body, type)
    expect([status, json.error.code]).toEqual([400, 'BAD_REQUEST'])
    expect(await http.recordsIn('a')).toBe(0)
  })
})
