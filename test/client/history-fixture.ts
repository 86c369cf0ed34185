import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Broker, startBroker } from '../../broker/broker.js'
import type { BrokerOptions } from '../../broker/config/schema.js'
import {
  type Client,
  type ConnectOptions,
  connect,
  defineTopic,
  type Stream,
  text,
} from '../../client/index.js'
import type { Surroundings } from '../../client/options.js'
import { until } from '../support/until.js'

export const Lines = defineTopic({ name: 'lines', key: text(), value: text() })

const VALUE_CHARS = 1_000
export const CHUNK_BYTES = 32 * 1024

/** A broker with small chunks, and clients of it. */
export class HistoryBroker {
  readonly broker: Broker
  readonly #directory: string
  readonly #clients: Client[] = []
  /** Records of `Lines` so far. */
  written = 0

  private constructor(broker: Broker, directory: string) {
    this.broker = broker
    this.#directory = directory
  }

  static async start(options: BrokerOptions = {}): Promise<HistoryBroker> {
    const dataDir = await mkdtemp(join(tmpdir(), 'millrace-history-'))
    const broker = await startBroker({
      port: 0,
      logLevel: 'silent',
      dataDir,
      chunkBytes: CHUNK_BYTES,
      drainMs: 500,
      ...options,
    })
    return new HistoryBroker(broker, dataDir)
  }

  get url(): string {
    return this.broker.url
  }

  get httpUrl(): string {
    return `http://127.0.0.1:${this.broker.port}`
  }

  client(options: ConnectOptions = {}, surroundings: Surroundings = {}): Client {
    const client = connect(this.url, { backoffBaseMs: 1, backoffCapMs: 20, ...options }, surroundings)
    this.#clients.push(client)
    return client
  }

  /** Writes records, each of its own, until so many chunks are sealed. */
  async fill(client: Client, { chunks, run = '' }: { chunks: number; run?: string }): Promise<void> {
    while ((await this.chunks()).length < chunks) await this.write(client, 24, run)
  }

  async write(client: Client, count: number, run = ''): Promise<void> {
    const producer = client.producer(Lines, { batchBytes: 4_096 })
    const values = Array.from({ length: count }, (_, i) => valueAt(this.written + i, run))
    await producer.sendBatch(values.map((value) => ({ key: null, value })))
    await producer.close()
    this.written += count
  }

  /** As they are listed. */
  async chunks(): Promise<{ baseOffset: number; nextOffset: number; bytes: number; url: string }[]> {
    const response = await fetch(`${this.httpUrl}/v1/topics/lines/partitions/0/chunks?limit=1000`)
    return (
      (await response.json()) as {
        chunks: { baseOffset: number; nextOffset: number; bytes: number; url: string }[]
      }
    ).chunks
  }

  /** Until nothing is to be sealed. */
  async settled(): Promise<void> {
    await until(() => isSealed({ httpUrl: this.httpUrl, topic: 'lines', chunkBytes: CHUNK_BYTES }))
  }

  counter(
    name: 'chunksServed' | 'chunkReads' | 'chunksServedBytes' | 'deliveredRecords' | 'chunksGone',
  ): number {
    return this.broker.metrics.snapshot().counters[name]
  }

  async stop(): Promise<void> {
    await Promise.all(this.#clients.map((client) => client.close({ drainMs: 0 })))
    await this.broker.close()
    await rm(this.#directory, { recursive: true, force: true })
  }
}

/** Whether all of a topic's first partition is sealed but for what is no chunk yet. */
export async function isSealed({
  httpUrl,
  topic,
  chunkBytes,
}: {
  httpUrl: string
  topic: string
  chunkBytes: number
}): Promise<boolean> {
  const response = await fetch(`${httpUrl}/v1/topics/${topic}/partitions`)
  const { partitions } = (await response.json()) as { partitions: { bytes: number; sealedBytes: number }[] }
  return partitions.every(({ bytes, sealedBytes }) => bytes - sealedBytes < chunkBytes)
}

export const valueAt = (offset: number, run = ''): string => `${run}${offset} `.padEnd(VALUE_CHARS, '.')

/** The offsets that a stream gives until it ends; fails where a value is not that of its offset. */
export async function offsetsOf(
  stream: Stream<{ readonly offset: number; readonly value: string }>,
  { run = '', atMost = Number.POSITIVE_INFINITY }: { run?: string; atMost?: number } = {},
): Promise<number[]> {
  const offsets: number[] = []
  for await (const { offset, value } of stream) {
    if (value !== valueAt(offset, run)) throw new Error(`offset ${offset} holds "${value.slice(0, 20)}"`)
    offsets.push(offset)
    if (offsets.length >= atMost) break
  }
  return offsets
}

export const upTo = (end: number, start = 0): number[] =>
  Array.from({ length: end - start }, (_, i) => start + i)
