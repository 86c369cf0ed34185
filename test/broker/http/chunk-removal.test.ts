import { open, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeAll, describe, expect, it, vi } from 'vitest'
import { LentSection } from '../../../broker/chunks/lent-section.js'
import { DiskError } from '../../../broker/platform/disk.js'
import { until } from '../../support/until.js'
import {
  brokerOfFile,
  fillChunks,
  type ListedChunk,
  listed,
  offsetsIn,
  startWithSmallChunks,
} from './chunk-topic.js'
import type { HttpBroker } from './harness.js'

/** A chunk that no socket's buffers hold. */
const LARGE = 16 * 1024 * 1024

const large = brokerOfFile({ chunkBytes: LARGE, manifestFlushMs: 20, httpBodyBytesMax: 16 * 1024 * 1024 })
let chunk: ListedChunk

beforeAll(async () => {
  const http = large()
  await http.createTopic('large', { valueEncoding: 'text' })
  const value = 'x'.repeat(900_000)
  for (let i = 0; (await listed(http, 'large')).length === 0; i++)
    await http.post(
      '/v1/topics/large/records',
      Array.from({ length: 4 }, () => ({ value: `${i} ${value}` })),
    )
  chunk = (await listed(http, 'large'))[0] as ListedChunk
})

const filesIn = async ({ dataDir }: HttpBroker): Promise<string[]> => readdir(join(dataDir, 'chunks'))

/** Asks for a path and takes nothing of the answer yet. */
async function beginReading(http: HttpBroker, path: string) {
  const socket = await http.connect()
  const parts: Buffer[] = []
  let isClosed = false
  socket.on('data', (part: Buffer) => {
    parts.push(part)
    if (parts.length === 1) socket.pause()
  })
  socket.on('close', () => {
    isClosed = true
  })
  socket.on('error', () => {})
  socket.write(`GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n`)
  await until(() => parts.length > 0)
  return {
    /** The status line and the body, once all has come or the connection is cut. */
    async rest(): Promise<{ head: string; body: Buffer }> {
      socket.resume()
      await until(() => isClosed)
      const all = Buffer.concat(parts)
      const end = all.indexOf('\r\n\r\n')
      return { head: all.subarray(0, end).toString(), body: all.subarray(end + 4) }
    },
    leave: () => socket.destroy(),
  }
}

describe('a chunk whose file is damaged', () => {
  it('is never sent whole, in no form, and is told of as an error where it begins so', async () => {
    const http = large()
    const path = join(http.dataDir, 'chunks', `${chunk.chunkId}.chunk`)
    const flip = async (position: number): Promise<void> => {
      const file = await open(path, 'r+')
      const byte = Buffer.alloc(1)
      await file.read(byte, 0, 1, position)
      byte[0] = (byte[0] ?? 0) ^ 1
      await file.write(byte, 0, 1, position)
      await file.close()
    }
    // In the last entry: the head and most of the body are sent by then.
    const late = 64 + chunk.bytes - 10
    await flip(late)
    for (const query of ['', '?format=ndjson', '?format=json']) {
      const { head, body } = await (await beginReading(http, `${chunk.url}${query}`)).rest()
      expect(head, query).toContain('HTTP/1.1 200')
      // Neither all bytes that were promised, nor the last chunk of the framing.
      expect(body.length, query).toBeLessThan(chunk.bytes)
      expect(body.subarray(-5).toString('latin1'), query).not.toBe('0\r\n\r\n')
    }
    const range = await http.get(chunk.url, { headers: { range: 'bytes=-100' } })
    expect([range.status, range.json.error.code]).toEqual([500, 'CORRUPT_DATA'])
    expect(range.headers.etag).toBeUndefined()
    expect(range.headers['cache-control']).toBe('no-store')
    // What is not damaged is served.
    const start = await http.get(chunk.url, { headers: { range: 'bytes=0-99' } })
    expect([start.status, start.bytes.length]).toEqual([206, 100])
    await flip(late)
    expect((await http.get(chunk.url)).bytes.length).toBe(chunk.bytes)
    await flip(64 + 4)
    for (const query of ['', '?format=ndjson']) {
      const early = await http.get(`${chunk.url}${query}`)
      expect([early.status, early.json.error.code], query).toEqual([500, 'CORRUPT_DATA'])
      expect(early.headers['cache-control']).toBe('no-store')
    }
    await flip(64 + 4)
  }, 120_000)
})

describe('a chunk that the disk does not give now', () => {
  it.each(['', '?format=ndjson'])('is an error that may pass (%s)', async (query) => {
    const http = large()
    const failing = new DiskError({ operation: 'read', path: 'a.chunk', code: 'EIO' })
    const reads = vi
      .spyOn(LentSection.prototype, query === '' ? 'pieces' : 'entries')
      .mockImplementation(() => {
        throw failing
      })
    try {
      const { status, json } = await http.get(`${chunk.url}${query}`)
      expect([status, json.error.code]).toEqual([500, 'STORAGE_FAILED'])
    } finally {
      reads.mockRestore()
    }
    expect((await http.get(`${chunk.url}${query}`)).status).toBe(200)
  })
})

describe('a client that takes nothing', () => {
  it('costs two pieces of memory, and no more however large the chunk', async () => {
    const http = large()
    const unsent = () => http.broker.metrics.snapshot().gauges.httpUnsentBytes ?? 0
    const readers = await Promise.all(Array.from({ length: 8 }, () => beginReading(http, chunk.url)))
    expect(unsent()).toBe(8 * 2 * 256 * 1024)
    for (const reader of readers) reader.leave()
    await until(() => unsent() === 0)
  }, 120_000)
})

describe('a chunk that is deleted', () => {
  it('is sent to its end to those who read it, and is gone for all others', async () => {
    const http = large()
    const native = await beginReading(http, chunk.url)
    const text = await beginReading(http, `${chunk.url}?format=ndjson`)
    const leaving = await beginReading(http, chunk.url)
    await http.post('/v1/topics/large/partitions/0/delete-before', { offset: chunk.nextOffset })
    await until(async () => !(await filesIn(http)).includes(`${chunk.chunkId}.chunk`))

    const gone = await http.get(chunk.url)
    expect([gone.status, gone.json.error.code]).toEqual([410, 'CHUNK_GONE'])
    expect(gone.headers['millrace-start-offset']).toBe(String(chunk.nextOffset))
    expect(gone.json.error.details.startOffset).toBe(chunk.nextOffset)
    expect((await listed(http, 'large')).map(({ url }) => url)).not.toContain(chunk.url)

    leaving.leave()
    const { head, body } = await native.rest()
    expect(head).toContain('HTTP/1.1 200')
    expect(body.length).toBe(chunk.bytes)
    expect(offsetsIn(body)).toEqual({ from: 0, to: chunk.nextOffset })
    const lines = (await text.rest()).body.toString().match(/^\{"topic"/gm)
    expect(lines?.length).toBe(chunk.records)
  }, 120_000)

  it('is gone with its topic, though the name is another topic by then', async () => {
    const http = await startWithSmallChunks()
    await http.createTopic('a', { valueEncoding: 'text' })
    const [chunk] = (await fillChunks(http, { topic: 'a', chunks: 1 })) as [ListedChunk]
    await http.ask('DELETE', '/v1/topics/a')
    await http.createTopic('a', { valueEncoding: 'text' })
    const [other] = (await fillChunks(http, { topic: 'a', chunks: 1, run: 'anew ' })) as [ListedChunk]
    expect((await http.get(chunk.url)).json.error.code).toBe('UNKNOWN_TOPIC')
    expect(other.url).not.toBe(chunk.url)
    expect((await http.get(`${other.url}?format=json`)).json[0].value).toMatch(/^anew 0 /)
  })

  it('in part is not served any more: it holds records that are deleted', async () => {
    const http = await startWithSmallChunks()
    await http.createTopic('a', { valueEncoding: 'text' })
    const [first, second] = (await fillChunks(http, { topic: 'a', chunks: 2 })) as [ListedChunk, ListedChunk]
    await http.post('/v1/topics/a/partitions/0/delete-before', { offset: 1 })
    expect((await http.get(first.url)).status).toBe(410)
    expect((await listed(http, 'a'))[0]).toEqual(second)
    expect((await http.get(second.url)).status).toBe(200)
  })
})
