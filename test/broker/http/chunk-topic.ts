import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { beforeAll } from 'vitest'
import { startBroker } from '../../../broker/broker.js'
import type { BrokerOptions } from '../../../broker/config/schema.js'
import { entryBytes, readEntryHeader } from '../../../protocol/entry.js'
import { entryFault } from '../../../protocol/entry-check.js'
import { type Asked, HttpBroker, startHttp } from './harness.js'

/** A sealed chunk as it is listed. */
export interface ListedChunk {
  readonly chunkId: string
  readonly baseOffset: number
  readonly nextOffset: number
  readonly records: number
  readonly bytes: number
  readonly minAppendTime: string
  readonly maxAppendTime: string
  readonly digest: string
  readonly url: string
}

export const CHUNK_BYTES = 64 * 1024
const VALUE_CHARS = 2_000
const RECORDS_PER_REQUEST = 20

/** A broker whose chunks are small, closed after the test. */
export const startWithSmallChunks = (options: BrokerOptions = {}): Promise<HttpBroker> =>
  startHttp({ chunkBytes: CHUNK_BYTES, ...options })

/** The same for several tests, until the file's end. */
export function brokerOfFile(options: BrokerOptions = {}): () => HttpBroker {
  let http: HttpBroker | undefined
  beforeAll(async () => {
    const dataDir = await mkdtemp(join(tmpdir(), 'millrace-chunks-'))
    const broker = await startBroker({
      port: 0,
      logLevel: 'silent',
      drainMs: 500,
      dataDir,
      chunkBytes: CHUNK_BYTES,
      ...options,
    })
    http = new HttpBroker(broker, dataDir)
    return async () => {
      await broker.close()
      await rm(dataDir, { recursive: true, force: true })
    }
  })
  return () => http as HttpBroker
}

/** Values of a topic, each of its own; large enough that a chunk holds some dozens. */
export const valueAt = (offset: number, run = ''): string => `${run}${offset} `.padEnd(VALUE_CHARS, '.')

/** Appends until so many chunks more are sealed. */
export async function fillChunks(
  http: HttpBroker,
  { topic, chunks, run = '' }: { topic: string; chunks: number; run?: string },
): Promise<ListedChunk[]> {
  const before = (await listed(http, topic)).length
  for (;;) {
    const sealed = await listed(http, topic)
    if (sealed.length >= before + chunks) return sealed
    const { endOffset } = (await http.get(`/v1/topics/${topic}/partitions`)).json.partitions[0]
    const values = Array.from({ length: RECORDS_PER_REQUEST }, (_, i) => ({
      key: String(endOffset + i),
      value: valueAt(endOffset + i, run),
    }))
    await http.post(`/v1/topics/${topic}/records`, values)
  }
}

export async function listed(http: HttpBroker, topic: string, query = ''): Promise<ListedChunk[]> {
  return (await http.get(`/v1/topics/${topic}/partitions/0/chunks${query}`)).json.chunks
}

/** The offsets that whole, checked entries hold: fails where they are anything else. */
export function offsetsIn(bytes: Uint8Array): { from: number; to: number } {
  let from: number | undefined
  let to = 0
  for (let at = 0; at < bytes.length; ) {
    const header = readEntryHeader(bytes, at)
    const fault = entryFault(bytes, header, at)
    if (fault !== undefined) throw new Error(fault)
    from ??= header.baseOffset
    to = header.baseOffset + header.lastOffsetDelta + 1
    at += entryBytes(header)
  }
  return { from: from ?? 0, to }
}

/** The body, inflated where it is compressed. */
export async function bodyOf(http: HttpBroker, path: string, asked: Asked = {}): Promise<Buffer> {
  const { headers, bytes } = await http.get(path, asked)
  return headers['content-encoding'] === 'gzip' ? gunzipSync(bytes) : bytes
}
