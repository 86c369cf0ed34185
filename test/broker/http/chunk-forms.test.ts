import { gunzipSync } from 'node:zlib'
import { beforeAll, describe, expect, it, vi } from 'vitest'
import { GzipPlaces } from '../../../broker/http/gzip-places.js'
import { connect, defineTopic, text } from '../../../client/index.js'
import { until } from '../../support/until.js'
import { brokerOfFile, fillChunks, type ListedChunk, listed } from './chunk-topic.js'

const GZIP = { 'accept-encoding': 'gzip' }
const Packed = defineTopic({ name: 'packed', key: text(), value: text() })

const http = brokerOfFile()
/** Of batches as they are, and of batches that their producer has compressed. */
let plain: ListedChunk
let packed: ListedChunk

beforeAll(async () => {
  await http().createTopic('plain', { valueEncoding: 'text' })
  plain = (await fillChunks(http(), { topic: 'plain', chunks: 1 }))[0] as ListedChunk
  const client = connect(http().broker.url)
  await client.createTopic(Packed)
  const producer = client.producer(Packed, { compression: 'gzip' })
  const values = Array.from({ length: 50 }, (_, i) => ({ key: `k${i}`, value: `v${i} `.padEnd(40_000, '.') }))
  while ((await listed(http(), 'packed')).length === 0) await producer.sendBatch(values)
  packed = (await listed(http(), 'packed'))[0] as ListedChunk
  await client.close()
})

describe('a sealed chunk', () => {
  it('is listed with the times of its first and its last record', async () => {
    await http().createTopic('timed')
    const append = async (count: number) =>
      (await http().post('/v1/topics/timed/records', Array(count).fill({ value: 'x'.repeat(2_000) }))).json
    const first = await append(1)
    await until(() => Date.now() > Date.parse(first.appendTime))
    while ((await listed(http(), 'timed')).length === 0) await append(20)
    const [chunk] = (await listed(http(), 'timed')) as [ListedChunk]
    const { json: records } = await http().get(`${chunk.url}?format=json`)
    const times = records.map(({ appendTime }: { appendTime: string }) => appendTime).sort()
    expect([chunk.minAppendTime, chunk.maxAppendTime]).toEqual([times[0], times.at(-1)])
    expect(chunk.minAppendTime).toBe(first.appendTime)
    expect(chunk.minAppendTime < chunk.maxAppendTime).toBe(true)
  })

  it('whose batches are compressed already is sent as it is, and as JSON like any other', async () => {
    const native = await http().get(packed.url, { headers: GZIP })
    expect(native.headers).toMatchObject({ etag: `"${packed.digest}"`, 'content-length': `${packed.bytes}` })
    expect(native.headers['content-encoding']).toBeUndefined()
    const lines = await http().get(`${packed.url}?format=ndjson`, { headers: GZIP })
    expect(lines.headers).toMatchObject({
      'content-encoding': 'gzip',
      etag: `"${packed.digest}-ndjson1-gzip"`,
      vary: 'Accept-Encoding, Origin',
    })
    const records = gunzipSync(lines.bytes).toString().trimEnd().split('\n')
    expect(records.length).toBe(packed.records)
    for (const [offset, line] of records.entries())
      expect(JSON.parse(line)).toMatchObject({
        offset,
        key: `k${offset % 50}`,
        value: expect.stringMatching(`^v${offset % 50} \\.+$`),
      })
  })

  it('is sent as it is, under the tag of that, while as many others are being compressed as may be', async () => {
    const free = vi.spyOn(GzipPlaces.prototype, 'isFree', 'get').mockReturnValue(false)
    try {
      const { headers, bytes } = await http().get(plain.url, { headers: GZIP })
      expect([headers['content-encoding'], headers.etag]).toEqual([undefined, `"${plain.digest}"`])
      expect(bytes.length).toBe(plain.bytes)
    } finally {
      free.mockRestore()
    }
    const { headers } = await http().get(plain.url, { headers: GZIP })
    expect([headers['content-encoding'], headers.etag]).toEqual(['gzip', `"${plain.digest}-gzip"`])
  })

  it.each(['native', 'ndjson', 'json'])(
    'answers HEAD, and whoever has it, with the headers of GET: %s',
    async (format) => {
      const url = `${plain.url}?format=${format}`
      const names = [
        'etag',
        'cache-control',
        'last-modified',
        'vary',
        'millrace-base-offset',
        'millrace-next-offset',
        'millrace-up-to-date',
      ]
      for (const headers of [{}, GZIP]) {
        const get = await http().get(url, { headers })
        const head = await http().ask('HEAD', url, { headers })
        const known = await http().get(url, {
          headers: { ...headers, 'if-none-match': String(get.headers.etag) },
        })
        const knownHead = await http().ask('HEAD', url, {
          headers: { ...headers, 'if-none-match': String(get.headers.etag) },
        })
        expect([head, known, knownHead].map(({ status, bytes }) => [status, bytes.length])).toEqual([
          [200, 0],
          [304, 0],
          [304, 0],
        ])
        for (const name of names) {
          expect(get.headers[name], name).toBeDefined()
          for (const other of [head, known, knownHead])
            expect(other.headers[name], name).toBe(get.headers[name])
        }
        expect(head.headers['content-encoding']).toBe(get.headers['content-encoding'])
      }
    },
  )
})
