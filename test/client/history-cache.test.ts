import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { ClientEvent, MillraceError } from '../../client/index.js'
import { CachingProxy, nginxCommand } from '../support/nginx.js'
import { HistoryBroker, Lines, offsetsOf, upTo } from './history-fixture.js'

// In CI it is installed: there its absence is a failure.
const isSkipped = nginxCommand === undefined && process.env.CI !== 'true'
if (isSkipped) console.warn('there is no nginx: history through a caching proxy is not tested')

let broker: HistoryBroker
let proxy: CachingProxy

beforeAll(async () => {
  if (isSkipped) return
  broker = await HistoryBroker.start({ batchBytesMax: 16_384, recordBytesMax: 8_192, tailCacheBytes: 32_768 })
  proxy = await CachingProxy.start({ brokerPort: broker.broker.port })
})

afterAll(async () => {
  await proxy?.stop()
  await broker?.stop()
})

/** A client that tells what it could not read over HTTP. */
function reader() {
  const fallbacks: ClientEvent[] = []
  const client = broker.client({
    onEvent: (event) => void (event.type === 'historyFallback' && fallbacks.push(event)),
  })
  return { client, fallbacks, history: { url: proxy.url } }
}

describe.skipIf(isSkipped)('history through a caching proxy', () => {
  it('is read from the broker by the first reader alone', async () => {
    const { client, history, fallbacks } = reader()
    await client.createTopic(Lines, { publicCache: true })
    await broker.fill(client, { chunks: 4 })
    await broker.settled()
    const end = broker.written
    const read = () => offsetsOf(client.read(Lines, { from: 'earliest', to: 'end', history }))
    const reads = () => broker.counter('chunksServed') + broker.counter('chunkReads')
    const before = reads()
    expect(await read()).toEqual(upTo(end))
    const ofFirst = reads() - before
    expect(ofFirst).toBe((await broker.chunks()).length)
    expect(await read()).toEqual(upTo(end))
    expect(reads() - before - ofFirst).toBe(0)
    const [chunk] = await broker.chunks()
    expect((await fetch(`${proxy.url}${chunk?.url}`)).headers.get('x-cache')).toBe('HIT')
    expect(fallbacks).toEqual([])
  })

  it('is kept for nobody else where the topic does not allow it', async () => {
    const { client } = reader()
    await client.alterTopic(Lines, { publicCache: false })
    const [, chunk] = await broker.chunks()
    const path = `${proxy.url}${chunk?.url}?format=ndjson`
    for (let times = 0; times < 2; times++) {
      expect((await fetch(path)).headers.get('x-cache')).toBe('MISS')
    }
    await client.alterTopic(Lines, { publicCache: true })
  })

  it('of a topic that was deleted and made anew never gives old records, and a live reader is told', async () => {
    const { client, history } = reader()
    const live = client.read(Lines, { from: 'earliest', history, bufferBytes: 4_096 })
    const taken: string[] = []
    for (let i = 0; i < 5; i++) taken.push((await live.next()).value?.value.slice(0, 2) ?? '')
    expect(taken).toEqual(['0 ', '1 ', '2 ', '3 ', '4 '])
    const oldUrls = (await broker.chunks()).map(({ url }) => url)
    await client.deleteTopic(Lines)
    await client.createTopic(Lines, { publicCache: true })
    broker.written = 0
    // Longer than the old one: each of the old offsets is one of a chunk of the new topic as well.
    await broker.fill(client, { chunks: oldUrls.length + 2, run: 'anew ' })
    await broker.settled()

    // The live one may end what it was reading; then it is told that its topic is gone. It never gets a record of the new one.
    let error: MillraceError | undefined
    let next = 5
    try {
      for await (const { offset, value } of live) {
        expect([offset, value.startsWith(`${next} `)]).toEqual([next, true])
        next++
      }
    } catch (thrown) {
      error = thrown as MillraceError
    }
    expect(error?.code).toBe('UNKNOWN_TOPIC')

    // A new one gets the new records alone, though the cache still has the old bytes under the old URLs.
    const read = client.read(Lines, { from: 'earliest', to: 'end', history })
    expect(await offsetsOf(read, { run: 'anew ' })).toEqual(upTo(broker.written))
    expect((await fetch(`${proxy.url}${oldUrls[0]}`)).headers.get('x-cache')).toBe('HIT')
    expect((await fetch(`${broker.httpUrl}${oldUrls[0]}`)).status).toBe(404)
    expect((await broker.chunks()).map(({ url }) => url)).not.toContain(oldUrls[0])
  })
})
