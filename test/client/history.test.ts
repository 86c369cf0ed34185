import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { ClientEvent, MillraceError } from '../../client/index.js'
import type { Socket } from '../../client/platform/socket.js'
import { openSocket } from '../../client/platform/socket-node.js'
import { HistoryBroker, Lines, offsetsOf, upTo } from './history-fixture.js'

const FROM_START = { from: 'earliest', to: 'end', history: 'http' } as const

/** What is sealed has left the cache. */
const SMALL_CACHE = { batchBytesMax: 16_384, recordBytesMax: 8_192, tailCacheBytes: 32_768 }

let broker: HistoryBroker
let end: number

beforeAll(async () => {
  broker = await HistoryBroker.start(SMALL_CACHE)
  const client = broker.client()
  await client.createTopic(Lines)
  await broker.fill(client, { chunks: 4 })
  await broker.settled()
  end = broker.written
})

afterAll(() => broker.stop())

type Fetch = typeof globalThis.fetch

/** A client whose HTTP goes through `change`, and what it told. */
function throughFetch(change: (url: string, init: RequestInit, fetch: Fetch) => Promise<Response>) {
  const asked: { url: string; headers: Record<string, string> }[] = []
  const fallbacks: (ClientEvent & { type: 'historyFallback' })[] = []
  const client = broker.client(
    { onEvent: (event) => void (event.type === 'historyFallback' && fallbacks.push(event)) },
    {
      fetch: (url, init) => {
        asked.push({ url, headers: init.headers as Record<string, string> })
        return change(url, init, globalThis.fetch)
      },
    },
  )
  const ofChunks = () => asked.filter(({ url }) => url.includes('/v1/chunks/'))
  return { client, asked, ofChunks, fallbacks }
}

const asItIs = (url: string, init: RequestInit, fetch: Fetch) => fetch(url, init)

describe('history over HTTP', () => {
  it('is read from chunks, and what is not sealed by the WebSocket, without gap or repeat', async () => {
    const { client, ofChunks, fallbacks } = throughFetch(asItIs)
    const readsBefore = broker.counter('chunkReads')
    const servedBefore = broker.counter('chunksServed')
    const chunks = await broker.chunks()
    expect(await offsetsOf(client.read(Lines, FROM_START))).toEqual(upTo(end))
    expect(ofChunks().map(({ url }) => new URL(url).pathname)).toEqual(chunks.map(({ url }) => url))
    expect(broker.counter('chunksServed') - servedBefore).toBe(chunks.length)
    expect(broker.counter('chunkReads')).toBe(readsBefore)
    expect(fallbacks).toEqual([])
  })

  it('goes on with what is written meanwhile, and follows', async () => {
    const { client } = throughFetch(asItIs)
    const stream = client.read(Lines, { from: 'earliest', history: 'http' })
    const first = await offsetsOf(client.read(Lines, { ...FROM_START, to: { 0: 10 } }))
    expect(first).toEqual(upTo(10))
    await stream.ready
    const reading = offsetsOf(stream, { atMost: end + 200 })
    await broker.write(client, 200)
    expect(await reading).toEqual(upTo(end + 200))
    await broker.settled()
    end = broker.written
  })

  it('begins and ends within chunks', async () => {
    const { client, ofChunks } = throughFetch(asItIs)
    const [first, second] = await broker.chunks()
    const from = (first?.baseOffset ?? 0) + 7
    const to = (second?.baseOffset ?? 0) + 3
    expect(
      await offsetsOf(client.read(Lines, { from: { 0: from }, to: { 0: to }, history: 'http' })),
    ).toEqual(upTo(to, from))
    expect(ofChunks().length).toBe(2)
    const batches = client.readBatches(Lines, { from: { 0: from }, to: { 0: to }, history: 'http' })
    let next = from
    for await (const { records, nextOffset } of batches) {
      expect(records[0]?.offset).toBe(next)
      next = nextOffset
    }
    expect(next).toBe(to)
  })

  it('asks for nothing where nothing is sealed that is wanted', async () => {
    const { client, ofChunks } = throughFetch(asItIs)
    const stream = client.read(Lines, { from: 'latest', history: 'http' })
    await stream.ready
    await broker.write(client, 1)
    end = broker.written
    expect((await stream.next()).value?.offset).toBe(end - 1)
    expect(ofChunks()).toEqual([])
    await stream.return()
  })

  it('goes on behind the last whole record where an answer breaks off', async () => {
    let cuts = 0
    const { client, ofChunks, fallbacks } = throughFetch(async (url, init, fetch) => {
      const response = await fetch(url, init)
      if (!url.includes('/v1/chunks/') || cuts >= 2) return response
      cuts++
      return new Response(await cutAfter(response, 20_000), {
        status: response.status,
        headers: response.headers,
      })
    })
    expect(await offsetsOf(client.read(Lines, FROM_START))).toEqual(upTo(end))
    expect(cuts).toBe(2)
    const ranges = ofChunks().map(({ headers }) => headers.range)
    expect(ranges[0]).toBeUndefined()
    expect(ranges[1]).toMatch(/^bytes=1\d{4}-$/)
    expect(fallbacks).toEqual([])
  })

  it('is right where a proxy passes over ranges', async () => {
    let cuts = 0
    const { client, ofChunks } = throughFetch(async (url, init, fetch) => {
      const { range: _, ...headers } = (init.headers ?? {}) as Record<string, string>
      const response = await fetch(url, { ...init, headers })
      if (!url.includes('/v1/chunks/') || cuts > 0) return response
      cuts++
      return new Response(await cutAfter(response, 20_000), { status: response.status })
    })
    expect(await offsetsOf(client.read(Lines, FROM_START))).toEqual(upTo(end))
    expect(ofChunks()[1]?.headers.range).toMatch(/^bytes=1\d{4}-$/)
  })

  it('is fetched anew, past caches, where it comes damaged', async () => {
    const { client, ofChunks, fallbacks } = throughFetch(async (url, init, fetch) => {
      const response = await fetch(url, init)
      const isFromCache =
        (init.headers as Record<string, string> | undefined)?.['cache-control'] === undefined
      return url.includes('/v1/chunks/') && isFromCache ? damagedAt(response, 9_000) : response
    })
    expect(await offsetsOf(client.read(Lines, FROM_START))).toEqual(upTo(end))
    const anew = ofChunks().filter(({ headers }) => headers['cache-control'] === 'no-cache')
    expect(anew.length).toBe((await broker.chunks()).length)
    expect(fallbacks).toEqual([])
  })

  it.each([
    [
      'comes damaged again and again',
      'CORRUPT_DATA',
      async (url, init, fetch) => damagedAt(await fetch(url, init), 9_000),
    ],
    ['cannot be reached', 'CONNECTION_LOST', async () => Promise.reject(new TypeError('fetch failed'))],
    [
      "is answered with a proxy's own error",
      'CONNECTION_LOST',
      async () => new Response('<html>', { status: 502 }),
    ],
    [
      'is answered with something else',
      'CONNECTION_LOST',
      async () => new Response('<html>', { status: 404 }),
    ],
    [
      'is refused',
      'ORIGIN_REFUSED',
      async () => Response.json({ error: { code: 'ORIGIN_REFUSED', message: 'no' } }, { status: 403 }),
    ],
  ] as [string, string, (url: string, init: RequestInit, fetch: Fetch) => Promise<Response>][])(
    'comes by the WebSocket where it %s, which is told with %s',
    async (_, code, answer) => {
      const { client, fallbacks } = throughFetch((url, init, fetch) =>
        url.includes('/v1/chunks/') ? answer(url, init, fetch) : fetch(url, init),
      )
      expect(await offsetsOf(client.read(Lines, FROM_START))).toEqual(upTo(end))
      expect(fallbacks.map(({ error, topic, partition }) => [error.code, topic, partition])).toEqual([
        [code, 'lines', 0],
      ])
      expect(fallbacks[0]?.offset).toBeLessThan(10)
    },
  )

  it('comes by the WebSocket where lists of chunks are not what they should be', async () => {
    for (const body of [
      'null',
      '{}',
      '[]',
      '{"topicId":"x","partition":0,"endOffset":1,"chunks":[{}]}',
      'x',
    ]) {
      const { client, fallbacks } = throughFetch(async () => new Response(body))
      expect(await offsetsOf(client.read(Lines, { ...FROM_START, to: { 0: 30 } })), body).toEqual(upTo(30))
      expect(fallbacks.length, body).toBe(1)
    }
  })

  it('comes by the WebSocket where a list of chunks is always the same', async () => {
    const { client, asked, fallbacks } = throughFetch((url, init, fetch) =>
      fetch(url.replace(/offset=\d+/, 'offset=0'), init),
    )
    expect(await offsetsOf(client.read(Lines, FROM_START))).toEqual(upTo(end))
    expect(fallbacks.map(({ error }) => error.code)).toEqual(['CORRUPT_DATA'])
    expect(asked.filter(({ url }) => url.includes('/chunks?')).length).toBe(4)
  })

  it('goes on while the connection is lost', async () => {
    const sockets: Socket[] = []
    const client = broker.client(
      {},
      {
        openSocket(options, listener) {
          sockets.push(openSocket(options, listener))
          return sockets.at(-1) as Socket
        },
      },
    )
    const stream = client.read(Lines, { ...FROM_START, bufferBytes: 4_096 })
    expect((await stream.next()).value?.offset).toBe(0)
    sockets[0]?.terminate()
    expect(await offsetsOf(stream)).toEqual(upTo(end, 1))
    expect(sockets.length).toBe(2)
  })

  it('is not fetched faster than it is read', async () => {
    let bytes = 0
    const { client } = throughFetch(async (url, init, fetch) => {
      const response = await fetch(url, init)
      if (!url.includes('/v1/chunks/')) return response
      const counting = new TransformStream<Uint8Array, Uint8Array>({
        transform(part, controller) {
          bytes += part.length
          controller.enqueue(part)
        },
      })
      return new Response(response.body?.pipeThrough(counting), { status: response.status })
    })
    const [first] = await broker.chunks()
    const stream = client.read(Lines, { ...FROM_START, bufferBytes: 4_096 })
    await stream.next()
    await new Promise((resolve) => setTimeout(resolve, 150))
    expect(bytes).toBeLessThanOrEqual((first?.bytes ?? 0) + 1)
    expect(await offsetsOf(stream)).toEqual(upTo(end, 1))
    expect(bytes).toBeGreaterThan(3 * (first?.bytes ?? 0))
  })

  it('is refused with the reason where the option is none', async () => {
    const client = broker.client()
    for (const history of [
      'ftp',
      {},
      { url: 'x' },
      { url: 'ftp://127.0.0.1' },
      { url: 'http://127.0.0.1/?a=b' },
      null,
    ]) {
      const stream = client.read(Lines, { from: 'earliest', history: history as never })
      const error = await stream.next().then(
        () => undefined,
        (error: MillraceError) => error,
      )
      expect(error?.code, JSON.stringify(history)).toBe('ILLEGAL_ARGUMENT')
    }
  })
})

describe('history that is deleted', () => {
  let own: HistoryBroker

  beforeAll(async () => {
    own = await HistoryBroker.start({ ...SMALL_CACHE, manifestFlushMs: 20 })
  })

  afterAll(() => own.stop())

  it('in the middle of a chunk is read from there: the rest of that chunk by the WebSocket, the others over HTTP', async () => {
    const client = own.client()
    await client.createTopic(Lines)
    await own.fill(client, { chunks: 4 })
    await own.settled()
    const chunks = await own.chunks()
    const start = (chunks[0]?.baseOffset ?? 0) + 5
    await client.deleteBefore(Lines, 0, start)
    const before = own.counter('chunksServed')
    expect(await offsetsOf(client.read(Lines, FROM_START))).toEqual(upTo(own.written, start))
    expect(own.counter('chunksServed') - before).toBe(chunks.length - 1)
  })

  it('while it is read ends with what the reader was told to do then, and never with a jump that nobody asked for', async () => {
    const client = own.client()
    const chunks = await own.chunks()
    const at = chunks.at(-1)?.baseOffset ?? 0
    const read = (onOutOfRange: 'throw' | 'earliest') =>
      client.read(Lines, { from: 'earliest', to: 'end', history: 'http', bufferBytes: 2_048, onOutOfRange })
    const strict = read('throw')
    const lenient = read('earliest')
    const first = (await strict.next()).value?.offset ?? -1
    expect((await lenient.next()).value?.offset).toBe(first)
    await client.deleteBefore(Lines, 0, at)

    const taken = [first]
    const error = await (async () => {
      for await (const { offset } of strict) taken.push(offset)
    })().then(
      () => undefined,
      (error: MillraceError) => error,
    )
    expect(taken).toEqual(upTo(first + taken.length, first))
    expect(taken.length).toBeLessThan(at - first)
    expect(error?.code).toBe('OFFSET_OUT_OF_RANGE')
    expect(error?.details?.startOffset).toBe(at)

    const offsets = [first, ...(await offsetsOf(lenient))]
    const jump = offsets.findIndex((offset, i) => i > 0 && offset !== (offsets[i - 1] ?? 0) + 1)
    expect(offsets[jump]).toBe(at)
    expect(offsets.slice(jump)).toEqual(upTo(own.written, at))
  })
})

/** The body up to so many bytes; then it breaks off. */
async function cutAfter(response: Response, bytesMax: number): Promise<ReadableStream<Uint8Array>> {
  const bytes = new Uint8Array(await response.arrayBuffer())
  let isSent = false
  return new ReadableStream<Uint8Array>(
    {
      pull(controller) {
        if (isSent) controller.error(new TypeError('terminated'))
        else controller.enqueue(bytes.subarray(0, bytesMax))
        isSent = true
      },
    },
    { highWaterMark: 0 },
  )
}

/** The body with one bit turned. */
async function damagedAt(response: Response, position: number): Promise<Response> {
  const bytes = new Uint8Array(await response.arrayBuffer())
  const at = Math.min(position, bytes.length - 1)
  bytes[at] = (bytes[at] ?? 0) ^ 1
  return new Response(bytes, { status: response.status })
}
