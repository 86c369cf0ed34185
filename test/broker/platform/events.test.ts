import { pino } from 'pino'
import { beforeEach, describe, expect, it } from 'vitest'
import { eventsTo } from '../../../broker/log.js'
import { EVENTS, type EventName } from '../../../broker/platform/events.js'
import type { CounterName } from '../../../broker/platform/metric-names.js'
import type { TopicId } from '../../../protocol/ids.js'
import { credit, subscribe, subscribed } from '../../../protocol/messages/index.js'
import { atEndOf } from '../../support/ends.js'
import { until } from '../../support/until.js'
import { type HttpBroker, startHttp } from '../http/harness.js'
import { WireClient } from '../session/wire-client.js'

type Line = Readonly<Record<string, unknown>>

let lines: Line[] = []
let http: HttpBroker
let topicId: TopicId

const logAt = (level: string) =>
  pino(
    { level, formatters: { level: (label) => ({ level: label }) } },
    { write: (line: string) => void lines.push(JSON.parse(line)) },
  )

/** What was told of an event; the broker's own topic of changes left out. */
const told = (event: EventName | 'fallback'): Line[] =>
  lines.filter((line) => line.event === event && (line.topicId ?? topicId) === topicId)

const counted = (name: CounterName): number => http.broker.metrics.snapshot().counters[name]

/** Records of a kilobyte. */
async function append(records: number): Promise<void> {
  const batch = Array.from({ length: 10 }, () => ({ value: 'x'.repeat(1000) }))
  for (let n = 0; n < records; n += 10) await http.post('/v1/topics/a/records', batch)
}

const read = (query: string) => http.get(`/v1/topics/a/partitions/0/records?${query}`)

beforeEach(async () => {
  lines = []
  // A cache of two slabs.
  http = await startHttp({
    ...{ log: logAt('trace'), chunkBytes: 16 * 1024, tailCacheBytes: 128 * 1024 },
    ...{ recordBytesMax: 16 * 1024, batchBytesMax: 64 * 1024 },
  })
  await http.createTopic('a', { valueEncoding: 'text' })
  topicId = (await http.get('/v1/topics/a')).json.topicId
})

describe('what happens inside the broker is counted and told:', () => {
  it('a chunk that is sealed', async () => {
    await append(40)
    await until(() => told('seal').length > 0)
    const [seal] = told('seal')
    expect(seal).toMatchObject({
      level: 'debug',
      chunk: expect.stringMatching(/^[0-9a-f]{16}\.chunk$/),
      partitions: 1,
    })
    expect(seal?.records).toBeGreaterThan(10)
    expect(seal?.bytes).toBeGreaterThan(10_000)
    expect(counted('chunksSealed')).toBe(told('seal').length)
  })

  it('a read that the tail cache serves, and one that it does not', async () => {
    await append(400)
    // The sealer reads as well, whenever it is its turn: what it reads is told between these.
    const telling = (line: Line) => expect.objectContaining({ level: 'trace', partition: 0, ...line })
    const hits = told('cacheHit').length
    await read('offset=399&limit=1')
    expect(told('cacheHit').slice(hits)).toContainEqual(telling({ offset: 390 }))
    const misses = told('cacheMiss').length
    await read('offset=5&limit=1')
    expect(told('cacheMiss').slice(misses)).toContainEqual(telling({ offset: 5 }))
    expect(counted('cacheHits')).toBeGreaterThan(0)
    expect(counted('cacheMisses')).toBeGreaterThan(0)
  })

  it('what the tail cache lets go', async () => {
    await append(40)
    expect(counted('cacheEvictions')).toBe(0)
    await append(400)
    const evictions = told('cacheEviction')
    expect(evictions[0]).toMatchObject({ level: 'debug', slabs: 1, bytes: 65_536 })
    for (const { cachedBytes } of evictions) expect(cachedBytes).toBeLessThanOrEqual(128 * 1024)
    const sum = (name: string): number => evictions.reduce((all, line) => all + Number(line[name]), 0)
    expect(counted('cacheEvictions')).toBe(sum('slabs'))
    expect(counted('cacheEvictedBytes')).toBe(sum('bytes'))
  })

  it('a follower that falls behind', async () => {
    const client = await WireClient.open(http.port)
    atEndOf('test', () => client.close())
    await append(10)
    const at = { subscriptionId: 1, topicId, partition: 0, offset: 0 }
    await client.request(subscribe, { ...at, creditBytes: 1 }, subscribed)
    await until(() => told('cacheHit').length > 0)
    // Without credit it stands still while the cache moves on.
    await append(400)
    expect(told('demotion')).toEqual([])
    client.send(credit, { subscriptionId: 1, bytes: 1024 * 1024 })
    await until(() => told('demotion').length > 0)
    expect(told('demotion')).toMatchObject([
      { level: 'debug', partition: 0, source: expect.stringMatching(/wal|chunk/) },
    ])
    expect(counted('demotions')).toBe(1)
  })

  it('a read that wanted a whole chunk and gets a page', async () => {
    await append(40)
    await until(() => told('seal').length > 0)
    await read('offset=1&chunks=true')
    expect(told('fallback')).toMatchObject([
      { level: 'debug', topic: 'a', partition: 0, offset: 1, reason: 'unaligned' },
    ])
    expect(counted('chunkFallbacksUnaligned')).toBe(1)
  })

  it('records that are deleted on request, once however often it comes', async () => {
    await append(40)
    const path = '/v1/topics/a/partitions/0/delete-before'
    for (let n = 0; n < 2; n++) await http.post(path, { offset: 7 }, { 'idempotency-key': 'k' })
    expect(told('truncation')).toMatchObject([
      { level: 'info', topic: 'a', partition: 0, reason: 'request', startOffset: 7, records: 7 },
    ])
    expect([counted('truncations'), counted('truncatedRecords')]).toEqual([1, 7])
    expect(counted('retentionDeletions')).toBe(0)
  })

  it('records that retention deletes', async () => {
    await http.ask('PATCH', '/v1/topics/a', { body: { retention: { maxBytes: 16 * 1024 } } })
    await append(100)
    await until(() => told('truncation').length > 0)
    const [first] = told('truncation')
    expect(first).toMatchObject({ topic: 'a', reason: 'bytes' })
    const sum = (name: string): number =>
      told('truncation').reduce((all, line) => all + Number(line[name]), 0)
    expect([counted('truncations'), counted('retentionDeletions')]).toEqual(
      Array(2).fill(told('truncation').length),
    )
    expect([counted('truncatedRecords'), counted('truncatedBytes')]).toEqual([sum('records'), sum('bytes')])
  })
})

describe('the log', () => {
  it('tells only what its level lets through, and the others cost no more than a look', () => {
    const names = (level: string) => Object.keys(eventsTo(logAt(level))).sort()
    expect(names('trace')).toEqual(Object.keys(EVENTS).sort())
    expect(names('debug')).toEqual(['cacheEviction', 'demotion', 'seal', 'truncation'])
    expect(names('info')).toEqual(['truncation'])
    expect(names('error')).toEqual([])
  })
})
