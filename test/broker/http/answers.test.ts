import { describe, expect, it } from 'vitest'
import { until } from '../../support/until.js'
import { brokerOfFile, fillChunks, type ListedChunk } from './chunk-topic.js'
import { type Document, successesOf } from './document.js'
import type { HttpBroker } from './harness.js'

const JSON_TYPE = { 'content-type': 'application/json' }
const NDJSON = { accept: 'application/x-ndjson' }
const GROUP = '/v1/groups/g'
const QUEUE = '/v1/groups/q'
const LETTERS = `${QUEUE}/topics/a/dead-letters`

const broker = brokerOfFile({ streamPollMs: 100 })

/** Once everything that goes well; each answer is held to the document on the way. */
async function askEverything(http: HttpBroker): Promise<void> {
  const text = { valueEncoding: 'text' }
  await http.createTopic('a', text)
  await http.post('/v1/topics', { name: 'a', ifMissing: true })
  const chunk = (await fillChunks(http, { topic: 'a', chunks: 1 }))[0] as ListedChunk
  for (const path of ['', '/a', '/a/partitions', '/a/partitions/0/offset?time=0', '/a/partitions/0/chunks'])
    await http.get(`/v1/topics${path}`)
  await http.ask('PATCH', '/v1/topics/a', { body: { dedupWindowMs: 5_000 } })

  const records = '/v1/topics/a/partitions/0/records'
  await http.get(records)
  await http.get(records, { headers: NDJSON })
  await http.get(`${records}?chunks=true`)
  for (const format of ['native', 'ndjson', 'json']) await http.get(`${chunk.url}?format=${format}`)
  await http.get(chunk.url, { headers: { range: 'bytes=0-9' } })
  for (const method of ['GET', 'HEAD'])
    await http.ask(method, chunk.url, { headers: { 'if-none-match': '*' } })
  await http.ask('HEAD', chunk.url)

  await http.createTopic('followed')
  const followed = ['partitions/0/events', 'events'].map((path) => http.get(`/v1/topics/followed/${path}`))
  await until(() => http.broker.metrics.read('httpRequestsOpen') === followed.length)
  await http.ask('DELETE', '/v1/topics/followed')
  await Promise.all(followed)

  await http.post(`${GROUP}/reset`, { to: 'earliest', topic: 'a', create: true })
  await http.get('/v1/groups')
  await http.get(GROUP)
  await http.ask('DELETE', GROUP)
  const claimed = { topic: 'a', max: 3, wait: 10_000, maxDeliveries: 1 }
  const { jobs } = (await http.post(`${QUEUE}/jobs/claim`, claimed)).json
  const [token, ...tokens] = jobs.map((job: { token: string }) => job.token)
  await http.post(`${QUEUE}/jobs/extend`, { tokens: [token], ms: 60_000 })
  await http.post(`${QUEUE}/jobs/ack`, { tokens: [token] })
  await http.post(`${QUEUE}/jobs/nack`, { tokens })
  await http.get(QUEUE)
  await http.get(LETTERS)
  await http.post(`${LETTERS}/replay`, { max: 1 })
  await http.ask('DELETE', LETTERS)
  await http.post('/v1/topics/a/partitions/0/delete-before', { to: 'end' })
  await askStreams(http)
  for (const path of ['/livez', '/readyz', '/metrics', '/openapi.json']) await http.get(path)
  for (const path of ['/livez', '/readyz']) await http.ask('HEAD', path)
}

async function askStreams(http: HttpBroker): Promise<void> {
  const path = '/v1/stream/a/b'
  for (let times = 0; times < 2; times++) await http.ask('PUT', path, { headers: JSON_TYPE })
  const numbered = { ...JSON_TYPE, 'producer-id': 'p', 'producer-epoch': '0', 'producer-seq': '0' }
  await http.post(path, '[1]', numbered)
  await http.get(`${path}?offset=now&live=long-poll`)
  await http.post(path, undefined, { 'stream-closed': 'true' })
  const { etag } = (await http.get(path)).headers
  await http.get(path, { headers: { 'if-none-match': String(etag) } })
  await http.get(`${path}?offset=-1&live=sse`)
  await http.ask('HEAD', path)
  await http.ask('DELETE', path)
}

describe('every answer that the OpenAPI document tells of and that is no error', () => {
  it('is given, and is what the document says', async () => {
    const http = broker()
    await askEverything(http)
    const { paths } = (await http.get('/openapi.json')).json as Document
    const told = Object.entries(paths).flatMap(([template, operations]) =>
      Object.entries(operations).flatMap(([method, operation]) =>
        successesOf(operation).map((name) => `${method.toUpperCase()} ${template} ${name}`),
      ),
    )
    const given = [...http.seen].filter((name) => / [23]\d\d\b/.test(name))
    // A stream has the type that it was given, and an upgrade is no answer to a plain request.
    const typed = (name: string) => name.replace('{path} 200 application/json', '{path} 200 */*')
    expect(given.map(typed).sort()).toEqual(told.filter((name) => name !== 'GET /ws 101').sort())
  })
})
