import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { BrokerProcess } from '../support/broker-process.js'
import { until } from '../support/until.js'
import { askStream, asProducer, offsetIn, type StreamAnswer } from './stream-http.js'

const closing: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

const EPOCH = 3
const TYPES = { text: 'text/plain', json: 'application/json' } as const

/** A producer that writes one request after the other to one stream, and knows what it was told. */
class Writer {
  readonly name: string
  /** Token behind each acknowledged write; of one that was there already nobody is told where it is. */
  readonly ends: string[] = []
  readonly #url: string
  readonly #type: string
  #isStopped = false

  constructor(url: string, { name, type }: { name: string; type: string }) {
    this.#url = url
    this.name = name
    this.#type = type
  }

  /** What its write of this number is in the stream. */
  textOf(seq: number): string {
    return this.#type === TYPES.json ? JSON.stringify({ by: this.name, seq }) : `${this.name}:${seq};`
  }

  write(seq: number, epoch = EPOCH): Promise<StreamAnswer> {
    const headers = { 'content-type': this.#type, ...asProducer(this.name, { epoch, seq }) }
    return askStream(this.#url, 'POST', { headers, body: this.textOf(seq) })
  }

  /** Until it is stopped, or nobody answers any more. */
  async run(): Promise<void> {
    this.#isStopped = false
    while (!this.#isStopped) {
      const seq = this.ends.length
      const answer = await this.write(seq).catch(() => undefined)
      if (answer === undefined) return
      // The write that the kill cut off may have been written.
      expect([200, 204]).toContain(answer.status)
      expect(answer.header('producer-seq')).toBe(String(seq))
      this.ends.push(answer.status === 200 ? (answer.header('stream-next-offset') ?? 'none') : '')
    }
  }

  stop(): void {
    this.#isStopped = true
  }
}

/** The writes in a stream, as each was written. */
function writesIn(text: string, type: string): string[] {
  if (type === TYPES.json) return (JSON.parse(text) as object[]).map((value) => JSON.stringify(value))
  return text.split(/(?<=;)/).filter((each) => each !== '')
}

describe('streams, after a SIGKILL in the middle of producers’ load', () => {
  it('are as they were acknowledged: bytes, offsets, closed flag, producer epoch and sequence, forks and ETags', async () => {
    const dataDir = await mkdtemp(join(tmpdir(), 'millrace-streams-kill-'))
    closing.push(() => rm(dataDir, { recursive: true, force: true }))
    // Small chunks: some of what is read afterwards was sealed.
    const broker = new BrokerProcess({
      dataDir,
      flags: { 'chunk-bytes': '64KiB', 'manifest-flush-ms': '100ms' },
    })
    await broker.start()
    closing.push(() => broker.stop())
    const base = `${broker.url.replace('ws:', 'http:')}/v1/stream/`
    const put = (path: string, headers: Record<string, string>, body?: string): Promise<StreamAnswer> =>
      askStream(base + path, 'PUT', { headers, ...(body === undefined ? {} : { body }) })

    // What does not change: closed, forked, deleted but forked, each with its ETag.
    const text = { 'content-type': TYPES.text }
    await put('still/closed', text, 'all ')
    const last = { ...text, 'stream-closed': 'true', ...asProducer('closer', { epoch: 1, seq: 0 }) }
    expect((await askStream(`${base}still/closed`, 'POST', { headers: last, body: 'said' })).status).toBe(200)
    await put('gone/source', text, 'root')
    const midway = (await askStream(`${base}gone/source`, 'HEAD')).header('stream-next-offset') ?? ''
    await askStream(`${base}gone/source`, 'POST', { headers: text, body: 'after' })
    const fork = { 'stream-forked-from': '/v1/stream/gone/source' }
    await put('fork', { ...fork, 'stream-fork-offset': midway, 'stream-fork-sub-offset': '2' }, '|fork')
    await put('fork/of', { 'stream-forked-from': '/v1/stream/fork' }, '|of fork')
    expect((await askStream(`${base}gone/source`, 'DELETE')).status).toBe(204)
    const still = { 'still/closed': 'all said', fork: 'rootaf|fork', 'fork/of': 'rootaf|fork|of fork' }
    const etags = new Map<string, string>()
    for (const [path, expected] of Object.entries(still)) {
      const read = await askStream(base + path, 'GET')
      expect(read.text).toBe(expected)
      etags.set(path, read.header('etag') ?? '')
    }

    const streams = Object.entries(TYPES).map(([path, type]) => ({ url: base + path, type }))
    for (const { url, type } of streams)
      expect((await askStream(url, 'PUT', { headers: { 'content-type': type } })).status).toBe(201)
    const writers = streams.flatMap(({ url, type }) =>
      ['a', 'b', 'c'].map((name) => ({ url, writer: new Writer(url, { name, type }) })),
    )

    for (let kill = 0; kill < 2; kill++) {
      const before = writers.map(({ writer }) => writer.ends.length)
      const load = Promise.all(writers.map(({ writer }) => writer.run()))
      // Each has written, and goes on.
      const isAtWork = () => writers.every(({ writer }, i) => writer.ends.length > (before[i] ?? 0) + 10)
      await Promise.race([until(isAtWork), load])
      await broker.kill()
      await load
      await broker.start()

      for (const { url, writer } of writers) {
        const acknowledged = writer.ends.length
        expect(acknowledged).toBeGreaterThan(0)
        // Fenced: an epoch that has passed. Known: the last write, and no later one than was sent.
        const stale = await writer.write(acknowledged, EPOCH - 1)
        expect([stale.status, stale.header('producer-epoch')]).toEqual([403, String(EPOCH)])
        const again = await writer.write(acknowledged - 1)
        expect(again.status).toBe(204)
        expect(Number(again.header('producer-seq'))).toBeGreaterThanOrEqual(acknowledged - 1)
        expect(Number(again.header('producer-seq'))).toBeLessThanOrEqual(acknowledged)
        const gap = await writer.write(acknowledged + 2)
        expect(gap.status).toBe(409)
        const end = (await askStream(url, 'HEAD')).header('stream-next-offset') ?? ''
        expect(end >= (writer.ends.at(-1) ?? '')).toBe(true)
      }
      for (const { url, type } of streams) {
        const read = await askStream(url, 'GET')
        expect(read.header('stream-up-to-date')).toBe('true')
        const writes = writesIn(read.text, type)
        for (const { writer } of writers.filter((each) => each.url === url)) {
          const own = writes.filter(
            (each) => each.includes(`"${writer.name}"`) || each.startsWith(`${writer.name}:`),
          )
          // The one behind the last that was acknowledged may be there: the kill took its answer.
          expect(own.length - writer.ends.length).toBeGreaterThanOrEqual(0)
          expect(own.length - writer.ends.length).toBeLessThanOrEqual(1)
          expect(own).toEqual(own.map((_, seq) => writer.textOf(seq)))
          for (const [seq, end] of writer.ends.entries())
            if (end !== '') expect(writes[offsetIn(end) - 1]).toBe(writer.textOf(seq))
        }
      }
      for (const [path, expected] of Object.entries(still)) {
        const read = await askStream(base + path, 'GET')
        expect([read.text, read.header('etag')]).toEqual([expected, etags.get(path)])
        const etag = { 'if-none-match': etags.get(path) ?? '' }
        expect((await askStream(base + path, 'GET', { headers: etag })).status).toBe(304)
      }
      expect((await askStream(`${base}gone/source`, 'GET')).status).toBe(410)
      const repeated = await askStream(`${base}still/closed`, 'POST', { headers: last, body: 'said' })
      expect([repeated.status, repeated.header('stream-closed')]).toEqual([204, 'true'])
      expect((await askStream(`${base}still/closed`, 'POST', { headers: text, body: 'more' })).status).toBe(
        409,
      )
    }
    // With its last fork the deleted source goes, and its path is free.
    for (const path of ['fork', 'fork/of']) await askStream(base + path, 'DELETE')
    expect((await askStream(`${base}gone/source`, 'GET')).status).toBe(404)
  }, 300_000)
})
